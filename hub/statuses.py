"""Receipts from providers: states only move up, in whatever order they come."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import chain
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from hub import deliveries, feedback, watermarks
from hub.context import Context, lane_topic
from hub.contract import StatusChanged
from hub.model import RANK, private_id
from hub.store.base import chunks
from hub.store.bulk import SOME, insert_many, update_many
from hub.store.schema import attempt, delivery, parked_status, receipt

_AT_ONCE = 500
_STRANGER = timedelta(days=7)  # a send whose status comes that early was somebody else's
_PENDING = ("queued", "sending", "indoubt")
_LOCK = sa.select(delivery.c.id).where(delivery.c.id.in_(SOME)).order_by(delivery.c.id).with_for_update()
_PARKED = (
    sa.select(parked_status.c.id, parked_status.c.event)
    .where(parked_status.c.channel == sa.bindparam("lane"), parked_status.c.external_id.in_(SOME))
    .order_by(parked_status.c.id)
)
_STATES = sa.select(
    delivery.c.id, delivery.c.message_id, delivery.c.state, delivery.c.reason, delivery.c.kind
).where(delivery.c.id.in_(SOME))
_PARTS = sa.select(receipt.c.delivery_id, receipt.c.state, receipt.c.detail).where(
    receipt.c.delivery_id.in_(SOME), receipt.c.part >= 0
)
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(StatusChanged)


def apply(connection: Connection, context: Context, found: Sequence[tuple[str, StatusChanged]]) -> None:
    """Give statuses their effect; park those whose send has not been recorded yet."""
    if not found:
        return
    rows = _receipts(connection, found)
    keys = [reference for _, status in found if (reference := parse_key(status.key))]
    named = [*(row["delivery_id"] for row in rows.values()), *(delivery_id for delivery_id, _ in keys)]
    lock(connection, chain(named, _below(connection, found)))
    rows |= _receipts(connection, [(name, status) for name, status in found if (name, status.external_id) not in rows])
    settled: set[int] = set()
    delivered: set[int] = set()
    parked: list[dict[str, Any]] = []
    for channel, status in found:
        if status.to is not None:
            settled |= _raise_all(connection, channel, status, rows)
        if status.until is not None:
            if watermarks.overtakes(connection, channel, status):
                parked.append(_park(context, channel, str(status.to), status))
            continue
        row = rows.get((channel, status.external_id)) or _by_key(connection, context, channel, status)
        if row is None:
            parked.append(_park(context, channel, status.external_id, status))
            continue
        rows[channel, status.external_id] = row
        before = row["state"]
        risen = _raise_receipt(connection, row, status)
        if risen and before == "failed":
            _take_back(connection, context, channel, row)
        if status.state in ("delivered", "read"):
            delivered.add(row["delivery_id"])
        bad = (risen and status.state == "failed") or status.bad_address or status.opted_out
        if bad and _tried_again(connection, context, channel, row, status):
            settled.discard(row["delivery_id"])
        else:
            settled.add(row["delivery_id"])
    insert_many(connection, parked_status, parked)
    feedback.arrived(connection, delivered)
    recompute(connection, context, settled)


def _below(connection: Connection, found: Sequence[tuple[str, StatusChanged]]) -> Iterator[int]:
    """Deliveries that the watermarks among these will raise."""
    for channel, status in found:
        if status.to is not None:
            yield from (row["delivery_id"] for row in watermarks.covered(connection, channel, status))


def _raise_all(
    connection: Connection, channel: str, status: StatusChanged, rows: dict[tuple[str, str], dict[str, Any]]
) -> set[int]:
    """Returns the deliveries. ``rows``: receipts as they are by now."""
    below = watermarks.covered(connection, channel, status)
    for each in below:
        _raise_receipt(connection, rows.setdefault((channel, each["external_id"]), each), status)
    return {each["delivery_id"] for each in below}


def _park(context: Context, channel: str, name: str, status: StatusChanged) -> dict[str, Any]:
    """``name``: what ``joined`` will be told, a part's id or the address of a watermark."""
    encoded = _encoder.encode(status).decode()
    return {"channel": channel, "external_id": name, "event": encoded, "at": context.now}


def lock(connection: Connection, delivery_ids: Iterable[int]) -> None:
    """Make others wait who are about to write what became of these deliveries: a status and the answer to its send may
    come at the same moment. By ascending id, so that nobody waits in a circle. SQLite has one writer anyway."""
    if connection.dialect.name == "sqlite":
        return
    for some in chunks(sorted(set(delivery_ids))):
        connection.execute(_LOCK, {"some": some})


def joined(
    connection: Connection, context: Context, channel: str, external_ids: Iterable[str], keys: Collection[str] = ()
) -> None:
    """Apply what was parked for these provider ids (or addresses), now that their receipts are written.

    ``keys``: of parts whose answer was lost or told something else; what was parked with one proves that it was taken.
    """
    waiting: list[tuple[str, StatusChanged]] = []
    if keys:
        parked = sa.select(parked_status.c.external_id, parked_status.c.event).where(parked_status.c.channel == channel)
        found = [row.external_id for row in connection.execute(parked) if _decoder.decode(row.event).key in keys]
        external_ids = [*external_ids, *found]
    for some in chunks(external_ids):
        rows = connection.execute(_PARKED, {"some": some, "lane": channel}).all()
        if rows:
            waiting += [(channel, _decoder.decode(row.event)) for row in rows]
            connection.execute(sa.delete(parked_status).where(parked_status.c.id.in_([row.id for row in rows])))
    apply(connection, context, waiting)


def rejoin(connection: Connection, context: Context) -> None:
    """Apply what was parked while its receipt was being written elsewhere, and drop what is of no send of ours."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for channel, external_id in connection.execute(_known_sends().limit(_AT_ONCE)):
        found[channel].append(external_id)
    for channel, ids in found.items():
        joined(connection, context, channel, ids)
    connection.execute(sa.delete(parked_status).where(_strange(context)))


def rejoins(connection: Connection, context: Context) -> bool:
    """Whether ``rejoin`` has anything to do."""
    old = sa.select(parked_status.c.id).where(_strange(context))
    return any(connection.execute(query.limit(1)).first() is not None for query in (_known_sends(), old))


def _known_sends() -> sa.Select[str, str]:
    return sa.select(parked_status.c.channel, parked_status.c.external_id).join(
        receipt,
        sa.and_(receipt.c.channel == parked_status.c.channel, receipt.c.external_id == parked_status.c.external_id),
    )


def _strange(context: Context) -> sa.ColumnElement[bool]:
    return parked_status.c.at < context.now - _STRANGER


def recompute(connection: Connection, context: Context, delivery_ids: Iterable[int]) -> None:
    """Derive deliveries' states from their receipts, and show what changed on the desk."""
    changes: list[tuple[int, str, str | None]] = []
    updates: list[dict[str, Any]] = []
    for some in chunks(delivery_ids):
        held = connection.execute(_STATES, {"some": some}).all()
        states: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
        for delivery_id, state, detail in connection.execute(_PARTS, {"some": some}):
            states[delivery_id].append((state, detail))
        for row in held:
            state, reason = _whole(states[row.id])
            # What has arrived may still fail: of a piece of it, which nobody knew of or waited for.
            fails = state == "failed" and row.state in ("delivered", "read")
            if row.state in _PENDING or not (fails or _rises(row.state, state)):
                continue
            updates.append({"id": row.id, "state": state, "reason": reason})
            if row.message_id is not None and row.kind == "contact":
                changes.append((row.message_id, state, reason))
    update_many(connection, delivery, "id", updates)
    deliveries.mark(connection, context, changes)


def _tried_again(
    connection: Connection, context: Context, channel: str, row: dict[str, Any], status: StatusChanged
) -> bool:
    """Give a refusal that came late its further effects. Whether the part is sent once more.

    Its receipt is kept under a part that there is not (-1 for the first), so that what the provider tells of it once
    more is not taken for news of the next try.
    """
    delivery_id = row["delivery_id"]
    failure = feedback.Failure(
        delivery_id, status.code, status.detail, status.at, status.bad_address, status.opted_out, status.covers,
        status.error if status.state == "failed" else None, {"external_id": status.external_id},
    )  # fmt: skip
    again = feedback.take(connection, context, context.channels[channel], failure)
    if again is None or status.state != "failed":
        return False
    sent = sa.select(receipt.c.part, receipt.c.id).where(receipt.c.delivery_id == delivery_id, receipt.c.part >= 0)
    taken = connection.execute(sent.order_by(receipt.c.part.desc()).limit(2)).all()
    if not taken or [each.id for each in taken if each.part == taken[0].part] != [row["id"]]:
        return False  # what came after it is out, or some of it
    part = taken[0].part
    waiting = sa.update(delivery).where(delivery.c.id == delivery_id, delivery.c.state.not_in(("sending", "indoubt")))
    values = again | {"part": part, "attempts": delivery.c.attempts + 1}
    message_id = connection.execute(waiting.values(values).returning(delivery.c.message_id)).scalar()
    if message_id is None:
        return False  # a later part is on its way
    if again["code"] != deliveries.HELD:  # then it is marked already
        deliveries.mark(connection, context, [(message_id, "queued", None)])
    last = sa.select(sa.func.max(attempt.c.id)).where(attempt.c.delivery_id == delivery_id).scalar_subquery()
    told = {"outcome": "failed", "code": status.code, "detail": status.detail}
    connection.execute(sa.update(attempt).where(attempt.c.id == last).values(told))
    connection.execute(sa.update(receipt).where(receipt.c.id == row["id"]).values(part=-1 - part))
    context.news.add(lane_topic(channel))
    return True


def _take_back(connection: Connection, context: Context, channel: str, row: dict[str, Any]) -> None:
    """What was said to have failed has arrived after all: it is not sent once more, if it has not been yet."""
    kept = sa.update(receipt).where(receipt.c.id == row["id"], receipt.c.part < 0)
    part = connection.execute(kept.values(part=-1 - receipt.c.part).returning(receipt.c.part)).scalar()
    if part is not None:
        _is_taken(connection, context, channel, row["delivery_id"], part, "queued")


def _receipts(
    connection: Connection, found: Sequence[tuple[str, StatusChanged]]
) -> dict[tuple[str, str], dict[str, Any]]:
    by_channel: defaultdict[str, list[str]] = defaultdict(list)
    for channel, status in found:
        by_channel[channel].append(status.external_id)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for channel, ids in by_channel.items():
        for some in chunks(ids):
            query = sa.select(receipt.c.id, receipt.c.external_id, receipt.c.delivery_id, receipt.c.state).where(
                receipt.c.channel == channel, receipt.c.external_id.in_(some)
            )
            for row in connection.execute(query).mappings():
                rows[channel, row["external_id"]] = dict(row)
    return rows


def _by_key(connection: Connection, context: Context, channel: str, status: StatusChanged) -> dict[str, Any] | None:
    """A status that echoes our own reference proves that the provider took that part, whatever we know of it."""
    reference = parse_key(status.key)
    if reference is None:
        return None
    delivery_id, part = reference
    row = connection.execute(
        sa.select(delivery.c.state, delivery.c.part)
        .where(delivery.c.id == delivery_id, delivery.c.channel == channel)
        .with_for_update()  # somebody may be about to send it again
    ).first()
    if row is None:
        return None
    if row.state == "sending" and status.state == "failed":
        return None  # the answer is still to be settled, and would undo what follows from this: it waits for that
    values = {
        "channel": channel,
        "external_id": status.external_id,
        "delivery_id": delivery_id,
        "part": part,
        "state": "sent",
        "detail": "{}",
        "at": context.now,
    }
    receipt_id = connection.execute(sa.insert(receipt).values(values).returning(receipt.c.id)).scalar_one()
    if row.state in ("queued", "indoubt", "unknown") and part >= row.part:
        _is_taken(connection, context, channel, delivery_id, part, row.state)
    return {"id": receipt_id, "external_id": status.external_id, "delivery_id": delivery_id, "state": "sent"}


def _is_taken(
    connection: Connection, context: Context, channel: str, delivery_id: int, part: int, state: str
) -> None:
    """Not to be sent (again). Whether a later part is left to be sent, the lane can tell."""
    mine = sa.update(delivery).where(delivery.c.id == delivery_id, delivery.c.state == state)
    connection.execute(mine.values(state="indoubt", part=part, due_at=context.now, reason=None))
    context.news.add(lane_topic(channel))


def parse_key(key: str | None) -> tuple[int, int] | None:
    """(delivery, part) of a ``del_….2``; None if it is not one of ours."""
    if key is None:
        return None
    name, _, part = key.partition(".")
    with contextlib.suppress(ValueError):
        return private_id("delivery", name), int(part)
    return None


def _raise_receipt(connection: Connection, row: dict[str, Any], status: StatusChanged) -> bool:
    """Whether it tells anything new."""
    state = "sent" if status.state == "queued" else status.state
    if not _rises(row["state"], state):
        return False
    row["state"] = state
    values: dict[str, Any] = {"state": state, "at": status.at}
    if state == "failed":
        values["detail"] = " ".join(part for part in (status.code, status.detail) if part) or "no reason given"
    connection.execute(sa.update(receipt).where(receipt.c.id == row["id"]).values(values))
    return True


def _rises(old: str, new: str) -> bool:
    """Whether a state may follow. Failed is final unless a later receipt contradicts it."""
    if new == "failed":
        return old not in ("delivered", "read", "failed")
    if old == "failed":
        return new in ("delivered", "read")
    return RANK.get(new, -1) > RANK.get(old, RANK["sending"])


def _whole(parts: list[tuple[str, str]]) -> tuple[str, str | None]:
    """The state of a delivery of several parts: failed if one failed, else as far as the slowest."""
    for state, detail in parts:
        if state == "failed":
            return "failed", detail
    return min((state for state, _ in parts), key=lambda state: RANK[state], default="queued"), None
