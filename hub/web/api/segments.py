"""``/segments`` and ``/events``: who is meant, and what customers did."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from hub import events, segments
from hub.context import Context
from hub.customers import Line
from hub.events import EventDraft, EventError
from hub.model import public_id
from hub.segments import Filter, SegmentError
from hub.store.schema import segment
from hub.tracking import LinkError
from hub.web.api.once import once
from hub.web.api.problem import FieldError, Problem, not_found
from hub.web.api.route import Answer, Call, Route


class FilterDraft(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"filter": {"field": "tier", "is": "gold"}}]}
    )

    filter: Filter


class SegmentDraft(FilterDraft):
    name: Line


class SegmentView(BaseModel):
    name: str
    filter: dict[str, Any]
    saved_at: datetime


class SegmentsView(BaseModel):
    items: list[SegmentView]


class CountView(BaseModel):
    customers: int
    reach: dict[str, int] = Field(description="How many of them each channel reaches.")


class GoneView(BaseModel):
    name: str


class EventView(BaseModel):
    recorded: bool = Field(description="false: it had been told before.")
    customer: str
    campaign: str | None = Field(None, description="Whose link led to it.")


def _refused(error: SegmentError) -> Problem:
    return Problem(422, "filter_refused", str(error), [FieldError(field="filter", detail=str(error))])


async def listed(call: Call) -> Answer:
    def work(connection: Connection) -> SegmentsView:
        rows = connection.execute(sa.select(segment).order_by(segment.c.name))
        return SegmentsView(
            items=[
                SegmentView(name=row.name, filter=segments.plain(segments.stored(row.filter)), saved_at=row.saved_at)
                for row in rows
            ]
        )

    return Answer.of(await call.hub.store.read(work))


async def save(call: Call) -> Answer:
    draft: SegmentDraft = call.body

    def work(connection: Connection, context: Context) -> SegmentView:
        try:
            segments.save(connection, context, draft.name, draft.filter)
        except SegmentError as error:
            raise _refused(error) from None
        return SegmentView(name=draft.name, filter=segments.plain(draft.filter), saved_at=context.now)

    return Answer.of(await call.hub.write(work))


async def count(call: Call) -> Answer:
    draft: FilterDraft = call.body
    context = call.hub.context()

    def work(connection: Connection) -> CountView:
        try:
            contact = [name for name, each in context.channels.items() if each.role == "contact"]
            reach = {
                name: segments.count(
                    connection, context, segments.All(all=[draft.filter, segments.Reached(reach=name)])
                )
                for name in contact
            }
            return CountView(customers=segments.count(connection, context, draft.filter), reach=reach)
        except SegmentError as error:
            raise _refused(error) from None

    return Answer.of(await call.hub.store.read(work))


async def remove(call: Call) -> Answer:
    name = call.path["name"]
    try:
        removed = await call.hub.write(lambda connection, _: segments.remove(connection, name))
    except SegmentError as error:
        raise Problem(409, "segment_in_use", str(error)) from None
    if not removed:
        raise not_found("segment", name)
    return Answer.of(GoneView(name=name))


async def tell(call: Call) -> Answer:
    draft: EventDraft = call.body

    def work(connection: Connection, context: Context) -> Answer:
        try:
            recorded, person, origin = events.record(connection, context, draft)
        except LinkError as error:
            detail = str(error)
            raise Problem(422, "link_refused", detail, [FieldError(field="link", detail=detail)]) from None
        except EventError as error:
            detail = f"external_id: {error}"
            raise Problem(409, "event_taken", detail, [FieldError(field="external_id", detail=str(error))]) from None
        except LookupError as error:
            raise Problem(422, "unknown_customer", str(error.args[0]), [
                FieldError(field="customer", detail=str(error.args[0]))
            ]) from None  # fmt: skip
        campaign = public_id("campaign", origin.campaign) if origin is not None else None
        who = public_id("customer", person)
        return Answer.of(EventView(recorded=recorded, customer=who, campaign=campaign))

    return await once(call, work)


ROUTES = (
    Route("GET", "/segments", listed, "Saved segments", "read", SegmentsView),
    Route("POST", "/segments", save, "Save a segment, or replace the one of this name", "send", SegmentView,
          body=SegmentDraft),
    Route("POST", "/segments/count", count, "How many customers a filter matches", "read", CountView,
          body=FilterDraft),
    Route("DELETE", "/segments/{name}", remove, "Forget a segment", "send", GoneView),
    Route("POST", "/events", tell, "Tell what a customer did", "send", EventView, body=EventDraft,
          key="optional"),
)
