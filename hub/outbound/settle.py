"""What came of sends: receipts, states, the next try. Errors have one meaning each, whatever the provider."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence, Set
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy import Connection

from hub import amendments, deliveries, desk, feedback, identity, late, statuses
from hub.channels import Channel
from hub.context import Context
from hub.contract import (
    Ambiguous,
    BadAddress,
    ChannelDown,
    OptedOut,
    RateLimited,
    Receipt,
    Rejected,
    SendError,
    Transient,
    WindowClosed,
)
from hub.model import Purpose, public_id
from hub.outbound.compose import key_of
from hub.outbound.job import ConsentChanged, Held, Job, Outcome
from hub.outbound.spent import settle_quotas
from hub.outbound.threads import begin_anew, is_begun_anew
from hub.store.bulk import SOME, among, insert_many, insert_new, update_many
from hub.store.schema import alert, attempt, delivery, desk_thread, receipt

log = structlog.get_logger(__name__)

_NOT_TAKEN = (ConsentChanged, Held, RateLimited)  # for certain, so nothing that is parked speaks of these
_FIRST_PAUSE = 1.0  # seconds; doubles with each attempt
_LONGEST_PAUSE = 900.0
_FINAL = (BadAddress, OptedOut, Rejected, WindowClosed)
# By number, not by time: between two attempts the clock may have been set back, or another hub's is behind.
_NEWEST = (
    sa.select(attempt.c.started_at).where(attempt.c.delivery_id == delivery.c.id).order_by(attempt.c.id.desc()).limit(1)
)
_ROWS = (
    sa.select(delivery.c.id, delivery.c.state, delivery.c.part, _NEWEST.scalar_subquery().label("started_at"))
    .where(delivery.c.id.in_(SOME))
    .order_by(delivery.c.id)  # so that nobody waits in a circle
    .with_for_update(of=delivery)
)


def settle(connection: Connection, context: Context, channel: Channel, outcomes: Sequence[Outcome]) -> None:
    """Write a batch of outcomes. Of what another process has taken up since, only what the provider took."""
    if not outcomes:
        return
    outcomes, late = _lock(connection, outcomes)
    threads, held = _keep_receipts(connection, context, channel, [*outcomes, *late])
    for outcome in (*outcomes, *late):
        for party in (each for _, taken in outcome.receipts for each in taken.also):
            if outcome.job.identity_id is not None:
                identity.adopt(connection, context, outcome.job.identity_id, party)
    changes: list[tuple[int, str, str | None]] = []
    waiting: dict[int, datetime] = {}
    updates: list[dict[str, Any]] = []
    for outcome in outcomes:
        update = _next(connection, context, channel, outcome)
        updates.append(update)
        job = outcome.job
        state = update["state"]
        if job.kind == "contact" and job.message_id is not None and state not in ("queued", "sending"):
            shown = "queued" if state == "indoubt" else state
            changes.append((job.message_id, shown, update["reason"]))
        elif outcome.error is not None and job.message_id is not None and job.purpose is Purpose.reply:
            waiting[job.message_id] = update["due_at"]
    update_many(connection, delivery, "id", updates)
    settle_quotas(connection, context, channel, outcomes, updates)
    _close_attempts(connection, outcomes)
    deliveries.mark(connection, context, changes)
    deliveries.mark_waiting(connection, context, waiting)
    ids = [name for outcome in outcomes for _, taken in outcome.receipts for name in taken.ids]
    reached = {str(outcome.job.to) for outcome in outcomes if outcome.receipts}
    lost = [each.job for each in outcomes if each.error and not isinstance(each.error, _NOT_TAKEN)]
    keys = {key_of(job.id, job.part) for job in lost}
    statuses.joined(connection, context, channel.name, [*ids, *reached], keys)
    further = [each.job.id for each in outcomes if each.error is None and not _is_plain(each, held)]
    statuses.recompute(connection, context, [*further, *(each.job.id for each in late)])
    amendments.catch_up(connection, context, desk.joined(connection, context, channel, threads))


def _lock(connection: Connection, outcomes: Sequence[Outcome]) -> tuple[list[Outcome], list[Outcome]]:
    """Make others wait who write what became of these, such as their statuses. Returns the outcomes that count, and
    answers that come when the lane has gone to another process, which has found out or tried again meanwhile."""
    if connection.dialect.name == "sqlite":  # one process, and one writer
        return list(outcomes), []
    rows = {row.id: row for row in among(connection, _ROWS, sorted({outcome.job.id for outcome in outcomes}))}
    counting = [each for each in outcomes if (row := rows.get(each.job.id)) is not None and _counts(each, row)]
    others = [each for each in outcomes if each not in counting]
    for each in others:
        log.warning("an answer came after the lane was lost", delivery=each.job.id, error=str(each.error or "none"))
    return counting, [each for each in others if each.job.id in rows]


def _counts(outcome: Outcome, row: sa.Row[*tuple[Any, ...]]) -> bool:
    job = outcome.job
    if row.part != job.part or row.started_at not in (None, job.started_at):
        return False
    return row.state in ("sending", "indoubt", "unknown") or (row.state == "queued" and outcome.error is None)


def _is_plain(outcome: Outcome, held: Set[str]) -> bool:
    """One part, taken at the first attempt, of which nothing else is known: sent, as its row says."""
    if len(outcome.receipts) != 1 or outcome.job.attempts:
        return False
    [(part, taken)] = outcome.receipts
    return part == 0 and not outcome.partial and taken.state != "delivered" and held.isdisjoint(taken.ids)


def _keep_receipts(
    connection: Connection, context: Context, channel: Channel, outcomes: Sequence[Outcome]
) -> tuple[list[str], set[str]]:
    """Write what the provider took. Returns new threads of the desk, and external ids of which some were known."""
    rows = [
        {
            "channel": channel.name,
            "external_id": name,
            "delivery_id": outcome.job.id,
            "part": part,
            "state": "delivered" if taken.state == "delivered" else "sent",
            "detail": json.dumps(dict(taken.detail)) if name == taken.external_id else "{}",
            "at": outcome.finished_at,
        }
        for outcome in outcomes
        for part, taken in outcome.receipts
        for name in taken.ids
    ]
    # A status with our key may have been quicker. That is rare, and then it is not worth to find out which it was.
    all_new = insert_new(connection, receipt, rows) == len(rows)
    held = set() if all_new else {name for outcome in outcomes for _, taken in outcome.receipts for name in taken.ids}
    threads: list[dict[str, Any]] = [
        {"channel": channel.name, "conversation_id": outcome.job.conversation_id, "external_id": taken.external_id}
        for outcome in outcomes
        if outcome.job.kind == "card" and outcome.job.thread is None
        for _, taken in outcome.receipts
    ]
    insert_many(connection, desk_thread, threads)
    return [thread["external_id"] for thread in threads], held


def _next(connection: Connection, context: Context, channel: Channel, outcome: Outcome) -> dict[str, Any]:
    """The delivery's row after this outcome."""
    job, error = outcome.job, outcome.error
    part = max((number + 1 for number, _ in outcome.receipts), default=job.part)
    update: dict[str, Any] = {
        "id": job.id,
        "state": "sent",
        "due_at": context.now,
        "attempts": job.attempts,
        "part": part,
        "reason": None,
        "code": None,
    }
    if error is None:
        return update | ({"state": "sending"} if outcome.partial else {})
    if isinstance(error, ConsentChanged):
        return update | {"state": "queued", "reason": "CONSENT_CHANGED: decided again", "code": "CONSENT_CHANGED"}
    if isinstance(error, Held):
        return update | {"state": "queued", "reason": f"HELD: {error}"}
    words = f"{error.kind}: {error.detail}" if isinstance(error, SendError) else f"adapter bug: {type(error).__name__}"
    code = error.code if isinstance(error, SendError) else None
    update |= {"reason": job.mark.reason if job.mark is not None else words, "code": code}
    if job.kind != "contact" and isinstance(error, _FINAL):
        return update | _not_shown(connection, context, channel, job, error)
    match error:
        case RateLimited():
            pause = timedelta(seconds=max(0.1, error.after if error.after is not None else _FIRST_PAUSE * 5))
            due = feedback.resumes(channel, error.code, context.now) or context.now + pause
            return update | {"state": "queued", "due_at": due}
        case ChannelDown():
            feedback.tell_down(connection, context, channel, error.detail)
            return update | {"state": "queued", "due_at": context.now + timedelta(seconds=30)}
        case Transient():
            return update | _again(context, job, error.after)
        case Ambiguous() if is_known(connection, job):
            # A status with our key was quicker than the loss of the answer.
            return update | {"state": "indoubt", "reason": None, "code": None}
        case Ambiguous():
            return update | (_doubt(context, channel, job) if error.settles else {"state": "unknown"})
        case BadAddress() | OptedOut():
            return update | (_refused(connection, context, channel, job, error) or {"state": "failed"})
        case WindowClosed():
            return update | (late.hold(connection, context, channel, job, error.detail) or {"state": "failed"})
        case Rejected():
            return update | (_refused(connection, context, channel, job, error) or {"state": "failed"})
        case _:
            _alert(connection, context, channel, "adapter bug", f"{words} while sending {job.id}")
            return update | {"state": "unknown"}


def _not_shown(
    connection: Connection, context: Context, channel: Channel, job: Job, error: SendError
) -> dict[str, Any]:
    """The desk refuses it for good. Values of the row."""
    if isinstance(error, BadAddress) and job.thread is not None and not is_begun_anew(connection, job.id):
        begin_anew(connection, context, channel, job.conversation_id)
        return {"state": "failed" if job.part else "cancelled"}  # what is to be shown anew are posts that are out
    conversation = public_id("conversation", job.conversation_id)
    about = f"{conversation}: {error.kind}: {error.detail}"
    if job.kind == "card" and job.thread is None:
        detail = f"{about}; without its card nothing of it is shown, so it is tried again and again: hub doctor"
        feedback.tell_hourly(connection, context, channel, "no card", detail, alert.c.detail == detail)
        return _again(context, job, None)
    if job.mark is None or job.mark.state in deliveries.LOST:
        detail = f"{about}; GET /api/v1/conversations/{conversation}/messages has what it says"
        _alert(connection, context, channel, "not shown", detail)
    return {"state": "failed"}


def is_known(connection: Connection, job: Job) -> bool:
    """Whether the provider is known to have the job's part."""
    query = sa.select(receipt.c.id).where(receipt.c.delivery_id == job.id, receipt.c.part == job.part).limit(1)
    return connection.execute(query).first() is not None


def _again(context: Context, job: Job, after: float | None) -> dict[str, Any]:
    attempts = job.attempts + 1
    ceiling = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(job.attempts, 10))
    # Full jitter keeps a crowd of failures from coming back as a crowd. The provider's own word wins, clamped.
    pause = random.uniform(ceiling / 2, ceiling)  # noqa: S311 - spreads load, guards nothing
    if after is not None:
        pause = min(max(after, 0.0), _LONGEST_PAUSE) + random.uniform(0, 1)  # noqa: S311 - as above
    return {"state": "queued", "attempts": attempts, "due_at": context.now + timedelta(seconds=pause)}


def _doubt(context: Context, channel: Channel, job: Job) -> dict[str, Any]:
    """Perhaps it arrived. What may settle that is the adapter's idempotency class."""
    match channel.capabilities.idempotency:
        case "key":
            return _again(context, job, None)
        case "query" | "echo":
            return {"state": "indoubt", "due_at": context.now + channel.capabilities.settle}
        case "none":
            return {"state": "unknown"}


def resolve_doubt(
    connection: Connection, context: Context, channel: Channel, job: Job, found: Receipt | None, count: int
) -> None:
    """The provider has the part in doubt, of ``count`` in all, or it has not (long enough after it was asked).

    What it has to the last part is sent, whatever was decided since; a part that is left is decided again.
    """
    if not _still_in_doubt(connection, job):
        return
    known = found is not None or is_known(connection, job)
    last = job.part + known >= count
    if found is not None or last:
        taken = [] if found is None else [(job.part, found)]
        settle(connection, context, channel, [Outcome(job, taken, context.now, partial=not last)])
    if not last:
        values = {"state": "queued", "due_at": context.now, "part": job.part + known}
        connection.execute(sa.update(delivery).where(delivery.c.id == job.id).values(values))


def give_up_doubt(connection: Connection, context: Context, channel: Channel, job: Job, reason: str) -> None:
    """Nothing settled it: unknown, and the agent and the operator are told so."""
    if not _still_in_doubt(connection, job) or is_known(connection, job):
        return
    connection.execute(
        sa.update(delivery).where(delivery.c.id == job.id).values(state="unknown", reason=reason)
    )
    if job.message_id is not None and job.kind == "contact":
        deliveries.mark(connection, context, [(job.message_id, "unknown", reason)])
    _alert(connection, context, channel, "unknown", reason)


def _still_in_doubt(connection: Connection, job: Job) -> bool:
    """Another part may be in doubt by now; to send then would send twice."""
    query = sa.select(delivery.c.state, delivery.c.part).where(delivery.c.id == job.id).with_for_update()
    row = connection.execute(query).one()
    return bool(row.state == "indoubt" and row.part == job.part)


def _refused(
    connection: Connection, context: Context, channel: Channel, job: Job, error: SendError
) -> dict[str, Any] | None:
    """What else it means; values of the row if it is tried again after all."""
    failure = feedback.Failure(
        job.id, error.code, error.detail, context.now, isinstance(error, BadAddress), isinstance(error, OptedOut),
        error.covers if isinstance(error, OptedOut) else "all",
    )  # fmt: skip
    return feedback.take(connection, context, channel, failure)


def _close_attempts(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    rows = [
        {
            "delivery_id": outcome.job.id,
            "number": outcome.job.attempts + 1,
            "outcome": _word(outcome.error),
            "code": outcome.error.code if isinstance(outcome.error, SendError) else None,
            "detail": outcome.error.detail if isinstance(outcome.error, SendError) else None,
            "finished_at": outcome.finished_at,
        }
        for outcome in outcomes
        if not outcome.partial
    ]
    update_many(connection, attempt, ("delivery_id", "number"), rows, null="finished_at")


def _word(error: BaseException | None) -> str:
    if error is None:
        return "sent"
    return error.kind if isinstance(error, SendError) else type(error).__name__


def _alert(connection: Connection, context: Context, channel: Channel, kind: str, detail: str) -> None:
    connection.execute(sa.insert(alert).values(at=context.now, kind=kind, channel=channel.name, detail=detail))
