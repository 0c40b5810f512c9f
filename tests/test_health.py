"""Whether the hub says truly that it is alive, of use, and what it counts."""

from __future__ import annotations

import json
import resource
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from hub.app import running
from hub.contract import ChannelDown, Emit, Transient
from hub.registry import Adapters
from hub.settings import Settings
from tests.paper import Clock, Office, Paper, Post, office, until

# The hub's bookmarks can still be read.
READ_ONLY = {
    "sqlite": [
        f"CREATE TRIGGER lost_{on} BEFORE {on} ON cursor BEGIN SELECT RAISE(ABORT, 'lost'); END"
        for on in ("INSERT", "UPDATE")
    ],
    "postgresql": [
        f"CREATE RULE lost_{on} AS ON {on} TO cursor DO INSTEAD (SELECT 'lost'::text::int)"
        for on in ("INSERT", "UPDATE")
    ],
}


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(database_url, tmp_path) as one:
        yield one


async def ask(session: aiohttp.ClientSession, port: int, path: str) -> tuple[int, Any]:
    async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.json()


async def test_a_hub_at_rest_is_alive_and_ready(desk: Office) -> None:
    assert await ask(desk.session, desk.hub.port, "/healthz") == (200, {"status": "ok"})
    assert await ask(desk.session, desk.hub.port, "/readyz") == (
        200, {"status": "ok", "inbox": 0, "oldest_seconds": 0.0}
    )


async def test_a_hub_that_cannot_commit_is_alive_but_not_ready(desk: Office) -> None:
    for statement in READ_ONLY[desk.hub.store.dialect]:
        await desk.hub.store.write(partial(sa.Connection.exec_driver_sql, statement=statement))
    status, said = await ask(desk.session, desk.hub.port, "/readyz")
    assert (status, said["status"]) == (503, "cannot commit")
    assert "lost" not in json.dumps(said), "what the database said is for the log"
    assert (await ask(desk.session, desk.hub.port, "/healthz"))[0] == 200


async def test_a_hub_whose_disk_is_full_is_not_ready(tmp_path: Path) -> None:
    async with office(f"sqlite:///{tmp_path}/hub.db", tmp_path) as desk:
        assert (await ask(desk.session, desk.hub.port, "/readyz"))[0] == 200
        usual = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, usual[1]))
        try:
            status, said = await ask(desk.session, desk.hub.port, "/readyz")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, usual)
        assert (status, said["status"]) == (503, "cannot commit")
        assert (await ask(desk.session, desk.hub.port, "/readyz"))[0] == 200


async def test_a_hub_that_stops_is_not_ready(desk: Office) -> None:
    desk.hub.ready = False
    assert await ask(desk.session, desk.hub.port, "/readyz") == (503, {"status": "stopping"})


async def test_a_delivery_that_nobody_projects_makes_it_late(database_url: str, tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {
            "data": tmp_path, "database_url": database_url, "listen": {"port": 0}, "roles": ["web"],
            "channels": {"paper": {"adapter": "paper"}},
        }
    )
    clock, paper = Clock(), type("Paper", (Paper,), {"post": Post()})
    async with (
        running(settings, clock=clock, adapters=Adapters({"paper": paper})) as hub,
        aiohttp.ClientSession() as session,
    ):
        letter = json.dumps([{"id": "1", "from": "ann", "text": "Hello"}])
        url = f"http://127.0.0.1:{hub.port}/hooks/paper"
        async with session.post(url, data=letter, headers={"X-Seal": "wax"}) as answer:
            assert answer.status == 200
        assert (await ask(session, hub.port, "/readyz"))[0] == 200
        clock.now += timedelta(seconds=61)
        status, said = await ask(session, hub.port, "/readyz")
        assert (status, said["status"], said["inbox"]) == (503, "late", 1)
        assert 61 <= said["oldest_seconds"] < 62


async def test_metrics_count_by_channel_and_name_no_customer(desk: Office) -> None:
    await desk.write("Hello", sender="hieronymus")
    assert await desk.post("paper", {"id": "x", "from": "eve", "text": "forged"}, seal="mud") == 403
    await desk.agent("Hi", thread=desk.thread)
    async with desk.session.get(f"http://127.0.0.1:{desk.hub.port}/metrics") as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = await answer.text()
    found = {
        (sample.name, sample.labels.get("channel"), sample.labels.get("outcome")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["hub_hooks_total", "paper", "accepted"] == 1
    assert found["hub_hooks_total", "paper", "refused"] == 1
    assert found["hub_messages_projected_total", "", None] == 1
    assert found["hub_parts_sent_total", "paper", None] == 1
    assert found["hub_inbox_waiting", "", None] == 0
    assert found["hub_channel_up", "paper", None] == 1
    assert found["hub_deliveries_queued", "fax", None] == 0
    assert {name for name, *_ in found if name.startswith("hub_deliveries_")} == {
        "hub_deliveries_queued", "hub_deliveries_sending", "hub_deliveries_indoubt"
    }
    assert "hieronymus" not in text


# --- providers ---


async def told(desk: Office, *kinds: str) -> None:
    """Wait until these alerts are there, and no other."""

    async def there() -> bool:
        return len(await desk.rows("alert")) >= len(kinds)

    await until(there)
    assert [(each.kind, each.channel) for each in await desk.rows("alert")] == [(kind, "paper") for kind in kinds]


async def is_up(desk: Office, channel: str = "paper") -> bool:
    async with desk.session.get(f"http://127.0.0.1:{desk.hub.port}/metrics") as answer:
        return f'hub_channel_up{{channel="{channel}"}} 1.0' in await answer.text()


async def test_a_provider_that_takes_nothing_for_minutes_is_an_alert_and_so_is_the_end_of_it(desk: Office) -> None:
    await desk.write("Hello")
    desk.letters.answers = [Transient("no connection to post.example")] * 2
    await desk.agent("Hi", thread=desk.thread)
    assert await is_up(desk) and await desk.rows("alert") == []
    await desk.advance(minutes=6)
    await told(desk, "down")
    [alert] = await desk.rows("alert")
    assert alert.detail.startswith("no connection to post.example; its messages wait")
    assert not await is_up(desk) and await is_up(desk, "fax")
    await desk.advance(minutes=6)
    assert desk.letters.texts == ["Hi"]
    await told(desk, "down", "up")
    assert await is_up(desk)
    desk.letters.answers = [ChannelDown("bad token")]
    await desk.agent("Are you there?", thread=desk.thread)
    await told(desk, "down", "up", "down")


async def test_a_few_failures_between_successes_are_no_alert(desk: Office) -> None:
    await desk.write("Hello")
    for text in ("one", "two", "three"):
        desk.letters.answers = [Transient("no connection")]
        await desk.agent(text, thread=desk.thread)
        await desk.advance(minutes=4)
    assert desk.letters.texts == ["one", "two", "three"]
    assert await is_up(desk) and await desk.rows("alert") == []


async def test_a_source_that_gives_nothing_for_minutes_is_an_alert_and_so_is_the_end_of_it(
    database_url: str, tmp_path: Path
) -> None:
    async with office(database_url, tmp_path) as desk:
        host = desk.hub.adapters["paper"].host
        for _ in range(2):
            assert await is_up(desk)
            host.pulled(Transient("the mailbox cannot be read"))
            desk.clock.now += timedelta(minutes=5)
        await told(desk, "not receiving")
        [alert] = await desk.rows("alert")
        assert alert.detail.startswith("the mailbox cannot be read; what people write does not come in")
        assert not await is_up(desk)
    async with office(database_url, tmp_path, later=15) as desk:  # whoever mends settings starts the hub again
        desk.hub.adapters["paper"].host.pulled()
        await told(desk, "not receiving", "receiving")


async def test_a_source_that_refuses_us_is_an_alert_at_once(database_url: str, tmp_path: Path) -> None:
    async def locked(self: Paper, emit: Emit) -> None:
        raise ChannelDown("wrong password")

    paper = type("Paper", (Paper,), {"post": Post(), "run": locked})
    settings = Settings.model_validate(
        {"data": tmp_path, "database_url": database_url, "listen": {"port": 0}, "channels": {"p": {"adapter": "paper"}}}
    )
    async with running(settings, adapters=Adapters({"paper": paper})) as hub:
        await until(partial(hub.store.read, lambda c: bool(c.execute(sa.text("SELECT count(*) FROM alert")).scalar())))
        [row] = await hub.store.read(lambda c: c.execute(sa.text("SELECT kind, channel, detail FROM alert")).all())
        assert (row.kind, row.channel) == ("not receiving", "p") and row.detail.startswith("wrong password; ")
