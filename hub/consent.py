"""The ledger of opt-outs, opt-ins and dead addresses, and its fold."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.store.base import chunks
from hub.store.schema import consent_event, suppression

Change = Literal["opt_out", "opt_in", "bounced", "lifted"]
_WORDS = ("opt_in", "opt_out", "opt_in_marketing", "opt_out_marketing")
_REASON: dict[Change, str] = {"opt_out": "opt_out", "opt_in": "opt_out", "bounced": "bounced", "lifted": "bounced"}


def record(
    connection: Connection,
    address: str,
    change: Change,
    *,
    channel: str | None,
    source: Literal["keyword", "provider", "api", "agent"],
    evidence: dict[str, Any],
    at: datetime,
    now: datetime,
    covers: Literal["all", "marketing"] = "all",
) -> None:
    """Append to the ledger and fold it into ``suppression``. What covers only marketing suppresses nothing else."""
    row = connection.execute(
        sa.insert(consent_event)
        .values(
            address=address,
            channel=channel,
            change=change if covers == "all" else f"{change}_{covers}",
            source=source,
            evidence=json.dumps(evidence),
            occurred_at=at,
            recorded_at=now,
        )
        .returning(consent_event.c.id)
    ).scalar_one()
    if covers != "all":
        return
    reason = _REASON[change]
    connection.execute(
        sa.delete(suppression).where(suppression.c.address == address, suppression.c.reason == reason)
    )
    if change in ("opt_out", "bounced"):
        connection.execute(
            sa.insert(suppression).values(address=address, reason=reason, event_id=row, since=at)
        )


def suppressions(connection: Connection, addresses: Iterable[str]) -> dict[str, tuple[tuple[str, datetime], ...]]:
    """Reasons not to write, by address."""
    found: dict[str, tuple[tuple[str, datetime], ...]] = {}
    for some in chunks(addresses):
        query = sa.select(suppression.c.address, suppression.c.reason, suppression.c.since)
        for address, reason, since in connection.execute(query.where(suppression.c.address.in_(some))):
            found[address] = (*found.get(address, ()), (reason, since))
    return found


def refused_in_person(connection: Connection, address: str) -> bool:
    """Whether the last thing that the person at this address said or let their provider tell us was a no."""
    query = (
        sa.select(consent_event.c.change)
        .where(
            consent_event.c.address == address,
            consent_event.c.change.in_(("opt_in", "opt_out")),
            consent_event.c.source.in_(("keyword", "provider")),
        )
        .order_by(consent_event.c.id.desc())
        .limit(1)
    )
    return connection.execute(query).scalar_one_or_none() == "opt_out"


def opted_in(connection: Connection, addresses: Iterable[str]) -> set[str]:
    """Addresses whose last word on messages, or on marketing, was an opt-in."""
    latest: dict[str, str] = {}
    for some in chunks(addresses):
        query = (
            sa.select(consent_event.c.address, consent_event.c.change)
            .where(consent_event.c.address.in_(some), consent_event.c.change.in_(_WORDS))
            .order_by(consent_event.c.occurred_at, consent_event.c.id)
        )
        latest.update((row.address, row.change) for row in connection.execute(query))
    return {address for address, change in latest.items() if change.startswith("opt_in")}
