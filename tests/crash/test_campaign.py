"""A campaign to thousands, killed again and again: nobody is left out, nobody gets it twice, a copy sends nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.crash.hubs import DRAINED, HubProcess
from tests.crash.ordeal import Ordeal, ordeal
from tests.paper import until
from tests.process import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
PEOPLE = int(os.environ.get("HUB_TEST_CAMPAIGN", "10000"))
NAME = "Spring"
BATCH = 500  # customers of one request


async def begin(world: Ordeal) -> list[str]:
    """Customers, and a campaign to all of them that has started. Returns their numbers."""
    phones = [f"+1202{number:07}" for number in range(2_000_000, 2_000_000 + PEOPLE)]
    people = [
        {"external_id": phone, "identities": [{"address": f"tel:{phone}", "proof": "verified"}]} for phone in phones
    ]
    for first in range(0, PEOPLE, BATCH):
        await asked(world.hub, "/customers/batch", {"customers": people[first : first + BATCH]})
    await asked(
        world.hub,
        "/campaigns",
        {
            "name": NAME, "purpose": "transactional", "audience": {"segment": {"all": []}}, "channels": ["sms"],
            "messages": [{"text": "Your order is ready."}], "stop": {"errors": 1.0},
        },
    )
    await asked(world.hub, f"/campaigns/{NAME}/start")
    return phones


async def asked(hub: HubProcess, path: str, body: Any = None) -> Any:
    status, answer = await hub.ask("POST", f"/api/v1{path}", body, os.urandom(8).hex())
    assert status in (200, 201), (path, status, answer)
    return answer


async def state(hub: HubProcess) -> str:
    return str((await hub.get(f"/api/v1/campaigns/{NAME}"))["state"])


def accepts(world: Ordeal) -> Counter[str]:
    return Counter(line.data["to"] for line in world.sms.ledger.of("accept"))


async def test_everybody_gets_it_once_and_a_copy_sends_nothing(
    tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    print(f"HUB_TEST_SEED={seed}")
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    # A late accept comes sooner than anybody asks.
    async with ordeal(f"sqlite:///{home}/data/hub.db", home, seed, settle=3.0) as world:
        faults = world.sms.faults
        faults.seed, faults.delay = seed, 0.5
        faults.rates = {"throttle": 0.001, "late_accept": 0.002, "drop_after": 0.002, "error_after": 0.002}
        world.sms.deliver = False  # only what the hub asks tells it what has arrived
        hub = world.hub
        await hub.start()
        await hub.ready()
        phones = await begin(world)

        copied = False
        while True:
            await asyncio.sleep(world.random.uniform(0.5, 5.0))
            if await state(hub) == "finished":
                break
            if world.random.random() < 0.3:
                await asked(hub, f"/campaigns/{NAME}/pause", {"reason": "lunch"})
                await hub.kill()
                await hub.start()
                await hub.ready()
                assert await state(hub) == "paused"
                await asked(hub, f"/campaigns/{NAME}/resume")
                continue
            await hub.kill()
            if not copied and len(accepts(world)) > PEOPLE / 10:
                copied = True
                shutil.copytree(home / "data", tmp_path / "copied")
                await a_copy_is_silent(world, tmp_path / "copied")
            await hub.start()
            await hub.ready()
        assert copied, "it was over before it could be copied: more people are needed"

        stats = await hub.get(f"/api/v1/campaigns/{NAME}/stats")
        taken = accepts(world)
        with capsys.disabled():
            print(f"\ncampaign: people {PEOPLE}, kills {hub.kills}, missing {len(set(phones) - set(taken))}, twice "
                  f"{sum(count > 1 for count in taken.values())}, throttled or lost "
                  f"{len(world.sms.ledger.of('fault'))}, asked {len(world.sms.ledger.of('query'))}")
        assert set(taken) == set(phones)
        assert set(taken.values()) == {1}
        assert stats["states"].keys() <= {"sent", "delivered"}  # the latter where the provider was asked
        assert stats["people"] == sum(stats["states"].values()) == len(taken)
        assert hub.kills > 1
        assert await hub.stop() == 0

        copy = a_copy(world, tmp_path / "copied")
        try:
            await copy.start()
            await copy.ready()
            done = await run("--config", str(copy.config), "resume", "--i-restored", cwd=copy.home)
            assert done.code == 0 and NAME in done.out, done
            await until(partial(no_doubts, copy), timeout=DRAINED)
            assert await state(copy) == "paused"
            assert accepts(world) == taken
        finally:
            await copy.close()


def a_copy(world: Ordeal, data: Path) -> HubProcess:
    """A hub on that copy of the data, as the same providers would see it."""
    place = data.parent / "elsewhere"
    place.mkdir(exist_ok=True)
    if data.exists():
        data.rename(place / "data")
    return HubProcess(place, f"sqlite:///{place}/data/hub.db", world.channels, beside=world.hub)


async def a_copy_is_silent(world: Ordeal, data: Path) -> None:
    """It takes messages in, and calls no provider."""
    copy = a_copy(world, data)
    calls = len(world.sms.ledger.of("request")) + len(world.slack.ledger.of("request"))
    try:
        await copy.start()
        await copy.ready()
        waits = await copy.waiting()
        webhook, world.sms.webhook_url = world.sms.webhook_url, f"{copy.base}/hooks/sms"
        assert await world.load.text(world.load.phones[0]) == 200
        world.sms.webhook_url = webhook

        async def waits_to_be_shown() -> bool:
            return await copy.waiting() > waits

        await until(waits_to_be_shown, timeout=DRAINED)
        assert await copy.stop() == 0
    finally:
        await copy.close()
    assert len(world.sms.ledger.of("request")) + len(world.slack.ledger.of("request")) == calls


async def no_doubts(hub: HubProcess) -> bool:
    async with hub.session.get(f"{hub.base}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    found = [line for line in lines if line.startswith("hub_deliveries_indoubt")]
    return bool(found) and not any(float(line.rpartition(" ")[2]) for line in found)
