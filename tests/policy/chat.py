"""A hub with WhatsApp and a desk: the customer has written, and a day has passed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import aiohttp

from adapters.whatsapp_cloud.adapter import WhatsApp
from adapters.whatsapp_cloud.simulator import Simulator
from hub.app import running
from hub.registry import Adapters
from hub.settings import Settings
from tests.paper import Board, Clock, Office, Paper, Post, until

PHONE = "+447700900123"


@dataclass
class Shop(Office):
    meta: Simulator = None  # type: ignore[assignment]  # set by the fixture

    async def says(self, text: str) -> None:
        await self.meta.text(PHONE, text)
        await self.settled()

    @property
    def got(self) -> list[str]:
        return [each.text for each in self.meta.phone(PHONE)]

    async def shown(self, count: int) -> list[str]:
        """What the customer got, once it is that many."""

        async def there() -> bool:
            return len(self.got) >= count

        await until(there)
        return self.got

    async def answers(self) -> list[tuple[str, str | None]]:
        return [(row.state, row.code) for row in await self.rows("delivery", kind="contact")]

    async def become(self, *expected: tuple[str, str | None]) -> None:
        """Wait until the answers are in these states."""

        async def there() -> bool:
            return await self.answers() == list(expected)

        try:
            await until(there)
        except TimeoutError:
            raise TimeoutError(f"{await self.answers()}, not {list(expected)}") from None


@asynccontextmanager
async def chat(database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    clock, board, letters, meta = Clock(), Post(), Post(), Simulator()
    meta.now = clock  # type: ignore[method-assign]  # the provider's clock is the test's
    await meta.start()
    desk, paper = type("Desk", (Board,), {"post": board}), type("Letters", (Paper,), {"post": letters})
    channels = {"board": {"adapter": "desk"}, "paper": {"adapter": "paper"}}
    settings = Settings.model_validate(
        {
            "data": tmp_path,
            "database_url": database_url,
            "listen": {"port": 0},
            "channels": channels | {"chat": {"adapter": "whatsapp_cloud", **meta.config()}},
        }
    )
    installed = Adapters({"desk": desk, "paper": paper, "whatsapp_cloud": WhatsApp})
    async with running(settings, clock=clock, adapters=installed) as hub, aiohttp.ClientSession() as session:
        meta.webhook_url = f"http://127.0.0.1:{hub.port}/hooks/chat"
        shop = Shop(hub, clock, letters, Post(), board, session, meta=meta)
        await shop.says("Where is my lid?")
        clock.now += timedelta(hours=25)
        yield shop
    await meta.stop()
