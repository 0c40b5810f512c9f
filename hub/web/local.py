"""``/local/v1``: what the commands on this machine ask beyond the API. No promise to anybody else."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from aiohttp import web
from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import Connection

from hub import customers, instance, sending
from hub.campaigns import engine
from hub.channels import Channel
from hub.context import Context
from hub.contract import Outgoing
from hub.host import bookmarks, keep_bookmarks
from hub.model import public_id
from hub.outbound import strays
from hub.outbound.compose import compose
from hub.outbound.preview import preview
from hub.projector import backlog
from hub.render import TooLong
from hub.sending import Draft, Unsendable
from hub.store.schema import inbox, quarantine
from hub.timeline import CheckView
from hub.web import ledger
from hub.web.api.operations import ReplayDraft, ReplayView, replayed
from hub.web.api.paging import Page, PageQuery, page
from hub.web.api.problem import FieldError, Problem
from hub.web.api.route import Answer, Call, Route
from hub.web.api.serve import Served, problems

if TYPE_CHECKING:
    from hub.app import Hub


class ResumedView(BaseModel):
    """``copied`` False: there was nothing to resume."""

    copied: bool
    in_doubt: int = Field(description="Messages under way when the copy was made; they are looked up, not resent.")
    paused: list[str] = Field(description="Campaigns that now wait for `hub campaign resume`.")


class PartView(BaseModel):
    """One provider call."""

    text: str
    subject: str | None = None
    html: str | None = None
    attachments: list[str] = Field([], description="Names or addresses of files.")
    buttons: list[str] = []


class PreviewView(BaseModel):
    """What would be done with a message now. ``customer`` None: a stranger, who would become one."""

    verdict: str
    reason: str
    not_before: datetime | None = None
    checks: list[CheckView]
    customer: str | None
    channel: str
    address: str
    parts: list[PartView]
    problem: str | None = Field(None, description="Why it cannot be rendered.")


class InboxQuery(PageQuery):
    since: AwareDatetime | None = None
    channel: str | None = None
    failed: bool = Field(False, description="true: only what could not be read and is not solved.")


class InboxView(BaseModel):
    id: int
    channel: str
    received_at: datetime
    error: str | None = None


class Bookmarks(BaseModel):
    """What adapters keep for themselves: by channel, by name."""

    channels: dict[str, dict[str, str]]


class StateView(BaseModel):
    """How much waits. ``oldest_seconds``: age of the oldest delivery that is not projected yet."""

    now: datetime
    inbox: int
    oldest_seconds: float
    newest_at: datetime | None
    quarantined: int
    strays: dict[str, int] = Field(description="What waits for channels that are not configured, by channel.")
    copied: str = Field(description="Why no provider is called until `hub resume --i-restored`; empty if they are.")


async def preview_message(call: Call) -> Answer:
    draft: Draft = call.body
    hub = call.hub
    context = hub.context()
    known: dict[str, Any] = {}

    def accept(connection: Connection) -> tuple[int, Channel]:
        try:
            accepted = sending.accept(connection, context, draft, call.caller.name)
        except Unsendable as error:
            detail = f"this cannot be sent: {error.detail}"
            raise Problem(422, "unsendable", detail, [FieldError(field=error.field, detail=error.detail)]) from None
        known.update(customer=public_id("customer", accepted.customer), address=accepted.address)
        return accepted.delivery, accepted.channel

    found = await preview(hub.store, context, accept, hub.settings.outbound)
    parts: list[Outgoing] = []
    problem = None
    try:
        parts = await compose(found.job, found.channel, hub.links, hub.shelf, hub.settings.public_url)
    except TooLong as error:
        problem = str(error)
    decision = found.decision
    return Answer.of(
        PreviewView(
            verdict=decision.verdict,
            reason=decision.reason,
            not_before=decision.not_before,
            checks=[CheckView(name=each.name, ok=each.ok, detail=each.detail) for each in decision.checks],
            customer=known["customer"] if await _exists(hub, known["customer"]) else None,
            channel=found.channel.name,
            address=known["address"],
            parts=[_part(each) for each in parts],
            problem=problem,
        )
    )


async def _exists(hub: Hub, who: str) -> bool:
    return await hub.store.read(lambda connection: customers.find(connection, who)) is not None


def _part(out: Outgoing) -> PartView:
    return PartView(
        text=out.text,
        subject=out.subject,
        html=out.html,
        attachments=[each.name or each.url or each.kind for each in out.attachments],
        buttons=[each.title for each in out.buttons],
    )


async def stored(call: Call) -> Answer:
    query: InboxQuery = call.query
    before = query.before("inbox")
    failed = quarantine.c.inbox_id.is_not(None) & quarantine.c.solved_at.is_(None)
    wanted = sa.select(
        inbox.c.id, inbox.c.channel, inbox.c.received_at, sa.case((failed, quarantine.c.error)).label("error")
    ).outerjoin(quarantine, quarantine.c.inbox_id == inbox.c.id)
    if before is not None:
        wanted = wanted.where(inbox.c.id < before)
    if query.since is not None:
        wanted = wanted.where(inbox.c.received_at >= query.since)
    if query.channel is not None:
        wanted = wanted.where(inbox.c.channel == query.channel)
    if query.failed:
        wanted = wanted.where(failed)
    wanted = wanted.order_by(inbox.c.id.desc()).limit(query.limit + 1)

    def work(connection: Connection) -> list[tuple[int, InboxView]]:
        rows = connection.execute(wanted).mappings()
        return [(row["id"], InboxView.model_validate(dict(row))) for row in rows]

    return Answer.of(page(Page[InboxView], "inbox", await call.hub.store.read(work), query.limit))


async def preview_replay(call: Call) -> Answer:
    """Translate only: what an adapter makes of stored deliveries today."""
    draft: ReplayDraft = call.body
    found = await call.hub.projector.read_again(draft.inbox_ids)
    items = [replayed(list(each)) for _, each in groupby(found, key=lambda reading: reading.row.id)]
    return Answer.of(ReplayView(items=items, unknown=sorted(set(draft.inbox_ids) - {each.inbox_id for each in items})))


async def hub_state(call: Call) -> Answer:
    hub = call.hub
    waiting, oldest = await hub.store.read(backlog)

    def counts(connection: Connection) -> tuple[int, datetime | None]:
        broken = sa.select(sa.func.count()).select_from(quarantine).where(quarantine.c.solved_at.is_(None))
        newest = sa.select(inbox.c.received_at).order_by(inbox.c.id.desc()).limit(1)
        return connection.execute(broken).scalar_one(), connection.execute(newest).scalar_one_or_none()

    quarantined, newest_at = await hub.store.read(counts)
    return Answer.of(
        StateView(
            now=hub.clock(),
            inbox=waiting,
            oldest_seconds=(hub.clock() - oldest).total_seconds() if oldest else 0.0,
            newest_at=newest_at,
            quarantined=quarantined,
            strays=await hub.store.read(partial(strays.waiting, context=hub.context())),
            copied=await hub.store.read(partial(instance.doubt, mark=instance.Mark(hub.settings.data))),
        )
    )


async def read_bookmarks(call: Call) -> Answer:
    def work(connection: Connection) -> dict[str, dict[str, str]]:
        return {name: bookmarks(connection, name) for name in call.hub.adapters}

    return Answer.of(Bookmarks(channels=await call.hub.store.read(work)))


async def write_bookmarks(call: Call) -> Answer:
    given: Bookmarks = call.body

    def work(connection: Connection) -> None:
        for channel, values in given.channels.items():
            keep_bookmarks(connection, channel, values)

    await call.hub.store.write(work)
    return Answer.of(given)


async def resume(call: Call) -> Answer:
    """What was sent after the copy was made is unknown here, so campaigns wait for a word of their own."""
    mark = instance.Mark(call.hub.settings.data)

    def work(connection: Connection, context: Context) -> ResumedView:
        if not instance.recognise(connection, context, mark):
            return ResumedView(copied=False, in_doubt=0, paused=[])
        running = engine.running(connection)
        for each in running:
            engine.pause(connection, each, "the database was restored; whoever got it since would get it again")
        return ResumedView(
            copied=True, in_doubt=instance.confirm(connection, context, mark), paused=[each.name for each in running]
        )

    return Answer.of(await call.hub.write(work))


ROUTES = (
    Route("POST", "/resume", resume, "Let a copied database send", "admin", ResumedView),
    Route("POST", "/messages/preview", preview_message, "What would become of a message", "admin", PreviewView,
          body=Draft),
    Route("GET", "/inbox", stored, "Deliveries as they came, newest first", "admin", Page[InboxView],
          query=InboxQuery),
    Route("POST", "/replay/preview", preview_replay, "What a replay would read", "admin", ReplayView,
          body=ReplayDraft),
    *ledger.ROUTES,
    Route("GET", "/bookmarks", read_bookmarks, "What adapters keep for themselves", "admin", Bookmarks),
    Route("POST", "/bookmarks", write_bookmarks, "What they keep now", "admin", Bookmarks, body=Bookmarks),
    Route("GET", "/state", hub_state, "How much waits and what could not be read", "admin", StateView),
)


def mount(app: web.Application, hub: Hub) -> None:
    local = web.Application(middlewares=[problems])
    served = Served(hub)
    for route in ROUTES:
        local.router.add_route(route.method, f"/v1{route.path}", served.handler(route))
    app.add_subapp("/local/", local)
