"""Looks into the hub's database from outside: how far has it come?"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from bench.processes import Database

_LOOK = 0.02  # seconds between two looks
_PATIENCE = 30.0  # seconds without any progress


class Watch:
    """One connection. Queries give one number."""

    def __init__(self, sqlite: sqlite3.Connection | None, postgres: Any) -> None:
        self._sqlite = sqlite
        self._postgres = postgres

    async def number(self, query: str) -> int:
        if self._sqlite is not None:
            row = self._sqlite.execute(query).fetchone()
            return int(row[0] or 0) if row else 0
        return int(await self._postgres.fetchval(query) or 0)

    async def execute(self, statements: Sequence[str]) -> None:
        """In one transaction."""
        if self._sqlite is not None:
            with self._sqlite:
                self._sqlite.execute("BEGIN IMMEDIATE")
                for statement in statements:
                    self._sqlite.execute(statement)
            return
        async with self._postgres.transaction():
            for statement in statements:
                await self._postgres.execute(statement)

    async def until(self, query: str, wanted: int) -> float:
        """``time.perf_counter()`` of when the number has become ``wanted`` or more. Raises: RuntimeError."""
        best: int | None = None
        moved = time.perf_counter()
        while True:
            found = await self.number(query)
            now = time.perf_counter()
            if found >= wanted:
                return now
            if best is None or found > best:
                best, moved = found, now
            elif now - moved > _PATIENCE:
                raise RuntimeError(f"no progress at {found} of {wanted}: {query}")
            await asyncio.sleep(_LOOK)


@asynccontextmanager
async def watching(database: Database) -> AsyncIterator[Watch]:
    if database.url.startswith("sqlite"):
        connection = sqlite3.connect(database.data / "hub.db", timeout=30, isolation_level=None)
        try:
            yield Watch(connection, None)
        finally:
            connection.close()
        return
    remote = await asyncpg.connect(database.url)
    try:
        yield Watch(None, remote)
    finally:
        await remote.close()
