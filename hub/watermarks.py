"""Which sends a receipt means that is for all up to a part, or up to a moment."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.contract import StatusChanged
from hub.model import LADDER, RANK
from hub.store.schema import attempt, conversation, customer, delivery, identity, message, pending, receipt

_REACH = timedelta(days=30)  # what is older stays as it is


def covered(connection: Connection, channel: str, status: StatusChanged) -> list[dict[str, Any]]:
    """Receipts below the status's state that it raises: id, external_id, delivery_id and state. It has ``to``."""
    lower = [state for state in LADDER if RANK[state] < RANK[status.state]]
    query = (
        sa.select(receipt.c.id, receipt.c.external_id, receipt.c.delivery_id, receipt.c.state)
        .select_from(identity)
        .join(conversation, conversation.c.customer_id.in_(_people()))
        .join(message, message.c.conversation_id == conversation.c.id)
        .join(delivery, sa.and_(delivery.c.message_id == message.c.id, delivery.c.identity_id == identity.c.id))
        .join(receipt, receipt.c.delivery_id == delivery.c.id)
        .where(
            identity.c.address == str(status.to),
            message.c.recorded_at > status.at - _REACH,
            delivery.c.channel == channel,
            receipt.c.state.in_(lower),
        )
        .order_by(receipt.c.id)
    )
    if status.until is not None:
        query = query.where(_handed_off() <= status.until)
    else:
        named = sa.select(receipt.c.id).where(
            receipt.c.channel == channel, receipt.c.external_id == status.external_id
        )
        query = query.where(receipt.c.id < named.scalar_subquery())
    return [dict(row) for row in connection.execute(query).mappings()]


def overtakes(connection: Connection, channel: str, status: StatusChanged) -> bool:
    """Whether it is also about a send whose answer has not come yet."""
    query = (
        sa.select(delivery.c.id)
        .select_from(identity)
        .join(conversation, conversation.c.customer_id.in_(_people()))
        .join(
            delivery,
            sa.and_(delivery.c.conversation_id == conversation.c.id, delivery.c.identity_id == identity.c.id),
        )
        .where(
            identity.c.address == str(status.to),
            delivery.c.channel == channel,
            pending(delivery),
            delivery.c.state != "queued",
            _handed_off() <= status.until,
        )
    )
    return connection.execute(query.limit(1)).first() is not None


def _people() -> sa.Select[Any]:
    """The identity's customer, and who was merged into them."""
    owner = identity.c.customer_id
    query = sa.select(customer.c.id).where(sa.or_(customer.c.id == owner, customer.c.merged_into == owner))
    return query.correlate(identity)


def _handed_off() -> sa.ScalarSelect[Any]:
    """When the delivery was last handed off, by our clock: before the provider took it."""
    latest = sa.select(sa.func.max(attempt.c.started_at)).where(attempt.c.delivery_id == delivery.c.id)
    return latest.correlate(delivery).scalar_subquery()
