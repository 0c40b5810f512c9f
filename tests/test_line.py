"""What LINE asks of the core: retry keys, replies whose fate is unknown, webhooks that come again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa

from adapters.line.simulator import Simulator
from hub.app import Hub, running
from hub.model import decode_content
from hub.registry import Adapters
from hub.settings import Settings
from hub.store.schema import metadata
from hub.testing.simulation import Fault
from tests.paper import Board, Clock, Post, until

ANN = "U206d25c2ea6bd87c17655609a1c37cb8"


@dataclass
class Shop:
    """A hub with an official account, and a board where agents work."""

    hub: Hub
    clock: Clock
    line: Simulator
    board: Post

    async def rows(self, table: str, **match: Any) -> Sequence[Any]:
        source = metadata.tables[table]
        query = sa.select(source).where(*(source.c[name] == value for name, value in match.items()))
        ordered = query.order_by(*source.primary_key.columns)
        return await self.hub.store.read(lambda connection: connection.execute(ordered).all())

    async def wait(self, table: str, count: int, **match: Any) -> Sequence[Any]:
        async def there() -> bool:
            return len(await self.rows(table, **match)) >= count

        await until(there)
        return await self.rows(table, **match)

    async def ask(self, text: str = "Hi") -> None:
        """Ann writes, and the board shows it."""
        shown = len(self.board.accepted)
        assert await self.line.text(ANN, text) == 200

        async def there() -> bool:
            return text in [out.text for _, out in self.board.accepted[shown:]]

        await until(there)

    async def answer(self, text: str) -> None:
        [thread] = [name for name, out in self.board.accepted if out.card is not None and out.edits is None]
        letter = {"id": f"post-{text}", "from": "zoe", "name": "Zoe", "text": text, "thread": thread}
        url = f"http://127.0.0.1:{self.hub.port}/hooks/board"
        async with aiohttp.ClientSession() as session, session.post(url, json=[letter]) as answer:
            assert answer.status == 200

    async def outcomes(self, count: int) -> list[str]:
        """What became of the messages to Ann, once that many are through. Time goes on, for second tries."""
        found: list[str] = []

        async def through() -> bool:
            self.clock.now += timedelta(seconds=1)
            for name in self.hub.channels:
                self.hub.topics.publish(f"lane:{name}")
            found[:] = [row.state for row in await self.rows("delivery", kind="contact")]
            return len(found) == count and not {"queued", "sending"} & set(found)

        await until(through)
        return found

    @property
    def marks(self) -> list[str]:
        return [out.mark.state for _, out in self.board.accepted if out.mark is not None]

    @property
    def shown(self) -> list[tuple[str, str]]:
        """What Ann's phone shows, and which way each came."""
        return [(each.text, each.way) for each in self.line.phone(ANN)]


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    line, post, clock = Simulator(), Post(), Clock()
    line.now = clock  # type: ignore[method-assign]  # the provider's clock is the test's
    await line.start()
    settings = Settings.model_validate(
        {
            "data": tmp_path,
            "database_url": database_url,
            "listen": {"port": 0},
            "channels": {"line": {"adapter": "line", **line.config()}, "board": {"adapter": "board"}},
        }
    )
    board = type("Board", (Board,), {"post": post})
    try:
        async with running(settings, clock=clock, adapters=Adapters({"board": board})) as hub:
            line.webhook_url = f"http://127.0.0.1:{hub.port}/hooks/line"
            yield Shop(hub, clock, line, post)
    finally:
        await line.stop()


async def test_a_quick_answer_is_free_and_a_late_one_is_pushed(shop: Shop) -> None:
    await shop.ask()
    await shop.answer("At once")
    await shop.outcomes(1)
    await shop.ask("And now?")
    shop.clock.now += timedelta(minutes=1)
    await shop.answer("Later")
    assert await shop.outcomes(2) == ["sent", "sent"]
    assert shop.shown == [("At once", "reply"), ("Later", "push")] and shop.line.used == 1


@pytest.mark.parametrize("fault", ["drop_after", "error_after", "drop_before", "error"])
async def test_a_push_whose_answer_was_lost_arrives_once(shop: Shop, fault: Any) -> None:
    await shop.ask()
    shop.clock.now += timedelta(minutes=1)
    shop.line.faults.queued.append(Fault(fault))
    await shop.answer("Hello")
    assert await shop.outcomes(1) == ["sent"]
    assert shop.shown == [("Hello", "push")]


async def test_a_reply_whose_fate_is_unknown_says_so_and_is_not_sent_again(shop: Shop) -> None:
    await shop.ask()
    shop.line.faults.queued.append(Fault("drop_after"))
    await shop.answer("Hello")
    assert await shop.outcomes(1) == ["unknown"]
    await shop.answer("Did you get that?")
    assert await shop.outcomes(2) == ["unknown", "sent"]
    assert shop.shown == [("Hello", "reply"), ("Did you get that?", "push")]

    async def marked() -> bool:
        return "unknown" in shop.marks

    await until(marked)


async def test_a_webhook_that_comes_again_has_one_effect(shop: Shop) -> None:
    said = {"id": "325708", "type": "text", "text": "Hi"}
    event = shop.line.event(ANN, "message", message=said)
    for again in (False, True):
        assert await shop.line.tell([{**event, "deliveryContext": {"isRedelivery": again}}]) == 200
    await shop.ask("More")
    assert len(await shop.rows("inbox")) == 3 and len(await shop.rows("message", inbound=True)) == 2


async def test_films_have_a_picture_that_stands_for_them(shop: Shop) -> None:
    url = f"http://127.0.0.1:{shop.hub.port}/channels/line/film.png"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert (answer.status, answer.content_type) == (200, "image/png")
        assert (await answer.read()).startswith(b"\x89PNG\r\n\x1a\n")


async def test_what_was_unsent_is_shown_as_such(shop: Shop) -> None:
    await shop.ask("My card is 4111…")
    [row] = await shop.rows("message", inbound=True)
    await shop.line.unsend(ANN, row.external_id)
    [gone] = await shop.wait("amendment", 1)
    assert (gone.message_id, gone.kind) == (row.id, "delete")
    held = [*await shop.rows("inbox"), *await shop.rows("message")]
    assert "My card" not in " ".join(map(repr, held))


async def test_who_blocks_the_account_is_not_written_to(shop: Shop) -> None:
    await shop.ask()
    await shop.line.block(ANN)
    await shop.wait("consent_event", 1)
    await shop.answer("Hello")
    assert await shop.outcomes(1) == ["denied"] and shop.shown == []


@pytest.mark.parametrize("together", [True, False])
async def test_a_picture_of_an_album_is_taken_back_and_the_others_stay(shop: Shop, together: bool) -> None:
    pictures = [b"\xff\xd8\xff" + name for name in (b"one", b"two", b"three")]
    first, second, third = await shop.line.album(ANN, *pictures, together=together)
    await shop.wait("media", 3)
    shop.line.preparing.clear()

    async def shown(words: str) -> bool:
        shop.clock.now += timedelta(seconds=1)
        shop.hub.topics.publish("lane:board")
        return any(words in out.text for _, out in shop.board.accepted)

    async def kept(*some: bytes) -> bool:
        files = (shop.hub.settings.data / "media").rglob("*")
        return sorted(path.read_bytes() for path in files if path.is_file()) == sorted(some)

    await until(lambda: shown("image: http"))
    for number, place, left in ((second, 2, pictures[::2]), (first, 1, pictures[2:])):
        await shop.line.unsend(ANN, number)
        await until(partial(shown, f"It was file {place} of those that were sent together"))
        await until(partial(kept, *left))
        [row] = await shop.rows("message", inbound=True)
        assert decode_content(row.content).unsupported is None
    raw = b"\n".join(row.body for row in await shop.rows("inbox") if b"imageSet" in row.body)
    assert raw.count(b"imageSet") == 1 and third.encode() in raw
    await shop.line.unsend(ANN, third)
    await until(lambda: shown("Files of it may have been posted here"))
    await until(kept)
    [row] = await shop.rows("message", inbound=True)
    assert decode_content(row.content).unsupported == "deleted message"
    assert [each.value for each in await shop.rows("amendment")] == ["file 2", "file 1", ""]
