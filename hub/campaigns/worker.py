"""The worker that plans and sends running campaigns, within their own speed."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import sqlalchemy as sa
import structlog
from sqlalchemy import Connection

from hub.campaigns import engine, outcomes
from hub.campaigns.person import Texts
from hub.campaigns.record import EAST, Campaign
from hub.context import Context
from hub.segments import SegmentError
from hub.store.base import Store
from hub.store.schema import alert, message, recipient
from hub.store.topics import Topics, wait

log = structlog.get_logger(__name__)

_POLL = 1.0  # seconds
_TURN = 0.1  # seconds between two looks while somebody is held back
_BATCH = 200  # people for whom messages are written in one transaction
_LOOK = 0.5  # seconds between two looks at how a campaign does
_REST = 20  # times as long as a look took are until the next one: with a million people it takes a second


class Worker:
    def __init__(
        self, store: Store, topics: Topics, context: Callable[[], Context], published: Callable[[Context], None]
    ) -> None:
        self._store = store
        self._topics = topics
        self._context = context
        self._published = published
        self._texts: dict[int, Texts] = {}
        self._held_back = False  # by a rate, or by a lane that has enough to do
        self._look_at: dict[int, float] = {}  # campaign → monotonic time of the next look at how it does

    async def run(self) -> None:
        """Own the campaigns and work them until cancelled."""
        async with self._store.own("campaigns"):
            with self._topics.listen("campaigns") as news:
                while True:
                    if not await self._round():
                        await wait(news, _TURN if self._held_back else _POLL)

    async def _round(self) -> bool:
        """One step of each running campaign. Returns whether one could do more at once."""
        campaigns = await self._store.read(engine.running)
        self._texts = {each.id: self._texts.get(each.id) or Texts(each.draft) for each in campaigns}
        self._held_back = False
        return any([await self._step(each) for each in campaigns])

    async def _step(self, made: Campaign) -> bool:
        context = self._context()
        try:
            return await self._go(made, context)
        except SegmentError as error:
            await self._pause(made, context, f"audience.segment: {error}; mend it, then resume")
            return False

    async def _go(self, made: Campaign, context: Context) -> bool:
        if await self._going_wrong(made, context):
            return False

        def work(connection: Connection) -> tuple[int, int, int]:
            planned = engine.plan(connection, context, made)
            room = min(_BATCH, engine.room(connection, context, made))
            limit = min(room, _left_today(connection, context, made)) if room > 0 else 0
            sent = engine.expand(connection, context, made, self._texts[made.id], limit)
            if not planned and room > 0 and not sent:
                engine.finish(connection, context, made)
            return planned, sent, room

        planned, sent, room = await self._store.write(work)
        full = room < _BATCH
        self._held_back |= full
        self._published(context)
        return planned > 0 or (sent > 0 and not full)

    # --- care ---

    async def _going_wrong(self, made: Campaign, context: Context) -> bool:
        """Pause a campaign that does harm, or that cannot go on as it is."""
        began = time.monotonic()
        if (made.starts_at or context.now) > context.now + EAST or began < self._look_at.get(made.id, 0.0):
            return False
        gone = [name for name in made.draft.channels if name not in context.channels]
        reason = f"{', '.join(gone)} not configured" if gone else await self._store.read(partial(harm, made=made))
        took = time.monotonic() - began
        self._look_at[made.id] = began + max(_LOOK, _REST * took)
        if reason is not None:
            await self._pause(made, context, reason)
        return reason is not None

    async def _pause(self, made: Campaign, context: Context, reason: str) -> None:
        def work(connection: Connection) -> None:
            engine.pause(connection, made, reason)
            detail = f"campaign {made.name} paused itself: {reason}"
            connection.execute(sa.insert(alert).values(at=context.now, kind="campaign", channel=None, detail=detail))

        await self._store.write(work)
        log.error("campaign paused itself", campaign=made.id, reason=reason)


def harm(connection: Connection, made: Campaign) -> str | None:
    """Why the campaign should stop, by what it did since it was resumed last; None if all is well."""
    failed, tried = outcomes.tried(connection, made)
    if tried < made.draft.stop.after:
        return None
    if failed / tried > made.draft.stop.errors:
        return f"{failed} of {tried} messages failed; see why, then resume"
    gone = sum(outcomes.opted_out(connection, made, lately=True).values())
    if gone / tried > made.draft.stop.opt_outs:
        return f"{gone} of {tried} people opted out; see why, then resume"
    annoyed = sum(outcomes.complained(connection, made, lately=True).values())
    if annoyed / tried > made.draft.stop.complaints:
        return f"{annoyed} of {tried} people complained; see why, then resume"
    return None


def _left_today(connection: Connection, context: Context, made: Campaign) -> int:
    """What the ramp leaves for this day of the campaign. After its last day there is no limit."""
    if not made.draft.ramp or made.starts_at is None:
        return _BATCH
    day = max(0, (context.now - made.starts_at) // timedelta(days=1))
    if day >= len(made.draft.ramp):
        return _BATCH
    begin: datetime = made.starts_at + timedelta(days=day)
    query = (
        sa.select(sa.func.count())
        .select_from(recipient)
        .join(message, message.c.id == recipient.c.message_id)
        .where(recipient.c.campaign_id == made.id, message.c.recorded_at >= begin)
    )
    return max(0, made.draft.ramp[day] - int(connection.execute(query).scalar_one()))
