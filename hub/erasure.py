"""Erasing a person: everything the hub has of them goes, but for a keyed hash of each address that keeps them out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, quote_plus

import sqlalchemy as sa
from sqlalchemy import Connection

from hub import consent, identity, tombstones
from hub.context import Context
from hub.policy.address import spellings
from hub.policy.ledger import Event
from hub.store import schema
from hub.store.base import chunks, holds

_SHORT = 6  # characters; a shorter address would be found in everybody's data
_CURSOR = "inbox"


def erase(connection: Connection, context: Context, customer_id: int) -> tuple[list[str], list[str]]:
    """Forget a customer and all that were merged into it. Returns their addresses, and the files to be removed."""
    people = identity.family(connection, customer_id)
    people += identity.nobodys(connection, people)
    # Whoever is writing to or for them comes first, and then nobody does: see conversations.hold.
    connection.execute(sa.select(schema.customer.c.id).where(schema.customer.c.id.in_(people)).with_for_update())
    identities = _column(connection, schema.identity.c.id, schema.identity.c.customer_id, people)
    addresses = [str(each) for each in _column(connection, schema.identity.c.address, schema.identity.c.id, identities)]
    conversations = _column(connection, schema.conversation.c.id, schema.conversation.c.customer_id, people)
    messages = _column(connection, schema.message.c.id, schema.message.c.conversation_id, conversations)
    deliveries = _column(connection, schema.delivery.c.id, schema.delivery.c.conversation_id, conversations)
    files = _files(connection, messages)
    written = [name for each in addresses for name in spellings(each)]
    for column, ids in (
        (schema.attempt.c.delivery_id, deliveries),
        (schema.receipt.c.delivery_id, deliveries),
        (schema.decision.c.delivery_id, deliveries),
        (schema.delivery.c.id, deliveries),
        (schema.amendment.c.message_id, messages),
        (schema.media.c.message_id, messages),
        (schema.message.c.id, messages),
        (schema.desk_thread.c.conversation_id, conversations),
        (schema.conversation.c.id, conversations),
        (schema.recipient.c.customer_id, people),
        (schema.customer_event.c.customer_id, people),
        (schema.suppression.c.address, written),
        (schema.soft_failure.c.address, written),
        (schema.link.c.from_customer, people),
        (schema.link.c.to_customer, people),
        (schema.identity.c.id, identities),
    ):
        _delete(connection, column, ids)
    connection.execute(sa.update(schema.customer).where(schema.customer.c.id.in_(people)).values(merged_into=None))
    _delete(connection, schema.customer.c.id, people)
    _sweep(connection, written)
    persons = [consent.person(each) for each in people]
    _hand_down(connection, context, persons, addresses)
    _forget_entries(connection, context, [*addresses, *persons])
    tombstones.bury(connection, context.secret, addresses, context.now)
    return addresses, files


def _column(connection: Connection, wanted: sa.Column[Any], by: sa.Column[Any], ids: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for some in chunks(ids):
        found += connection.execute(sa.select(wanted).where(by.in_(some))).scalars()
    return found


def _delete(connection: Connection, column: sa.Column[Any], ids: Iterable[Any]) -> None:
    for some in chunks(ids):
        connection.execute(sa.delete(column.table).where(column.in_(some)))


def _files(connection: Connection, messages: Sequence[int]) -> list[str]:
    """Hashes of files that nobody else has been sent."""
    media = schema.media
    theirs = {each for each in _column(connection, media.c.sha256, media.c.message_id, messages) if each}
    others = sa.select(media.c.sha256, media.c.message_id).where(media.c.sha256.in_(theirs))
    mine = set(messages)
    shared = {row.sha256 for row in connection.execute(others) if row.message_id not in mine}
    return sorted(theirs - shared)


# --- where an address may stand besides ---


def _sweep(connection: Connection, addresses: Iterable[str]) -> None:
    """Deliveries as they came, what waits for its place, alerts, answers that were kept for a repeated request."""
    done = connection.execute(sa.select(schema.cursor.c.value).where(schema.cursor.c.name == _CURSOR)).scalar()
    for needle in sorted({word for each in addresses for word in _spellings(each)}):
        seen = sa.and_(schema.inbox.c.id <= int(done or 0), _holds(connection, schema.inbox, needle))
        rows = connection.execute(sa.select(schema.inbox.c.id).where(seen)).scalars().all()
        _delete(connection, schema.quarantine.c.inbox_id, rows)
        _delete(connection, schema.inbox.c.id, rows)
        parked = schema.parked_status, schema.parked_reply, schema.parked_amendment
        for table in (schema.alert, schema.idempotency, *parked, schema.link):
            connection.execute(sa.delete(table).where(_holds(connection, table, needle)))


def _spellings(address: str) -> list[str]:
    """How an address stands in what providers and programs send."""
    value = address.partition(":")[2]
    bare = value.removeprefix("+")
    return [each for each in dict.fromkeys((bare, quote(bare), quote_plus(bare))) if len(each) >= _SHORT]


def _holds(connection: Connection, table: sa.Table, needle: str) -> sa.ColumnElement[bool]:
    """Some text of the row has it, in whichever case."""
    parts: list[sa.ColumnElement[bool]] = []
    for column in table.columns:
        if isinstance(column.type, sa.Text):
            parts.append(sa.func.lower(column).contains(needle.lower(), autoescape=True))
        elif isinstance(column.type, sa.LargeBinary) and column.name == "body":
            parts.append(holds(connection, column, (needle, needle.lower())))
    return sa.or_(*parts)


# --- the ledger ---


def _hand_down(connection: Connection, context: Context, persons: Sequence[str], addresses: Iterable[str]) -> None:
    """What the person refused everywhere is known by their addresses from here on: they are all that is recognised."""
    for some in consent.events(connection, persons).values():
        for each in some:
            for address in addresses if each.type in consent.REFUSALS else ():
                entry = replace(each, subject=tombstones.name(address, context.secret), evidence={})
                consent.append(connection, entry, change="opt_out", channel=None, source="api", now=context.now)


def _forget_entries(connection: Connection, context: Context, subjects: Sequence[str]) -> None:
    """Entries stay, of nobody whose hash is not known. The entry that says so names them, so that nothing else can be
    changed unseen."""
    for subject in subjects:
        table, name = schema.consent_event, tombstones.name(subject, context.secret)
        ids = _column(connection, table.c.id, table.c.address, spellings(subject))
        connection.execute(
            sa.update(table).where(table.c.id.in_(ids)).values(address=name, evidence="{}", channel=None, key=None)
        )
        entry = Event("erase", context.now, name, "subject", evidence={"entries": ids}, source="api")
        consent.append(connection, entry, change="erased", channel=None, source="api", now=context.now)
