"""Deliveries of channels that are not configured any more: no lane looks at them, but they end like others."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import Connection

from hub import deliveries
from hub.context import Context
from hub.model import readable
from hub.policy.advice import told
from hub.store.bulk import update_many
from hub.store.schema import alert, delivery, pending

_SOME = 1000  # ended in one transaction
_NEXT = sa.select(sa.func.min(delivery.c.channel)).where(pending(delivery), delivery.c.channel > sa.bindparam("after"))
_COUNT = sa.select(sa.func.count()).where(pending(delivery), delivery.c.channel == sa.bindparam("lane"))


def waiting(connection: Connection, context: Context) -> dict[str, int]:
    """How many there are, by channel."""
    found, name = {}, ""
    # From one channel to the next by the index: what waits for the others may be much.
    while name := connection.execute(_NEXT, {"after": name}).scalar_one() or "":
        if name not in context.channels:
            found[name] = connection.execute(_COUNT, {"lane": name}).scalar_one()
    return found


def tell(connection: Connection, context: Context, channel: str, count: int) -> None:
    """An alert."""
    detail = f"no such channel is configured, and {count} deliveries wait for it; what its time is over for is given up"
    connection.execute(sa.insert(alert).values(at=context.now, kind="not configured", channel=channel, detail=detail))


def end(connection: Connection, context: Context, channels: Iterable[str]) -> int:
    """Give up some whose time is over, as their lanes would have. Returns how many: 0 if none is left."""
    late = pending(delivery), delivery.c.channel.in_(channels), delivery.c.expires_at <= context.now
    query = sa.select(delivery).where(*late).order_by(delivery.c.id).limit(_SOME)
    rows = connection.execute(query.with_for_update()).all()
    ended, shown = [], []
    for row in rows:
        words = f"good until {readable(row.expires_at)}, and {row.channel} is not configured"
        # What was being handed over then may have arrived.
        state = "failed" if row.state == "queued" else "unknown"
        ended.append({"id": row.id, "state": state, "reason": f"MSG_EXPIRED: {words}", "code": "MSG_EXPIRED"})
        if row.kind == "contact" and row.message_id is not None:
            shown.append((row.message_id, state, told("MSG_EXPIRED", words)))
    update_many(connection, delivery, "id", ended)
    deliveries.mark(connection, context, shown)
    return len(rows)
