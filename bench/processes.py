"""Servers and clients that are measured, as processes of their own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

_START = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Database:
    """``url``: of PostgreSQL, or of a SQLite file in ``data``."""

    name: str  # "SQLite", "PostgreSQL"
    url: str
    data: Path  # the hub's directory


@asynccontextmanager
async def served(kind: str, *arguments: str) -> AsyncIterator[int]:
    """A running ``bench.server``; gives its port. Raises: RuntimeError if it does not start."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.server", kind, *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_START):
            line = await process.stdout.readline()
        if not line.strip():
            raise RuntimeError(f"{kind} did not start; see what it wrote above")
        yield int(line)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def hub_arguments(database: Database, roles: str, sink: int = 9) -> list[str]:
    return ["--data", str(database.data), "--database", database.url, "--roles", roles, "--sink", str(sink)]
