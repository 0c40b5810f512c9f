"""Edits and reactions, in whatever order they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.paper import Office, office, until


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(database_url, tmp_path) as running:
        yield running


async def tell(desk: Office, *letters: dict[str, Any], channel: str = "paper", by: str = "ann") -> None:
    assert await desk.post(channel, *({"from": by, **each} for each in letters)) == 200
    await desk.settled()


async def values(desk: Office) -> list[tuple[str, str]]:
    return [(row.kind, row.value) for row in await desk.rows("amendment")]


async def test_an_edit_that_comes_before_its_message_waits_for_it(desk: Office) -> None:
    await tell(desk, {"edits": "letter-1", "text": "To 5 High Street"})
    assert desk.posts == []
    await desk.write("To 4 High Street", ago=5)
    assert desk.posts == ["To 4 High Street", "Customer ann edited a message. It now reads:\nTo 5 High Street"]
    assert await values(desk) == [("edit", "To 5 High Street")]
    await tell(desk, {"id": "letter-1", "text": "To 4 High Street"})
    assert len(desk.posts) == 2 and await desk.rows("parked_amendment") == []


async def test_an_older_edit_changes_no_newer_one(desk: Office) -> None:
    await desk.write("v0", ago=30)
    await tell(desk, {"edits": "letter-1", "text": "v2", "ago": 10})
    await tell(desk, {"edits": "letter-1", "text": "v1", "ago": 20})
    await tell(desk, {"edits": "letter-1", "text": "v3"})
    assert await values(desk) == [("edit", "v2"), ("edit", "v3")]
    assert [post.rpartition("\n")[2] for post in desk.posts] == ["v0", "v2", "v3"]


async def test_a_reaction_before_the_answer_to_our_send_waits_for_it(desk: Office) -> None:
    await desk.write("Hi")
    desk.letters.answers = [gate := asyncio.Event()]
    assert await desk.post("board", {"id": "a", "from": "zoe", "text": "It has left", "thread": desk.thread}) == 200

    async def going() -> bool:
        return bool(desk.letters.accepted)

    await until(going)
    assert await desk.post("paper", {"reacts": desk.letters.accepted[0][0], "from": "ann", "emoji": "😡"}) == 200

    async def parked() -> bool:
        return bool(await desk.rows("parked_amendment"))

    await until(parked)
    gate.set()

    async def shown() -> bool:
        return "Customer ann reacted with 😡" in desk.posts

    await until(shown)
    assert await values(desk) == [("reaction", "+😡")]
    assert await desk.rows("parked_amendment") == []


@pytest.mark.parametrize(
    "changes, sent",
    [
        ([{"edits": "1", "text": "thank you"}], ["thank you"]),
        ([{"edits": "1", "text": "thank you"}, {"edits": "1", "text": "thank you!"}], ["thank you!"]),
        ([{"edits": "1", "text": "!note she is a liar"}], []),
        ([{"deletes": "1"}], []),
    ],
)
async def test_an_answer_that_waits_for_its_thread_goes_out_as_it_was_changed(
    database_url: str, tmp_path: Path, changes: list[dict[str, str]], sent: list[str]
) -> None:
    async with office(database_url, tmp_path) as desk:
        desk.board.answers = [slow := asyncio.Event()]
        assert await desk.post("paper", {"id": "a", "from": "ann", "text": "hello"}) == 200

        async def shown() -> bool:
            return bool(desk.board.accepted)

        await until(shown)
        letters = [{"id": "1", "from": "zoe", "text": "she is a liar", "thread": desk.thread}]
        for letter in (*letters, *({"from": "zoe", **each} for each in changes)):
            assert await desk.post("board", letter) == 200

        async def parked() -> bool:
            return len(await desk.rows("parked_amendment")) == len(changes)

        await until(parked)
        slow.set()
        await desk.settled()
        await desk.write("later")
        assert desk.letters.texts == sent
        assert await desk.rows("parked_amendment") == []
        assert len(await desk.rows("amendment")) == len(changes)


async def test_what_is_of_no_message_of_ours_is_dropped_in_the_end(desk: Office) -> None:
    await tell(desk, {"edits": "from before we were here", "text": "v1"})
    assert len(await desk.rows("parked_amendment")) == 1
    await desk.advance(days=8)

    async def dropped() -> bool:
        return await desk.rows("parked_amendment") == []

    await until(dropped)


async def test_a_reaction_that_is_given_back_within_a_second_is_there(desk: Office) -> None:
    await desk.write("Hi")
    await desk.agent("Hello", thread=desk.thread)
    [(ours, _)] = desk.letters.accepted
    still = desk.clock.now
    for number, removed in enumerate((False, True, False)):
        desk.clock.now = still
        await tell(desk, {"reacts": ours, "id": f"r{number}", "emoji": "👍", "removed": removed})
    assert [value for _, value in await values(desk)] == ["+👍", "-👍", "+👍"]


async def test_an_older_reaction_of_the_same_person_is_no_news(desk: Office) -> None:
    await desk.write("Hi")
    await desk.agent("Hello", thread=desk.thread)
    [(ours, _)] = desk.letters.accepted
    await tell(desk, {"reacts": ours, "emoji": "👍", "removed": True})
    await tell(desk, {"reacts": ours, "emoji": "👍", "ago": 5})
    await tell(desk, {"reacts": ours, "emoji": "🔥", "ago": 5}, by="bob")
    assert [value for _, value in await values(desk)] == ["-👍", "+🔥"]


@pytest.mark.parametrize("together", [True, False])
async def test_an_agents_correction_that_comes_before_the_answer_counts(desk: Office, together: bool) -> None:
    await desk.write("Hi")
    edit = {"edits": "post-x", "from": "zoe", "text": "your box"}
    answer = {"id": "post-x", "from": "zoe", "text": "your bx", "thread": desk.thread}
    for letters in [[edit, answer]] if together else [[edit], [answer]]:
        assert await desk.post("board", *letters) == 200
        await desk.settled()
    assert desk.letters.texts == ["your box"]


async def test_an_answer_that_is_taken_back_before_it_came_stays_inside(desk: Office) -> None:
    await desk.write("Hi")
    await tell(desk, {"deletes": "post-x"}, channel="board", by="zoe")
    await tell(desk, {"id": "post-x", "text": "A promise", "thread": desk.thread}, channel="board", by="zoe")
    await desk.advance(minutes=1)
    assert desk.letters.texts == []
