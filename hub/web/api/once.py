"""Effects of a request: one transaction, and with an Idempotency-Key one effect however often it is sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from hub.context import Context
from hub.store.schema import idempotency
from hub.web.api.problem import Problem
from hub.web.api.route import Answer, Call

KEPT = timedelta(days=7)  # how long a key is remembered
_RESERVED = 0  # the status of a key whose transaction is still going on


async def once(call: Call, work: Callable[[Connection, Context], Answer]) -> Answer:
    """One transaction of the domain; a key that had its effect before gives its first answer again.

    Raises: Problem 422.
    """
    key = call.key
    if key is None:
        return await call.hub.write(work)

    def kept(connection: Connection, context: Context) -> Answer:
        known = _reserve(connection, context, call, key)
        if known is not None:
            return known
        answer = work(connection, context)
        stored = json.dumps({"location": answer.location, "body": answer.body})
        connection.execute(_of(call, key).values(status=answer.status, body=stored))
        return answer

    return await call.hub.write(kept)


def _of(call: Call, key: str) -> sa.Update:
    return sa.update(idempotency).where(idempotency.c.owner == call.caller.id, idempotency.c.key == key)


def _reserve(connection: Connection, context: Context, call: Call, key: str) -> Answer | None:
    """None: the key is new and now ours until the commit. A transaction that holds it already is waited for."""
    values = {
        "owner": call.caller.id, "key": key, "fingerprint": call.fingerprint, "status": _RESERVED, "body": "",
        "at": context.now,
    }
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    if connection.execute(insert(idempotency).values(values).on_conflict_do_nothing()).rowcount:
        return None
    query = sa.select(idempotency).where(idempotency.c.owner == call.caller.id, idempotency.c.key == key)
    row = connection.execute(query).one()
    if bytes(row.fingerprint) != call.fingerprint:
        detail = "this Idempotency-Key was used for another request; take a new key for every new request"
        raise Problem(422, "idempotency_key_reused", detail)
    stored = json.loads(row.body)
    return Answer(stored["body"], row.status, stored["location"])


def forget(connection: Connection, context: Context) -> int:
    """Drop keys that are older than we promise to remember them. Returns how many."""
    return connection.execute(sa.delete(idempotency).where(idempotency.c.at < context.now - KEPT)).rowcount
