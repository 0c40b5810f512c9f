"""What a customer takes back is nowhere any more: not in the thread, the raw deliveries, the files or at the desk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hub import timeline, unsent
from hub.store.schema import metadata
from tests.paper import Office, office, until

CARD = "4111-secret"


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(database_url, tmp_path) as running:
        yield running


async def everything(desk: Office) -> str:
    """All that the database holds, as text."""
    rows = [row for name in metadata.tables for row in await desk.rows(name)]
    return " ".join(repr(tuple(row)) for row in rows)


def files(desk: Office) -> list[bytes]:
    root = desk.hub.settings.data / "media"
    return [path.read_bytes() for path in root.rglob("*") if path.is_file()]


async def take_back(desk: Office, name: str) -> None:
    assert await desk.post("paper", {"deletes": name, "from": "ann"}) == 200
    await desk.settled()


async def test_what_was_taken_back_is_nowhere(desk: Office) -> None:
    name = await desk.write(f"My card is {CARD}")
    await desk.post("paper", {"id": name, "from": "ann", "text": f"My card is {CARD}"})  # told twice
    assert await desk.post("paper", {"edits": name, "from": "ann", "text": f"My old card is {CARD}"}) == 200
    await desk.settled()
    assert CARD in await everything(desk)
    await take_back(desk, name)
    assert CARD not in await everything(desk)
    [row] = await desk.rows("message", inbound=True)
    assert [each.kind for each in await desk.rows("amendment", message_id=row.id)] == ["edit", "delete"]
    view = await desk.hub.store.read(lambda connection: timeline.explain(connection, lambda *_: "", row.id))
    assert view is not None and (view.text, view.unsupported) == ("", "deleted message")


async def test_the_desk_shows_it_no_more(desk: Office) -> None:
    name = await desk.write(f"My card is {CARD}")
    await take_back(desk, name)
    posts = [(name, out) for name, out in desk.board.accepted if out.card is None]
    [shown] = [name for name, out in posts if CARD in out.text]
    assert [out.text for _, out in posts if out.edits == shown] == ["[deleted message: cannot be shown here]"]
    assert "Customer ann deleted a message." in desk.posts
    assert CARD not in [out.card.preview for _, out in desk.board.accepted if out.card is not None][-1]


async def test_a_post_that_is_just_going_out_is_changed_after_it_is_out(desk: Office) -> None:
    await desk.write("Hi")
    desk.board.answers = [gate := asyncio.Event()]
    name = "letter-2"
    assert await desk.post("paper", {"id": name, "from": "ann", "text": CARD}) == 200

    async def going() -> bool:
        return CARD in [out.text for out in desk.board.handed]

    await until(going)
    assert await desk.post("paper", {"deletes": name, "from": "ann"}) == 200

    async def taken_back() -> bool:
        return bool(await desk.rows("amendment"))

    await until(taken_back)
    gate.set()
    await desk.settled()
    [shown] = [name for name, out in desk.board.accepted if out.text == CARD]
    assert shown in [out.edits for _, out in desk.board.accepted]


async def test_its_files_are_removed_but_for_what_others_sent_too(desk: Office) -> None:
    name = await desk.write("Look", files=["mine", "common"])
    await desk.write("Look too", sender="bob", files=["common"])

    async def stored() -> bool:
        return len(await desk.rows("media", state="stored")) == 3

    await until(stored)
    await desk.advance(seconds=2)  # the desk waits for files
    await take_back(desk, name)

    async def gone() -> bool:
        return len(await desk.rows("media")) == 1

    await until(gone)
    assert files(desk) == [b"common"]
    assert "mine" not in await everything(desk)
    assert any("by hand" in post for post in desk.posts)


async def test_others_in_the_same_delivery_keep_what_they_said(desk: Office) -> None:
    letters: list[dict[str, Any]] = [{"id": f"l-{who}", "from": who, "text": f"of {who}"} for who in ("ann", "bob")]
    assert await desk.post("paper", *letters) == 200
    await desk.settled()
    await take_back(desk, "l-ann")
    [raw, _] = await desk.rows("inbox")
    assert json.loads(raw.body) == [{"id": "l-ann", "from": "ann"}, letters[1]]


async def test_a_message_that_was_taken_back_before_it_came_is_not_shown(desk: Office) -> None:
    await take_back(desk, "letter-1")
    await desk.write(CARD, id="letter-1")
    assert await desk.rows("message", inbound=True) == [] and desk.posts == []


async def test_what_comes_again_after_it_was_taken_back_is_not_kept(desk: Office) -> None:
    letter = {"id": "letter-1", "from": "ann", "text": CARD}
    bobs = {"id": "letter-b", "from": "bob", "text": "of bob"}
    await desk.write(CARD)
    await take_back(desk, "letter-1")
    assert await desk.post("paper", letter, bobs) == 200
    await desk.settled()
    assert CARD not in await everything(desk)
    raw = (await desk.rows("inbox", channel="paper"))[-1]
    assert json.loads(raw.body) == [{"id": "letter-1", "from": "ann"}, bobs]


async def test_an_edit_that_comes_after_it_was_taken_back_is_not_kept(desk: Office) -> None:
    await desk.write("Hi")
    await take_back(desk, "letter-1")
    assert await desk.post("paper", {"edits": "letter-1", "from": "ann", "text": CARD, "ago": 5}) == 200
    await desk.settled()
    assert CARD not in await everything(desk) and CARD not in " ".join(desk.posts)


@pytest.mark.parametrize("order", ["edit message delete", "edit delete message", "delete edit message"])
async def test_in_whatever_order_it_comes_nothing_is_kept(desk: Office, order: str) -> None:
    told = {
        "message": {"id": "letter-9", "text": CARD, "ago": 20},
        "edit": {"edits": "letter-9", "text": f"{CARD}!", "ago": 10},
        "delete": {"deletes": "letter-9"},
    }
    await desk.write("Hi")
    for each in order.split():
        assert await desk.post("paper", told[each] | {"from": "ann"}) == 200
        await desk.settled()
    assert CARD not in await everything(desk)


async def test_what_an_agent_takes_back_stays_on_record(desk: Office) -> None:
    await desk.write("Hi")
    name = await desk.agent("A promise", thread=desk.thread)
    assert await desk.post("board", {"deletes": name, "from": "zoe"}) == 200
    await desk.settled()
    assert "A promise" in await everything(desk)


RAW: list[tuple[Any, Any]] = [
    (
        {"a": [{"mid": "m", "text": "x", "n": 1}, {"mid": "o", "text": "y"}]},
        {"a": [{"mid": "m"}, {"mid": "o", "text": "y"}]},
    ),
    (
        {"id": "m", "from": "44", "timestamp": "1", "type": "text", "text": {"body": "x"}, "from_user_id": "GB.1"},
        {"id": "m", "from": "44", "timestamp": "1", "type": "text", "from_user_id": "GB.1"},
    ),
    (
        {"id": "n", "edit": {"original_message_id": "m", "message": {"text": {"body": "x"}}}},
        {"id": "n", "edit": {"original_message_id": "m"}},
    ),
    (
        {"actions": [{"action_id": "resolve"}], "message": {"ts": "m", "text": "x", "thread_ts": "m"}},
        {"actions": [{"action_id": "resolve"}], "message": {"ts": "m", "thread_ts": "m"}},
    ),
    (same := {"reply_to": {"mid": "m"}, "text": "of another"}, same),
    (same := {"id": "o", "quotedMessageId": "m", "text": "an answer"}, same),
    (same := [1, "m"], same),
]


@pytest.mark.parametrize(("document", "left"), RAW)
def test_only_objects_of_that_id_are_emptied(document: Any, left: Any) -> None:
    found = unsent.without(json.dumps(document).encode(), "m")
    assert found is not None and json.loads(found) == left


@pytest.mark.parametrize("body", [b"From=%2B1&MessageSid=m", b"\xff", b"[" * 5000, b""])
def test_what_is_no_json_goes_as_a_whole(body: bytes) -> None:
    assert unsent.without(body, "m") is None
