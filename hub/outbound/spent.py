"""What quotas are charged once a send is over: given back, or more than was thought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.channels import Channel, Quotas
from hub.context import Context
from hub.contract import RateLimited
from hub.feedback import meaning
from hub.outbound.job import Outcome
from hub.outbound.quotas import make, next_month
from hub.policy import pack
from hub.store.schema import quota, quota_use

_NOT_SENT = ("queued", "failed", "denied")


def settle_quotas(
    connection: Connection,
    context: Context,
    channel: Channel,
    outcomes: Sequence[Outcome],
    updates: Sequence[Mapping[str, Any]],
) -> None:
    """``updates``: the deliveries' rows after the outcomes, in their order."""
    quotas = channel.quotas
    if quotas is None:
        return
    lost = [
        outcome.job.id
        for outcome, update in zip(outcomes, updates, strict=True)
        if update["state"] in _NOT_SENT and not outcome.receipts and outcome.job.part == 0
    ]
    if lost:
        keys = [quotas.people_key, quotas.month_key, *_warm_keys(channel)]
        connection.execute(sa.delete(quota_use).where(quota_use.c.key.in_(keys), quota_use.c.delivery_id.in_(lost)))
    if quotas.monthly is not None:
        _charge(connection, channel, quotas, outcomes)
        if any(_is_spent(channel, outcome) for outcome in outcomes):
            make(connection, [quotas.month_key])
            spent = sa.update(quota).where(quota.c.key == quotas.month_key)
            connection.execute(spent.values(spent_until=next_month(quotas, context.now)))


def _warm_keys(channel: Channel) -> list[str]:
    if channel.scheme != "mailto":
        return [f"warm:{channel.name}"]
    return [f"warm:{channel.name}:{group}" for group in (*pack.default().domains, "other")]


def _charge(connection: Connection, channel: Channel, quotas: Quotas, outcomes: Sequence[Outcome]) -> None:
    """One message was counted when it was claimed; parts make it more, and what is free less."""
    may_be_free = pack.default().channel(channel.medium).free
    for outcome in outcomes:
        job = outcome.job
        if job.kind != "contact" or not outcome.receipts:
            continue
        reserved = job.purpose not in may_be_free and any(part == 0 for part, _ in outcome.receipts)
        more = sum(not taken.free for _, taken in outcome.receipts) - reserved
        if more:
            mine = sa.and_(quota_use.c.key == quotas.month_key, quota_use.c.delivery_id == job.id)
            added = connection.execute(sa.update(quota_use).where(mine).values(amount=quota_use.c.amount + more))
            if not added.rowcount:
                values = {"key": quotas.month_key, "delivery_id": job.id, "identity_id": job.identity_id}
                values |= {"at": outcome.finished_at, "amount": more}
                connection.execute(sa.insert(quota_use).values(values))


def _is_spent(channel: Channel, outcome: Outcome) -> bool:
    if not isinstance(outcome.error, RateLimited):
        return False
    effect = meaning(channel, outcome.error.code)
    return effect.effect == "quota" and effect.scope == "channel_month"
