"""Hubs that are wrong on purpose: the tally must say so, or it proves nothing about the right one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.crash.conftest import Note
from tests.crash.flaws import WRONG
from tests.crash.ordeal import ordeal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SHOWS = {
    "answers before the commit": "lost",
    "marks sent before the hand-off": "unsent",
    "sends again what is in doubt": "duplicates",
    "forgets what it has seen": "twice",
    "moves the cursor first": "lost",
    "sends the newest first": "inversions",
}
ROUNDS = 10  # of two kills each; chance may be kind to a wrong hub once, but not so often


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_hub_is_found_out(wrong: str, tmp_path: Path, seed: int, note: Note) -> None:
    async with ordeal(f"sqlite:///{tmp_path}/hub.db", tmp_path, seed) as world:
        world.sms.faults.rates, world.sms.faults.delay = {"slow": 0.5}, 0.05  # so that something is in flight
        if wrong == "forgets what it has seen":
            world.sms.faults.duplicate_callbacks = True
        await world.hub.start(wrong)
        await world.hub.ready()
        for _ in range(ROUNDS):
            world.load.start()
            for _ in range(2):
                await asyncio.sleep(world.random.uniform(0.3, 0.6))
                await world.hub.kill()
                await world.hub.start(wrong)
                await world.hub.ready()
            await world.load.stop()
            outcome = await world.outcome()
            if getattr(outcome, SHOWS[wrong]) > 0:
                break
        note(outcome)
        assert getattr(outcome, SHOWS[wrong]) > 0, outcome
