"""Sends whose answer was lost, settled beside a lane's other work: by the class of idempotency that its adapter has."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy import Connection

from hub.channels import Channel
from hub.context import Context, lane_topic
from hub.contract import AnyAdapter, Receipt, SendError
from hub.outbound.claim import job_of
from hub.outbound.job import Job
from hub.outbound.load import load
from hub.outbound.settle import give_up_doubt, is_known, resolve_doubt
from hub.outbound.workshop import Workshop
from hub.store.schema import attempt, delivery, pending, receipt

log = structlog.get_logger(__name__)

_POLL = 1.0  # seconds
_SOME = 20  # looked at in one read
_PATIENCE = timedelta(hours=1)  # asking the provider about a lost answer must succeed by then
_LOOK_BACK = timedelta(seconds=5)  # the provider's clock may be behind ours


class Doubts:
    """Of one channel."""

    def __init__(self, shop: Workshop, channel: Channel, adapter: AnyAdapter) -> None:
        self._shop = shop
        self._channel = channel
        self._adapter = adapter

    async def watch(self) -> None:
        """Settle sends whose answer was lost, beside the lane's other work."""
        while True:
            more = False
            try:
                jobs = await self._shop.store.read(self._doubtful)
                for job in jobs:
                    await self._settle_doubt(job)
                more = len(jobs) == _SOME
            except Exception:
                log.exception("in-doubt sends not settled", channel=self._channel.name)
            if not more:
                await asyncio.sleep(_POLL)

    async def _settle_doubt(self, job: Job) -> None:
        if job.known:
            await self._resolve(job, None)
            return
        match self._channel.capabilities.idempotency:
            case "query":
                await self._ask(job)
            case "key":
                await self._resolve(job, None)
            case _:
                await self._give_up(job, "no answer from the provider, and nothing that could tell whether it arrived")

    def _doubtful(self, connection: Connection) -> list[Job]:
        context = self._shop.context()
        query = (
            sa.select(delivery)
            .where(
                delivery.c.channel == self._channel.name,
                delivery.c.state == "indoubt",
                pending(delivery),
                delivery.c.due_at <= context.now,
            )
            .limit(_SOME)
        )
        rows = connection.execute(query).all()
        jobs = [job_of(row, context.now) for row in rows]
        created = {row.id: row.created_at for row in rows}
        for job in jobs:
            tried = sa.select(attempt.c.started_at).where(attempt.c.delivery_id == job.id)
            last = connection.execute(tried.order_by(attempt.c.id.desc()).limit(1)).scalar_one_or_none()
            # Never tried here: a copy of a hub that may have sent it since.
            job.started_at = last or created[job.id]
            job.known = is_known(connection, job)
        if jobs:
            load(connection, context, self._channel, jobs)
        return jobs

    async def _ask(self, job: Job) -> None:
        """Look it up, once the provider can no longer take it without our knowing."""
        now = self._shop.clock()
        settled = job.started_at + self._channel.capabilities.settle
        if now < settled:
            await self._look_again(job, settled)
            return
        parts = await self._shop.parts(job, self._channel)
        if job.part >= len(parts):
            await self._resolve(job, None)
            return
        try:
            found = await self._adapter.lookup(parts[job.part], job.started_at - _LOOK_BACK)
        except SendError as error:
            if now > job.started_at + _PATIENCE:
                await self._give_up(job, f"the provider could not be asked whether it arrived: {error.detail}")
            else:
                await self._look_again(job, now + timedelta(seconds=5))
            return
        await self._resolve(job, found)

    async def _look_again(self, job: Job, due: datetime) -> None:
        doubtful = sa.update(delivery).where(delivery.c.id == job.id, delivery.c.state == "indoubt")
        statement = doubtful.values(due_at=due)
        await self._shop.write(lambda connection, _: connection.execute(statement))

    async def _resolve(self, job: Job, found: list[Receipt] | None) -> None:
        count = len(await self._shop.parts(job, self._channel))

        def work(connection: Connection, context: Context) -> None:
            taken = _first_unknown(connection, self._channel.name, found or [])
            resolve_doubt(connection, context, self._channel, job, taken, count)

        await self._shop.write(work)
        self._shop.topics.publish(lane_topic(self._channel.name))

    async def _give_up(self, job: Job, reason: str) -> None:
        await self._shop.write(
            lambda connection, context: give_up_doubt(connection, context, self._channel, job, reason)
        )


def _first_unknown(connection: Connection, channel: str, found: list[Receipt]) -> Receipt | None:
    """The oldest of the provider's look-alikes that is not already known to be another send."""
    for each in found:
        query = sa.select(receipt.c.id).where(
            receipt.c.channel == channel, receipt.c.external_id == each.external_id
        )
        if connection.execute(query).first() is None:
            return each
    return None
