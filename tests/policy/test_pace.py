"""Turns: every rate that a message falls under, in rows that all processes share."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from hub.channels import Channel
from hub.contract import Capabilities, ChannelConfig
from hub.model import Content, Purpose
from hub.outbound import pace as places
from hub.outbound.job import Job
from hub.outbound.pace import Pace
from hub.outbound.scopes import taken_ahead
from hub.store import Store, open_store
from hub.store.schema import rate
from hub.store.topics import Topics

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
CAN = Capabilities(text_limit=1000, idempotency="key", rate=10.0)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    opened = await open_store(database_url, Topics())
    await opened.migrate()
    yield opened
    await opened.close()


def pace(name: str = "sms", can: Capabilities = CAN, **config: Any) -> Pace:
    return Pace(Channel(name, "paper", "sms", "tel", "contact", can), ChannelConfig(**config), 0.8)


def jobs(count: int, purpose: Purpose = Purpose.reply, text: str = "x", to: int = 1) -> list[Job]:
    return [
        Job(each, "contact", "sms", 1, 1, purpose, 0, 0, NOW, NOW, identity_id=to, content=Content(text))
        for each in range(count)
    ]


async def turns(store: Store, paces: Pace | Sequence[Pace], some: list[Job]) -> list[float]:
    """Each by itself, as if several processes took turns."""
    ways = itertools.cycle([paces] if isinstance(paces, Pace) else paces)
    for way, job in zip(ways, some, strict=False):
        await store.write(partial(way.take, jobs=[job]))
    return sorted(job.turn for job in some)


def most(at: list[float], window: float) -> int:
    return max(sum(start <= each < start + window for each in at) for start in at)


async def test_a_sender_keeps_its_rate_and_a_second_worker_goes_on_where_the_first_stopped(store: Store) -> None:
    at = [*await turns(store, pace(), jobs(30)), *await turns(store, pace(), jobs(30))]
    assert most(at, 1.0) <= 10 + 5
    assert max(at) - min(at) > (60 - 5) / 10 - 1.5


async def test_channels_that_share_a_rate_keep_it_together(store: Store) -> None:
    both = [pace(name, shares="account", shared_rate=5) for name in ("one", "two")]
    at = await turns(store, both, jobs(30))
    assert most(at, 1.0) <= 5 + 2.5
    apart = [pace(name) for name in ("three", "four")]
    assert most(await turns(store, apart, jobs(30)), 1.0) > 10


async def test_advertising_leaves_a_fifth_of_the_rate_to_answers(store: Store) -> None:
    way = pace()
    at = []
    while way.room(marketing=True):
        at += await turns(store, way, jobs(1, Purpose.marketing))
    assert len(at) < 10
    assert (way.room() or 0) > 0
    [reply] = await turns(store, way, jobs(1))
    assert reply < max(at) + 0.25


async def test_advertising_that_is_badly_received_has_a_pace_of_its_own(store: Store) -> None:
    way = pace(rate=10)
    way.advertise(0.4)
    at: list[float] = []
    while way.room(marketing=True):
        at += await turns(store, way, jobs(1, Purpose.marketing))
    assert at == sorted(at)
    later = await turns(store, way, jobs(8, Purpose.marketing))
    assert 1.6 < later[-1] - later[0] < 1.9  # seven gaps of a quarter of a second
    pace().advertise(0.4)


async def test_a_text_costs_its_segments(store: Store) -> None:
    can = replace(CAN, sms_segments=True, rate=1.0)
    first, second = await turns(store, pace(can=can), jobs(2, text="x" * 400))
    assert 2.5 < second - first < 3.9  # three segments, and what the machine takes


async def test_one_recipient_does_not_wait_for_another(store: Store) -> None:
    way = pace(can=replace(CAN, pair=(6.0, 1.0)))
    [first] = await turns(store, way, jobs(1, to=7))
    assert 5 < way.wait(7) <= 6
    assert way.wait(8) == 0
    [other] = await turns(store, way, jobs(1, to=8))
    assert other < first + 1


async def test_what_a_provider_found_too_fast_stays_slower_over_a_restart(store: Store) -> None:
    way = pace()
    await turns(store, way, jobs(1))
    await store.write(lambda connection: way.slow_down(connection, "sender", after=0.0))
    again = pace()
    await turns(store, again, jobs(1))
    assert await turns(store, again, jobs(30)) and most(await turns(store, again, jobs(30)), 2.0) <= 2 * 7 + 3.5
    assert again.room() == 0


async def test_while_the_provider_wants_silence_nothing_is_claimed(store: Store) -> None:
    way = pace()
    await turns(store, way, jobs(1))
    await store.write(lambda connection: way.slow_down(connection, "sender", after=60.0))
    assert way.room() == 0
    assert 55 < way.delay() < 61
    assert min(await turns(store, pace(), jobs(1))) - way.delay() > 0


def test_without_a_rate_there_is_no_limit() -> None:
    assert pace(can=replace(CAN, rate=None)).room() is None


async def written_by_a_clock_that_was_ahead(store: Store, seconds: float) -> None:
    times = (rate.c.arrival, rate.c.held_until, rate.c.cut_at, rate.c.raised_at, rate.c.at)
    later = sa.update(rate).values({each.name: each + seconds for each in times})
    await store.write(lambda connection: connection.execute(later))


async def test_a_clock_that_was_ahead_delays_nothing_and_what_was_taken_is_kept(store: Store) -> None:
    began = time.monotonic()
    taken = max(await turns(store, pace(), jobs(50))) - began
    await written_by_a_clock_that_was_ahead(store, 600.0)
    [turn] = await turns(store, pace(), jobs(1))
    assert taken - 0.1 < turn - began < taken + 1 + time.monotonic() - began


async def test_a_pause_that_a_provider_asked_for_is_kept_when_the_clock_is_set_back_and_is_no_longer(
    store: Store,
) -> None:
    way = pace()
    await turns(store, way, jobs(1))
    await store.write(lambda connection: way.slow_down(connection, "sender", after=60.0))
    await written_by_a_clock_that_was_ahead(store, 3600.0)
    [turn] = await turns(store, pace(), jobs(1))
    assert 55 < turn - time.monotonic() <= 60


async def test_places_that_a_campaign_has_are_counted_by_the_time_they_were_taken_at(store: Store) -> None:
    at = time.time() + 600
    taken = sa.insert(rate).values(key="campaign:7", arrival=at + 2, at=at)
    await store.write(lambda connection: connection.execute(taken))
    assert await store.read(partial(taken_ahead, campaign_id=7)) == pytest.approx(2, abs=0.01)


async def test_a_worker_goes_on_when_its_clock_is_set_back(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(time=lambda: time.time() + 600, monotonic=time.monotonic)
    monkeypatch.setattr(places, "time", clock)
    store = await open_store(sqlite_url, Topics())
    try:
        way = pace(can=replace(CAN, pair=(6.0, 1.0)))
        await turns(store, way, jobs(1))
        clock.time = time.time
        assert way.room() and way.delay() == 0
        assert 5 < way.wait(1) <= 6
        [turn] = await turns(store, way, jobs(1, to=2))
        assert turn < time.monotonic() + 1
    finally:
        await store.close()
