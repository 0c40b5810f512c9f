"""Rows of a campaign: itself, and whose turn it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.campaigns.draft import CampaignDraft
from hub.campaigns.person import variant
from hub.model import Purpose
from hub.store.base import chunks
from hub.store.schema import campaign, customer

OPEN = ("planned", "waiting", "resting")  # states of recipients of whom there is more to come


@dataclass(frozen=True, slots=True)
class Campaign:
    """A row, its draft read."""

    id: int
    name: str
    state: str
    draft: CampaignDraft
    reason: str | None
    planned_to: int
    planned_at: datetime | None
    starts_at: datetime | None
    created_at: datetime
    finished_at: datetime | None

    @property
    def purpose(self) -> Purpose:
        return Purpose(self.draft.purpose)


@dataclass(frozen=True, slots=True)
class Turn:
    """A person who gets a message now."""

    customer_id: int
    variant: str
    fields: str | None
    step: int = 0
    tried: str = ""
    message_id: int | None = None  # the one before


def turn_of(row: Any) -> Turn:
    return Turn(row.customer_id, row.variant, row.fields, row.step, row.tried, row.message_id)


def planned(made: Campaign, person: int, due: datetime, fields: str | None, now: datetime) -> dict[str, Any]:
    """The row of somebody who enters."""
    chosen = variant(made.draft, person)
    return {
        "campaign_id": made.id,
        "customer_id": person,
        "variant": chosen or "",
        "state": "held_out" if chosen is None else "planned",
        "fields": fields,
        "entered_at": now,
        "due_at": due,
    }


def set_campaign(connection: Connection, campaign_id: int, **values: Any) -> None:
    connection.execute(sa.update(campaign).where(campaign.c.id == campaign_id).values(values))


def due_of(
    connection: Connection, made: Campaign, people: Sequence[int], begin: datetime, local: datetime | None
) -> dict[int, datetime]:
    """When each gets the first message: at ``begin``, or at the time ``local`` where they are."""
    if not made.draft.local_time or local is None:
        return dict.fromkeys(people, begin)
    due: dict[int, datetime] = {}
    for some in chunks(people):
        zones = sa.select(customer.c.id, customer.c.time_zone).where(customer.c.id.in_(some))
        for person, zone in connection.execute(zones):
            due[person] = instant(local, zone or "UTC")
    return due


def instant(start: datetime, zone: str) -> datetime:
    return start if start.tzinfo is not None else start.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
