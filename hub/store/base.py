"""What the hub asks of a database. Domain functions are plain ``fn(connection)`` and run inside one transaction."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection

T = TypeVar("T")


@dataclass(slots=True)
class InboxRow:
    channel: str
    method: str
    url: str
    headers: str  # JSON object
    body: bytes
    received_at: datetime
    id: int = 0


class StoreFull(Exception):
    """The disk or the quota is full: nothing was written."""


class Overtaken(Exception):
    """Another transaction removed what this one builds on: ``Store.write`` runs its work again."""


_STORE = (StoreFull, OSError, sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)
# PostgreSQL's classes: a row twice in a statement, bad values, constraints, statements, limits, triggers' own errors.
_OF_DATA = ("21", "22", "23", "42", "54", "P0")
_NO_RIGHT = "42501"


def is_store_failure(error: BaseException) -> bool:
    """Whether the database failed, and not what it was given: full, busy, unreachable, stopping, unable to write."""
    if isinstance(error, _STORE) or (isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated):
        return True
    state = getattr(getattr(error, "orig", error), "sqlstate", None)
    return state is not None and (not state.startswith(_OF_DATA) or state == _NO_RIGHT)


class Ownership(ABC):
    """``async with``: waits until this process owns the name; the body is cancelled if ownership is lost."""

    @abstractmethod
    async def __aenter__(self) -> None: ...

    @abstractmethod
    async def __aexit__(self, *error: object) -> None: ...


class Store(ABC):
    """One database. Reads and writes are transactions; a write has committed when its await returns."""

    dialect: Literal["sqlite", "postgresql"]
    node: int  # which process this is among those sharing the database, 0 to 31
    on_node: Callable[[int], None] | None = None  # told if it had to become another one

    @abstractmethod
    async def write(self, work: Callable[[Connection], T], *, alone: bool = False) -> T:
        """Run ``work`` in a transaction of its own and commit. Any exception rolls back.

        ``work`` runs again if another process's transaction got in its way, so it has no effect but on the database.
        ``alone``: on PostgreSQL it is one statement, which is a transaction by itself and saves two round trips.
        """

    @abstractmethod
    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` on a consistent snapshot."""

    @abstractmethod
    def append(self, row: InboxRow | None) -> asyncio.Future[None]:
        """Add to the inbox together with whatever else waits; done when it is on stable storage.

        Fails with TimeoutError if that takes 2.5 seconds; it may be added all the same. None: only whether it could be.
        """

    @abstractmethod
    def own(self, name: str) -> Ownership:
        """Ownership of ``name`` by one process at a time: ``async with store.own("lane:sms"): …`` waits for it."""

    @abstractmethod
    def publish(self, topic: str) -> None:
        """Tell every process that ``topic`` has news. A hint: it may be lost."""

    @abstractmethod
    async def migrate(self) -> tuple[str | None, str]:
        """Bring the schema to this version. Returns the revision before and after."""

    @abstractmethod
    async def revision(self) -> str | None:
        """The schema's revision, None for an empty database."""

    @abstractmethod
    async def close(self) -> None: ...


def holds(connection: Connection, column: sa.Column[Any], words: Iterable[str]) -> sa.ColumnElement[bool]:
    """Whether a column of bytes has one of these words in it."""
    wanted = [sa.literal(each.encode()) for each in dict.fromkeys(words)]
    if connection.dialect.name == "sqlite":
        return sa.or_(*(sa.func.instr(column, each) > 0 for each in wanted))
    return sa.or_(*(sa.func.position(each.op("IN")(column)) > 0 for each in wanted))


def chunks(values: Iterable[T], size: int = 512) -> Iterable[list[T]]:
    """Pieces for an IN list on either database.

    The last value is repeated up to a power of two: each length is a statement of its own that PostgreSQL prepares.
    """
    piece: list[T] = []
    for value in values:
        piece.append(value)
        if len(piece) == size:
            yield piece
            piece = []
    if piece:
        yield piece + piece[-1:] * ((1 << (len(piece) - 1).bit_length()) - len(piece))

