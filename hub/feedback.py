"""What a provider's refusal does beyond its message: suppressions, holds, a later try. By the policy's table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy import Connection

from hub import approvals, consent, late
from hub.channels import Channel
from hub.context import Context, down_topic, lane_topic
from hub.contract import AccountChanged, PassingError, TemplateNews
from hub.model import AuthorKind, Purpose, decode_content, known_id
from hub.policy import pack
from hub.policy.feedback import UNKNOWN, effect_of
from hub.policy.ledger import Event, Scope
from hub.policy.pack import Effect
from hub.reach import SENDING, Reach, Work
from hub.store.base import chunks
from hub.store.schema import alert, attempt, campaign, delivery, hold, identity, message, quota, soft_failure

_SUPPRESSED = timedelta(days=30)  # after failures that repeat
_PATIENCE = timedelta(hours=6)  # that a message has left when it is tried again
_FIRST_PAUSE = timedelta(minutes=1)  # after a failure that passes and came late; doubles with each attempt
_ONCE_TOLD = timedelta(hours=1)  # between two alerts about the same channel
_RECENT = timedelta(days=7)  # an alert of longer ago needs no word that it is over
_TOLD = "the provider says: "  # how the reason of a hold begins that it can lift itself
_PACIFIC = ZoneInfo("America/Los_Angeles")  # US carriers count days there


@dataclass(frozen=True, slots=True)
class Failure:
    """``dead``, ``refused``, ``covers``, ``error``: what the adapter itself makes of the code. ``error``: it came by
    status, after the provider had taken the message."""

    delivery_id: int
    code: str | None
    detail: str | None
    at: datetime
    dead: bool = False
    refused: bool = False
    covers: Literal["all", "marketing"] = "all"
    error: PassingError | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


def meaning(channel: Channel, code: str | None) -> Effect:
    """What the policy says of an answer of the channel's provider."""
    table = channel.capabilities.codes
    if table is None or code is None:
        return effect_of("", "", pack.default())
    # Mail servers' enhanced codes alone: the table has them after the reply code.
    spoken = f"{code[0]}50 {code}" if code[:2] in ("4.", "5.") else code
    return effect_of(table, spoken, pack.default())


def take(connection: Connection, context: Context, channel: Channel, failure: Failure) -> dict[str, Any] | None:
    """Give a failure its further effects. New values of the delivery if it is tried again; None: it has failed."""
    query = (
        sa.select(delivery, identity.c.address)
        .outerjoin(identity, identity.c.id == delivery.c.identity_id)
        .where(delivery.c.id == failure.delivery_id, delivery.c.kind == "contact")
    )
    row = connection.execute(query).first()
    if row is None or row.address is None:
        return None
    effect = meaning(channel, failure.code)
    match effect.effect:
        case "count_soft":
            _count(connection, context, channel, row, effect, failure)
        case "suppress" if effect.reason == "complaint":
            _complained(connection, context, channel, row, failure)
        case "hold_sender" | "hold_campaign":
            _hold(connection, context, channel, row, effect, failure)
        case "recipient_limit":
            return _later(connection, context, channel, row, effect, failure)
        case "hold_template" | "disable_template" | "missing_template":
            return _template(connection, context, channel, row, effect, failure)
        case "needs_template":
            return late.hold(connection, context, channel, row, failure.detail or "the window is closed")
        case _ if failure.dead or failure.refused:
            _suppress(connection, context, channel, row.address, failure)
    # What the table does not name is as the adapter says.
    if failure.error is not None and (effect.retry != "never" or effect is UNKNOWN):
        return _passing(connection, context, channel, row, effect, failure)
    return None


def resumes(channel: Channel, code: str | None, now: datetime) -> datetime | None:
    """When a quota that the provider counts by the day begins anew."""
    if meaning(channel, code).retry != "at_midnight_pacific":
        return None
    today = now.astimezone(_PACIFIC).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    return (today + timedelta(days=1)).replace(tzinfo=_PACIFIC)


def arrived(connection: Connection, delivery_ids: Iterable[int]) -> None:
    """What is delivered ends the count of an address's failures."""
    if connection.execute(sa.select(soft_failure.c.id).limit(1)).first() is None:
        return
    for some in chunks(delivery_ids):
        theirs = (
            sa.select(identity.c.address)
            .join(delivery, delivery.c.identity_id == identity.c.id)
            .where(delivery.c.id.in_(some))
        )
        connection.execute(sa.delete(soft_failure).where(soft_failure.c.address.in_(theirs)))


# --- of the recipient ---


def _suppress(connection: Connection, context: Context, channel: Channel, address: str, failure: Failure) -> None:
    change: consent.Told = "opt_out" if failure.refused else "bounced"
    if failure.refused and meaning(channel, failure.code).reason == "blocked_by_user":
        change = "blocked"
    consent.record(
        connection,
        address,
        change,
        channel=channel.name,
        source="provider",
        evidence=_evidence(failure),
        at=failure.at,
        now=context.now,
        covers=failure.covers if failure.refused else "all",
    )
    if failure.refused and meaning(channel, failure.code).reason == "provider_optout":
        # The network itself keeps us out, whatever they allow elsewhere, until START comes from the phone.
        entry = Event(
            "suppress", min(failure.at, context.now), address, "provider", Scope(channel=channel.medium),
            reason="provider_optout", evidence=_evidence(failure), source="provider",
        )  # fmt: skip
        _append(connection, context, channel, entry, "blocked")


def _count(
    connection: Connection, context: Context, channel: Channel, row: Any, effect: Effect, failure: Failure
) -> None:
    """Only failures that repeat tell that nothing arrives there any more."""
    mine = sa.and_(soft_failure.c.address == row.address, soft_failure.c.medium == channel.medium)
    again = sa.select(soft_failure.c.id).where(mine, soft_failure.c.delivery_id == row.id)
    if connection.execute(again).first() is not None:
        return
    values = {"address": row.address, "medium": channel.medium, "code": failure.code or "", "at": context.now}
    connection.execute(sa.insert(soft_failure).values(values | {"delivery_id": row.id}))
    same = sa.select(sa.func.count()).select_from(soft_failure).where(mine, soft_failure.c.code == failure.code)
    if connection.execute(same).scalar_one() < (effect.suppress_after or 1):
        return
    connection.execute(sa.delete(soft_failure).where(mine))
    entry = Event(
        "suppress", min(failure.at, context.now), row.address, "provider", Scope(channel=channel.medium),
        reason="hard_bounce", until=context.now + _SUPPRESSED, evidence=_evidence(failure), source="provider",
    )  # fmt: skip
    _append(connection, context, channel, entry, "bounced")


def _complained(connection: Connection, context: Context, channel: Channel, row: Any, failure: Failure) -> None:
    entry = Event(
        "suppress", min(failure.at, context.now), row.address, "provider", reason="complaint",
        evidence=_evidence(failure), source="provider",
    )  # fmt: skip
    _append(connection, context, channel, entry, "complaint")


def _append(connection: Connection, context: Context, channel: Channel, entry: Event, change: str) -> None:
    consent.append(connection, entry, change=change, channel=channel.name, source="provider", now=context.now)
    consent.digest(connection, entry.subject, context.now)


def _evidence(failure: Failure) -> dict[str, Any]:
    return {**failure.evidence, "code": failure.code, "detail": failure.detail}


# --- of the sender ---


def _hold(
    connection: Connection, context: Context, channel: Channel, row: Any, effect: Effect, failure: Failure
) -> None:
    """The fault is ours, so advertising waits until a person has looked. Answers and receipts go on."""
    words = f"{failure.code}: {failure.detail or 'refused by the provider'}"
    paused = effect.effect == "hold_campaign" and _pause(connection, row.message_id, words)
    if row.purpose == Purpose.marketing and not paused:
        keep(connection, context, f"sender:{channel.name}", words)
    _alert(connection, context, channel, words)


def _pause(connection: Connection, message_id: int, reason: str) -> bool:
    """Pause the campaign of a message, if it is of one."""
    ours = message.c.id == message_id, message.c.author_kind == str(AuthorKind.campaign)
    number = known_id("campaign", connection.execute(sa.select(message.c.author_id).where(*ours)).scalars().first())
    if number is None:
        return False
    running = sa.update(campaign).where(campaign.c.id == number, campaign.c.state == "running")
    connection.execute(running.values(state="paused", reason=reason))
    return True


def keep(connection: Connection, context: Context, key: str, reason: str) -> None:
    """Hold until ``lift``; the first reason stays."""
    if connection.execute(sa.select(hold.c.key).where(hold.c.key == key)).first() is None:
        connection.execute(sa.insert(hold).values(key=key, reason=reason, at=context.now))


def told(connection: Connection, context: Context, channel: Channel, news: AccountChanged) -> None:
    """The provider itself restricts the sender, or no longer does. What is held for another reason stays so."""
    if news.people is not None and channel.quotas is not None and channel.quotas.people is not None:
        row = {"key": channel.quotas.people_key, "allowed": news.people}
        changed = connection.execute(sa.update(quota).where(quota.c.key == row["key"]).values(row))
        if not changed.rowcount:
            connection.execute(sa.insert(quota).values(row))
    key, reason = f"sender:{channel.name}", f"{_TOLD}{news.what}: {news.state}"
    if news.holds:
        keep(connection, context, key, reason)
    elif news.holds is False:
        ours = hold.c.key == key, hold.c.reason.startswith(_TOLD, autoescape=True)
        connection.execute(sa.delete(hold).where(*ours))


def held(connection: Connection, key: str) -> str | None:
    """Why; None: not held."""
    return connection.execute(sa.select(hold.c.reason).where(hold.c.key == key)).scalar_one_or_none()


def lift(connection: Connection, key: str) -> bool:
    """Whether there was a hold to lift."""
    return connection.execute(sa.delete(hold).where(hold.c.key == key)).rowcount > 0


def tell_down(connection: Connection, context: Context, channel: Channel, words: str) -> None:
    detail = f"{words}; its messages wait, and it is tried again every half minute: hub doctor"
    _tell_trouble(connection, context, channel, SENDING, detail)


def tell_reach(connection: Connection, context: Context, channel: Channel, reach: Reach) -> None:
    """That its provider does not do what it should, or does so again."""
    work = reach.work
    if (words := reach.trouble(context.now)) is not None:
        _tell_trouble(connection, context, channel, work, f"{words}; {work.until}")
        return
    query = sa.select(alert.c.kind).where(alert.c.channel == channel.name, alert.c.kind.in_((work.down, work.up)))
    query = query.where(alert.c.at > context.now - _RECENT).order_by(alert.c.id.desc()).limit(1)
    if connection.execute(query).scalar_one_or_none() == work.down:
        values = {"at": context.now, "kind": work.up, "channel": channel.name, "detail": work.since}
        connection.execute(sa.insert(alert).values(values))


def _tell_trouble(connection: Connection, context: Context, channel: Channel, work: Work, detail: str) -> None:
    """At most hourly; but what comes after it was told to be well again is another trouble."""
    well = sa.select(sa.func.coalesce(sa.func.max(alert.c.id), 0))
    well = well.where(alert.c.kind == work.up, alert.c.channel == channel.name)
    tell_hourly(connection, context, channel, work.down, detail, alert.c.id > well.scalar_subquery())


def tell_hourly(
    connection: Connection, context: Context, channel: Channel, kind: str, detail: str, *same: sa.ColumnElement[bool]
) -> None:
    """An alert, however many messages wait and however often they are tried. ``same``: what else makes it the same."""
    alike = alert.c.kind == kind, alert.c.channel == channel.name, alert.c.at > context.now - _ONCE_TOLD
    if connection.execute(sa.select(alert.c.id).where(*alike, *same)).first() is None:
        values = {"at": context.now, "kind": kind, "channel": channel.name, "detail": detail}
        connection.execute(sa.insert(alert).values(values))


def _alert(connection: Connection, context: Context, channel: Channel, words: str) -> None:
    """Once for each reason, not for each message."""
    detail = f"refused for a fault of ours, {words}; once it is mended: hub consent release sender:{channel.name}"
    same = sa.select(alert.c.id).where(
        alert.c.kind == "held", alert.c.channel == channel.name, alert.c.detail == detail,
        alert.c.at > context.now - timedelta(hours=1),
    )  # fmt: skip
    if connection.execute(same).first() is None:
        values = {"at": context.now, "kind": "held", "channel": channel.name, "detail": detail}
        connection.execute(sa.insert(alert).values(values))


# --- tried again ---


def _later(
    connection: Connection, context: Context, channel: Channel, row: Any, effect: Effect, failure: Failure
) -> dict[str, Any] | None:
    """The person has had enough of all businesses together; not for good. Each pause is twice the one before."""
    tried = sa.select(sa.func.count()).select_from(attempt)
    tried = tried.where(attempt.c.delivery_id == row.id, attempt.c.code == failure.code)
    before = connection.execute(tried).scalar_one()
    most, pause = effect.max_retries or 0, timedelta(seconds=effect.min_delay_s or 0)
    if before >= most:
        return None
    due = context.now + pause * 2**before
    if row.expires_at <= due:
        if before or row.expires_at != row.created_at + channel.capabilities.retry_for:
            return None  # the author wanted it gone by then
        last = context.now + pause * (2**most - 1)
        connection.execute(sa.update(delivery).where(delivery.c.id == row.id).values(expires_at=last + _PATIENCE))
    return _again(due, failure)


def _passing(
    connection: Connection, context: Context, channel: Channel, row: Any, effect: Effect, failure: Failure
) -> dict[str, Any] | None:
    """It is as if it had not been taken, unless what the conversation said later is out already."""
    if failure.error == "channel_down":
        tell_down(connection, context, channel, failure.detail or failure.code or "refused by the provider")
        context.news |= {down_topic(channel.name), lane_topic(channel.name)}
    later = sa.select(delivery.c.id).where(
        delivery.c.conversation_id == row.conversation_id, delivery.c.channel == row.channel,
        delivery.c.kind == "contact", delivery.c.id > row.id,
        delivery.c.state.not_in(("queued", "denied", "failed", "cancelled")),
    )  # fmt: skip
    first = timedelta(seconds=effect.min_delay_s) if effect.min_delay_s else _FIRST_PAUSE
    pause = max(_FIRST_PAUSE, first) * 2 ** min(row.attempts, 10)
    due = resumes(channel, failure.code, context.now) or context.now + pause
    if due >= row.expires_at or connection.execute(later.limit(1)).first() is not None:
        return None
    return _again(due, failure)


def _template(
    connection: Connection, context: Context, channel: Channel, row: Any, effect: Effect, failure: Failure
) -> dict[str, Any] | None:
    """A paused template may be used again, and its messages wait for that; with another one they are lost."""
    content = connection.execute(sa.select(message.c.content).where(message.c.id == row.message_id)).scalar_one()
    used = decode_content(content).template
    if used is None:
        return None
    status = {"hold_template": "paused", "disable_template": "disabled"}.get(effect.effect, "unknown to the provider")
    news = TemplateNews(used.name, used.language, status)
    # Providers tell of changes by the second, and what they tell within this one comes later.
    approvals.learn(connection, channel.name, news, failure.at.replace(microsecond=0))
    return _again(context.now, failure) if status == "paused" else None


def _again(due: datetime, failure: Failure) -> dict[str, Any]:
    reason = f"{failure.code}: {failure.detail or 'refused by the provider'}"
    return {"state": "queued", "due_at": due, "reason": reason, "code": failure.code}
