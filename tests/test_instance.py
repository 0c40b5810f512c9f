"""A copied database calls no provider until somebody takes it for the real one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from hub import instance
from hub.campaigns import engine
from hub.campaigns.draft import read
from tests.paper import Office, office, until


async def _under_way(shop: Office) -> None:
    """One message sent, one that waits for the provider, one campaign that has begun."""
    from hub.contract import Transient

    await shop.write("hello", sender="ann")
    await shop.agent("sent", thread=shop.thread)
    shop.letters.answers = [Transient("busy", after=300)]
    await shop.agent("waits", thread=shop.thread)
    campaign = read(
        {
            "name": "Spring",
            "purpose": "transactional",
            "audience": {"segment": {"all": []}},
            "channels": ["paper"],
            "messages": [{"text": "spring"}],
            "start": "2026-03-02T09:10:00Z",
        }
    )

    def begin(connection: sa.Connection, context: object) -> None:
        engine.start(connection, shop.hub.context(), engine.create(connection, shop.hub.context(), campaign))

    await shop.hub.write(begin)


async def test_a_copy_of_the_directory_calls_nobody_and_then_sends_nothing_twice(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    async with office(f"sqlite:///{here}/hub.db", here) as shop:
        await _under_way(shop)
        waits = shop.letters.handed[-1]
    shutil.copytree(here, there)

    async with office(f"sqlite:///{there}/hub.db", there) as copy:
        assert copy.hub.copied
        async with copy.session.get(f"http://127.0.0.1:{copy.hub.port}/readyz") as ready:
            assert "copy" in (await ready.json())["sending"]
        copy.clock.now = copy.clock.now.replace(hour=10)
        assert await copy.post("paper", {"id": "new", "from": "ann", "text": "still there?"}) == 200

        async def taken_in() -> bool:
            return len(await copy.rows("message", inbound=True)) == 2

        await until(taken_in)
        assert (copy.letters.handed, copy.board.handed) == ([], [])

        def confirm(connection: sa.Connection, context: object) -> int:
            return instance.confirm(connection, copy.hub.context())

        copy.letters.accepted.append(("paper-900", waits))  # by the real one, after the copy was made
        assert await copy.hub.write(confirm) >= 1

        async def sends() -> bool:
            return [row.state for row in await copy.rows("delivery", kind="contact")] == ["sent", "sent"]

        await until(sends)
        assert [out.text for out in copy.letters.handed] == []
        assert not copy.hub.copied

    async with office(f"sqlite:///{here}/hub.db", here) as original:
        assert not original.hub.copied


async def test_a_dump_read_back_into_another_database_is_a_copy(postgres_dsn: str, tmp_path: Path) -> None:
    async with office(postgres_dsn, tmp_path) as shop:
        assert not shop.hub.copied

        def elsewhere(connection: sa.Connection) -> None:
            held = '{"place": "another server", "seen": 0}'
            connection.execute(sa.text("UPDATE cursor SET value = :held WHERE name = 'instance'"), {"held": held})

        await shop.hub.store.write(elsewhere)
    async with office(postgres_dsn, tmp_path) as copy:
        assert copy.hub.copied


async def test_after_a_long_absence_campaigns_wait_for_a_word(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hub.db"
    async with office(url, tmp_path) as shop:
        await _under_way(shop)
    async with office(url, tmp_path, later=20) as back:
        [row] = await back.rows("campaign")
        assert (row.state, row.reason) == ("paused", "the hub was away for 20 min; resume to go on")
        assert back.letters.texts == []


@pytest.mark.parametrize("minutes", [0, 14])
async def test_after_a_short_absence_they_go_on(tmp_path: Path, minutes: int) -> None:
    url = f"sqlite:///{tmp_path}/hub.db"
    async with office(url, tmp_path) as shop:
        await _under_way(shop)
    async with office(url, tmp_path, later=minutes) as back:
        assert [row.state for row in await back.rows("campaign")] == ["running"]
