"""Rows of a campaign: itself, and whose turn it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.campaigns.draft import CampaignDraft
from hub.campaigns.person import variant
from hub.model import AuthorKind, Purpose, public_id
from hub.outbound.judge import whereabouts_of
from hub.policy import pack
from hub.store.bulk import SOME, among
from hub.store.schema import campaign, conversation, customer, identity, message, recipient

MISSED = timedelta(minutes=15)  # a start that is further past was missed
EAST = timedelta(hours=15)  # by which an hour may come earlier somewhere than in UTC: 14, and one to look for people
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
    resumed_at: datetime | None

    @property
    def begins_at(self) -> datetime | None:
        """When people are looked for: the start, with ``local_time`` where it comes first."""
        return self.starts_at - EAST if self.starts_at and self.draft.local_time else self.starts_at

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


def written_by(made: Campaign) -> tuple[sa.ColumnElement[bool], ...]:
    """Messages of the campaign."""
    return (
        message.c.author_kind == str(AuthorKind.campaign),
        message.c.author_id == public_id("campaign", made.id),
    )


def one_person(rows: sa.FromClause, who: sa.ColumnElement[int], them: sa.FromClause) -> sa.Join:
    """These rows with all customers ``them``, an alias, who are one person with the one in the column ``who``."""
    to = customer.alias()
    person = sa.func.coalesce(to.c.merged_into, to.c.id)
    return rows.join(to, to.c.id == who).join(them, sa.or_(them.c.id == person, them.c.merged_into == person))


def answered(ours: sa.FromClause) -> sa.ColumnElement[bool]:
    """Whether the customer has written since ``ours``, an alias of ``message``: on whichever channel and in whichever
    conversation, as themselves or as any of those that were merged with them."""
    here, there = conversation.alias("here"), conversation.alias("there")
    them, theirs = customer.alias("them"), message.alias("theirs")
    return sa.exists(
        sa.select(sa.literal(1))
        .select_from(one_person(here, here.c.customer_id, them))
        .join(there, there.c.customer_id == them.c.id)
        .join(theirs, theirs.c.conversation_id == there.c.id)
        .where(
            here.c.id == ours.c.conversation_id,
            theirs.c.id > ours.c.id,
            theirs.c.inbound.is_(True),
            theirs.c.automatic.is_(False),
        )
        .correlate(ours)
    )


def repeated(connection: Connection, made: Campaign, people: Mapping[int, int], now: datetime) -> set[int]:
    """Who of these recipients gets it under another name: merged since with another recipient, who got it already or
    comes first. ``people``: recipient → customer that they are one with."""
    merged = sa.select(customer.c.id, customer.c.merged_into).where(customer.c.merged_into.in_(SOME))
    one_with = {row.id: row.merged_into for row in among(connection, merged, set(people.values()))}
    if not one_with:
        return set()
    one_with |= {person: person for person in one_with.values()}
    columns = recipient.c.customer_id, recipient.c.state, recipient.c.message_id, recipient.c.entered_at
    query = sa.select(*columns).where(recipient.c.campaign_id == made.id, recipient.c.customer_id.in_(SOME))
    again_after = made.draft.audience.trigger.again_after if made.draft.audience.trigger else None
    first: dict[int, int] = {}
    for row in sorted(among(connection, query, one_with), key=lambda row: (row.message_id is None, row.customer_id)):
        over = row.state not in OPEN
        if over and (row.message_id is None or (again_after is not None and row.entered_at <= now - again_after)):
            continue
        first.setdefault(one_with[row.customer_id], row.customer_id)
    return {who for who, person in people.items() if first.get(person, who) != who}


def set_campaign(connection: Connection, campaign_id: int, **values: Any) -> None:
    connection.execute(sa.update(campaign).where(campaign.c.id == campaign_id).values(values))


def due_of(
    connection: Connection,
    made: Campaign,
    people: Sequence[int],
    begin: datetime,
    local: datetime | None,
    now: datetime,
) -> dict[int, datetime]:
    """When each gets the first message: at ``begin``, or at the time ``local`` where they are.

    Who has that hour of the day behind them already gets it on the next day.
    """
    if not made.draft.local_time or local is None:
        return dict.fromkeys(people, begin)
    due: dict[int, datetime] = {}
    for person, zones in _zones(connection, people).items():
        moment = max(instant(local, zone) for zone in zones)  # where several are possible: nobody gets it before
        days = max(0, math.ceil((now - MISSED - moment) / timedelta(days=1)))
        due[person] = max(instant(local + timedelta(days=days), zone) for zone in zones)
    return due


def _zones(connection: Connection, people: Sequence[int]) -> dict[int, list[str]]:
    """Where each may be, by profile, postcode and phone number as quiet hours see it; UTC where nothing tells."""
    phone = (
        sa.select(sa.func.max(identity.c.address))
        .where(identity.c.customer_id == customer.c.id, identity.c.address.startswith("tel:"))
        .scalar_subquery()
    )
    columns = customer.c.id, customer.c.time_zone, customer.c.country, customer.c.attributes
    query = sa.select(*columns, sa.func.coalesce(phone, "").label("address")).where(customer.c.id.in_(SOME))
    policy = pack.default()
    return {
        row.id: ([row.time_zone] if row.time_zone else [each.zone for each in whereabouts_of(row, policy).places])
        or ["UTC"]
        for row in among(connection, query, people)
    }


def instant(start: datetime, zone: str) -> datetime:
    return start if start.tzinfo is not None else start.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
