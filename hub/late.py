"""An agent's answer after the channel's window has closed: it waits for the customer, and the agent is told so."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hub import approvals, conversations, deliveries, desk
from hub.channels import Channel
from hub.context import Context
from hub.model import AuthorKind, Purpose, decode_content, readable
from hub.policy import pack
from hub.store.schema import delivery, message

_SHOWN = 8  # templates that are named


def hold(connection: Connection, context: Context, channel: Channel, row: Any, detail: str) -> dict[str, Any] | None:
    """New values of the delivery (``row``: its row or job); None if it is nothing to be held."""
    hours = pack.default().hold_answers_h
    query = sa.select(message.c.author_kind, message.c.content).where(message.c.id == row.message_id)
    said = connection.execute(query).first()
    if hours <= 0 or row.purpose != Purpose.reply or said is None or said.author_kind != AuthorKind.agent:
        return None
    if decode_content(said.content).template is not None:
        return None
    until = context.now + timedelta(hours=hours)
    connection.execute(sa.update(delivery).where(delivery.c.id == row.id).values(expires_at=until))
    deliveries.mark(connection, context, [(row.message_id, "queued", None)])
    words = f"Held until they write again, at most until {readable(until)}: {detail} ({deliveries.HELD})."
    ways = _ways_out(connection, context, channel, row.conversation_id)
    deliveries.notify_desk(connection, context, row.conversation_id, f"{words} {ways}".rstrip())
    return {"state": "queued", "due_at": until, "reason": f"{deliveries.HELD}: {detail}", "code": deliveries.HELD}


def _ways_out(connection: Connection, context: Context, channel: Channel, conversation_id: int) -> str:
    """What else the agent may do."""
    ways = []
    rules = pack.default().channel(channel.medium)
    if channel.capabilities.templates and Purpose.reply in rules.template_for:
        allowed = rules.templates.get(str(Purpose.reply), ())
        known = [f"{row.name} {row.language}" for row in approvals.usable(connection, channel.name, allowed)]
        named = f" (approved: {', '.join(known[:_SHOWN])}{', …' if len(known) > _SHOWN else ''})" if known else ""
        ways.append(f"!template NAME [LANG] [key=value …]{named}")
    episode = conversations.get(connection, conversation_id)
    assert episode is not None
    ways += [
        f"!via {name} TEXT"
        for name in context.channels
        if name != channel.name and desk.reach(connection, context, episode, name) is not None
    ]
    return f"Or send: {'; '.join(ways)}." if ways else ""
