"""Killed at every step of a message's way: whatever was under way ends once, and as it should."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hub.testing.simulation import Fault
from tests.crash.conftest import Note
from tests.crash.flaws import MIGRATION, POINTS, RECOVERY
from tests.crash.ordeal import Ordeal, ordeal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


async def work(world: Ordeal) -> None:
    """Everything a message can do: come in, be shown, be answered, be sent in one part and in two."""
    [phone] = world.load.phones
    await world.load.text(phone)
    await world.load.send(phone)
    await world.load.send(phone, long=True)
    await world.load.text(phone)
    await world.slack.ledger.wait_for("accept", text=world.load.acknowledged[phone][0], timeout=60)
    await world.load.answer(phone)


async def restarted(world: Ordeal) -> None:
    """Once it has died, start it again, sound."""
    await world.hub.died()
    await world.hub.start()
    await world.hub.ready()


async def ended_well(world: Ordeal, note: Note, kills: int = 1) -> None:
    outcome = await world.outcome()
    note(outcome)
    assert outcome.clean, outcome
    assert (outcome.kills, outcome.acknowledged, outcome.sent) == (kills, 2, 3)


@pytest.mark.parametrize("point", POINTS)
async def test_a_kill_at_a_step_of_the_way(
    point: str, database_url: str, tmp_path: Path, seed: int, note: Note
) -> None:
    async with ordeal(database_url, tmp_path, seed, phones=1) as world:
        await world.hub.start(point)
        await world.hub.ready()
        async with asyncio.timeout(90):
            await asyncio.gather(work(world), restarted(world))
        await ended_well(world, note)


@pytest.mark.parametrize("point", RECOVERY)
async def test_a_kill_while_it_recovers_from_a_kill(
    point: str, database_url: str, tmp_path: Path, seed: int, note: Note
) -> None:
    async with ordeal(database_url, tmp_path, seed, phones=1) as world:
        world.sms.deliver = False  # else a status may tell before anybody asks

        async def killed_twice() -> None:
            await world.hub.died()
            await world.hub.start(point)
            await restarted(world)

        await world.hub.start("Slack's answer read" if point == "Slack asked" else "Twilio's answer read")
        await world.hub.ready()
        async with asyncio.timeout(90):
            await asyncio.gather(work(world), killed_twice())
        await ended_well(world, note, kills=2)


@pytest.mark.parametrize("fault", ["slow", "drop_after", "error_after"])
async def test_a_kill_while_the_provider_holds_the_request(
    fault: str, database_url: str, tmp_path: Path, seed: int, note: Note
) -> None:
    """The provider takes it while nobody is there to hear so, or has taken it and the answer was lost."""
    async with ordeal(database_url, tmp_path, seed, phones=1) as world:
        world.sms.faults.queued = [Fault(fault, delay=0.3)]
        await world.hub.start()
        await world.hub.ready()

        async def killed() -> None:
            await world.sms.ledger.wait_for("fault", timeout=60)
            await world.hub.kill()
            await world.hub.start()
            await world.hub.ready()

        async with asyncio.timeout(90):
            await asyncio.gather(work(world), killed())
        await ended_well(world, note)


@pytest.mark.parametrize("point", MIGRATION)
async def test_a_kill_during_the_migration(
    point: str, database_url: str, tmp_path: Path, seed: int, note: Note
) -> None:
    async with ordeal(database_url, tmp_path, seed, phones=1) as world:
        await world.hub.start(point)
        await restarted(world)
        await work(world)
        await ended_well(world, note)
