"""What the tests of this folder share."""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from adapters.slack.adapter import Slack, SlackConfig
from adapters.slack.simulator import Simulator
from hub.contract import Answer, Card, Event, Mark, Outgoing, Receipt, Request, SendError
from hub.model import Address, Author, AuthorKind
from hub.testing.host import LocalHost
from hub.testing.player import Player as Player
from hub.testing.player import said as said

DESK = "C0123ABCDEF"
TOKEN, SECRET = "xoxb-a-bot-token", "8f742231b10e8888abcd99yyyzzz85a5"
PLAIN: dict[str, Any] = {"bot_token": TOKEN, "signing_secret": SECRET, "channel": DESK}
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
FIXTURES = Path(__file__).parent / "fixtures"
ANN = Author(AuthorKind.customer, "Ann")


def played(*answers: Answer | SendError, **config: Any) -> tuple[Slack, Player]:
    player = Player(*answers)
    return Slack("slack", SlackConfig(**(PLAIN | config)), LocalHost(http=player, now=NOON)), player


def posted(payload: Any, at: datetime = NOON) -> Request:
    """A payload as the inbox keeps it after verification."""
    return Request("POST", "https://hub.example.com/hooks/slack", {}, json.dumps(payload).encode(), at)


def fixture(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_bytes())
    return data


class World:
    """The simulated Slack, an adapter, and a hub that does no more than verify, receive and answer."""

    def __init__(self, *, socket_mode: bool = False, **config: Any) -> None:
        self.slack = Simulator(socket_mode=socket_mode)
        self.slack.repeats = (0.0, 0.0, 0.0)
        self.config = config
        self.host = LocalHost()
        self.events: list[Event] = []
        self.answer = 200  # of the hub to events
        self.down = False  # True: what comes over the socket cannot be kept
        self._count = 0
        self._runner: web.AppRunner | None = None
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> World:
        await self.slack.start()
        self.adapter = self.build()
        app = web.Application()
        app.router.add_route("*", "/hooks/slack", self._hook)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.slack.webhook_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/hooks/slack"
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.halt()
        await self.adapter.close()
        await self.slack.stop()
        await self.host.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def build(self, **config: Any) -> Slack:
        return Slack("slack", SlackConfig(**(self.slack.config() | self.config | config)), self.host)

    async def run(self) -> None:
        """The adapter's own work: names, hints, and the socket if there is one."""
        self._running = asyncio.create_task(self.adapter.run(self.emit))
        if self.slack.socket_mode:
            async with asyncio.timeout(10):
                await self.slack.sockets.connected()

    async def halt(self) -> None:
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
            self._running = None

    async def _hook(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen = Request(request.method, str(request.url), headers, await request.read(), datetime.now(UTC))
        verified = self.adapter.verify(seen)
        if verified.accept and self.answer == 200:
            self.events += self.adapter.receive(seen)
        status = self.answer if verified.accept else verified.status
        return web.Response(status=status, text=verified.body, headers=dict(verified.headers))

    async def emit(self, request: Request) -> None:
        if self.down:
            raise ConnectionError("the inbox cannot be written")
        self.events += self.adapter.receive(request)

    def out(self, text: str = "", **more: Any) -> Outgoing:
        """A post for the desk with a key of its own."""
        self._count += 1
        key = more.pop("key", f"del_{self._count:013d}.0")
        return Outgoing(key=key, to=Address("slack", self.slack.channel_id), text=text, **more)

    async def open(self, customer: str = "Ann", **more: Any) -> str:
        """A new card. Returns the external id of the root post."""
        card = Card("cnv_1", customer, "open", ["sms +447700900123 ✓"], **more)
        return (await self.adapter.send(self.out(card=card))).external_id

    async def show(self, root: str, text: str = "Hello", **more: Any) -> Receipt:
        """A customer's message in the thread."""
        more = {"author": ANN, "origin": "sms"} | more
        return await self.adapter.send(self.out(text, thread=root, **more))

    async def mark(self, target: str, state: Any, reason: str | None = None, root: str | None = None) -> Receipt:
        return await self.adapter.send(self.out(mark=Mark(target, state, reason), thread=root))


def ts(external_id: str) -> str:
    """``1610261659.001400`` of ``C0123ABCDEF:1610261659.001400``."""
    return external_id.partition(":")[2]
