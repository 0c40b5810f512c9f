"""An agent's emoji on what a customer wrote goes to the customer, where their app shows such."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hub.contract import Rejected
from tests.paper import Office, office


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    meant = {"conversation": {"reactions": True}}
    async with office(database_url, tmp_path, settings_=meant, reactions=True, window=timedelta(hours=24)) as running:
        yield running


def post_of(desk: Office, text: str) -> str:
    """The board's name of a post."""
    return next(name for name, out in desk.board.accepted if out.text == text)


async def react(desk: Office, post: str, emoji: str, **more: Any) -> None:
    letter = {"reacts": post, "from": "zoe", "name": "Zoe", "emoji": emoji, **more}
    assert await desk.post("board", letter) == 200
    await desk.settled()


async def test_it_is_shown_on_the_message_and_can_be_taken_back(desk: Office) -> None:
    letter = await desk.write("It works again, thanks!")
    await react(desk, post_of(desk, "It works again, thanks!"), "👍")
    await react(desk, post_of(desk, "It works again, thanks!"), "👍", removed=True)
    assert [(out.reaction, out.reply_to, out.text) for _, out in desk.letters.accepted] == [
        ("👍", letter, ""),
        ("", letter, ""),
    ]
    said = await desk.rows("message", inbound=False, purpose="reply")
    assert [(row.author_name, row.reply_to) for row in said] == [("Zoe", letter), ("Zoe", letter)]
    [talk] = await desk.rows("conversation")
    assert talk.state == "open"  # an emoji is no answer


async def test_what_is_no_emoji_or_on_no_message_of_theirs_stays_inside(desk: Office) -> None:
    await desk.write("Hi")
    await desk.agent("Hello", thread=desk.thread)
    await react(desk, post_of(desk, "Hi"), ":party_parrot:")
    await react(desk, desk.thread, "👍")
    await react(desk, "post-2", "👍")
    assert [out.text for _, out in desk.letters.accepted] == ["Hello"]


async def test_among_colleagues_it_stays_unless_the_settings_say_so(database_url: str, tmp_path: Path) -> None:
    async with office(database_url, tmp_path, reactions=True) as desk:
        await desk.write("Hi")
        await react(desk, post_of(desk, "Hi"), "👀")
        assert desk.letters.handed == []


async def test_a_channel_without_reactions_is_sent_none(database_url: str, tmp_path: Path) -> None:
    async with office(database_url, tmp_path, settings_={"conversation": {"reactions": True}}) as desk:
        await desk.write("Hi")
        await react(desk, post_of(desk, "Hi"), "👍")
        assert desk.letters.handed == []


async def test_who_wants_nothing_is_shown_nothing_and_the_agent_is_told(desk: Office) -> None:
    await desk.write("Hi")
    await desk.write("STOP")
    await react(desk, post_of(desk, "Hi"), "👍")
    assert [out.reaction for out in desk.letters.handed if out.reaction is not None] == []
    assert any(post.startswith("The customer was not shown 👍: ") for post in desk.posts)


async def test_what_the_provider_does_not_show_the_agent_is_told(desk: Office) -> None:
    await desk.write("Hi")
    desk.letters.answers = [Rejected("no such reaction", code="REACTION_INVALID")]
    await react(desk, post_of(desk, "Hi"), "🦄")
    assert any("🦄" in post and "no such reaction" in post for post in desk.posts)
