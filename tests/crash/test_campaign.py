"""A campaign to thousands, killed again and again: nobody is left out, nobody gets it twice, a copy sends nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import Counter
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url

from hub.testing.postgres import new_database
from tests.crash.hubs import DRAINED, HubProcess
from tests.crash.ordeal import Ordeal, ordeal
from tests.paper import until
from tests.process import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
PEOPLE = {"sqlite": 20_000, "postgresql": 4_000}  # or HUB_TEST_CAMPAIGN; every start takes longer on PostgreSQL
NAME = "Spring"
BATCH = 500  # customers of one request


async def begin(world: Ordeal, people: int) -> list[str]:
    """Customers, and a campaign to all of them that has started. Returns their numbers."""
    phones = [f"+1202{number:07}" for number in range(2_000_000, 2_000_000 + people)]
    customers = [
        {"external_id": phone, "identities": [{"address": f"tel:{phone}", "proof": "verified"}]} for phone in phones
    ]
    for first in range(0, people, BATCH):
        await asked(world.hub, "/customers/batch", {"customers": customers[first : first + BATCH]})
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


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of the hub that works in ``home``."""
    (tmp_path / "home" / "data").mkdir(parents=True)
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_dsn"))
    return f"sqlite:///{tmp_path}/home/data/hub.db"


async def test_everybody_gets_it_once_and_a_copy_sends_nothing(
    tmp_path: Path, url: str, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    print(f"HUB_TEST_SEED={seed}")
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    # A late accept comes sooner than anybody asks.
    async with AsyncExitStack() as stack, ordeal(url, home, seed, settle=3.0) as world:
        faults = world.sms.faults
        faults.seed, faults.delay = seed, 0.5
        faults.rates = {"throttle": 0.001, "late_accept": 0.002, "drop_after": 0.002, "error_after": 0.002}
        world.sms.deliver = False  # only what the hub asks tells it what has arrived
        hub = world.hub
        await hub.start()
        await hub.ready()
        people = int(os.environ.get("HUB_TEST_CAMPAIGN") or PEOPLE[url.partition(":")[0]])
        phones = await begin(world, people)

        copy: HubProcess | None = None
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
            if copy is None and len(accepts(world)) > people / 10:
                elsewhere.mkdir()
                copied = await copy_of(url, home / "data", elsewhere / "data", stack)
                copy = HubProcess(elsewhere, copied, world.channels, beside=hub)
                await a_copy_is_silent(world, copy)
            await hub.start()
            await hub.ready()
        assert copy is not None, "it was over before it could be copied: more people are needed"

        stats = await hub.get(f"/api/v1/campaigns/{NAME}/stats")
        taken = accepts(world)
        with capsys.disabled():
            print(f"\ncampaign: people {people}, kills {hub.kills}, missing {len(set(phones) - set(taken))}, twice "
                  f"{sum(count > 1 for count in taken.values())}, throttled or lost "
                  f"{len(world.sms.ledger.of('fault'))}, asked {len(world.sms.ledger.of('query'))}")
        assert set(taken) == set(phones)
        assert set(taken.values()) == {1}
        assert stats["states"].keys() <= {"sent", "delivered"}  # the latter where the provider was asked
        assert stats["people"] == sum(stats["states"].values()) == len(taken)
        assert hub.kills > 1
        assert await hub.stop() == 0

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


async def copy_of(url: str, data: Path, place: Path, stack: AsyncExitStack) -> str:
    """The data of a hub that was killed, and its database, once more. Returns the URL of the copy."""
    shutil.copytree(data, place)
    if url.startswith("sqlite"):
        return f"sqlite:///{place}/hub.db"
    name = str(make_url(url).database)
    server = make_url(url).set(database="postgres").render_as_string(hide_password=False)
    await until(partial(_is_left, server, name), timeout=DRAINED)
    return await stack.enter_async_context(new_database(server, name))


async def _is_left(server: str, name: str) -> bool:
    """Whether the server has noticed that the killed hub is gone; before that nothing can be copied."""
    connection = await asyncpg.connect(server)
    try:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1"
        return not await connection.fetchval(query, name)
    finally:
        await connection.close()


async def a_copy_is_silent(world: Ordeal, copy: HubProcess) -> None:
    """It takes messages in, and calls no provider."""
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
    except BaseException:
        await copy.close()
        raise
    assert len(world.sms.ledger.of("request")) + len(world.slack.ledger.of("request")) == calls


async def no_doubts(hub: HubProcess) -> bool:
    async with hub.session.get(f"{hub.base}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    found = [line for line in lines if line.startswith("hub_deliveries_indoubt")]
    return bool(found) and not any(float(line.rpartition(" ")[2]) for line in found)
