"""A conversation's thread at the desk: what becomes of it, and of what belongs there, when the desk refuses a post."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.contract import BadAddress, Outgoing, RateLimited, Rejected
from tests.paper import Office, office


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(database_url, tmp_path) as running:
        yield running


def board(desk: Office) -> list[tuple[str | None, str]]:
    """Cards and messages of the board in their order, with the thread they are in."""
    shown = [out for _, out in desk.board.accepted if out.mark is None and out.edits is None]
    return [(None, "card") if out.card else (out.thread, out.text) for out in shown]


async def alerts(desk: Office) -> list[tuple[str, str]]:
    return [(row.kind, row.detail) for row in await desk.rows("alert")]


async def test_a_conversation_whose_thread_is_gone_goes_on_in_a_new_one(desk: Office) -> None:
    await desk.write("hello")
    desk.board.answers = [BadAddress("thread_not_found")]
    assert await desk.post("paper", *({"id": each, "from": "ann", "text": each} for each in ("one", "two"))) == 200
    await desk.settled()
    old, new = desk.threads
    assert board(desk) == [(None, "card"), (old, "hello"), (None, "card"), (new, "one"), (new, "two")]
    assert [out.card.before for _, out in desk.board.accepted if out.card and out.edits is None] == [None, old]
    for thread in (old, new):
        await desk.agent(f"answer in {thread}", thread=thread)
    assert desk.letters.texts == [f"answer in {old}", f"answer in {new}"]
    assert await alerts(desk) == []


async def test_a_card_that_is_gone_comes_back(desk: Office) -> None:
    await desk.write("hello")
    desk.board.answers = [None, BadAddress("message_not_found")]  # the line in the thread, and then the card
    await desk.press("assign", thread=desk.thread)
    await desk.write("are you there?")
    old, new = desk.threads
    assert board(desk)[2:] == [(old, "Assigned to zoe."), (None, "card"), (new, "are you there?")]
    assert desk.board.accepted[-1][1].edits == new


async def test_a_new_thread_that_is_gone_too_is_no_reason_for_a_third(desk: Office) -> None:
    async def refuse(out: Outgoing) -> None:
        if out.text == "again":
            raise BadAddress("thread_not_found")

    await desk.write("hello")
    desk.board.watch = refuse
    await desk.write("again")
    assert len(desk.threads) == 2
    [(kind, detail)] = await alerts(desk)
    assert kind == "not shown" and "thread_not_found" in detail


async def test_a_mark_that_had_to_wait_still_says_why(desk: Office) -> None:
    slow = [RateLimited("too fast", after=1)]

    async def once(out: Outgoing) -> None:
        if out.mark is not None and slow:
            raise slow.pop()

    await desk.write("hello")
    desk.letters.answers, desk.board.watch = [Rejected("no such house")], once
    post = await desk.agent("hi Ann", thread=desk.thread)
    await desk.advance(seconds=2)
    assert desk.marks(post) == ["failed"]
    [mark] = [out.mark for _, out in desk.board.accepted if out.mark]
    assert "no such house" in (mark.reason or "")


async def test_nothing_of_a_conversation_is_shown_before_its_card(desk: Office) -> None:
    desk.board.answers = [Rejected("invalid_blocks"), Rejected("invalid_blocks")]
    await desk.write("hello")
    assert board(desk) == []
    await desk.advance(minutes=1)
    [(kind, detail)] = await alerts(desk)
    assert kind == "no card" and "invalid_blocks" in detail
    await desk.advance(minutes=1)
    assert board(desk) == [(None, "card"), (desk.thread, "hello")]


async def test_a_post_that_the_desk_refuses_is_told_to_the_operator(desk: Office) -> None:
    await desk.write("hello")
    desk.board.answers = [Rejected("msg_too_long")]
    await desk.write("URGENT")
    [(kind, detail)] = await alerts(desk)
    assert kind == "not shown" and "msg_too_long" in detail and "/api/v1/conversations/con_" in detail


async def test_an_answer_under_a_post_without_a_card_reaches_the_customer(desk: Office) -> None:
    desk.board.answers = [RuntimeError("a bug of the adapter, met by the card")]
    await desk.write("hello")
    assert board(desk) == [(None, "hello")]
    await desk.agent("hi Ann", thread="board-1")
    assert desk.letters.texts == ["hi Ann"]
    assert await desk.rows("parked_reply") == []


async def test_of_marks_that_wait_only_the_last_one_of_each_message_goes_out(desk: Office) -> None:
    await desk.write("hello")
    desk.board.gate = asyncio.Event()
    first = await desk.agent("one", thread=desk.thread)  # the board is busy with the card
    second = await desk.agent("two", thread=desk.thread)
    await desk.status("paper-1", "delivered")
    desk.board.gate.set()
    await desk.settled()
    assert (desk.marks(first), desk.marks(second)) == (["delivered"], ["sent"])


async def test_posts_go_before_marks(desk: Office) -> None:
    await desk.write("hello")
    desk.board.gate = asyncio.Event()
    await desk.press("show", thread=desk.thread)  # the board is busy with the card
    await desk.agent("hi Ann", thread=desk.thread)
    await desk.press("assign", thread=desk.thread)
    desk.board.gate.set()
    await desk.settled()
    shown = [out.text or (out.mark.state if out.mark else "card") for _, out in desk.board.accepted]
    assert shown.index("Assigned to zoe.") < shown.index("sent")
