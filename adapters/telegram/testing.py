"""What the tests of this folder share."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adapters.telegram.adapter import Telegram, TelegramConfig
from adapters.telegram.simulator import Simulator
from hub.contract import Answer, Outgoing, Request, SendError
from hub.model import Address
from hub.testing.host import LocalHost
from hub.testing.player import Player as Player
from hub.testing.player import said as said
from hub.testing.server import Hook

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


class World(Hook):
    """The simulated Telegram, an adapter, and a hub that does no more than verify and receive."""

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.telegram = Simulator()
        self.telegram.repeats = ()
        self.config = config

    async def __aenter__(self) -> World:
        await self.telegram.start()
        hook = await self.listen("telegram")
        self.host = LocalHost(public_url=hook.removesuffix("/hooks/telegram"))
        self.telegram.webhook_url = hook
        self.adapter = self.build()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.adapter.close()
        await self.host.close()
        await self.telegram.stop()
        await self.hang_up()

    def build(self, **config: Any) -> Telegram:
        return Telegram("telegram", TelegramConfig(**(self.telegram.config() | self.config | config)), self.host)

    def out(self, text: str = "Hello", to: int = ANN, **more: Any) -> Outgoing:
        return out(text, Address("telegram", f"{self.telegram.bot_id}:{to}"), **more)


async def emitted(host: LocalHost, count: int) -> list[Request]:
    """What a pulling adapter gave the hub, once there is that much."""
    async with asyncio.timeout(10):
        while len(host.emitted) < count:
            await host.wait("emitted", 10)
    return host.emitted
