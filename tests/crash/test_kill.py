"""Killed again and again under load, at moments of chance: what was acknowledged is there, once, in order."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.crash.conftest import Note
from tests.crash.hubs import HubProcess
from tests.crash.ordeal import ordeal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
KILLS = int(os.environ.get("HUB_TEST_KILLS", "20"))


async def test_kills_lose_nothing_repeat_nothing_and_keep_the_order(
    database_url: str, tmp_path: Path, seed: int, note: Note
) -> None:
    async with ordeal(database_url, tmp_path, seed) as world:
        await world.hub.start()
        await world.hub.ready()
        world.load.start()
        for _ in range(KILLS):
            await asyncio.sleep(world.random.uniform(0, 1.5))
            await world.hub.kill()
            await world.hub.start()
            if world.random.random() < 0.8:  # else it is killed while it starts
                await world.hub.ready()
        await world.hub.ready()
        await world.load.stop()
        outcome = await world.outcome()
        note(outcome)
        assert outcome.clean, outcome
        assert outcome.kills == KILLS and outcome.acknowledged > KILLS and outcome.sent > KILLS


async def test_a_second_hub_takes_over_from_one_that_is_killed(
    postgres_dsn: str, tmp_path: Path, seed: int, note: Note
) -> None:
    async with ordeal(postgres_dsn, tmp_path, seed) as world:
        await world.hub.start()
        await world.hub.ready()
        (tmp_path / "second").mkdir()
        second = HubProcess(tmp_path / "second", postgres_dsn, world.channels, beside=world.hub)
        await second.start()
        await second.ready()
        try:
            world.load.start()
            for _ in range(3):
                await asyncio.sleep(world.random.uniform(0.5, 1.5))
                await world.hub.kill()
                await second.idle()  # it has sent and shown what the other one had taken
                await world.hub.start()
                await world.hub.ready()
            await world.load.stop()
            outcome = await world.outcome()
        finally:
            await second.close()
        note(outcome)
        assert outcome.clean, outcome
