"""What a transaction of the domain knows besides its connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hub.channels import Channel, Channels
from hub.clock import Ids
from hub.prices import Prices


@dataclass(slots=True)
class Context:
    """Made anew for each transaction. ``news``: topics to publish once it has committed."""

    now: datetime
    ids: Ids
    channels: Channels
    desk: Channel | None
    new_after: timedelta  # quiet time after which a new episode starts
    secret: bytes  # signs links that continue a conversation elsewhere
    prices: Prices
    page: Callable[[str], str]  # the address of somebody's own page, on which they say what they want to get
    reactions: bool = False  # an agent's emoji on a customer's message goes to the customer
    public_url: str = ""
    postal_address: str | None = None  # under advertising mails
    business: str = ""  # who the hub says it is, where it writes itself
    topics: Mapping[str, str] = field(default_factory=dict)  # of advertising: what people call each, by name
    news: set[str] = field(default_factory=set)


def lane_topic(channel: str) -> str:
    return f"lane:{channel}"


def down_topic(channel: str) -> str:
    """A status said that our account there is refused."""
    return f"down:{channel}"
