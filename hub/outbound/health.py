"""How well a sender's advertising of the last days was received, from what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.context import Context
from hub.policy import limits, pack
from hub.policy.pack import Breaker
from hub.store.schema import alert, consent_event, delivery, identity

_DAYS = timedelta(days=7)


def of(connection: Connection, channel: str, now: datetime) -> str:
    """``limits.health`` of the channel: "OK", or "PAUSE_…" if too many complained or too many addresses were dead.

    Reads all advertising of a week, so it is not asked for each message.
    """
    return reception(connection, channel, now - _DAYS, pack.default().breaker)


def tell(connection: Connection, context: Context, channel: str, state: str) -> None:
    """An alert that advertising was badly received: once, as long as the same messages tell it."""
    what = "complained" if "COMPLAINT" in state else "could not be reached"
    goes = "waits" if state.startswith("PAUSE") else "goes on more slowly"
    detail = f"too many who got advertising of the last {_DAYS.days} days {what}, so it {goes} ({state})"
    same = sa.select(alert.c.id).where(
        alert.c.kind == "reception", alert.c.channel == channel, alert.c.detail == detail,
        alert.c.at > context.now - _DAYS,
    )  # fmt: skip
    if connection.execute(same).first() is None:
        values = {"at": context.now, "kind": "reception", "channel": channel, "detail": detail}
        connection.execute(sa.insert(alert).values(values))


def reception(
    connection: Connection,
    channel: str,
    since: datetime,
    limit: Breaker,
    domains: Sequence[str] = (),
    *,
    minimum_of_all: bool = False,
) -> str:
    """The same since then; of mail to these ``domains`` alone, if there are any. ``minimum_of_all`` as there."""
    sent = sa.select(sa.func.count()).select_from(delivery).where(
        delivery.c.purpose == "marketing", delivery.c.channel == channel, delivery.c.due_at >= since,
        delivery.c.state.in_(("sent", "delivered", "read")),
    )  # fmt: skip
    complaints = _told(channel, since, consent_event.c.reason == "complaint")
    bounces = _told(channel, since, consent_event.c.reason == "hard_bounce")
    if domains:
        sent = sent.join(identity, identity.c.id == delivery.c.identity_id).where(_at(identity.c.address, domains))
        complaints, bounces = (each.where(_at(consent_event.c.address, domains)) for each in (complaints, bounces))
    delivered, complained, dead = (connection.execute(each).scalar_one() for each in (sent, complaints, bounces))
    return limits.health(delivered, complained, dead, limit, minimum_of_all=minimum_of_all)


def _at(address: sa.ColumnElement[str], domains: Sequence[str]) -> sa.ColumnElement[bool]:
    return sa.or_(*(address.endswith(f"@{domain}", autoescape=True) for domain in domains))


def _told(channel: str, since: datetime, what: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """How many people of the channel a provider told that of."""
    return (
        sa.select(sa.func.count(consent_event.c.address.distinct()))
        .where(consent_event.c.channel == channel, consent_event.c.kind == "suppress", what)
        .where(consent_event.c.recorded_at >= since)
    )
