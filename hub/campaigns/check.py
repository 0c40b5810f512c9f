"""What a campaign would do if it were sent now: the real thing, decided and rendered, then undone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import Connection

from hub import approvals
from hub.campaigns import engine
from hub.campaigns.cost import Costs, TooLong
from hub.campaigns.person import Texts
from hub.campaigns.record import Campaign, turn_of
from hub.context import Context
from hub.model import decode_content
from hub.outbound.judge import judge
from hub.policy.decide import Decision
from hub.store.base import Store
from hub.store.schema import customer, delivery, identity, message, recipient

_GOES = ("allow", "defer")


@dataclass(slots=True)
class Outlook:
    """One person. ``verdict``: allow, defer, needs_template, fallback or block; or skip, held_out.

    ``at``: when it would go out. ``parts``: provider calls; SMS count their segments.
    """

    customer: int
    external_id: str | None
    name: str | None
    variant: str
    verdict: str
    reason: str
    detail: str = ""
    channel: str | None = None
    address: str | None = None
    text: str = ""
    subject: str | None = None
    parts: int = 0
    cost: Decimal | None = None  # None: no price says, or it would not go out
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """``more``: others follow. ``ahead``: places in quotas that all up to here take before them, by key."""

    people: list[Outlook]
    more: bool
    ahead: Mapping[str, int]


class _Undo(Exception):
    def __init__(self, page: Page) -> None:
        self.page = page


async def check(
    store: Store,
    context: Callable[[], Context],
    made: Campaign,
    outbound: Literal["on", "off"],
    after: int = 0,
    limit: int = 200,
    ahead: Mapping[str, int] | None = None,
) -> Page:
    """The next people by id, all in one transaction. Raises: segments.SegmentError."""
    texts = Texts(made.draft)
    at = context()

    def work(connection: Connection) -> None:
        raise _Undo(_look(connection, at, made, texts, outbound, after, limit, Counter(ahead or {})))

    try:
        await store.write(work)
    except _Undo as undone:
        return undone.page
    raise AssertionError("unreachable: the transaction is never committed")


def _look(
    connection: Connection,
    context: Context,
    made: Campaign,
    texts: Texts,
    outbound: Literal["on", "off"],
    after: int,
    limit: int,
    ahead: Counter[str],
) -> Page:
    people = engine.meant(connection, context, made, after, limit + 1)
    more = len(people) > limit
    people = people[:limit]
    rows = _recipients(connection, made, people)
    planned = [row for row in rows if row.state == "planned"]
    engine.write(connection, context, made, texts, [turn_of(row) for row in planned])
    now = {row.customer_id: row for row in _recipients(connection, made, people)}
    sends = _sends(connection, [row.message_id for row in now.values() if row.message_id is not None])
    decisions: dict[int, Decision] = {}
    for name in sorted({send.channel for send in sends.values()}):
        some = [send for send in sends.values() if send.channel == name]
        decisions |= judge(connection, context, context.channels[name], some, outbound, ahead=ahead)
    names = _names(connection, people)
    costs = Costs(connection, context, texts.templates())
    untold = _untold(connection, texts)
    looks = []
    for row in rows:
        after_ = now[row.customer_id]
        send = sends.get(after_.message_id)
        known = names[row.customer_id]
        look = Outlook(row.customer_id, known.external_id, known.name, row.variant, "skip", after_.reason or "")
        if row.state == "held_out":
            look.verdict, look.reason = "held_out", "HELD_OUT"
        elif send is not None:
            _fill(look, context, costs, untold, send, decisions[send.id], row.due_at)
        else:
            look.reason, _, look.detail = look.reason.partition(": ")
        looks.append(look)
    return Page(looks, more, ahead)


def _untold(connection: Connection, texts: Texts) -> set[tuple[str, str, str]]:
    """Channel, name and language of templates of which no provider has said whether they can be used."""
    return {
        (channel, each.name, each.language)
        for channel, each in texts.templates()
        if (each.name, each.language) not in approvals.states(connection, channel, [each.name])
    }


def _fill(
    look: Outlook,
    context: Context,
    costs: Costs,
    untold: Collection[tuple[str, str, str]],
    send: Any,
    decision: Decision,
    due: datetime,
) -> None:
    content = decode_content(send.content)
    used = content.template
    look.verdict, look.reason, look.detail = decision.verdict, decision.reason, decision.detail
    look.channel, look.address = send.channel, send.address
    look.at = max(due, decision.not_before or due, context.now)
    if decision.verdict == "defer" and look.at >= send.expires_at:
        look.verdict, look.detail = "block", f"{look.detail}; expires before it may go (expires_after)"
    if look.verdict == "allow" and used is not None and (send.channel, used.name, used.language) in untold:
        look.detail = "the provider has not told whether it has approved this template"
    shown = f"{used}\n{content.text}" if used is not None else content.text
    look.text, look.subject = shown.strip(), content.subject
    try:
        look.parts, cost = costs.of(send.channel, send.address, content)
    except TooLong as error:
        look.verdict, look.reason, look.detail = "block", "TOO_LONG", str(error)
        return
    look.cost = cost if look.verdict in _GOES else None


def _recipients(connection: Connection, made: Campaign, people: Sequence[int]) -> list[Any]:
    query = sa.select(recipient).where(recipient.c.campaign_id == made.id, recipient.c.customer_id.in_(people))
    return list(connection.execute(query.order_by(recipient.c.customer_id)))


def _sends(connection: Connection, messages: Sequence[int]) -> dict[int, Any]:
    """Deliveries by message, with address and content."""
    query = (
        sa.select(delivery, identity.c.address, message.c.content)
        .join(message, message.c.id == delivery.c.message_id)
        .join(identity, identity.c.id == delivery.c.identity_id)
        .where(delivery.c.message_id.in_(messages), delivery.c.kind == "contact")
    )
    return {row.message_id: row for row in connection.execute(query)}


def _names(connection: Connection, people: Sequence[int]) -> dict[int, Any]:
    query = sa.select(customer.c.id, customer.c.external_id, customer.c.name).where(customer.c.id.in_(people))
    return {row.id: row for row in connection.execute(query)}
