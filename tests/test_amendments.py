"""Edits and reactions, in whatever order they come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.paper import Office, office


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(database_url, tmp_path) as running:
        yield running


async def tell(desk: Office, *letters: dict[str, Any], channel: str = "paper", by: str = "ann") -> None:
    assert await desk.post(channel, *({"from": by, **each} for each in letters)) == 200
    await desk.settled()


async def values(desk: Office) -> list[tuple[str, str]]:
    return [(row.kind, row.value) for row in await desk.rows("amendment")]


async def test_a_reaction_that_is_given_back_within_a_second_is_there(desk: Office) -> None:
    await desk.write("Hi")
    await desk.agent("Hello", thread=desk.thread)
    [(ours, _)] = desk.letters.accepted
    still = desk.clock.now
    for number, removed in enumerate((False, True, False)):
        desk.clock.now = still
        await tell(desk, {"reacts": ours, "id": f"r{number}", "emoji": "👍", "removed": removed})
    assert [value for _, value in await values(desk)] == ["+👍", "-👍", "+👍"]
