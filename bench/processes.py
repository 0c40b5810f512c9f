"""Servers and clients that are measured, as processes of their own."""

from __future__ import annotations

import asyncio
import os
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


@dataclass(frozen=True, slots=True)
class Served:
    """A running ``bench.server``."""

    port: int
    process: int

    def cpu(self) -> float:
        """Seconds of processor time it has used; 0 where the system does not tell."""
        try:
            # after the name, which may hold blanks: state is the 3rd field, user and system time the 14th and 15th
            fields = Path(f"/proc/{self.process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def served(kind: str, *arguments: str) -> AsyncIterator[Served]:
    """Raises: RuntimeError if it does not start."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.server", kind, *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_START):
            line = await process.stdout.readline()
        if not line.strip():
            raise RuntimeError(f"{kind} did not start; see what it wrote above")
        yield Served(int(line), process.pid)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def hub_arguments(database: Database, roles: str, sink: int = 9) -> list[str]:
    return ["--data", str(database.data), "--database", database.url, "--roles", roles, "--sink", str(sink)]


async def told(kind: str, *arguments: str) -> float:
    """The number that a ``bench.server`` says when it is done. Raises: RuntimeError if it fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.server", kind, *arguments, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    if process.returncode or not said.strip():
        raise RuntimeError(f"{kind} failed; see what it wrote above")
    return float(said)
