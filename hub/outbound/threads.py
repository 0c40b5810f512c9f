"""A conversation's thread at the desk that is not there any more: a new one, and what waits goes there."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from hub import deliveries
from hub.channels import Channel
from hub.context import Context
from hub.model import Purpose
from hub.store.bulk import insert_many
from hub.store.schema import delivery, desk_thread, pending

_AGAIN = "NEW_THREAD"  # code of what waits for the new one


def begin_anew(connection: Connection, context: Context, desk: Channel, conversation_id: int) -> None:
    """Forget the thread; a new card, and behind it, in their order, all that was to go into the old one."""
    forget = sa.delete(desk_thread).where(
        desk_thread.c.channel == desk.name, desk_thread.c.conversation_id == conversation_id
    )
    old = connection.execute(forget.returning(desk_thread.c.external_id)).scalar_one_or_none()
    mine = delivery.c.channel == desk.name, delivery.c.conversation_id == conversation_id, pending(delivery)
    waiting = connection.execute(sa.select(delivery).where(*mine).order_by(delivery.c.id)).all()
    gone = sa.update(delivery).where(*mine)
    connection.execute(gone.values(state="cancelled", reason="its thread is gone; it goes into a new one"))
    card = deliveries.delivery_row(context, conversation_id, desk.name, "card", Purpose.note)
    rows = [card | {"target": old, "code": _AGAIN}]
    for each in waiting:
        if each.kind != "card":
            row = deliveries.delivery_row(context, conversation_id, desk.name, each.kind, Purpose.note)
            same = {name: getattr(each, name) for name in ("message_id", "target", "value", "reason")}
            rows.append(row | same | {"code": _AGAIN})
    insert_many(connection, delivery, rows)


def is_begun_anew(connection: Connection, delivery_id: int) -> bool:
    """Whether a delivery has been given its second thread already: a third one would end as the second did."""
    query = sa.select(delivery.c.code).where(delivery.c.id == delivery_id)
    return bool(connection.execute(query).scalar_one() == _AGAIN)
