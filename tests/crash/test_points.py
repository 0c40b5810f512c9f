"""Killed at every step of a message's way: whatever was under way ends once, and as it should.

One hub after the other works on the same database under the same load. Each dies at the next point, in the middle of
what the one before has left.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.testing.simulation import Fault, FaultKind
from tests.crash.conftest import Note
from tests.crash.flaws import MIGRATION, RECOVERY, SENT, TAKEN, TOLD
from tests.crash.hubs import START
from tests.crash.ordeal import Ordeal, ordeal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
PEOPLE = 3
# What leaves something to find out.
RECOVERY_FROM = {
    "doubts marked, not committed": "before the call to Twilio",
    "Twilio asked": "Twilio's answer read",
    "Slack asked": "Slack's answer read",
}


async def die_at(world: Ordeal, points: list[str]) -> None:
    """Hubs under load that die at these points, one after the other, and a sound one at the end."""
    world.load.long = 0.3
    world.load.start()
    for point in points:
        await world.hub.start(point)
        await world.hub.died()
    await world.hub.start()
    await world.hub.ready()
    await world.load.stop()


async def ended_well(world: Ordeal, note: Note, kills: int) -> None:
    outcome = await world.outcome()
    note(outcome)
    assert outcome.clean, outcome
    assert outcome.kills == kills and outcome.acknowledged and outcome.sent, outcome


@pytest.mark.parametrize("points", [TAKEN, SENT], ids=["taken", "sent"])
async def test_a_kill_at_each_step_of_the_way(
    points: dict[str, object], database_url: str, tmp_path: Path, seed: int, note: Note
) -> None:
    async with ordeal(database_url, tmp_path, seed, phones=PEOPLE) as world:
        await die_at(world, list(points))
        await ended_well(world, note, len(points))


async def test_a_kill_while_it_finds_out_what_it_was_doing(
    database_url: str, tmp_path: Path, seed: int, note: Note
) -> None:
    async with ordeal(database_url, tmp_path, seed, phones=PEOPLE) as world:
        await die_at(world, [*TOLD])
        assert await world.hub.stop() == 0
        world.sms.deliver = False  # else a status may tell before anybody asks
        points = [each for point in RECOVERY for each in (RECOVERY_FROM[point], point)]
        await die_at(world, points)
        await ended_well(world, note, len(TOLD) + len(points))


async def test_a_kill_while_the_provider_holds_the_request(
    database_url: str, tmp_path: Path, seed: int, note: Note
) -> None:
    """The provider takes it while nobody is there to hear so, or has taken it and the answer was lost."""
    faults: list[FaultKind] = ["slow", "drop_after", "error_after"]
    async with ordeal(database_url, tmp_path, seed, phones=PEOPLE) as world:
        world.load.start()
        for number, fault in enumerate(faults, 1):
            world.sms.faults.queued = [Fault(fault, delay=0.3)]
            await world.hub.start()
            await world.sms.ledger.wait_for("fault", count=number, timeout=START)
            await world.hub.kill()
        await world.hub.start()
        await world.hub.ready()
        await world.load.stop()
        await ended_well(world, note, len(faults))


async def test_a_kill_during_the_migration(empty_database_url: str, tmp_path: Path, seed: int, note: Note) -> None:
    async with ordeal(empty_database_url, tmp_path, seed, phones=1) as world:
        await die_at(world, list(MIGRATION))
        await ended_well(world, note, len(MIGRATION))
