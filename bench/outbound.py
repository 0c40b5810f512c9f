"""Sends: from due deliveries in the database, through policy and provider, to settled rows."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import aiohttp

from bench.fill import fill
from bench.processes import Database, Served, hub_arguments, served, told
from bench.report import Figure, of_rounds, say
from bench.traffic import TEXT
from bench.watch import Watch, watching
from hub.clock import id_floor
from hub.registry import adapters
from hub.store.schema import micros

AIM = 0.5  # of what a bare client loop sends
_ADAPTER = "twilio_sms"
_LEFT = "SELECT -count(*) FROM delivery WHERE channel = 'sms' AND state IN ('queued', 'sending', 'indoubt')"
_SENT = "SELECT count(*) FROM delivery WHERE state = 'sent'"
_RECEIPTS = "SELECT count(*) FROM receipt"


@dataclass(slots=True)
class Hub:
    database: Database
    server: Served
    watch: Watch
    sent: int = 0
    rates: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)


class Outbound:
    """Rounds in which a bare client and every hub send the same number of messages to the sink."""

    def __init__(self, rounds: int, count: int) -> None:
        self._rounds = rounds
        self._count = count
        self._workers = adapters()[_ADAPTER].capabilities.concurrency

    async def measure(self, databases: Iterable[Database]) -> list[Figure]:
        async with AsyncExitStack() as stack:
            sink = await stack.enter_async_context(served("sink"))
            web = await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{sink.port}"))
            hubs = [await self._start(stack, each, sink) for each in databases]
            for hub in hubs:
                await self._round(hub, web, min(500, self._count))
            for number in range(self._rounds):
                bound = await self._bare(sink)
                for hub in hubs:
                    rate = await self._round(hub, web, self._count)
                    hub.rates.append(rate)
                    hub.ratios.append(rate / bound)
                words = "; ".join(f"{hub.database.name} {hub.ratios[-1]:.2f}" for hub in hubs)
                say(f"outbound {number + 1}/{self._rounds}: bare {bound:.0f}/s; {words}")
        area = "outbound messages per second, settled"
        return [
            of_rounds(area, hub.database.name, hub.ratios, aim=AIM, note=f"{statistics.median(hub.rates):.0f}/s here")
            for hub in hubs
        ]

    async def _start(self, stack: AsyncExitStack, database: Database, sink: Served) -> Hub:
        await fill(database, customers=self._count, messages=self._count)
        arguments = hub_arguments(database, "outbound", sink.port)
        server = await stack.enter_async_context(served("hub", *arguments))
        return Hub(database, server, await stack.enter_async_context(watching(database)))

    async def _bare(self, sink: Served) -> float:
        options = {"--sink": sink.port, "--count": self._count, "--workers": self._workers}
        return await told("client", *[str(word) for option in options.items() for word in option])

    async def _round(self, hub: Hub, web: aiohttp.ClientSession, count: int) -> float:
        """Messages per second, from the first that the sink sees until all are settled."""
        await _seen(web)
        await hub.watch.execute(_due(count))
        done = await hub.watch.until(_LEFT, 0)
        hub.sent += count
        if (await hub.watch.number(_SENT), await hub.watch.number(_RECEIPTS)) != (hub.sent, hub.sent):
            raise RuntimeError(f"{hub.database.name}: not every delivery was sent and has its receipt")
        return count / (done - await _seen(web))


async def _seen(web: aiohttp.ClientSession) -> float:
    async with web.get("/seen") as answer:
        return float((await answer.json())["first"])


def _due(count: int) -> list[str]:
    """Statements that make ``count`` deliveries due now, each in a conversation of its own."""
    now = datetime.now(UTC)
    base, at, late = id_floor(now), micros(now), micros(now + timedelta(hours=4))
    return [
        f"""INSERT INTO message (id, conversation_id, identity_id, channel, inbound, author_kind, author_name, purpose,
            content, automatic, provider_at, recorded_at)
        SELECT {base} + row_number() OVER (ORDER BY id), id, reply_identity, 'api', false, 'automation', 'bench',
            'transactional', '{{"text":"{TEXT}"}}', true, {at}, {at}
        FROM (SELECT id, reply_identity FROM conversation ORDER BY id LIMIT {count}) AS chosen""",
        f"""INSERT INTO delivery (id, message_id, conversation_id, channel, kind, identity_id, purpose, priority, state,
            due_at, expires_at, created_at, attempts, part)
        SELECT id, id, conversation_id, 'sms', 'contact', identity_id, purpose, 20, 'queued', {at}, {late}, {at}, 0, 0
        FROM message WHERE id > {base} AND channel = 'api'""",
    ]
