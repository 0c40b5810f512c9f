"""What an operator looks at: channels, alerts, what could not be read and its replay."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import sqlalchemy as sa
import structlog
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection

from hub.contract import Capabilities
from hub.inbound import Translated
from hub.store.schema import alert, quarantine
from hub.web.api.paging import Page, PageQuery, page
from hub.web.api.route import Answer, Call, Route

log = structlog.get_logger(__name__)

Row = Annotated[int, Field(ge=1, le=(1 << 63) - 1)]


class QuarantineQuery(PageQuery):
    all: bool = Field(False, description="true: also what was replayed successfully.")


class QuarantineView(BaseModel):
    """A delivery of a provider that could not be read; its bytes are kept."""

    inbox_id: int
    channel: str
    error: str
    at: datetime
    solved_at: datetime | None = None


class ReplayDraft(BaseModel):
    model_config = ConfigDict(extra="forbid")

    inbox_ids: Annotated[list[Row], Field(min_length=1, max_length=100)]


class ReplayedView(BaseModel):
    inbox_id: int
    channel: str
    events: int = Field(description="How many were read; those that had their effect before have none.")
    error: str | None = None


class ReplayView(BaseModel):
    items: list[ReplayedView]
    unknown: list[int] = Field(description="Ids that are not in the inbox.")


class AlertView(BaseModel):
    id: int
    at: datetime
    kind: str
    channel: str | None = None
    detail: str


class ChannelView(BaseModel):
    name: str
    adapter: str
    medium: str
    scheme: str = Field(description="Of the addresses it reaches.")
    role: Literal["contact", "desk"]
    capabilities: Capabilities


class ChannelList(BaseModel):
    items: list[ChannelView]


async def quarantined(call: Call) -> Answer:
    query: QuarantineQuery = call.query
    before = query.before("quarantine")
    wanted = sa.select(quarantine)
    if not query.all:
        wanted = wanted.where(quarantine.c.solved_at.is_(None))
    if before is not None:
        wanted = wanted.where(quarantine.c.inbox_id < before)
    rows = await _rows(call, wanted.order_by(quarantine.c.inbox_id.desc()).limit(query.limit + 1))
    found = [(row["inbox_id"], QuarantineView.model_validate(row)) for row in rows]
    return Answer.of(page(Page[QuarantineView], "quarantine", found, query.limit))


async def replay(call: Call) -> Answer:
    draft: ReplayDraft = call.body
    wanted = sorted(set(draft.inbox_ids))
    items = [view for number in wanted if (view := await _replayed(call, number)) is not None]
    seen = {view.inbox_id for view in items}
    return Answer.of(ReplayView(items=items, unknown=[number for number in wanted if number not in seen]))


async def _replayed(call: Call, number: int) -> ReplayedView | None:
    """One row by itself, so that one that fails takes no other with it. None: there is no such row."""
    try:
        found = await call.hub.projector.replay([number])
    except Exception as error:
        log.error("an inbox row could not be replayed", inbox=number, error=type(error).__name__)
        return ReplayedView(inbox_id=number, channel="", events=0, error=f"not applied: {type(error).__name__}")
    if not found:
        return None
    return replayed(found)


def replayed(found: Sequence[Translated]) -> ReplayedView:
    """What the channel that was called made of one row, and those that share its webhook."""
    row = found[0].row
    error = next((each.error for each in found if each.error), None)
    return ReplayedView(
        inbox_id=row.id, channel=row.channel, events=sum(len(each.events) for each in found), error=error
    )


async def alerts(call: Call) -> Answer:
    query: PageQuery = call.query
    before = query.before("alerts")
    wanted = sa.select(alert)
    if before is not None:
        wanted = wanted.where(alert.c.id < before)
    rows = await _rows(call, wanted.order_by(alert.c.id.desc()).limit(query.limit + 1))
    found = [(row["id"], AlertView.model_validate(row)) for row in rows]
    return Answer.of(page(Page[AlertView], "alerts", found, query.limit))


async def channels(call: Call) -> Answer:
    return Answer.of(
        ChannelList(
            items=[
                ChannelView(
                    name=each.name,
                    adapter=each.adapter,
                    medium=each.medium,
                    scheme=each.scheme,
                    role=each.role,
                    capabilities=each.capabilities,
                )
                for each in call.hub.channels.values()
            ]
        )
    )


async def _rows(call: Call, query: sa.Select[Any]) -> list[dict[str, Any]]:
    def work(connection: Connection) -> list[dict[str, Any]]:
        return [dict(row) for row in connection.execute(query).mappings()]

    return await call.hub.store.read(work)


ROUTES = (
    Route("GET", "/channels", channels, "The configured channels and what they can do", "read", ChannelList),
    Route("GET", "/alerts", alerts, "What an operator should know, newest first", "read", Page[AlertView],
          query=PageQuery),
    Route(
        "GET", "/quarantine", quarantined, "What providers sent and could not be read, newest first", "admin",
        Page[QuarantineView], query=QuarantineQuery,
    ),
    Route(
        "POST", "/replay", replay, "Read stored deliveries again; nothing has its effect twice", "admin", ReplayView,
        body=ReplayDraft,
    ),
)
