"""What a message answers or is about: found by the provider's id that it names, and shown in a line."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import Connection

from hub import identity
from hub.deliveries import OURS
from hub.model import Content, decode_content, is_public_id, private_id
from hub.store.base import chunks
from hub.store.bulk import SOME, among
from hub.store.schema import conversation, customer, delivery, event, message, receipt

_LENGTH = 100  # characters of what is quoted
_PERSON = sa.func.coalesce(customer.c.merged_into, customer.c.id)
_WRITTEN = (
    sa.select(message.c.id, message.c.author_name, message.c.content, _PERSON)
    .join(conversation, conversation.c.id == message.c.conversation_id)
    .join(customer, customer.c.id == conversation.c.customer_id)
    .where(message.c.id.in_(SOME))
)
_OWNERS = (
    sa.select(conversation.c.id, _PERSON)
    .join(customer, customer.c.id == conversation.c.customer_id)
    .where(conversation.c.id.in_(SOME))
)
Named = tuple[str, str]  # a channel, and what its provider calls a message there
Reply = tuple[int, int, str, str | None]  # ids of a message and its conversation, channel, what it names there


def digest(*parts: str) -> bytes:
    """Key of an event."""
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=16).digest()


def message_key(channel: str, external_id: str) -> bytes:
    return digest(channel, "message", external_id)


def deletion_key(channel: str, external_id: str) -> bytes:
    return digest(channel, "delete", external_id)


def find_message(connection: Connection, channel: str, external_id: str) -> int | None:
    """The message somebody wrote under this provider id, or the one we sent under it."""
    return find_messages(connection, [(channel, external_id)]).get((channel, external_id))


def find_messages(connection: Connection, named: Iterable[Named]) -> dict[Named, int]:
    """``find_message`` for many; what is not known is left out."""
    keys = {message_key(*each): each for each in named}
    found: dict[Named, int] = {}
    for some in chunks(keys):
        query = sa.select(event.c.key, event.c.message_id).where(event.c.key.in_(some), event.c.message_id.is_not(None))
        found.update((keys[row.key], row.message_id) for row in connection.execute(query))
    sent: defaultdict[str, set[str]] = defaultdict(set)
    for channel, external_id in keys.values():
        if (channel, external_id) not in found:
            sent[channel].add(external_id)
    for channel, names in sent.items():
        for some_ in chunks(names):
            its = (
                sa.select(receipt.c.external_id, delivery.c.message_id)
                .join(delivery, delivery.c.id == receipt.c.delivery_id)
                .where(receipt.c.channel == channel, receipt.c.external_id.in_(some_))
            )
            found.update(((channel, row[0]), row[1]) for row in connection.execute(its) if row[1] is not None)
    return found


def targets(connection: Connection, said: Iterable[Reply]) -> dict[int, tuple[int, str]]:
    """By id of a message, which other it answers or is about, and a line of that: ``Zoe: Which order?``.

    Who names a message of somebody else's names nothing.
    """
    said = [each for each in said if each[3]]
    if not said:
        return {}
    known = find_messages(connection, [(channel, name) for _, _, channel, name in said if channel != OURS and name])
    about = {
        number: _of_ours(name) if channel == OURS else known.get((channel, name or ""))
        for number, _, channel, name in said
    }
    places = {place for _, place, _, _ in said}
    owners: dict[int, int] = {row[0]: row[1] for row in among(connection, _OWNERS, places)}
    written = {row[0]: row for row in among(connection, _WRITTEN, {each for each in about.values() if each})}
    found: dict[int, tuple[int, str]] = {}
    for number, place, _, _ in said:
        row = written.get(about[number] or 0)
        if row is not None and row[3] == owners.get(place):
            found[number] = row[0], f"{row[1]}: {_line(decode_content(row[2]))}"
    return found


def quoting(connection: Connection, message_id: int) -> list[int]:
    """Messages of the same person that answer this one or are about it."""
    its = sa.select(conversation.c.customer_id).join(message, message.c.conversation_id == conversation.c.id)
    owner = connection.execute(its.where(message.c.id == message_id)).scalar_one_or_none()
    if owner is None:
        return []
    theirs = sa.select(conversation.c.id).where(conversation.c.customer_id.in_(identity.family(connection, owner)))
    columns = message.c.id, message.c.conversation_id, message.c.channel, message.c.reply_to
    replies = sa.select(*columns).where(message.c.conversation_id.in_(theirs), message.c.reply_to.is_not(None))
    found = targets(connection, [(row[0], row[1], row[2], row[3]) for row in connection.execute(replies)])
    return sorted(number for number, (target, _) in found.items() if target == message_id)


def _of_ours(name: str | None) -> int | None:
    """The hub's own messages name others by our ids."""
    return private_id("message", name) if name and is_public_id("message", name) else None


def _line(content: Content) -> str:
    words = content.text or (content.selection.title if content.selection else "") or content.subject or ""
    if not words and content.template:
        words = str(content.template)
    if not words and content.unsupported:
        words = f"[{content.unsupported}]"
    if not words and content.location:
        words = f"[{content.location.name or 'location'}]"
    words = words or ", ".join(f"[{each.name or each.kind}]" for each in content.attachments)
    line = " ".join(words.split())
    return line if len(line) <= _LENGTH else f"{line[: _LENGTH - 1]}…"
