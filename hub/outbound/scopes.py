"""Rates beyond the sender's: of a campaign, of a mailbox provider, of one recipient. Which a delivery falls under."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.channels import Channel
from hub.model import AuthorKind, known_id
from hub.policy import pack
from hub.policy.rates import Bucket
from hub.store.bulk import SOME, among
from hub.store.schema import campaign, identity, message, rate

_BURST = 0.5  # seconds' worth that may go at once after a rest
LATE = 0.02  # seconds after its turn that a message may still be handed off, since others come on time
_FRESH = 5.0  # seconds that rates of campaigns are believed
_FORGOTTEN = 3600.0  # seconds after which a recipient's rate has long been free again
_ADDRESSES = sa.select(identity.c.id, identity.c.address).where(identity.c.id.in_(SOME))
_CAMPAIGNS = sa.select(message.c.id, message.c.author_id).where(
    message.c.id.in_(SOME), message.c.author_kind == str(AuthorKind.campaign)
)


@dataclass(frozen=True, slots=True)
class Wait:
    """``left``: seconds until a delivery may be claimed; ``key``: the rate that it waits for."""

    left: float
    key: str

    @property
    def reason(self) -> str:
        kind, _, name = self.key.partition(":")
        match kind:
            case "domain":
                return f"RATE_DOMAIN: as fast as {name.partition(':')[2]} takes mail"
            case "campaign":
                return "RATE_CAMPAIGN: as fast as the campaign may"
        return "RATE_PAIR: one after the other"


@dataclass(slots=True)
class Scopes:
    """``pair``: of one recipient, where the provider counts by account: what failed over to another sender of it is
    still the same person's next message. ``account``: what such senders share."""

    channel: Channel
    pair: Bucket | None = None
    account: str | None = None
    _campaigns: dict[int, Bucket] = field(default_factory=dict)
    _read_at: float = -_FRESH
    _forgot_at: float = -_FRESH

    def of(self, connection: Connection, rows: Sequence[Any]) -> dict[int, dict[str, Bucket]]:
        """By delivery, only those that fall under any."""
        contact = [row for row in rows if row.kind == "contact"]
        found: dict[int, dict[str, Bucket]] = {}
        self._domains(connection, contact, found)
        self._of_campaigns(connection, contact, found)
        if self.pair is not None and self.account is not None:
            for row in contact:
                if row.identity_id is not None:
                    found.setdefault(row.id, {})[f"pair:{self.account}:{row.identity_id}"] = self.pair
        return found

    def _domains(self, connection: Connection, rows: Iterable[Any], found: dict[int, dict[str, Bucket]]) -> None:
        policy = pack.default()
        if self.channel.scheme != "mailto" or not any(each.rate for each in policy.domains.values()):
            return
        ids = {row.identity_id for row in rows if row.identity_id is not None}
        groups = {each.id: policy.mailbox(each.address) for each in among(connection, _ADDRESSES, ids)}
        for row in rows:
            group = policy.domains.get(groups.get(row.identity_id, ""))
            if group is not None and group.rate:
                name = f"domain:{self.channel.name}:{groups[row.identity_id]}"
                found.setdefault(row.id, {})[name] = per_second(group.rate)

    def _of_campaigns(self, connection: Connection, rows: Iterable[Any], found: dict[int, dict[str, Bucket]]) -> None:
        now = time.monotonic()
        if now >= self._read_at + _FRESH:
            self._read_at, self._campaigns = now, _rated(connection)
        messages = {row.message_id for row in rows if row.message_id is not None} if self._campaigns else set()
        theirs = {each.id: known_id("campaign", each.author_id) for each in among(connection, _CAMPAIGNS, messages)}
        for row in rows:
            limit = self._campaigns.get(theirs.get(row.message_id) or 0)
            if limit is not None:
                found.setdefault(row.id, {})[f"campaign:{theirs[row.message_id]}"] = limit

    def forget(self, connection: Connection) -> None:
        """Now and then, rows of recipients who have long been free to get more."""
        now = time.monotonic()
        if self.pair is not None and self.account is not None and now >= self._forgot_at + _FRESH:
            self._forgot_at = now
            mine = rate.c.key.startswith(f"pair:{self.account}:", autoescape=True)
            connection.execute(sa.delete(rate).where(mine, rate.c.arrival < time.time() - _FORGOTTEN))


def _rated(connection: Connection) -> dict[int, Bucket]:
    """Campaigns that have a rate: people per second, over all channels."""
    rows = connection.execute(sa.select(campaign.c.id, campaign.c.draft).where(campaign.c.state == "running"))
    rates: Mapping[int, Any] = {row.id: json.loads(row.draft).get("rate") for row in rows}
    return {number: evenly(float(each)) for number, each in rates.items() if each}


def evenly(count: float) -> Bucket:
    """One after the other, and nothing saved up: in no second more than ``count``, though each may be ``LATE``."""
    return Bucket(count * (1 - LATE), 1.0)


def is_campaign(key: str) -> bool:
    return key.startswith("campaign:")


def taken_ahead(connection: Connection, campaign_id: int) -> float:
    """Seconds of its rate for which the campaign has places already."""
    shared = sa.extract("epoch", sa.func.clock_timestamp())
    now = sa.literal(time.time()) if connection.dialect.name == "sqlite" else shared
    since = sa.case((rate.c.at > now, rate.c.at), else_=now)  # the clock may have been set back
    left = sa.select(rate.c.arrival - since).where(rate.c.key == f"campaign:{campaign_id}")
    return max(0.0, float(connection.execute(left).scalar() or 0.0))


def per_second(count: float) -> Bucket:
    return Bucket(count, 1.0, max(1.0, count * _BURST))
