"""What came of a campaign: how many people are where, who answered, and each person's outcome."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.campaigns.record import Campaign, answered, one_person, written_by
from hub.store.schema import (
    attempt,
    consent_event,
    conversation,
    customer,
    customer_event,
    delivery,
    identity,
    message,
    recipient,
)

_STATE = sa.case(
    (sa.and_(delivery.c.state == "queued", delivery.c.reason.is_not(None)), "deferred"),
    (recipient.c.state.in_(("queued", "waiting", "resting")), sa.func.coalesce(delivery.c.state, "queued")),
    else_=recipient.c.state,
)
_FAILED = ("failed", "unknown")
_BLAMED = timedelta(days=7)  # how long after a message a no is taken for an answer to it
HELD_OUT = "held_out"
_PART = sa.case((recipient.c.state == HELD_OUT, HELD_OUT), else_=recipient.c.variant)  # of the audience, to compare
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


def tried(connection: Connection, made: Campaign) -> tuple[int, int]:
    """How many people's messages failed, of how many that were handed over since the campaign was resumed last.

    What was given up because its time was over is no error.
    """
    query = (
        sa.select(delivery.c.state, sa.func.count())
        .select_from(_JOINED)
        .where(
            recipient.c.campaign_id == made.id,
            delivery.c.state.in_((*_FAILED, "sent", "delivered", "read")),
            delivery.c.code.is_distinct_from("MSG_EXPIRED"),
            _lately(made),
        )
        .group_by(delivery.c.state)
    )
    found = _counted(connection, query)
    return sum(found.get(state, 0) for state in _FAILED), sum(found.values())


def _lately(made: Campaign) -> sa.ColumnElement[bool]:
    """Whose message was handed over since the campaign was resumed last."""
    if made.resumed_at is None:
        return sa.true()
    ours = delivery.alias("ours")
    return sa.exists().where(
        ours.c.message_id == recipient.c.message_id,
        attempt.c.delivery_id == ours.c.id,
        attempt.c.started_at > made.resumed_at,
    )


def opted_out(connection: Connection, made: Campaign, *, lately: bool = False) -> dict[str, int]:
    """How many people said no, or blocked us, within a week of the campaign's message to them, by part of the audience.

    ``lately``: of those who got it since the campaign was resumed last.
    """
    no = sa.or_(consent_event.c.change.startswith("opt_out"), consent_event.c.change == "blocked")
    return _said(connection, made, no, lately)


def complained(connection: Connection, made: Campaign, *, lately: bool = False) -> dict[str, int]:
    """How many told their provider that it was unwanted. ``lately``: as above."""
    return _said(connection, made, consent_event.c.change == "complaint", lately)


def _said(
    connection: Connection, made: Campaign, what: sa.ColumnElement[bool], lately: bool
) -> dict[str, int]:
    micros = sa.BigInteger()
    since = sa.type_coerce(consent_event.c.recorded_at, micros) - sa.type_coerce(message.c.recorded_at, micros)
    found = (
        sa.select(recipient.c.customer_id, _PART.label("part"))
        .join(message, message.c.id == recipient.c.message_id)
        .join(identity, identity.c.id == message.c.identity_id)
        .join(consent_event, consent_event.c.address == identity.c.address)
        .where(recipient.c.campaign_id == made.id, what, since.between(1, _BLAMED // timedelta(microseconds=1)))
        .where(_lately(made) if lately else sa.true())
        .distinct()
        .subquery()
    )
    return _counted(connection, sa.select(found.c.part, sa.func.count()).group_by(found.c.part))


def replied(connection: Connection, made: Campaign) -> dict[str, int]:
    """How many people wrote after this campaign's message to them, by part."""
    query = (
        sa.select(_PART.label("part"), sa.func.count())
        .select_from(recipient)
        .join(message, message.c.id == recipient.c.message_id)
        .where(recipient.c.campaign_id == made.id, answered(message))
    )
    return _counted(connection, query.group_by("part"))


def converted(connection: Connection, made: Campaign) -> dict[str, int]:
    """How many people did what the campaign is for, by part: after it had written to them, and of those held out, after
    it would have."""
    if made.draft.goal is None:
        return {}
    them, wrote_to = customer.alias("them"), customer.alias("wrote_to")
    here = one_person(recipient, recipient.c.customer_id, them)
    told = (
        sa.exists()
        .where(
            wrote_to.c.id == recipient.c.customer_id,
            conversation.c.customer_id.in_((wrote_to.c.id, wrote_to.c.merged_into)),
            message.c.conversation_id == conversation.c.id,
            message.c.recorded_at.between(recipient.c.entered_at, customer_event.c.at),
            *written_by(made),
        )
        .correlate(recipient, customer_event)
    )
    held_out = sa.and_(recipient.c.state == HELD_OUT, customer_event.c.at >= recipient.c.due_at)
    query = (
        sa.select(_PART.label("part"), sa.func.count(recipient.c.customer_id.distinct()))
        .select_from(here)
        .join(customer_event, customer_event.c.customer_id == them.c.id)
        .where(
            recipient.c.campaign_id == made.id,
            customer_event.c.name == made.draft.goal,
            customer_event.c.at >= recipient.c.entered_at,
            sa.or_(held_out, told),
        )
    )
    return _counted(connection, query.group_by("part"))


def came(connection: Connection, made: Campaign) -> dict[str, dict[str, int]]:
    """How many people did what after they came by a link of this campaign: part → event → people."""
    them = customer.alias("them")
    query = (
        sa.select(_PART.label("part"), customer_event.c.name, sa.func.count(recipient.c.customer_id.distinct()))
        .select_from(customer_event)
        .join(message, message.c.id == customer_event.c.message_id)
        .join(conversation, conversation.c.id == message.c.conversation_id)
        .join(them, sa.or_(them.c.id == conversation.c.customer_id, them.c.merged_into == conversation.c.customer_id))
        .join(recipient, recipient.c.customer_id == them.c.id)
        .where(customer_event.c.campaign_id == made.id, recipient.c.campaign_id == made.id)
        .group_by("part", customer_event.c.name)
    )
    found: dict[str, dict[str, int]] = {}
    for part, name, people in connection.execute(query):
        found.setdefault(part, {})[name] = people
    return found


def _counted(connection: Connection, query: sa.Select[Any]) -> dict[str, int]:
    return {row[0]: row[1] for row in connection.execute(query)}


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
