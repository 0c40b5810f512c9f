"""What would become of a message if it were sent now: decided and rendered, then forgotten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.channels import Channel
from hub.context import Context
from hub.outbound.claim import job_of
from hub.outbound.job import Job
from hub.outbound.judge import judge
from hub.outbound.load import load
from hub.policy.decide import Decision
from hub.store.base import Store
from hub.store.schema import delivery


@dataclass(frozen=True, slots=True)
class Preview:
    """The policy's decision, and the job that ``compose`` turns into parts."""

    decision: Decision
    job: Job
    channel: Channel


class _Undo(Exception):
    def __init__(self, found: Preview) -> None:
        self.found = found


async def preview(
    store: Store,
    context: Context,
    accept: Callable[[Connection], tuple[int, Channel]],
    outbound: Literal["on", "off"],
) -> Preview:
    """``accept`` puts a message on its way (delivery, channel); what it did is undone."""

    def work(connection: Connection) -> None:
        delivery_id, channel = accept(connection)
        row = connection.execute(sa.select(delivery).where(delivery.c.id == delivery_id)).one()
        decision = judge(connection, context, channel, [row], outbound)[delivery_id]
        job = job_of(row, context.now)
        job.late = decision.late
        load(connection, context, channel, [job])
        raise _Undo(Preview(decision, job, channel))

    try:
        await store.write(work)
    except _Undo as undone:
        return undone.found
    raise AssertionError("unreachable: the transaction is never committed")
