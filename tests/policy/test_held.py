"""An agent's answer after WhatsApp's window has closed, and templates at the desk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from adapters.whatsapp_cloud.adapter import WhatsApp
from adapters.whatsapp_cloud.records import Template
from adapters.whatsapp_cloud.simulator import Simulator
from hub.app import running
from hub.registry import Adapters
from hub.settings import Settings
from hub.testing.simulation import Fault
from tests.paper import Board, Clock, Office, Paper, Post, until

PHONE = "+447700900123"


@dataclass
class Shop(Office):
    meta: Simulator = None  # type: ignore[assignment]

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

        await until(there)


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    """The customer has written, and a day has passed."""
    clock, board, letters, meta = Clock(), Post(), Post(), Simulator()
    meta.now = clock  # type: ignore[method-assign]
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


async def test_an_answer_waits_until_the_customer_writes(shop: Shop) -> None:
    await shop.agent("It is on its way.", thread=shop.thread)
    await shop.agent("Tomorrow!", thread=shop.thread)
    await shop.become(*[("queued", "WINDOW_CLOSED")] * 2)
    told = [text for text in shop.posts if text.startswith("Held")]
    assert "window 24 h (WINDOW_CLOSED). Or send: !template NAME" in told[0]
    await shop.says("Hello?")
    assert await shop.shown(2) == ["It is on its way.", "Tomorrow!"]


async def test_an_answer_that_nobody_waits_for_any_more_ends_and_says_so(shop: Shop) -> None:
    await shop.agent("It is on its way.", thread=shop.thread)
    await shop.advance(days=7, minutes=1)
    await shop.says("Hello?")
    await shop.become(("failed", "MSG_EXPIRED"))
    assert shop.got == []


async def test_what_the_provider_alone_finds_too_late_waits_as_well(shop: Shop) -> None:
    await shop.says("Hello?")
    shop.meta.faults.queued.append(Fault("reject", code="131047"))
    await shop.agent("It is on its way.", thread=shop.thread)
    await shop.become(("queued", "WINDOW_CLOSED"))
    await shop.says("And?")
    assert await shop.shown(1) == ["It is on its way."]


async def test_a_template_overtakes_the_answer_that_waits(shop: Shop) -> None:
    await shop.meta.change_template(shop.meta.add_template(Template("moved", "en_GB", "Hi {{name}}!")), "APPROVED")
    await shop.settled()
    await shop.agent("It is on its way.", thread=shop.thread)
    assert [text for text in shop.posts if "approved: moved en_GB" in text]
    await shop.agent("!template moved name='Ann Smith'", thread=shop.thread)
    assert await shop.shown(1) == ["Hi Ann Smith!"]
    assert (await shop.answers())[0] == ("queued", "WINDOW_CLOSED")


async def test_a_template_that_is_paused_waits_until_it_is_not(shop: Shop) -> None:
    moved = shop.meta.add_template(Template("moved", "en_GB", "Hello!"))
    await shop.meta.change_template(moved, "PAUSED")
    await shop.settled()
    await shop.agent("!template moved en_GB", thread=shop.thread)
    [row] = await shop.rows("delivery", kind="contact")
    assert (row.state, row.reason) == ("queued", "TEMPLATE_PAUSED: the provider has paused the template")
    await shop.meta.change_template(moved, "APPROVED")
    await shop.settled()
    await shop.advance(minutes=1)
    assert await shop.shown(1) == ["Hello!"]


@pytest.mark.parametrize(
    ("category", "event", "code"),
    [("MARKETING", "APPROVED", "TEMPLATE_CATEGORY_MISMATCH"), ("UTILITY", "REJECTED", "TEMPLATE_NOT_APPROVED")],
)
async def test_a_template_that_will_not_do_is_not_sent(shop: Shop, category: str, event: str, code: str) -> None:
    await shop.meta.change_template(shop.meta.add_template(Template("moved", "en", "Hi!", category=category)), event)
    await shop.settled()
    await shop.agent("!template moved en", thread=shop.thread)
    await shop.become(("denied", code))


@pytest.mark.parametrize(
    ("text", "words"),
    [("!template moved", "Not sent: say in which language"), ("!template 'moved", "Not a command I know")],
)
async def test_what_is_no_template_is_a_note(shop: Shop, text: str, words: str) -> None:
    await shop.agent(text, thread=shop.thread)
    assert await shop.answers() == []
    assert any(each.startswith(words) for each in shop.posts)
