"""The hub from a script or a notebook: ``Client``, and ``AsyncClient`` for programs with an event loop.

Both speak the REST API, find it by ``HUB_URL`` and ``HUB_API_KEY``, and ask again after a lost answer without a
second effect.
"""

from hub.client.aio import AsyncClient
from hub.client.errors import HubError, NotFound, Refused, Unreachable
from hub.client.files import FileProblem, Row
from hub.client.models import (
    Added,
    Campaign,
    Counted,
    Customer,
    Imported,
    Message,
    Outlook,
    Person,
    Result,
    RowProblem,
    Segment,
    Sent,
    Stats,
)
from hub.client.rows import read_customers, read_people
from hub.client.sync import Client

__all__ = [
    "Added",
    "AsyncClient",
    "Campaign",
    "Client",
    "Counted",
    "Customer",
    "FileProblem",
    "HubError",
    "Imported",
    "Message",
    "NotFound",
    "Outlook",
    "Person",
    "Refused",
    "Result",
    "Row",
    "RowProblem",
    "Segment",
    "Sent",
    "Stats",
    "Unreachable",
    "read_customers",
    "read_people",
]
