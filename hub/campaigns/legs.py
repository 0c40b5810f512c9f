"""What follows a campaign's message: the next channel if this one fails, the next step if nobody answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.campaigns.person import Skip
from hub.campaigns.record import Campaign, Turn, answered, one_person, turn_of
from hub.context import Context
from hub.store.schema import attempt, customer, customer_event, decision, delivery, message, recipient

_FIRST_LOOK = timedelta(seconds=2)
_LOOK_AGAIN = timedelta(seconds=30)
_PENDING = ("queued", "sending", "indoubt")
_ARRIVED = ("delivered", "read")
_TAKEN = ("sent", "unknown", *_ARRIVED)  # by the provider: it may have arrived, whatever it tells


def after(made: Campaign, turn: Turn, now: datetime, channel: str, message_id: int, *, more: bool) -> dict[str, Any]:
    """The recipient's row once a message has been written. ``more``: there is another channel to try."""
    tried = f"{turn.tried} {channel}".strip()
    change = _change(turn) | {"tried": tried, "message_id": message_id}
    if more:
        return change | {"state": "waiting", "due_at": now + _FIRST_LOOK}
    return change | _rest(made, turn.step, now)


def valid_for(made: Campaign) -> int | None:
    """Seconds in which a message must arrive, so that it does not after the next channel's has gone out."""
    patience = made.draft.fallback_after
    return None if patience is None else max(1, int(patience.total_seconds()))


def without(made: Campaign, turn: Turn, now: datetime, skip: Skip) -> dict[str, Any]:
    """The row of somebody for whom there is no message, or no further one."""
    if turn.message_id is None:
        return _change(turn) | {"state": "skipped", "reason": str(skip)}
    if turn.tried and skip.code == "NO_CHANNEL":  # all channels have been tried
        return _change(turn) | _rest(made, turn.step, now)
    return _change(turn) | {"state": "queued", "reason": str(skip)}


def _change(turn: Turn) -> dict[str, Any]:
    return {
        "customer_id": turn.customer_id, "state": "queued", "reason": None, "step": turn.step, "tried": turn.tried,
        "message_id": turn.message_id, "due_at": None,
    }  # fmt: skip


def _rest(made: Campaign, step: int, since: datetime) -> dict[str, Any]:
    if step >= len(made.draft.follow_ups):
        return {"state": "queued"}
    return {"state": "resting", "due_at": since + made.draft.follow_ups[step].after}


def go_on(connection: Connection, context: Context, made: Campaign, rows: Sequence[Any]) -> list[Turn]:
    """Who of these gets a message now: by another channel, or the next step's. The rows of the others are kept."""
    if not rows:
        return []
    sends = _sends(connection, [row.message_id for row in rows])
    took = [row for row in rows if row.state == "resting" or sends[row.message_id].state in _TAKEN]
    ended = _ended(connection, made, took)
    turns: list[Turn] = []
    changed: list[dict[str, Any]] = []
    for row in rows:
        turn, send = turn_of(row), sends[row.message_id]
        if row.customer_id in ended:
            changed.append(_change(turn) | {"state": "queued", "reason": ended[row.customer_id]})
        elif row.state == "resting":
            if (due := _next_step(made, row.step, send, context.now)) > context.now:
                changed.append(_change(turn) | {"state": "resting", "due_at": due})
            else:
                turns.append(replace(turn, step=row.step + 1, tried=""))
        elif send.state in _PENDING or _may_still_arrive(made, send, context.now):
            changed.append(_change(turn) | {"state": "waiting", "due_at": context.now + _LOOK_AGAIN})
        elif _moves_on(made, send):
            turns.append(turn)
        else:
            changed.append(_change(turn) | _rest(made, row.step, send.handed_over_at or send.written_at))
    keep(connection, made.id, changed)
    return turns


def _next_step(made: Campaign, step: int, send: Any, now: datetime) -> datetime:
    """When the next step is due, or can be at the earliest: its time begins with the hand-off of the message before."""
    waits = send.state in _PENDING
    since: datetime = send.due_at if waits else send.handed_over_at or send.written_at
    due = since + made.draft.follow_ups[step].after
    return max(due, now + _LOOK_AGAIN) if waits else due


def _may_still_arrive(made: Campaign, send: Any, now: datetime) -> bool:
    patience = made.draft.fallback_after
    since = send.handed_over_at or send.written_at
    return patience is not None and send.state in ("sent", "unknown") and now < since + patience


def _moves_on(made: Campaign, send: Any) -> bool:
    """Whether another channel is tried. A no, a cap or the night is never gone around by another way."""
    if send.state == "denied":
        return bool(send.verdict == "fallback")
    if send.state == "failed":
        return True
    return made.draft.fallback_after is not None and send.state not in _ARRIVED


def _sends(connection: Connection, messages: Sequence[int]) -> dict[int, Any]:
    """What became of each message, with the last decision's verdict, and when its last hand-off was over."""
    last = (
        sa.select(decision.c.verdict)
        .where(decision.c.delivery_id == delivery.c.id)
        .order_by(decision.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    over = sa.select(sa.func.max(attempt.c.finished_at)).where(attempt.c.delivery_id == delivery.c.id)
    query = (
        sa.select(delivery.c.message_id, delivery.c.state, delivery.c.due_at, message.c.recorded_at.label("written_at"))
        .add_columns(last.label("verdict"), over.scalar_subquery().label("handed_over_at"))
        .join(message, message.c.id == delivery.c.message_id)
        .where(delivery.c.message_id.in_(messages), delivery.c.kind == "contact")
    )
    return {row.message_id: row for row in connection.execute(query)}


def _ended(connection: Connection, made: Campaign, rows: Sequence[Any]) -> dict[int, str]:
    """Why these people get nothing more: they answered, or did what the campaign is for."""
    by_message = {row.message_id: row.customer_id for row in rows}
    written = sa.select(message.c.id).where(message.c.id.in_(by_message), answered(message))
    replied = connection.execute(written).scalars()
    found = {by_message[number]: "REPLIED: the customer has answered" for number in replied}
    if made.draft.goal is not None:
        them = customer.alias("them")
        reached = (
            sa.select(recipient.c.customer_id)
            .select_from(one_person(recipient, recipient.c.customer_id, them))
            .join(customer_event, customer_event.c.customer_id == them.c.id)
            .where(
                recipient.c.campaign_id == made.id,
                recipient.c.customer_id.in_(by_message.values()),
                customer_event.c.name == made.draft.goal,
                customer_event.c.at >= recipient.c.entered_at,
            )
        )
        words = f"GOAL_REACHED: {made.draft.goal}"
        found |= dict.fromkeys(connection.execute(reached).scalars(), words)
    return found


def keep(connection: Connection, campaign_id: int, changed: Sequence[dict[str, Any]]) -> None:
    """Write recipients' rows. ``due_at`` None leaves it."""
    if not changed:
        return
    names = ("state", "reason", "step", "tried", "message_id")
    values: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in names}
    values["due_at"] = sa.func.coalesce(sa.bindparam("new_due_at", type_=recipient.c.due_at.type), recipient.c.due_at)
    connection.execute(
        sa.update(recipient)
        .where(recipient.c.campaign_id == campaign_id, recipient.c.customer_id == sa.bindparam("who"))
        .values(values),
        [{"who": each["customer_id"]} | {f"new_{name}": each[name] for name in (*names, "due_at")} for each in changed],
    )
