"""What Telegram asks of the core: albums, polling, files as bytes, blocks that are opt-outs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa

from adapters.telegram.simulator import Simulator
from hub.app import Hub, running
from hub.contract import Event, MessageReceived, Request
from hub.model import Attachment, decode_content
from hub.registry import Adapters
from hub.sending import Draft, accept
from hub.settings import Settings
from hub.store.schema import metadata
from hub.testing.simulation import Fault
from tests.paper import Board, Clock, Post, until

ANN = 3527065
JPEG = b"\xff\xd8\xff"


class Easel(Board):
    """A board on which each answer comes with a picture."""

    def receive(self, request: Request) -> list[Event]:
        events = super().receive(request)
        for event in events:
            if isinstance(event, MessageReceived):
                event.attachments = [Attachment("image", ref="lid", mime="image/jpeg", name="lid.jpg")]
        return events

    async def fetch(self, attachment: Attachment, request: Request | None) -> AsyncIterator[bytes] | None:
        return _picture()


async def _picture() -> AsyncIterator[bytes]:
    yield b"\xff\xd8\xff lid"


@dataclass
class Shop:
    """A hub with a bot, and a board where agents work."""

    hub: Hub
    clock: Clock
    telegram: Simulator
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

    async def album(self, *numbers: int, caption: str = "") -> None:
        """Ann sends pictures; each comes by itself."""
        for number in numbers:
            more = {"caption": caption} if caption and number == numbers[0] else {}
            await self.telegram.file(ANN, "photo", b"\xff\xd8\xff" + bytes([number]), media_group_id="137", **more)

    async def agent(self, text: str) -> None:
        """An agent answers in the one thread there is."""
        [thread] = [name for name, out in self.board.accepted if out.card is not None and out.edits is None]
        letter = {"id": f"post-{text}", "from": "zoe", "name": "Zoe", "text": text, "thread": thread}
        url = f"http://127.0.0.1:{self.hub.port}/hooks/board"
        async with aiohttp.ClientSession() as session, session.post(url, json=[letter]) as answer:
            assert answer.status == 200

    async def outcome(self, count: int = 1) -> tuple[str, str | None]:
        """State and code of the last message to Ann, once that many are through."""
        found: list[tuple[str, str | None]] = []

        async def through() -> bool:
            self.tick()
            found[:] = [(row.state, row.code) for row in await self.rows("delivery", kind="contact")]
            return len(found) == count and found[-1][0] not in ("queued", "sending")

        await until(through)
        return found[-1]

    def tick(self) -> None:
        """Time goes on: messages wait a second for their files."""
        self.clock.now += timedelta(seconds=0.1)
        for name in self.hub.channels:
            self.hub.topics.publish(f"lane:{name}")

    @property
    def posts(self) -> list[str]:
        return [out.text for _, out in self.board.accepted if out.card is None and out.mark is None]

    async def posted(self, count: int) -> list[str]:
        """What the board shows, once it is that much."""

        async def there() -> bool:
            self.tick()
            return len(self.posts) >= count

        await until(there)
        return self.posts


@asynccontextmanager
async def shop(database_url: str, data: Path, telegram: Simulator) -> AsyncIterator[Shop]:
    post, clock = Post(), Clock()
    board = type("Easel", (Easel,), {"post": post})
    await telegram.start()
    settings = Settings.model_validate(
        {
            "data": data,
            "database_url": database_url,
            "listen": {"port": 0},
            "egress": {"allow": ["127.0.0.1"]},
            "channels": {
                "telegram": {"adapter": "telegram", "register_webhook": False, **telegram.config()},
                "board": {"adapter": "board"},
            },
        }
    )
    try:
        async with running(settings, clock=clock, adapters=Adapters({"board": board})) as hub:
            if not telegram.polling:
                telegram.webhook_url = f"http://127.0.0.1:{hub.port}/hooks/telegram"
            yield Shop(hub, clock, telegram, post)
    finally:
        await telegram.stop()


@pytest.fixture
async def bot(database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with shop(database_url, tmp_path, Simulator()) as one:
        yield one


async def files_of(bot: Shop) -> list[int]:
    """How many files each of the messages has."""
    return [len(decode_content(row.content).attachments) for row in await bot.rows("message", inbound=True)]


async def test_an_album_is_one_message(bot: Shop) -> None:
    bot.telegram.downloads.clear()
    await bot.album(1, 2, 3, caption="Look")
    await bot.wait("media", 3)
    bot.telegram.downloads.set()
    [post] = await bot.posted(1)
    assert post.startswith("Look") and post.count("http") == 3
    [row] = await bot.rows("message", inbound=True)
    files = await bot.rows("media", message_id=row.id, state="stored")
    assert [file.position for file in files] == [0, 1, 2] and len({file.sha256 for file in files}) == 3


async def test_what_is_said_of_one_picture_is_said_of_the_album(bot: Shop) -> None:
    bot.telegram.downloads.clear()
    await bot.album(1, 2)
    await bot.wait("media", 2)
    last = bot.telegram.said_by(ANN)[-1]["id"]
    await bot.telegram.edit(ANN, last, "The other side")
    [row] = await bot.rows("message", inbound=True)
    [edit] = await bot.wait("amendment", 1)
    assert edit.message_id == row.id
    bot.telegram.downloads.set()


async def test_an_edit_that_changes_nothing_is_none(bot: Shop) -> None:
    picture = bot.telegram.shown("photo", JPEG + b"one")
    album = {**picture, "media_group_id": "5"}  # its words are those of its first picture
    numbers = []
    words = {"text": "See https://example.com"}
    for said in (words, {**picture, "caption": "Lid"}, {**album, "caption": "Lids"}, album):
        await bot.telegram.write(ANN, said)
        numbers.append(bot.telegram.said_by(ANN)[-1]["id"])
        await bot.telegram.change(ANN, numbers[-1], {**said, "link_preview_options": {"is_disabled": True}})
    await bot.telegram.change(ANN, numbers[1], {**picture, "caption": "Two lids"})
    await bot.telegram.change(ANN, numbers[1], {**picture, "caption": "Two lids", "has_media_spoiler": True})
    await bot.telegram.change(ANN, numbers[1], picture)
    assert [row.value for row in await bot.wait("amendment", 2)] == ["Two lids", ""]
    assert "It now has no text." in (await bot.posted(5))[-1]


async def test_a_file_that_an_edit_brings_is_shown(bot: Shop) -> None:
    one, two = (bot.telegram.shown("photo", JPEG + name) for name in (b"one", b"two"))
    await bot.telegram.write(ANN, one)
    await bot.posted(1)
    number = bot.telegram.said_by(ANN)[-1]["id"]
    for now in (two, two, one, {**two, "caption": "The second page"}):
        await bot.telegram.change(ANN, number, now)
    _, second, third, fourth = await bot.posted(4)
    for post, words in ((second, "It now has this file.\n"), (third, "It now has this file.\n"),
                        (fourth, "It now has this file and reads:\nThe second page\n")):  # fmt: skip
        assert words in post and post.count("http") == 1
    [row] = await bot.rows("message", inbound=True)
    hashes = [file.sha256 for file in await bot.rows("media", message_id=row.id)]
    assert len(hashes) == 4 and hashes[0] == hashes[2] != hashes[1] == hashes[3]


async def test_what_comes_after_the_desk_has_seen_an_album_is_a_message_of_its_own(bot: Shop) -> None:
    await bot.album(1)
    await bot.posted(1)
    bot.telegram.downloads.clear()
    await bot.album(2, 3)
    await bot.wait("media", 3)
    bot.telegram.downloads.set()
    first, second = await bot.posted(2)
    assert (first.count("http"), second.count("http")) == (1, 2)
    assert await files_of(bot) == [1, 2]


async def test_an_album_that_is_read_again_does_not_grow(bot: Shop) -> None:
    bot.telegram.downloads.clear()
    await bot.album(1, 2)
    await bot.wait("media", 2)
    await bot.hub.projector.replay([row.id for row in await bot.rows("inbox")])
    assert await files_of(bot) == [2] and len(await bot.rows("media")) == 2
    bot.telegram.downloads.set()


async def test_a_picture_whose_album_was_erased_is_a_message_of_its_own(bot: Shop) -> None:
    bot.telegram.downloads.clear()
    await bot.album(1)
    await bot.wait("media", 1)
    gone = metadata.tables["message"]
    await bot.hub.store.write(lambda connection: connection.execute(sa.delete(gone).where(gone.c.inbound.is_(True))))
    await bot.album(2, 3)
    await bot.wait("media", 3)
    assert await files_of(bot) == [2] and await bot.rows("quarantine") == []
    bot.telegram.downloads.set()


async def test_albums_of_two_people_are_two(bot: Shop) -> None:
    bot.telegram.downloads.clear()
    await bot.album(1)
    await bot.telegram.file(7, "photo", b"\xff\xd8\xff", media_group_id="137")
    await bot.wait("media", 2)
    assert await files_of(bot) == [1, 1]
    bot.telegram.downloads.set()


async def test_stop_below_a_picture_of_an_album_still_counts(bot: Shop) -> None:
    bot.telegram.downloads.clear()
    await bot.album(1)
    await bot.album(2, caption="STOP")
    await bot.wait("consent_event", 1)
    assert await files_of(bot) == [2]
    bot.telegram.downloads.set()


async def test_an_answers_picture_goes_out_as_bytes(bot: Shop) -> None:
    await bot.telegram.text(ANN, "Which lid?")
    await bot.posted(1)
    await bot.agent("This one")
    assert await bot.outcome() == ("sent", None)
    [message] = bot.telegram.chat(ANN)
    assert (message.method, message.text, message.file) == ("sendPhoto", "This one", ("lid.jpg", b"\xff\xd8\xff lid"))


async def test_who_blocks_the_bot_is_not_written_to(bot: Shop) -> None:
    await bot.telegram.text(ANN, "Hi")
    await bot.posted(1)
    await bot.telegram.block(ANN)
    await bot.wait("consent_event", 1)
    await bot.agent("Hello")
    assert await bot.outcome() == ("denied", "SUPP_BLOCKED_BY_USER")
    await bot.telegram.block(ANN, lift=True)
    await bot.wait("consent_event", 2)
    await bot.agent("Hello again")
    assert await bot.outcome(2) == ("sent", None)


async def test_a_lost_answer_is_unknown_and_not_sent_again(bot: Shop) -> None:
    await bot.telegram.text(ANN, "Hi")
    await bot.posted(1)
    bot.telegram.faults.queued.append(Fault("drop_after"))
    await bot.agent("Hello")
    assert (await bot.outcome())[0] == "unknown"
    bot.clock.now += timedelta(hours=1)
    bot.tick()
    await bot.agent("Are you there?")
    assert await bot.outcome(2) == ("sent", None)
    assert [each.text for each in bot.telegram.chat(ANN)] == ["Hello", "Are you there?"]


async def test_a_hub_without_an_address_asks_for_updates(database_url: str, tmp_path: Path) -> None:
    telegram = Simulator(polling=True)
    await telegram.text(ANN, "Before it started")
    async with shop(database_url, tmp_path, telegram) as bot:
        await bot.posted(1)
        await telegram.text(ANN, "And after")
        assert await bot.posted(2) == ["Before it started", "And after"]
        newest = (await bot.rows("inbox"))[-1]
        number = json.loads(newest.body)["update_id"]
        await telegram.ledger.wait_for("acked", offset=number + 1)


async def test_a_chat_gets_no_more_than_telegram_takes(bot: Shop) -> None:
    await bot.telegram.text(ANN, "Hi")
    await bot.posted(1)
    person = f"telegram:{bot.telegram.bot_id}:{ANN}"
    for text in ("word " * 4000, "and", "that is all"):  # the first takes five parts
        draft = Draft(customer=person, text=text, purpose="reply")
        await bot.hub.write(lambda connection, context, draft=draft: accept(connection, context, draft, "me"))

    async def out() -> bool:
        bot.tick()
        return [each.text for each in bot.telegram.chat(ANN)][6:] == ["that is all"]

    await until(out)
    codes = {row.code for row in await bot.rows("attempt")}
    assert "429" not in codes
