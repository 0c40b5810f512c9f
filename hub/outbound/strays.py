"""Deliveries of channels that are not configured any more: no lane looks at them, but they end like others."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from hub import deliveries
from hub.context import Context
from hub.model import readable
from hub.policy.advice import told
from hub.store.bulk import update_many
from hub.store.schema import alert, delivery, pending

_SOME = 1000  # ended in one transaction


def waiting(connection: Connection, context: Context) -> dict[str, int]:
    """How many there are, by channel."""
    query = sa.select(delivery.c.channel, sa.func.count()).where(_stray(context)).group_by(delivery.c.channel)
    return {row[0]: row[1] for row in connection.execute(query)}


def tell(connection: Connection, context: Context, channel: str, count: int) -> None:
    """An alert."""
    detail = f"no such channel is configured, and {count} deliveries wait for it; what its time is over for is given up"
    connection.execute(sa.insert(alert).values(at=context.now, kind="not configured", channel=channel, detail=detail))


def end(connection: Connection, context: Context) -> int:
    """Give up some whose time is over, as their lanes would have. Returns how many: 0 if none is left."""
    late = sa.select(delivery).where(_stray(context), delivery.c.expires_at <= context.now)
    rows = connection.execute(late.order_by(delivery.c.id).limit(_SOME).with_for_update()).all()
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


def _stray(context: Context) -> sa.ColumnElement[bool]:
    return sa.and_(pending(delivery), delivery.c.channel.not_in(list(context.channels)))
