"""Take due deliveries in order, decide each, and mark those that go out now. One transaction, set-wise."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from hub import deliveries, late, media
from hub.channels import Channel
from hub.context import Context
from hub.model import Purpose
from hub.outbound.job import Job
from hub.outbound.judge import judge
from hub.outbound.load import load
from hub.policy.advice import told
from hub.policy.decide import Decision, explanation
from hub.store.base import chunks
from hub.store.bulk import SOME, insert_many
from hub.store.schema import attempt, decision, delivery, pending, receipt

_FILES_PATIENCE = timedelta(seconds=60)  # a message waits this long for its files, then goes with a note about them
_LOOK_AGAIN = timedelta(seconds=1)
_encode = msgspec.json.Encoder().encode


def claim(
    connection: Connection,
    context: Context,
    channel: Channel,
    limit: int,
    outbound: Literal["on", "off"],
    bulk: int | None = None,
    wait: Callable[[int | None], float] = lambda _: 0.0,
    health: str = "OK",
) -> list[Job]:
    """Up to ``limit`` jobs, ``bulk`` of them advertising, whose hand-off is to start once this has committed.

    ``wait``: seconds until an identity may get the next message. ``health``: of the sender's advertising.
    """
    rows = _under(_due(connection, context, channel.name, limit), bulk)
    if not rows:
        return []
    files = media.of_messages(connection, {row.message_id for row in rows if row.message_id is not None})
    rows = _paced(connection, context, _with_files(connection, context, rows, files), wait)
    inside = [row for row in rows if row.kind != "contact"]
    outside = [row for row in rows if row.kind == "contact"]
    allowed = _decided(connection, context, channel, outside, outbound, health)
    going = [*inside, *(row for row in outside if row.id in allowed)]
    going.sort(key=lambda row: (row.priority, row.id))
    if not going:
        return []
    jobs = [job_of(row, context.now) for row in going]
    for job in jobs:
        if job.id in allowed:
            job.epoch, job.late = allowed[job.id].epoch, allowed[job.id].late
    for some in chunks(job.id for job in jobs):
        connection.execute(_SENDING, {"some": some})
    started = [{"delivery_id": job.id, "number": job.attempts + 1, "started_at": context.now} for job in jobs]
    insert_many(connection, attempt, started)
    load(connection, context, channel, jobs, files)
    return jobs


def _due(connection: Connection, context: Context, channel: str, limit: int) -> Sequence[Any]:
    """Due rows, but of each conversation only the one nothing older is pending before.

    An answer does not stand behind advertising that waits for the morning, nor a template behind an answer that waits
    for the customer.
    """
    return connection.execute(_DUE, {"lane": channel, "now": context.now, "most": limit}).all()


def _due_statement() -> sa.Select[*tuple[Any, ...]]:
    earlier = delivery.alias("earlier")
    overtaken = (
        (earlier.c.kind == "contact")
        & (earlier.c.purpose == Purpose.marketing)
        & (earlier.c.state == "queued")
        & (delivery.c.purpose != Purpose.marketing)
    ) | deliveries.is_held(earlier)
    waiting = sa.exists().where(
        earlier.c.channel == sa.bindparam("lane"),
        earlier.c.conversation_id == delivery.c.conversation_id,
        earlier.c.id < delivery.c.id,
        pending(earlier),
        ~overtaken,
    )
    return (
        sa.select(delivery)
        .where(
            delivery.c.channel == sa.bindparam("lane"),
            delivery.c.state == "queued",
            pending(delivery),
            delivery.c.due_at <= sa.bindparam("now"),
            ~waiting,
        )
        .order_by(delivery.c.priority, delivery.c.id)
        .limit(sa.bindparam("most", type_=sa.Integer))
        .with_for_update(of=delivery)  # nobody withdraws or changes it once it has been picked
    )


_DUE = _due_statement()
_SENDING = sa.update(delivery).where(delivery.c.id.in_(SOME)).values(state="sending")


def _under(rows: Sequence[Any], bulk: int | None) -> Sequence[Any]:
    """The rest of the advertising waits, so that an answer that comes meanwhile does not."""
    if bulk is None:
        return rows
    advertising = [row.id for row in rows if row.kind == "contact" and row.purpose == Purpose.marketing]
    waiting = set(advertising[bulk:])
    return [row for row in rows if row.id not in waiting]


def _with_files(
    connection: Connection, context: Context, rows: Sequence[Any], files: Mapping[int, Sequence[media.File]]
) -> list[Any]:
    """Put off messages whose files are still on their way."""
    if not files:
        return list(rows)
    ready = []
    for row in rows:
        missing = any(file.state == "pending" for file in files.get(row.message_id, ()))
        if missing and context.now < row.created_at + _FILES_PATIENCE:
            due = context.now + _LOOK_AGAIN
            connection.execute(sa.update(delivery).where(delivery.c.id == row.id).values(due_at=due))
        else:
            ready.append(row)
    return ready


def _paced(
    connection: Connection, context: Context, rows: Sequence[Any], wait: Callable[[int | None], float]
) -> list[Any]:
    """Put off messages to whom there was one a moment ago."""
    ready = []
    for row in rows:
        left = wait(row.identity_id)
        if left > 0:
            values = {"due_at": context.now + timedelta(seconds=left), "reason": "RATE_PAIR: one after the other"}
            connection.execute(sa.update(delivery).where(delivery.c.id == row.id).values(values))
        else:
            ready.append(row)
    return ready


def _decided(
    connection: Connection,
    context: Context,
    channel: Channel,
    rows: Sequence[Any],
    outbound: Literal["on", "off"],
    health: str,
) -> dict[int, Decision]:
    """Ask the policy about each; keep the decision; return those of what may go."""
    if not rows:
        return {}
    found = judge(connection, context, channel, rows, outbound, health, keep=True)
    allowed: dict[int, Decision] = {}
    records: list[dict[str, Any]] = []
    for row in rows:
        made = found[row.id]
        records.append(_record(context, row.id, made))
        if made.verdict == "allow":
            allowed[row.id] = made
        else:
            _refuse(connection, context, channel, row, made)
    insert_many(connection, decision, records)
    return allowed


def _record(context: Context, delivery_id: int, made: Decision) -> dict[str, Any]:
    return {
        "delivery_id": delivery_id,
        "at": context.now,
        "verdict": made.verdict,
        "reason": made.reason,
        "detail": _encode(explanation(made)).decode(),
    }


def _refuse(connection: Connection, context: Context, channel: Channel, row: Any, made: Decision) -> None:
    words = made.detail
    if made.verdict == "needs_template" and (held := late.hold(connection, context, channel, row, words)) is not None:
        connection.execute(sa.update(delivery).where(delivery.c.id == row.id).values(held))
        return
    if made.verdict == "defer":
        values = {"due_at": made.not_before, "reason": f"{made.reason}: {words}"}
        connection.execute(sa.update(delivery).where(delivery.c.id == row.id).values(values))
        return
    state = "failed" if made.reason == "MSG_EXPIRED" else "denied"
    reason = f"{made.reason}: {words}"
    if state == "failed" and row.reason:
        reason += f"; last: {row.reason}"
    connection.execute(
        sa.update(delivery).where(delivery.c.id == row.id).values(state=state, reason=reason, code=made.reason)
    )
    deliveries.mark(connection, context, [(row.message_id, state, told(made.reason, words))])


def job_of(row: Any, now: datetime) -> Job:
    return Job(
        id=row.id,
        kind=row.kind,
        channel=row.channel,
        conversation_id=row.conversation_id,
        message_id=row.message_id,
        purpose=Purpose(row.purpose),
        part=row.part,
        attempts=row.attempts,
        expires_at=row.expires_at,
        started_at=now,
        identity_id=row.identity_id,
    )


def in_doubt_after_crash(
    connection: Connection, context: Context, channel: Channel, live: Collection[int] = ()
) -> int:
    """What an earlier owner of the lane was sending when it died. Returns how many.

    ``live``: deliveries whose hand-off still goes on, in this process, because only the worker failed.
    """
    sending = sa.select(delivery.c.id, delivery.c.part).where(
        delivery.c.channel == channel.name, delivery.c.state == "sending", pending(delivery)
    )
    rows = [row for row in connection.execute(sending) if row.id not in live]
    for row in rows:
        done = connection.execute(
            sa.select(sa.func.max(receipt.c.part)).where(receipt.c.delivery_id == row.id)
        ).scalar_one()
        if done is not None and done >= row.part:
            values: dict[str, Any] = {"state": "indoubt", "part": done, "due_at": context.now}
        else:
            wait = channel.capabilities.settle if channel.capabilities.idempotency == "echo" else timedelta(0)
            values = {"state": "indoubt", "due_at": context.now + wait, "reason": "the hub stopped during the send"}
        connection.execute(sa.update(delivery).where(delivery.c.id == row.id).values(values))
    return len(rows)
