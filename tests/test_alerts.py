"""Alerts reach people: through the database, the worker, Apprise itself, and a service on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from adapters.apprise.adapter import Apprise, AppriseConfig
from adapters.apprise.simulator import Simulator
from hub.alerts import Alerts, text_of
from hub.app import running
from hub.registry import adapters, channels
from hub.registry import alerts as channel_of_alerts
from hub.settings import ConfigError, Settings
from hub.store import Store, open_store
from hub.store.schema import alert, cursor
from hub.testing.host import LocalHost
from hub.testing.simulation import Fault
from tests.paper import until

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
async def service() -> AsyncIterator[Simulator]:
    simulator = Simulator()
    await simulator.start()
    yield simulator
    await simulator.stop()


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    opened = await open_store(database_url)
    await opened.migrate()
    yield opened
    await opened.close()


@asynccontextmanager
async def telling(store: Store, service: Simulator) -> AsyncIterator[None]:
    """The worker at work, once it knows which alerts are old."""
    ops = Apprise("ops", AppriseConfig(**service.config()), LocalHost())
    task = asyncio.create_task(Alerts(store, ops, ops.own_address(), rest=0.01, poll=0.01).run())
    try:
        await until(lambda: begun(store))
        yield
        await until(lambda: noted(store))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await ops.close()


async def begun(store: Store) -> bool:
    return bool(await store.read(lambda connection: connection.execute(sa.select(cursor)).all()))


async def noted(store: Store) -> bool:
    """Whether it is written down how far alerts have been told."""
    newest = sa.select(sa.func.coalesce(sa.func.max(alert.c.id), 0)).scalar_subquery()
    query = sa.select(cursor).where(sa.cast(cursor.c.value, sa.BigInteger) == newest)
    return bool(await store.read(lambda connection: connection.execute(query).all()))


async def happens(store: Store, *details: str, ids: tuple[int, ...] = ()) -> None:
    rows: list[dict[str, Any]] = [
        {"at": NOON, "kind": "unparseable", "channel": "sms", "detail": each} for each in details
    ]
    rows = [row | {"id": number} for row, number in zip(rows, ids, strict=True)] if ids else rows

    def work(connection: Connection) -> None:
        connection.execute(sa.insert(alert), rows)

    await store.write(work)


async def heard(service: Simulator, count: int) -> list[str]:
    await service.ledger.wait_for("accept", count=count)
    return [text for _, text in service.notes]


async def test_an_alert_is_told_once(store: Store, service: Simulator) -> None:
    async with telling(store, service):
        await happens(store, "inbox 7: not JSON")
        assert await heard(service, 1) == ["2026-01-31 12:00 UTC, unparseable, sms: inbox 7: not JSON"]
        assert service.notes[0][0] == "omnihub: unparseable"
        await happens(store, "inbox 8: not JSON")
        assert len(await heard(service, 2)) == 2
    async with telling(store, service):
        await happens(store, "inbox 9: not JSON")
        assert [text[-17:] for text in await heard(service, 3)][-1] == "inbox 9: not JSON"
    assert len(service.notes) == 3


async def test_what_was_there_before_is_not_told(store: Store, service: Simulator) -> None:
    await happens(store, "old")
    async with telling(store, service):
        await happens(store, "new")
        [text] = await heard(service, 1)
    assert "new" in text and "old" not in text


async def test_what_happens_while_the_hub_is_away_is_told_later(store: Store, service: Simulator) -> None:
    async with telling(store, service):
        pass
    await happens(store, "one", "two")
    async with telling(store, service):
        [text] = await heard(service, 1)
    assert [line[-3:] for line in text.splitlines()] == ["one", "two"]
    assert service.notes[0][0] == "omnihub: 2 alerts"


@pytest.mark.parametrize("fault", [Fault("throttle"), Fault("error"), Fault("drop_before"),
                                   Fault("reject", code="403")], ids=str)
async def test_what_was_not_heard_is_told_again(store: Store, service: Simulator, fault: Fault) -> None:
    async with telling(store, service):
        service.faults.queued += [fault, fault]
        await happens(store, "important")
        assert len(await heard(service, 1)) == 1
    assert len(service.ledger.of("request")) == 3


async def test_what_is_refused_for_good_does_not_hold_the_rest(store: Store, service: Simulator) -> None:
    async with telling(store, service):
        service.faults.queued.append(Fault("reject"))
        await happens(store, "first")
        await service.ledger.wait_for("fault")
        await happens(store, "second")
        [text] = await heard(service, 1)
    assert text.endswith("second")
    assert "first" not in text


async def test_failures_of_alerts_make_no_alerts(store: Store, service: Simulator) -> None:
    async with telling(store, service):
        service.faults.queued += [Fault("error"), Fault("error")]
        await happens(store, "one")
        await heard(service, 1)
    assert len(await store.read(lambda connection: connection.execute(sa.select(alert)).all())) == 1


async def test_an_alert_that_was_committed_late_is_told_too(store: Store, service: Simulator) -> None:
    async with telling(store, service):
        await happens(store, "began second", ids=(12,))
        await heard(service, 1)
        await happens(store, "began first", ids=(11,))
        texts = await heard(service, 2)
    assert [text.partition("sms: ")[2] for text in texts] == ["began second", "began first"]


async def test_a_flood_is_one_message(store: Store, service: Simulator) -> None:
    async with telling(store, service):
        await happens(store, *(f"number {number}" for number in range(50)))
        [text] = await heard(service, 1)
    assert len(text.splitlines()) == 21
    assert text.endswith("… and 30 more: GET /api/v1/alerts")


async def test_a_long_alert_is_cut_and_stays_in_its_line(store: Store) -> None:
    await happens(store, "a\nb " * 1000)
    rows = await store.read(lambda connection: connection.execute(sa.select(alert)).all())
    text = text_of(rows)
    assert "\n" not in text
    assert len(text) < 600


# --- settings ---


def configured(service: Simulator, tmp_path: Path, **more: Any) -> Settings:
    return Settings.model_validate({
        "data": tmp_path, "listen": {"port": 0}, "alerts": "ops",
        "channels": {"ops": {"adapter": "apprise", **service.config()}}, **more,
    })


async def test_a_hub_tells_by_the_channel_that_it_names(service: Simulator, tmp_path: Path, database_url: str) -> None:
    async with running(configured(service, tmp_path, database_url=database_url)) as hub:
        await until(lambda: begun_of_alerts(hub.store))
        await happens(hub.store, "something")
        [text] = await heard(service, 1)
    assert text.endswith("something")


async def begun_of_alerts(store: Store) -> bool:
    query = sa.select(cursor).where(cursor.c.name == "alerts")
    return bool(await store.read(lambda connection: connection.execute(query).all()))


@pytest.mark.parametrize("name", ["sms", "ops_", "nowhere"])
def test_a_channel_that_leads_to_nobody_is_refused(name: str, service: Simulator, tmp_path: Path) -> None:
    sms = {"adapter": "twilio_sms", "account_sid": "AC1", "auth_token": "f" * 32, "from_number": "+12025550100"}
    settings = configured(service, tmp_path, alerts=name)
    settings.channels["sms"] = sms
    with pytest.raises(ConfigError, match=r"leads to people of yours.*such channels: ops"):
        channel_of_alerts(settings, channels(settings, adapters()))
