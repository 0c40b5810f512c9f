"""Addresses of people who were erased, as keyed hashes: enough to keep them out, too little to find them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.policy.address import keyed_hash
from hub.store.base import chunks
from hub.store.schema import tombstone

ERASED = "erased:"


@lru_cache(maxsize=4096)
def mark(address: str, secret: bytes) -> str:
    """What stands for an erased address, in hexadecimal."""
    return keyed_hash(address, hmac.new(secret, b"tombstones", hashlib.sha256).digest())


def name(subject: str, secret: bytes) -> str:
    """What the ledger calls an address, or a person, that was erased."""
    return ERASED + mark(subject, secret)


def bury(connection: Connection, secret: bytes, addresses: Iterable[str], now: datetime) -> None:
    for each in addresses:
        value = bytes.fromhex(mark(each, secret))
        connection.execute(sa.delete(tombstone).where(tombstone.c.hash == value))
        connection.execute(sa.insert(tombstone).values(hash=value, at=now))


def buried(connection: Connection, secret: bytes, addresses: Iterable[str]) -> dict[str, datetime]:
    """Which of these were erased, and when."""
    return {address: row.at for address, row in _found(connection, secret, addresses)}


def names(connection: Connection, secret: bytes, addresses: Iterable[str]) -> dict[str, str]:
    """What the ledger calls those of these that were erased."""
    return {address: ERASED + row.hash.hex() for address, row in _found(connection, secret, addresses)}


def _found(connection: Connection, secret: bytes, addresses: Iterable[str]) -> Iterator[tuple[str, Any]]:
    if connection.execute(sa.select(tombstone.c.hash).limit(1)).first() is None:
        return
    marks: dict[bytes, list[str]] = {}  # one address may be among them in several spellings
    for each in addresses:
        marks.setdefault(bytes.fromhex(mark(each, secret)), []).append(each)
    for some in chunks(marks):
        for row in connection.execute(sa.select(tombstone).where(tombstone.c.hash.in_(some))):
            for address in marks[row.hash]:
                yield address, row
