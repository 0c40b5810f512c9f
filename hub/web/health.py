"""Is it alive, is it of use, what does it count."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import sqlalchemy as sa
from aiohttp import web
from sqlalchemy import Connection

from hub.metrics import CONTENT_TYPE
from hub.projector import backlog
from hub.store.schema import cursor, delivery, pending

if TYPE_CHECKING:
    from hub.app import Hub

_STATES = ("queued", "sending", "indoubt")
_PATIENCE = 2.5  # seconds for the database
_LATE = 60.0  # seconds; an inbox row older than this means nobody projects


def mount(app: web.Application, hub: Hub) -> None:
    known: set[str] = set()  # channels, also those that are not configured any more and have had something waiting

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_request: web.Request) -> web.Response:
        if not hub.ready:
            return web.json_response({"status": "stopping"}, status=503)
        try:
            async with asyncio.timeout(_PATIENCE):
                await hub.store.append(None)  # the way of webhooks
                await hub.store.write(partial(_touch, value=hub.clock().isoformat()))
                waiting, oldest = await hub.store.read(backlog)
        except Exception as error:
            return web.json_response({"status": "cannot commit", "detail": type(error).__name__}, status=503)
        age = (hub.clock() - oldest).total_seconds() if oldest else 0.0
        late = age > _LATE
        body = {"status": "late" if late else "ok", "inbox": waiting, "oldest_seconds": round(age, 3)}
        if hub.copied:
            body["sending"] = f"held: {hub.copied}; see hub resume"
        return web.json_response(body, status=503 if late else 200)

    async def metrics(_request: web.Request) -> web.Response:
        waiting, oldest = await hub.store.read(backlog)
        hub.counters.set("inbox_waiting", "", waiting)
        hub.counters.set("inbox_oldest_seconds", "", (hub.clock() - oldest).total_seconds() if oldest else 0)
        hub.counters.total("messages_projected", "", hub.projector.messages)
        for name, lane in hub.lanes.items():
            hub.counters.total("parts_sent", name, lane.sent)
            hub.counters.set("sends_in_flight", name, lane.in_flight)
            works = all(reach.trouble(hub.clock()) is None for reach in (lane.reach, hub.pulls[name]))
            hub.counters.set("channel_up", name, float(works))
        counts = await hub.store.read(_pending)
        known.update(hub.lanes, (channel for channel, _ in counts))
        for name, state in product(sorted(known), _STATES):
            hub.counters.set(f"deliveries_{state}", name, counts.get((name, state), 0))
        return web.Response(body=hub.counters.exposition(), headers={"Content-Type": CONTENT_TYPE})

    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)


def _touch(connection: Connection, value: str) -> None:
    """A commit that nobody reads. The value is another one each time: SQLite writes nothing where nothing changes."""
    if not connection.execute(sa.update(cursor).where(cursor.c.name == "ready").values(value=value)).rowcount:
        connection.execute(sa.insert(cursor).values(name="ready", value=value))


def _pending(connection: Connection) -> dict[tuple[str, str], int]:
    """How many deliveries have not ended, by channel and state."""
    query = (
        sa.select(delivery.c.channel, delivery.c.state, sa.func.count())
        .where(pending(delivery))
        .group_by(delivery.c.channel, delivery.c.state)
    )
    return {(row[0], row[1]): row[2] for row in connection.execute(query)}
