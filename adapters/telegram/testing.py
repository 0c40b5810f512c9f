"""What the tests of this folder share."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from adapters.telegram.adapter import Telegram, TelegramConfig
from adapters.telegram.simulator import Simulator
from hub.contract import Answer, Outgoing, Request, SendError
from hub.model import Address
from hub.testing.host import LocalHost
from hub.testing.player import Player as Player
from hub.testing.player import said as said

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
BOT, ANN = "123456", 3527065
TOKEN, SECRET = f"{BOT}:ABC-DEF_ghi", "the-secret-token"
PLAIN: dict[str, Any] = {"bot_token": TOKEN, "secret_token": SECRET}
HOOK = "https://hub.example.com/hooks/telegram"
FIXTURES = Path(__file__).parent / "fixtures"


def played(*answers: Answer | SendError, **config: Any) -> tuple[Telegram, Player]:
    player = Player(*answers)
    return Telegram("telegram", TelegramConfig(**(PLAIN | config)), LocalHost(http=player)), player


def taken(number: int = 43, chat: int = ANN) -> Answer:
    return said(200, {"ok": True, "result": {"message_id": number, "date": 1, "chat": {"id": chat}}})


def out(text: str = "Hello", to: Address | None = None, **more: Any) -> Outgoing:
    key = more.pop("key", "del_0000000000001.0")
    return Outgoing(key=key, to=to or Address("telegram", f"{BOT}:{ANN}"), text=text, **more)


def posted(body: bytes, secret: str = SECRET) -> Request:
    headers = {"content-type": "application/json", "x-telegram-bot-api-secret-token": secret}
    return Request("POST", HOOK, headers, body, NOON)


class World:
    """The simulated Telegram, an adapter, and a hub that does no more than verify and receive."""

    def __init__(self, **config: Any) -> None:
        self.telegram = Simulator()
        self.telegram.repeats = ()
        self.config = config
        self.events: list[Any] = []
        self.statuses: list[int] = []  # of the hub, to the next webhooks; then as the adapter says

    async def __aenter__(self) -> World:
        await self.telegram.start()
        app = web.Application()
        app.router.add_route("*", "/hooks/telegram", self._hook)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.host = LocalHost(public_url=f"http://127.0.0.1:{self._runner.addresses[0][1]}")
        self.telegram.webhook_url = f"{self.host.public_url}/hooks/telegram"
        self.adapter = self.build()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.adapter.close()
        await self.host.close()
        await self.telegram.stop()
        await self._runner.cleanup()

    def build(self, **config: Any) -> Telegram:
        return Telegram("telegram", TelegramConfig(**(self.telegram.config() | self.config | config)), self.host)

    async def _hook(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen = Request(request.method, str(request.url), headers, await request.read(), datetime.now(UTC))
        if self.statuses and (status := self.statuses.pop(0)) != 200:
            return web.Response(status=status)
        verified = self.adapter.verify(seen)
        if verified.accept:
            self.events += self.adapter.receive(seen)
        return web.Response(status=verified.status, text=verified.body, headers=dict(verified.headers))

    def out(self, text: str = "Hello", to: int = ANN, **more: Any) -> Outgoing:
        return out(text, Address("telegram", f"{self.telegram.bot_id}:{to}"), **more)


async def emitted(host: LocalHost, count: int) -> list[Request]:
    """What a pulling adapter gave the hub, once there is that much."""
    async with asyncio.timeout(10):
        while len(host.emitted) < count:
            await host.wait("emitted", 10)
    return host.emitted
