"""SIGTERM: what is in flight is finished, nothing is left in doubt, the exit code is 0."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hub.testing.simulation import Fault
from tests.crash.conftest import Note
from tests.crash.hubs import START
from tests.crash.ordeal import ordeal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
RESTARTS = 4


async def test_restarts_under_load_leave_nothing_in_doubt(
    database_url: str, tmp_path: Path, seed: int, note: Note
) -> None:
    async with ordeal(database_url, tmp_path, seed) as world:
        world.sms.faults.rates, world.sms.faults.delay = {"slow": 0.5}, 0.2  # so that something is in flight
        await world.hub.start()
        await world.hub.ready()
        world.load.start()
        for _ in range(RESTARTS):
            await asyncio.sleep(world.random.uniform(0.5, 1.5))
            assert await world.hub.stop() == 0, world.hub.words()
            await world.hub.start()
            await world.hub.ready()
        await world.load.stop()
        outcome = await world.outcome()
        note(outcome)
        assert outcome.clean, outcome
        # A provider is asked only about what is in doubt.
        assert world.sms.ledger.of("query") + world.slack.ledger.of("query") == []


async def test_a_call_that_takes_long_is_waited_for(database_url: str, tmp_path: Path, seed: int, note: Note) -> None:
    async with ordeal(database_url, tmp_path, seed, phones=1) as world:
        [phone] = world.load.phones
        await world.hub.start()
        await world.hub.ready()
        world.sms.faults.queued = [Fault("slow", delay=3.0)]
        await world.load.send(phone, long=True)
        await world.sms.ledger.wait_for("fault", timeout=START)
        assert await world.hub.stop() == 0, world.hub.words()
        assert len(world.sms.ledger.of("accept")) == 1, "the second part waits for the next start"
        await world.hub.start()
        await world.hub.ready()
        outcome = await world.outcome()
        note(outcome)
        assert outcome.clean, outcome
        assert world.sms.ledger.of("query") == []


async def test_a_kill_while_it_drains_is_only_a_kill(database_url: str, tmp_path: Path, seed: int, note: Note) -> None:
    async with ordeal(database_url, tmp_path, seed, phones=1) as world:
        [phone] = world.load.phones
        await world.hub.start()
        await world.hub.ready()
        world.sms.faults.queued = [Fault("slow", delay=600.0)]
        await world.load.send(phone)
        await world.sms.ledger.wait_for("fault", timeout=START)
        with pytest.raises(TimeoutError):
            await world.hub.stop(0.5)
        await world.hub.kill()
        await world.hub.start()
        await world.hub.ready()
        outcome = await world.outcome()
        note(outcome)
        assert outcome.clean, outcome
