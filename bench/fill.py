"""Databases with a past: customers, their conversations and messages, written by the database itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlalchemy import Connection

from bench.processes import Database
from bench.traffic import FIRST_PHONE
from hub.clock import id_floor
from hub.store import open_store
from hub.store.schema import micros

_BODY = "Could you tell me when my order arrives? Thank you very much for looking, the number is "
_CONTENT = '\'{"text":"' + _BODY + "' || i || '\"}'"
_SERIES = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :count) "

# Ids are spread over the past year by time, as real ones are: base + i × step.
_CUSTOMERS = (
    """
    INSERT INTO customer (id, name, attributes, created_at)
    SELECT :base + i * :step, 'Customer ' || i, '{}', :at FROM n""",
    """
    INSERT INTO identity (id, address, customer_id, proof, created_at)
    SELECT :base + i * :step + 1, 'tel:+1202' || (:phone + i), :base + i * :step, 'provider', :at FROM n""",
    """
    INSERT INTO conversation (id, customer_id, state, priority, labels, opened_at, last_at, reply_channel,
        reply_identity, preview)
    SELECT :base + i * :step + 2, :base + i * :step, 'open', 0, '[]', :at, :now, 'sms', :base + i * :step + 1, ''
    FROM n""",
)
_MESSAGES = (
    f"""
    INSERT INTO message (id, conversation_id, identity_id, channel, inbound, author_kind, author_name, purpose,
        content, external_id, proof, automatic, provider_at, recorded_at)
    SELECT :base + i * :step + 3, :base + (i % :customers) * :wide + 2, :base + (i % :customers) * :wide + 1, 'sms',
        true, 'customer', '+1202', 'reply', {_CONTENT}, 'SM' || i, 'provider', false, :at, :at FROM n""",
    """
    INSERT INTO inbox (channel, method, url, headers, body, received_at)
    SELECT 'sms', 'POST', 'https://hub.example.com/hooks/sms', '{}', {blob}, :at FROM n""",
)
_EVENTS = {
    "sqlite": """
    INSERT INTO event (key, message_id)
    SELECT * FROM (SELECT randomblob(16) AS key, :base + i * :step + 3 AS message_id FROM n) ORDER BY 1""",
    "postgresql": """
    INSERT INTO event (key, message_id)
    SELECT * FROM (SELECT decode(md5(i::text), 'hex') AS key, :base + i * :step + 3 AS message_id FROM n)
    AS made ORDER BY 1""",
}
_BLOB = {
    "sqlite": f"CAST('{_BODY * 6}' || i AS BLOB)",
    "postgresql": f"convert_to('{_BODY * 6}' || i, 'UTF8')",
}


async def fill(database: Database, *, customers: int, messages: int) -> None:
    """Migrate, then write ``messages`` inbound SMS of ``customers`` people, all projected already."""
    store = await open_store(database.url)
    try:
        await store.migrate()
        await store.write(lambda connection: _write(connection, customers, messages))
    finally:
        await store.close()
    if database.url.startswith("postgresql"):
        await _vacuum(database.url)


async def _vacuum(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def _write(connection: Connection, customers: int, messages: int) -> None:
    now = datetime.now(UTC)
    year_ago = now - timedelta(days=365)
    base, top = id_floor(year_ago), id_floor(now - timedelta(days=1))
    values: dict[str, Any] = {
        "base": base,
        "at": micros(now - timedelta(days=1)),
        "now": micros(now),
        "phone": FIRST_PHONE,
        "customers": customers,
        "wide": (top - base) // customers,
    }
    people = values | {"count": customers, "step": values["wide"]}
    written = values | {"count": messages, "step": (top - base) // messages}
    dialect = connection.dialect.name
    for statement in _CUSTOMERS:
        _insert(connection, statement, people)
    for statement in (*_MESSAGES, _EVENTS[dialect]):
        _insert(connection, statement.replace("{blob}", _BLOB[dialect]), written)
    position = connection.execute(sa.text("SELECT max(id) FROM inbox")).scalar_one()
    connection.execute(
        sa.text("INSERT INTO cursor (name, value) VALUES ('inbox', :position)"), {"position": str(position)}
    )


def _insert(connection: Connection, statement: str, values: dict[str, Any]) -> None:
    head, _, body = statement.strip().partition("\n")
    if head.endswith(","):  # the column list goes on
        more, _, body = body.partition("\n")
        head += more
    text = sa.text(f"{head}\n{_SERIES}{body}")
    used = {name: values[name] for name in text.compile().params}
    typed = [sa.bindparam(name, type_=sa.BigInteger) for name in used]
    connection.execute(text.bindparams(*typed), used)
