"""What somebody answers, or reacts to, is shown with it: at the desk, in timelines and in the API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub import timeline
from hub.model import public_id
from hub.timeline import MessageView
from tests.paper import Office, office
from tests.test_reactions import post_of, react


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    meant = {"conversation": {"reactions": True}}
    async with office(database_url, tmp_path, settings_=meant, reactions=True) as running:
        yield running


async def views(desk: Office) -> list[MessageView]:
    """The timeline, oldest first."""
    [person] = await desk.rows("customer")
    rows = await desk.hub.store.read(lambda connection: timeline.timeline(connection, lambda *_: "", person.id))
    return [view for _, view in reversed(rows)]


async def test_what_a_customer_answers_stands_above_it(desk: Office) -> None:
    await desk.write("Where are my orders?", id="letter-a")
    await desk.agent("Shall we cancel order 1001?", thread=desk.thread)
    await desk.agent("Shall we cancel order 1002?", thread=desk.thread)
    (first, _), _ = desk.letters.accepted
    await desk.write("Yes please", reply_to=first)
    await desk.write("I asked this", reply_to="letter-a")
    await desk.write("And this", reply_to="nothing we know")
    assert desk.quoted("Yes please") == ["Zoe: Shall we cancel order 1001?"]
    assert desk.quoted("I asked this") == ["Customer ann: Where are my orders?"]
    assert desk.quoted("And this") == desk.quoted("Where are my orders?") == [None]
    asked, order, _, yes, again, strange = await views(desk)
    assert [each.reply_to for each in (asked, order, yes, again, strange)] == [None, None, order.id, asked.id, None]


async def test_nobody_quotes_what_is_another_ones(desk: Office) -> None:
    name = await desk.write("My card is 4111")
    await desk.write("Read this", sender="eve", reply_to=name)
    assert desk.quoted("Read this") == [None]


async def test_a_long_one_is_cut_and_a_file_is_named(desk: Office) -> None:
    long = await desk.write("one two\n" * 50)
    file = await desk.write("", files=["a picture"])
    await desk.advance(minutes=1)  # for the file
    await desk.write("this", reply_to=long)
    await desk.write("that", reply_to=file)
    [shown] = desk.quoted("this")
    assert shown is not None and shown.startswith("Customer ann: one two one two")
    assert shown.endswith("…") and len(shown) < 130
    assert desk.quoted("that") == ["Customer ann: [a picture.txt]"]


async def test_the_desk_is_told_to_which_message_somebody_reacted(desk: Office) -> None:
    await desk.write("Hello")
    await desk.agent("One", thread=desk.thread)
    await desk.agent("Two", thread=desk.thread)
    (first, _), (second, _) = desk.letters.accepted
    await desk.post("paper", {"reacts": first, "from": "ann", "emoji": "👍", "id": "r1"})
    await desk.post("paper", {"reacts": second, "from": "ann", "emoji": "", "removed": True, "id": "r2"})
    await desk.settled()
    assert desk.quoted("Customer ann reacted with 👍") == ["Zoe: One"]
    assert desk.quoted("Customer ann took back a reaction") == ["Zoe: Two"]
    await react(desk, post_of(desk, "Hello"), "🎉")
    [hello] = await desk.rows("message", inbound=True)
    assert [each.reply_to for each in await views(desk) if each.text == "🎉"] == [public_id("message", hello.id)]


async def test_what_is_taken_back_is_not_quoted_any_more(desk: Office) -> None:
    name = await desk.write("My card is 4111")
    await desk.write("Did you get this?", reply_to=name)
    assert await desk.post("paper", {"edits": name, "from": "ann", "text": "nothing"}) == 200
    await desk.settled()
    assert [each for each in desk.board.accepted if each[1].quoted == "Customer ann: My card is 4111"]
    assert await desk.post("paper", {"deletes": name, "from": "ann"}) == 200
    await desk.settled()
    last = {out.edits or name: out.quoted for name, out in desk.board.accepted}
    assert "Customer ann: My card is 4111" not in last.values()
    assert list(last.values()).count("Customer ann: [deleted message]") == 2
