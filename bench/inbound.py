"""Webhooks: how fast they are safe, how fast they are in conversations, how long the answer takes."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Literal

from bench.fill import fill
from bench.load import Result, drive
from bench.processes import Database, Served, hub_arguments, served
from bench.report import Figure, of_rounds, say
from bench.traffic import PHONES, webhooks
from bench.watch import Watch, watching

# Take webhooks in; and turn them into conversations; the same in two processes, which PostgreSQL allows.
Work = Literal["burst", "sustained", "apart"]
_ROLES: dict[Work, list[str]] = {"burst": ["web"], "sustained": ["web,inbound"], "apart": ["web", "inbound"]}
BURST, SUSTAINED = 0.8, 0.5  # of what a bare handler answers
FULL_LOSS = 0.8  # of the rate on a small database that must be left on a large one
_SMALL = 10_000  # messages that are there before
_LAST = "SELECT max(id) FROM inbox"
_POSITION = "SELECT CAST(value AS BIGINT) FROM cursor WHERE name = 'inbox'"
_MESSAGES = "SELECT count(*) FROM message WHERE conversation_id IN (SELECT id FROM conversation) AND id > {after}"


@dataclass(slots=True)
class Hub:
    """A hub under test. ``projects``: it also turns the inbox into conversations. ``servers``: the first takes
    webhooks."""

    database: Database
    label: str  # "SQLite", "SQLite, 1 000 000 stored"
    projects: bool
    customers: int
    servers: list[Served]
    watch: Watch
    rates: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)  # of the server for one webhook, × bare
    halves: list[Result] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.servers[0].port

    def used(self) -> float:
        """Seconds of processor time."""
        return sum(server.cpu() for server in self.servers)


class Inbound:
    """Rounds in which the bare handler and every hub take the same number of webhooks, one after the other."""

    def __init__(self, rounds: int, count: int, connections: int) -> None:
        self._rounds = rounds
        self._count = count
        self._connections = connections
        self._seed = 0

    async def measure(self, databases: Iterable[tuple[Database, Work, int]]) -> list[Figure]:
        """``databases``: each with what its hub does, and how many messages it holds (0: few)."""
        async with AsyncExitStack() as stack:
            bare = await stack.enter_async_context(served("bare"))
            hubs = [await _start(stack, *each) for each in databases]
            await self._drive(bare.port, 500)
            for hub in hubs:
                await self._round(hub, 500)
            bounds = []
            for number in range(self._rounds):
                used = bare.cpu()
                bound = (await self._drive(bare.port, self._count)).rate
                used = bare.cpu() - used
                bounds.append(bound)
                for hub in hubs:
                    before = hub.used()
                    rate = await self._round(hub, self._count)
                    hub.rates.append(rate)
                    hub.ratios.append(rate / bound)
                    hub.cpu.append((hub.used() - before) / used if used else 0.0)
                say(_progress(number, self._rounds, bound, hubs))
            bare_half = await self._half(bare.port, statistics.median(bounds), hubs[0].customers)
            for hub in hubs:
                hub.halves.append(await self._half(hub.port, statistics.median(hub.rates), hub.customers))
        return [*_rates(hubs), *_latencies(hubs, bare_half), *_losses(hubs)]

    async def _drive(self, port: int, count: int, *, customers: int = PHONES, rate: float | None = None) -> Result:
        self._seed += 1
        requests = webhooks(count, seed=self._seed, customers=customers)
        result = await drive(port, requests, connections=self._connections, rate=rate)
        if result.refused:
            raise RuntimeError(f"{result.refused} of {count} webhooks were refused")
        return result

    async def _round(self, hub: Hub, count: int) -> float:
        """Webhooks per second: acknowledged, or where the hub projects, in conversations."""
        before = await hub.watch.number(_LAST)
        result = await self._drive(hub.port, count, customers=hub.customers)
        if await hub.watch.number(_LAST) != before + count:
            raise RuntimeError(f"{hub.label}: not every acknowledged webhook is in the inbox")
        if not hub.projects:
            return result.rate
        done = await hub.watch.until(_POSITION, before + count)
        return count / (done - result.started)

    async def _half(self, port: int, rate: float, customers: int) -> Result:
        return await self._drive(port, min(self._count, int(rate)), customers=customers, rate=rate / 2)


async def _start(stack: AsyncExitStack, database: Database, work: Work, stored: int) -> Hub:
    label = f"{database.name}, {stored:,} stored".replace(",", " ").replace("  ", ", ") if stored else database.name
    customers = max(PHONES, stored // 10)
    say(f"filling {label}: {stored or _SMALL:,} messages of {customers:,} customers")
    await fill(database, customers=customers, messages=stored or _SMALL)
    start = stack.enter_async_context
    servers = [await start(served("hub", *hub_arguments(database, roles))) for roles in _ROLES[work]]
    watch = await stack.enter_async_context(watching(database))
    if work == "apart":
        label += ", a process for each"
    return Hub(database, label, work != "burst", customers, servers, watch)


def _progress(number: int, rounds: int, bound: float, hubs: list[Hub]) -> str:
    words = [f"{hub.label} {'sustained' if hub.projects else 'burst'} {hub.ratios[-1]:.2f}" for hub in hubs]
    return f"inbound {number + 1}/{rounds}: bare {bound:.0f}/s; " + "; ".join(words)


def _rates(hubs: list[Hub]) -> list[Figure]:
    return [
        of_rounds(
            "inbound webhooks per second",
            f"{'sustained until in conversations' if hub.projects else 'burst, acknowledged'}: {hub.label}",
            hub.ratios,
            aim=SUSTAINED if hub.projects else BURST,
            note=f"{statistics.median(hub.rates):.0f}/s here; processor time {statistics.median(hub.cpu):.1f} × bare",
        )
        for hub in hubs
    ]


def _latencies(hubs: list[Hub], bare: Result) -> list[Figure]:
    area = "webhook's answer at half of the reached load"
    figures = [_latency(area, "bare", bare, "")]
    for hub in hubs:
        if hub.projects:
            times = hub.halves[0].percentile(0.5) / bare.percentile(0.5)
            figures.append(_latency(area, hub.label, hub.halves[0], f"p50 is {times:.1f} × bare"))
    return figures


def _latency(area: str, what: str, result: Result, more: str) -> Figure:
    p99 = f"p99 {result.percentile(0.99) * 1000:.1f} ms"
    note = "; ".join(word for word in (p99, more) if word)
    return of_rounds(area, f"p50: {what}", [result.percentile(0.5) * 1000], "ms", note=note)


def _losses(hubs: list[Hub]) -> list[Figure]:
    """Each hub with many messages against the one with few, round by round."""
    figures = []
    for large in hubs:
        for small in hubs:
            same = (small.database.name, small.projects) == (large.database.name, large.projects)
            if same and large.customers > small.customers:
                ratios = [left / right for left, right in zip(large.ratios, small.ratios, strict=True)]
                kind = "sustained" if large.projects else "burst"
                area = "many messages stored against few"
                figures.append(of_rounds(area, f"{kind}: {large.label}", ratios, "× few", aim=FULL_LOSS))
    return figures
