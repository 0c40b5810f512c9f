"""What the tests of this folder share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from adapters.webchat.adapter import WebChat, WebChatConfig
from adapters.webchat.simulator import Simulator, Visitor
from hub.contract import Entry, MessageReceived, Outgoing, Request, StatusChanged
from hub.model import Address
from hub.testing.host import LocalHost

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECRET = "the website's secret, 32 bytes or more"  # noqa: S105 - of a simulated website


class Hub(LocalHost):
    """Does with emitted requests what the core does: a message becomes an entry, a status raises one."""

    adapter: WebChat
    down = False
    gate: asyncio.Event | None = None  # closed: nothing becomes durable

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Any] = []
        self.waited: list[float] = []
        self._last = 1 << 60  # beyond what JavaScript can count

    async def emit(self, request: Request) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.down:
            raise OSError("disk full")
        for event in self.adapter.receive(request):
            self.events.append(event)
            if isinstance(event, MessageReceived) and not event.former and not self.entry(event.external_id):
                self.put(event.sender.address, event.text, inbound=True, external_id=event.external_id)
            if isinstance(event, StatusChanged) and (entry := self.entry(event.external_id)):
                self.swap(entry, state=event.state)
        await super().emit(request)

    def entry(self, external_id: str) -> Entry | None:
        return next((e for rows in self.entries.values() for e in rows if e.external_id == external_id), None)

    def swap(self, old: Entry, **changes: Any) -> None:
        for rows in self.entries.values():
            rows[:] = [replace(entry, **changes) if entry.id == old.id else entry for entry in rows]

    def put(self, to: Address, text: str, *, id: int | None = None, **more: Any) -> Entry:
        self._last += 1
        values: dict[str, Any] = {
            "id": id or self._last, "inbound": False, "author": "Bea", "text": text, "at": NOON, "attachments": [],
            "buttons": [], "external_id": f"del_{self._last}.0", "state": "sent", **more,
        }
        entry = Entry(**values)
        rows = self.entries.setdefault(str(to), [])
        rows.append(entry)
        rows.sort(key=lambda row: row.id)
        return entry

    async def reply(self, visitor: Visitor, text: str, **more: Any) -> Entry:
        entry = self.put(Address("webchat", visitor.id or ""), text, **more)
        await self.adapter.send(Outgoing(key=f"del_{entry.id}.0", to=Address("webchat", visitor.id or ""), text=text))
        return entry

    async def until(self, find: Callable[[], Any]) -> Any:
        """What ``find`` returns after some emitted request, once that is something."""
        async with asyncio.timeout(5):
            while not (found := find()):
                await self.wait("emitted", 5)
            return found

    def statuses(self) -> list[tuple[str, str]]:
        return [(event.external_id, event.state) for event in self.events if isinstance(event, StatusChanged)]

    def said(self) -> list[MessageReceived]:
        return [event for event in self.events if isinstance(event, MessageReceived) and not event.former]

    def logins(self) -> list[MessageReceived]:
        return [event for event in self.events if isinstance(event, MessageReceived) and event.former]


class Watched(WebChat):
    """Tells when a socket's handler has ended: its close code, or None if there was no upgrade."""

    def __init__(self, name: str, config: WebChatConfig, host: Hub) -> None:
        super().__init__(name, config, host)
        self.ended: asyncio.Queue[int | None] = asyncio.Queue()

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        code = None
        try:
            socket = await super()._socket(request)
            code = socket.close_code
            return socket
        finally:
            self.ended.put_nowait(code)


class Impatient(Watched):
    patience = 0.3


class Site:
    """A hub with one web chat channel ``site``, and the website that embeds it."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.website = Simulator()
        self.visitor = self.website.visitor

    async def start(self, adapter: type[Watched] = Watched, **config: Any) -> Site:
        await self.website.start()
        settings = {**self.website.config(), "identity_secret": SECRET, **config}
        self.website.identity_secret = SECRET
        self.hub.adapter = self.adapter = adapter("site", WebChatConfig(**settings), self.hub)
        channel, app = web.Application(), web.Application()
        channel.add_routes(self.adapter.routes())
        app.add_subapp("/channels/site", channel)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.hub.public_url = self.url
        self.website.webhook_url = f"{self.url}/hooks/site"
        return self

    async def stop(self) -> None:
        await self.website.stop()
        await self.adapter.hang_up()
        await self._runner.cleanup()
        await self.hub.close()
