"""What somebody typed in the provider's own app is in the thread, as ours, and is never sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hub import timeline
from tests.paper import Office, office, until


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(database_url, tmp_path) as running:
        yield running


async def echo(desk: Office, text: str, name: str = "echo-1", to: str = "ann", **more: Any) -> None:
    assert await desk.post("paper", {"id": name, "to": to, "text": text, **more}) == 200
    await desk.settled()


async def test_it_is_in_the_thread_as_an_answer_and_is_not_sent(desk: Office) -> None:
    await desk.write("Where is my order?")
    await echo(desk, "On its way")
    await echo(desk, "On its way")
    [row] = await desk.rows("message", inbound=False, author_kind="agent")
    view = await desk.hub.store.read(lambda connection: timeline.explain(connection, lambda *_: "", row.id))
    assert view is not None
    assert (view.direction, view.text, view.state, view.via) == ("out", "On its way", "sent", "paper")
    assert view.author.name == "Colleague elsewhere" and view.address == "paper:ann"
    assert desk.posts == ["Where is my order?", "On its way"] and desk.letters.handed == []
    [talk] = await desk.rows("conversation")
    assert (talk.state, talk.waiting_since, talk.preview) == ("pending", None, "On its way")


async def test_what_becomes_of_it_is_told(desk: Office) -> None:
    await desk.write("Hi")
    await desk.status("echo-1", "delivered")  # which may come first
    await echo(desk, "Hello")
    await desk.status("echo-1", "read")
    assert [row.state for row in await desk.rows("delivery", kind="contact")] == ["read"]


async def test_an_answer_to_it_shows_the_desk_what_was_said_before(desk: Office) -> None:
    await echo(desk, "Your parcel is here")
    assert desk.board.handed == []  # nobody has to do anything yet
    await desk.write("Thanks!")
    assert desk.posts == ["Your parcel is here", "Thanks!"]
    assert len(await desk.rows("customer")) == 1 and len(await desk.rows("conversation")) == 1


async def test_one_that_comes_late_ends_nobodys_wait(desk: Office) -> None:
    await desk.write("Hi")
    await desk.write("Are you there?")
    await echo(desk, "Hello", ago=60)
    [talk] = await desk.rows("conversation")
    assert (talk.state, talk.preview) == ("open", "Are you there?") and talk.waiting_since is not None


async def test_an_echo_of_our_own_message_is_none(desk: Office) -> None:
    await desk.write("Hi")
    await desk.agent("Hello", thread=desk.thread)
    await echo(desk, "Hello", desk.letters.accepted[0][0])
    assert len(await desk.rows("message", inbound=False, purpose="reply")) == 1


async def test_while_ours_is_on_its_way_an_echo_waits_until_it_is_known_whose_it_is(desk: Office) -> None:
    await desk.write("Hi")
    desk.letters.answers = [gate := asyncio.Event()]
    letter = {"id": "post-9", "from": "zoe", "name": "Zoe", "text": "Hello", "thread": desk.thread}
    assert await desk.post("board", letter) == 200

    async def handed() -> bool:
        return bool(desk.letters.accepted)

    await until(handed)
    for name in (desk.letters.accepted[0][0], "typed-elsewhere"):
        assert await desk.post("paper", {"id": name, "to": "ann", "text": "Hello"}) == 200

    async def parked() -> bool:
        return len(await desk.rows("parked_reply")) == 2

    await until(parked)
    gate.set()
    await desk.settled()
    await desk.advance(seconds=11)

    async def shown() -> bool:
        return await desk.rows("parked_reply") == []

    await until(shown)
    await desk.settled()
    ours = await desk.rows("message", inbound=False, purpose="reply")
    assert [row.external_id for row in ours] == ["post-9", "typed-elsewhere"]
    assert [row.state for row in await desk.rows("delivery", kind="contact")] == ["sent", "sent"]
