"""Addresses of people who were erased, as keyed hashes: enough to keep them out, too little to find them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.policy.address import keyed_hash
from hub.store.base import chunks
from hub.store.schema import tombstone


def mark(address: str, secret: bytes) -> str:
    """What stands for an erased address, in hexadecimal."""
    return keyed_hash(address, hmac.new(secret, b"tombstones", hashlib.sha256).digest())


def bury(connection: Connection, secret: bytes, addresses: Iterable[str], now: datetime) -> None:
    for each in addresses:
        value = bytes.fromhex(mark(each, secret))
        connection.execute(sa.delete(tombstone).where(tombstone.c.hash == value))
        connection.execute(sa.insert(tombstone).values(hash=value, at=now))


def buried(connection: Connection, secret: bytes, addresses: Iterable[str]) -> dict[str, datetime]:
    """Which of these were erased, and when."""
    if connection.execute(sa.select(tombstone.c.hash).limit(1)).first() is None:
        return {}
    marks = {bytes.fromhex(mark(each, secret)): each for each in addresses}
    found: dict[str, datetime] = {}
    for some in chunks(marks):
        query = sa.select(tombstone).where(tombstone.c.hash.in_(some))
        found.update((marks[row.hash], row.at) for row in connection.execute(query))
    return found
