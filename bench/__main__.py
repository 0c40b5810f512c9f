"""``python -m bench``: measure the hub against bounds on this machine, in one run, and print ratios."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import uvloop

from bench import campaigns, parts
from bench.inbound import Inbound, Work
from bench.outbound import Outbound
from bench.processes import Database
from bench.report import Figure, as_json, machine, say, table
from hub.testing.postgres import new_database, postgres_url

AREAS = ("inbound", "outbound", "million", "campaigns", "parts")
MILLION = 1_000_000
CONNECTIONS = 256  # a burst; enough to keep the server busy while a commit waits for the disk


class Places:
    """Fresh databases, each in a directory of its own."""

    def __init__(self, stack: AsyncExitStack, base: Path, postgres: str | None) -> None:
        self._stack = stack
        self._base = base
        self._postgres = postgres
        self._count = 0

    async def make(self) -> list[Database]:
        """One of each kind that this machine has."""
        self._count += 1
        data = self._base / f"sqlite-{self._count}"
        found = [Database("SQLite", f"sqlite:///{data / 'hub.db'}", data)]
        if self._postgres:
            url = await self._stack.enter_async_context(new_database(self._postgres))
            found.append(Database("PostgreSQL", url, self._base / f"postgres-{self._count}"))
        return found


@asynccontextmanager
async def places() -> AsyncIterator[Places]:
    async with AsyncExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="omnihub-bench-")))
        server = None
        try:
            server = stack.enter_context(postgres_url(durable=True))
        except RuntimeError as error:
            say(f"PostgreSQL is left out: {error}")
        yield Places(stack, base, server)


async def measure(areas: list[str], quick: bool) -> list[Figure]:
    figures: list[Figure] = []
    rounds, count = (3, 3_000) if quick else (7, 10_000)
    if "parts" in areas:
        say("single steps")
        figures += parts.measure(rounds)
    if "inbound" in areas:
        async with places() as made:
            works: list[Work] = ["burst", "sustained"]
            hubs = [(each, work, 0) for work in works for each in await made.make()]
            hubs += [(each, "apart", 0) for each in await made.make() if each.name == "PostgreSQL"]
            figures += await Inbound(rounds, count, CONNECTIONS).measure(hubs)
    if "outbound" in areas:
        async with places() as made:
            figures += await Outbound(rounds, count // 4).measure(await made.make())
    if "million" in areas:
        async with places() as made:
            large: list[tuple[Database, Work, int]] = [
                (each, "sustained", stored) for stored in (0, MILLION) for each in await made.make()
            ]
            figures += await Inbound(rounds, count, CONNECTIONS).measure(large)
    if "campaigns" in areas:
        async with places() as made:
            for people in (MILLION // 10,) if quick else (MILLION // 10, MILLION):
                figures += await campaigns.plan(await made.make(), people)
            figures += await campaigns.pace(await made.make(), *((1_000, 100.0) if quick else (100_000, 700.0)))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few and short rounds; the million messages only if named")
    parser.add_argument("--only", action="append", choices=AREAS, help="this area; may be given several times")
    parser.add_argument("--json", action="store_true", help="figures as JSON on standard output")
    given = parser.parse_args()
    areas = given.only or [area for area in AREAS if not (given.quick and area == "million")]
    where = machine()
    figures = uvloop.run(measure(areas, given.quick))
    print(json.dumps(as_json(figures, where), indent=2) if given.json else table(figures, where))


if __name__ == "__main__":
    main()
