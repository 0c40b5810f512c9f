"""What came of a campaign: how many people are where, who answered, and each person's outcome."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.campaigns.record import Campaign
from hub.store.schema import consent_event, customer, customer_event, delivery, identity, message, recipient

_STATE = sa.case(
    (sa.and_(delivery.c.state == "queued", delivery.c.reason.is_not(None)), "deferred"),
    (recipient.c.state.in_(("queued", "waiting", "resting")), sa.func.coalesce(delivery.c.state, "queued")),
    else_=recipient.c.state,
)
_JOINED = recipient.outerjoin(
    delivery, sa.and_(delivery.c.message_id == recipient.c.message_id, delivery.c.kind == "contact")
)


def stats(connection: Connection, made: Campaign) -> dict[str, dict[str, int]]:
    """How many people are where, by variant: planned, held_out, skipped, or their message's delivery state.

    ``deferred``: queued, and there is a reason to wait.
    """
    query = (
        sa.select(recipient.c.variant, _STATE.label("state"), sa.func.count().label("people"))
        .select_from(_JOINED)
        .where(recipient.c.campaign_id == made.id)
        .group_by(recipient.c.variant, _STATE)
    )
    found: dict[str, dict[str, int]] = {}
    for row in connection.execute(query):
        found.setdefault(row.variant, {})[row.state] = row.people
    return found


def opted_out(connection: Connection, made: Campaign) -> int:
    """How many people said no after this campaign's message to them."""
    said_no = (
        sa.select(recipient.c.customer_id)
        .join(message, message.c.id == recipient.c.message_id)
        .join(identity, identity.c.id == message.c.identity_id)
        .join(consent_event, consent_event.c.address == identity.c.address)
        .where(
            recipient.c.campaign_id == made.id,
            consent_event.c.change.startswith("opt_out"),
            consent_event.c.recorded_at > message.c.recorded_at,
        )
        .distinct()
        .subquery()
    )
    return int(connection.execute(sa.select(sa.func.count()).select_from(said_no)).scalar_one())


def replied(connection: Connection, made: Campaign) -> int:
    """How many people wrote in the same conversation after this campaign's message to them."""
    ours, theirs = message.alias("ours"), message.alias("theirs")
    wrote = sa.exists().where(
        theirs.c.conversation_id == ours.c.conversation_id,
        theirs.c.id > ours.c.id,
        theirs.c.inbound.is_(True),
        theirs.c.automatic.is_(False),
    )
    query = (
        sa.select(sa.func.count())
        .select_from(recipient)
        .join(ours, ours.c.id == recipient.c.message_id)
        .where(recipient.c.campaign_id == made.id, wrote)
    )
    return int(connection.execute(query).scalar_one())


def reasons(connection: Connection, made: Campaign) -> dict[str, int]:
    """How many people got nothing, or nothing yet, by the code of the reason."""
    waits = sa.case((_STATE == "deferred", delivery.c.reason))
    why = sa.func.coalesce(delivery.c.code, waits, sa.case((_STATE == "skipped", recipient.c.reason)))
    query = (
        sa.select(why.label("why"), sa.func.count().label("people"))
        .select_from(_JOINED)
        .where(recipient.c.campaign_id == made.id, why.is_not(None), _STATE.not_in(("sent", "delivered", "read")))
        .group_by(why)
    )
    found: dict[str, int] = {}
    for row in connection.execute(query):
        code = row.why.partition(":")[0]
        found[code] = found.get(code, 0) + row.people
    return found


def people(connection: Connection, made: Campaign, *, after: int = 0, limit: int = 100) -> Sequence[Any]:
    """Outcomes by customer id: customer_id, external_id, name, variant, state, reason, channel, address, message_id."""
    query = (
        sa.select(
            recipient.c.customer_id, customer.c.external_id, customer.c.name, recipient.c.variant,
            _STATE.label("state"), sa.func.coalesce(delivery.c.reason, recipient.c.reason).label("reason"),
            delivery.c.channel, identity.c.address, recipient.c.message_id,
        )
        .select_from(
            _JOINED.join(customer, customer.c.id == recipient.c.customer_id).outerjoin(
                identity, identity.c.id == delivery.c.identity_id
            )
        )
        .where(recipient.c.campaign_id == made.id, recipient.c.customer_id > after)
        .order_by(recipient.c.customer_id)
        .limit(limit)
    )  # fmt: skip
    return connection.execute(query).all()


def converted(connection: Connection, made: Campaign) -> int:
    """How many people did what the campaign is for, after its message to them. 0 without a goal."""
    if made.draft.goal is None:
        return 0
    query = (
        sa.select(sa.func.count(recipient.c.customer_id.distinct()))
        .select_from(recipient)
        .join(message, message.c.id == recipient.c.message_id)
        .join(customer_event, customer_event.c.customer_id == recipient.c.customer_id)
        .where(
            recipient.c.campaign_id == made.id,
            customer_event.c.name == made.draft.goal,
            customer_event.c.at >= recipient.c.entered_at,
        )
    )
    return int(connection.execute(query).scalar_one())
