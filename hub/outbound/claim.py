"""Take due deliveries in order and decide each: which go out now, and which are read ahead. Set-wise."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy import Connection

from hub import deliveries, late, media, statuses
from hub.channels import Channel
from hub.context import Context
from hub.model import AuthorKind, Purpose
from hub.outbound.compose import key_of
from hub.outbound.job import Job
from hub.outbound.judge import judge
from hub.outbound.load import load
from hub.outbound.scopes import Wait
from hub.outbound.start import OVERTAKING, start
from hub.policy.advice import told
from hub.policy.decide import Decision, explanation
from hub.store.base import chunks
from hub.store.bulk import SOME, among, insert_many, update_many
from hub.store.schema import conversation, decision, delivery, message, pending, queued, receipt

log = structlog.get_logger(__name__)

_FILES_PATIENCE = timedelta(seconds=60)  # the desk waits this long for files, then is told which are missing
_LOOK_AGAIN = timedelta(seconds=1)
_KNOWN = 1024  # more deliveries than are ever read ahead
Waits = Callable[[Connection, Sequence[Any]], Mapping[int, Wait]]
_CONVERSATIONS = sa.select(conversation.c.id).where(conversation.c.id.in_(SOME))
_encode = msgspec.json.Encoder().encode


def claim(
    connection: Connection,
    context: Context,
    channel: Channel,
    limit: int,
    outbound: Literal["on", "off"],
    bulk: int | None = None,
    waits: Waits = lambda *_: {},
    health: str = "OK",
) -> list[Job]:
    """Up to ``limit`` jobs, ``bulk`` of them advertising, whose hand-off is to start once this has committed."""
    asked = Asked(limit, limit, bulk, outbound, health)
    return start(connection, context, look(connection, context, channel, asked, waits).jobs)


@dataclass(frozen=True, slots=True)
class Asked:
    """``limit`` rows at most, of which ``free`` can be handed off at once, ``bulk`` of them advertising.

    ``health``: of the sender's advertising. ``known``: deliveries that have been read and are left out.
    """

    limit: int
    free: int
    bulk: int | None
    outbound: Literal["on", "off"]
    health: str = "OK"
    known: Collection[int] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """``more``: there may be more to read ahead; ``left``: due rows about which something is to be written."""

    jobs: list[Job]
    more: bool = False
    left: int = 0


def look(
    connection: Connection,
    context: Context,
    channel: Channel,
    asked: Asked,
    waits: Waits = lambda *_: {},
    *,
    reading: bool = False,
) -> Found:
    """Due deliveries that may go, with all that it takes to send them, in order. Their rows still wait: ``start`` them.

    Beyond ``free`` only what can be read ahead: whatever changes it or its recipient's consent shows in their rows.
    That is true neither of advertising and what falls under quotas, since what others may still get depends on it, nor
    of what the desk is shown.
    ``waits``: which of some rows are to be put off, and why. ``reading``: nothing is written and no row locked;
    those that are refused or put off are left as they are.
    """
    due = _due(connection, context, channel.name, asked.limit, asked.known, lock=not reading)
    ahead = {row.id for row in due if channel.quotas is None and _keeps(row)}
    rows = _under(due, asked, ahead)
    if not rows:
        return Found([])
    count = len(rows)
    if channel.role == "desk":
        rows = _still_there(connection, channel, rows, reading=reading)
    files = media.of_messages(connection, {row.message_id for row in rows if row.message_id is not None})
    early = _without_files(context, rows, files)
    ready = [row for row in rows if row.id not in early]
    slower = waits(connection, ready)
    ready = [row for row in ready if row.id not in slower]
    if not reading:
        _put_off(connection, context, early, slower)
    inside = [row for row in ready if row.kind != "contact" and asked.outbound == "on"]
    outside = [row for row in ready if row.kind == "contact"]
    made = judge(connection, context, channel, outside, asked.outbound, asked.health, keep=not reading)
    allowed = {number: each for number, each in made.items() if each.verdict == "allow"}
    if not reading:
        _refuse(connection, context, channel, [(row, made[row.id]) for row in outside if row.id not in allowed])
    going = [*inside, *(row for row in outside if row.id in allowed)]
    going.sort(key=lambda row: (row.priority, row.id))
    jobs = [job_of(row, context.now) for row in going]
    for job in jobs:
        if (decided := allowed.get(job.id)) is not None:
            job.epoch, job.late, job.decision = decided.epoch, decided.late, _record(context, job.id, decided)
    if jobs:
        load(connection, context, channel, jobs, files)
    return Found(jobs, len(due) == len(ahead) == asked.limit, count - len(jobs) if reading else 0)


def _still_there(connection: Connection, channel: Channel, rows: Sequence[Any], *, reading: bool) -> list[Any]:
    """Without what was to be shown of somebody who has been erased since."""
    there = {row.id for row in among(connection, _CONVERSATIONS, {row.conversation_id for row in rows})}
    gone = [row.id for row in rows if row.conversation_id not in there]
    if gone and not reading:
        log.warning("nothing is shown of somebody who was erased", channel=channel.name, deliveries=len(gone))
        connection.execute(sa.delete(delivery).where(delivery.c.id.in_(gone)))
    return [row for row in rows if row.id not in gone]


def keep_time(connection: Connection, context: Context, channel: Channel) -> int:
    """Nothing is sent on purpose, so how long is tried to send what waits begins anew. Returns how many.

    What its author wants gone by a time (a campaign's messages), and what is of use only at once, ends then.
    """
    tried = channel.capabilities.retry_for
    created, expires = (sa.type_coerce(delivery.c[name], sa.BigInteger) for name in ("created_at", "expires_at"))
    by_campaign = message.c.author_kind == str(AuthorKind.campaign)
    waiting = sa.update(delivery).where(
        delivery.c.channel == channel.name,
        queued(delivery),
        ~deliveries.is_held(delivery),
        delivery.c.kind == "contact",
        delivery.c.expires_at < context.now + tried,
        expires - created >= tried // timedelta(microseconds=1),
        ~sa.exists().where(message.c.id == delivery.c.message_id, by_campaign),
    )
    return int(connection.execute(waiting.values(expires_at=context.now + tried)).rowcount)


def _due(
    connection: Connection, context: Context, channel: str, limit: int, known: Collection[int] = (), *, lock: bool
) -> Sequence[Any]:
    """Due rows, but of each conversation only the one nothing older is pending before.

    An answer does not stand behind advertising that waits for the morning, nor a template behind an answer that waits
    for the customer, nor at the desk a post behind a mark.
    """
    values = {"lane": channel, "now": context.now, "most": limit}
    if known:
        [some] = chunks(known, _KNOWN)
        values |= {"some": some}
    return connection.execute(_DUE[lock, bool(known)], values).all()


def _due_statement(lock: bool, known: bool) -> sa.Select[*tuple[Any, ...]]:
    query = (
        sa.select(delivery)
        .where(
            delivery.c.channel == sa.bindparam("lane"),
            queued(delivery),
            delivery.c.due_at <= sa.bindparam("now"),
            ~OVERTAKING,
        )
        .order_by(delivery.c.priority, delivery.c.id)
        .limit(sa.bindparam("most", type_=sa.Integer))
    )
    if known:
        query = query.where(delivery.c.id.not_in(SOME))
    return query.with_for_update(of=delivery) if lock else query  # nobody changes it once it has been picked


_DUE = {(lock, known): _due_statement(lock, known) for lock in (False, True) for known in (False, True)}


def _under(rows: Sequence[Any], asked: Asked, ahead: Collection[int]) -> Sequence[Any]:
    """The rest of the advertising waits, so that an answer that comes meanwhile does not."""
    left = asked.free - len(ahead)
    bulk = left if asked.bulk is None else asked.bulk
    taken: list[Any] = []
    for row in rows:
        if row.id not in ahead:
            advertises = row.kind == "contact"
            if left <= 0 or (advertises and bulk <= 0):
                continue
            left, bulk = left - 1, bulk - advertises
        taken.append(row)
    return taken


def _keeps(row: Any) -> bool:
    """Whether it can be read ahead, where nobody counts who is written to."""
    return bool(row.kind == "contact" and row.purpose != Purpose.marketing)


def _without_files(context: Context, rows: Sequence[Any], files: Mapping[int, Sequence[media.File]]) -> set[int]:
    """Deliveries whose files are still on their way. The desk does not wait for long; a customer gets all or none."""
    return {
        row.id
        for row in rows
        if not (row.kind == "post" and row.value is not None)  # its file is there
        and any(file.state == "pending" for file in files.get(row.message_id, ()))
        and context.now < (row.expires_at if row.kind == "contact" else row.created_at + _FILES_PATIENCE)
    }


def _put_off(connection: Connection, context: Context, early: Collection[int], slower: Mapping[int, Wait]) -> None:
    """Those without their files, and those for which a rate beyond the sender's has no room now."""
    update_many(connection, delivery, "id", [{"id": number, "due_at": context.now + _LOOK_AGAIN} for number in early])
    put_off = [
        {"id": number, "due_at": context.now + timedelta(seconds=each.left), "reason": each.reason}
        for number, each in slower.items()
    ]
    update_many(connection, delivery, "id", put_off)


def _refuse(connection: Connection, context: Context, channel: Channel, made: Sequence[tuple[Any, Decision]]) -> None:
    """Keep why they may not go, or not yet."""
    insert_many(connection, decision, [_record(context, row.id, each) for row, each in made])
    for row, each in made:
        _refuse_one(connection, context, channel, row, each)


def _record(context: Context, delivery_id: int, made: Decision) -> dict[str, Any]:
    return {
        "delivery_id": delivery_id,
        "at": context.now,
        "verdict": made.verdict,
        "reason": made.reason,
        "detail": _encode(explanation(made)).decode(),
    }


def _refuse_one(connection: Connection, context: Context, channel: Channel, row: Any, made: Decision) -> None:
    words = made.detail
    if made.verdict == "needs_template" and (held := late.hold(connection, context, channel, row, words)) is not None:
        connection.execute(sa.update(delivery).where(delivery.c.id == row.id).values(held))
        return
    if made.verdict == "defer":
        values = {"due_at": made.not_before, "reason": f"{made.reason}: {words}"}
        connection.execute(sa.update(delivery).where(delivery.c.id == row.id).values(values))
        if row.purpose == Purpose.reply and made.not_before is not None:
            deliveries.mark_waiting(connection, context, {row.message_id: made.not_before})
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
        valid_for=row.valid_for,
        started_at=now,
        identity_id=row.identity_id,
        reaction=row.value if row.kind == "contact" else None,
        file=int(row.value) if row.kind == "post" and row.value is not None else None,
        priority=row.priority,
        due_at=row.due_at,
        topic=row.topic,
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
    if rows:
        statuses.joined(connection, context, channel.name, (), {key_of(row.id, row.part) for row in rows})
    return len(rows)
