"""What others wrote to customers from our accounts: in the provider's own app, or with another program.

It is shown in the thread as ours, with what becomes of it, and is never sent. While a message of the hub's own is on
its way there, an echo may be of that one: it waits until that is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from hub import conversations, deliveries, identity, media, statuses
from hub.channels import Channel
from hub.context import Context
from hub.contract import ELSEWHERE, MessageEchoed
from hub.model import Author, AuthorKind, Content, Purpose
from hub.store.bulk import insert_many
from hub.store.schema import attempt, delivery, message, parked_reply, pending, receipt

_AUTHOR = Author(AuthorKind.agent, ELSEWHERE)
_PAUSE = timedelta(seconds=10)
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(MessageEchoed)


def show(connection: Connection, context: Context, found: Iterable[tuple[Channel, MessageEchoed, int]]) -> None:
    """Put echoes into their threads, once: (channel, echo, inbox row)."""
    for channel, echo, inbox_id in found:
        if _is_known(connection, channel, echo):
            continue
        parties = [echo.to, *echo.also]
        known = identity.find(connection, [str(each.address) for each in parties])
        if _may_be_ours(connection, channel, [each.id for each in known.values()]):
            _park(connection, context, channel, echo, inbox_id)
            continue
        to = next((known[name] for each in parties if (name := str(each.address)) in known), None)
        _write(connection, context, channel, echo, inbox_id, to or _new(connection, context, echo))
        statuses.joined(connection, context, channel.name, [echo.external_id])


def _is_known(connection: Connection, channel: Channel, echo: MessageEchoed) -> bool:
    query = sa.select(receipt.c.id).where(receipt.c.channel == channel.name, receipt.c.external_id == echo.external_id)
    return connection.execute(query).first() is not None


def _may_be_ours(connection: Connection, channel: Channel, identities: Sequence[int]) -> bool:
    """Whether something is on its way there whose id the provider has not told us."""
    going = pending(delivery), delivery.c.state != "queued"
    query = sa.select(delivery.c.id).where(
        delivery.c.channel == channel.name, *going, delivery.c.identity_id.in_(identities)
    )
    return connection.execute(query.limit(1)).first() is not None


def _new(connection: Connection, context: Context, echo: MessageEchoed) -> identity.Known:
    """Somebody who has never written."""
    person = identity.new_customer(context, echo.to.name)
    row = identity.new_identity(context, person["id"], echo.to)
    identity.insert(connection, [person], [row])
    return identity.Known(row["id"], row["address"], person["id"], echo.to.proof, echo.to.name)


def _write(
    connection: Connection, context: Context, channel: Channel, echo: MessageEchoed, inbox_id: int, to: identity.Known
) -> None:
    for each in (echo.to, *echo.also):
        identity.attach(connection, context, to.customer_id, each, f"{channel.name} names both as one person")
    customer_id = identity.find(connection, [to.address])[to.address].customer_id
    episodes = conversations.Episodes(connection, context, {customer_id})
    episode = episodes.for_ours(customer_id)
    content = Content(
        echo.text, echo.subject, attachments=echo.attachments, location=echo.location, unsupported=echo.unsupported
    )
    row = deliveries.message_row(context, episode.id, to.id, channel.name, _AUTHOR, Purpose.reply, content)
    row |= {"external_id": echo.external_id, "reply_to": echo.reply_to, "provider_at": echo.at, "inbox_id": inbox_id}
    if not _overtaken(connection, episode.id, echo):
        if episode.state == "open":
            episode.state, episode.waiting_since = "pending", None
        episode.last_at = context.now
        episodes.preview(episode, echo.text)
    episodes.save()
    insert_many(connection, message, [row])
    _sent(connection, context, channel, echo, row)
    media.expect(connection, context, channel.name, inbox_id, [(row["id"], echo.attachments)])
    deliveries.to_thread(connection, context, episode.id, row["id"])


def _overtaken(connection: Connection, conversation_id: int, echo: MessageEchoed) -> bool:
    """Whether the customer has written since."""
    later = sa.select(message.c.id).where(
        message.c.conversation_id == conversation_id, message.c.inbound.is_(True), message.c.provider_at > echo.at
    )
    return connection.execute(later.limit(1)).first() is not None


def _sent(
    connection: Connection, context: Context, channel: Channel, echo: MessageEchoed, said: dict[str, Any]
) -> None:
    """A delivery that is over, for the provider's receipts to find."""
    row = deliveries.delivery_row(context, said["conversation_id"], channel.name, "contact", Purpose.reply)
    row |= {"message_id": said["id"], "identity_id": said["identity_id"], "state": "sent", "part": 1}
    insert_many(connection, delivery, [row])
    told: dict[str, Any] = {"delivery_id": row["id"], "number": 1, "started_at": echo.at, "finished_at": echo.at}
    insert_many(connection, attempt, [told | {"outcome": "elsewhere"}])
    named = {"channel": channel.name, "external_id": echo.external_id, "delivery_id": row["id"], "part": 0}
    insert_many(connection, receipt, [named | {"state": "sent", "detail": "{}", "at": echo.at}])


# --- echoes that may be of our own messages ---


def _park(connection: Connection, context: Context, channel: Channel, echo: MessageEchoed, inbox_id: int) -> None:
    row = {"channel": channel.name, "thread": echo.external_id, "event": _encoder.encode(echo).decode()}
    insert_many(connection, parked_reply, [row | {"inbox_id": inbox_id, "at": context.now}])


def waits(connection: Connection, context: Context) -> bool:
    """Whether ``resume`` has anything to do."""
    return connection.execute(_due(context).limit(1)).first() is not None


def resume(connection: Connection, context: Context) -> None:
    """Show those that are not ours after all; what is still uncertain waits on."""
    rows = connection.execute(_due(context)).all()
    connection.execute(sa.delete(parked_reply).where(parked_reply.c.id.in_([row.id for row in rows])))
    found = [(context.channels[row.channel], _decoder.decode(row.event), row.inbox_id) for row in rows]
    show(connection, context, found)


def _due(context: Context) -> sa.Select[*tuple[Any, ...]]:
    names = [name for name, channel in context.channels.items() if channel.role == "contact"]
    waiting = parked_reply.c.channel.in_(names), parked_reply.c.at < context.now - _PAUSE
    return sa.select(parked_reply).where(*waiting).order_by(parked_reply.c.id)
