"""What customers did elsewhere, as the business tells it: purchases, visits, bookings."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated

import sqlalchemy as sa
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from sqlalchemy import Connection

from hub import customers, tracking
from hub.context import Context
from hub.customers import Line, dated
from hub.model import public_id
from hub.store.schema import customer, customer_event
from hub.tracking import Origin


class EventError(ValueError):
    """The event's id is that of another one; the text says which."""


class EventDraft(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"customer": "1042", "name": "purchase", "external_id": "order-77"}]},
    )

    customer: Line | None = Field(None, description="Public id, external id, or an address.")
    link: Line | None = Field(
        None, description="Instead of the customer: the parameter `hub` of a campaign's link that they came by."
    )
    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]{0,79}$")]
    at: Annotated[AwareDatetime, BeforeValidator(dated)] | None = Field(None, description="Now if unset.")
    external_id: Line | None = Field(None, description="Of the event in your own system: told twice, it counts once.")
    properties: dict[Line, str | int | float | bool | None] = Field({}, max_length=100)

    @model_validator(mode="after")
    def _somebody(self) -> EventDraft:
        if (self.customer is None) == (self.link is None):
            raise ValueError("give the customer, or the link that they came by")
        return self


def record(connection: Connection, context: Context, draft: EventDraft) -> tuple[bool, int, Origin | None]:
    """Whether it was new, who did it, and which campaign's link led there.

    Raises: LookupError if nobody is known as that customer, tracking.LinkError, EventError.
    """
    origin = tracking.origin(connection, context, draft.link) if draft.link is not None else None
    person = origin.customer if origin is not None else customers.find(connection, draft.customer or "")
    if person is None:
        raise LookupError(f"no customer is known as {draft.customer!r}")
    if draft.external_id is not None:
        told = (
            sa.select(customer_event.c.name, sa.func.coalesce(customer.c.merged_into, customer.c.id).label("person"))
            .join(customer, customer.c.id == customer_event.c.customer_id)
            .where(customer_event.c.external_id == draft.external_id)
        )
        if (known := connection.execute(told).first()) is not None:
            if (known.name, known.person) != (draft.name, person):
                whose = f"{known.name!r} of {public_id('customer', known.person)}"
                raise EventError(f"{draft.external_id!r} is {whose} already; give each event an id of its own")
            return False, person, origin
    at: datetime = draft.at or context.now
    connection.execute(
        sa.insert(customer_event).values(
            customer_id=person,
            name=draft.name,
            external_id=draft.external_id,
            properties=json.dumps(draft.properties, ensure_ascii=False),
            at=at,
            campaign_id=origin.campaign if origin is not None else None,
            message_id=origin.message if origin is not None else None,
        )
    )
    return True, person, origin
