"""Rates beyond the sender's: of a campaign, of a mailbox provider, of a person at an account."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from hub.channels import Channel
from hub.contract import Capabilities, ChannelConfig
from hub.model import Content, Purpose, public_id
from hub.outbound.job import Job
from hub.outbound.pace import Pace
from hub.outbound.scopes import LATE, Wait, evenly, per_second
from hub.policy.rates import Rates
from hub.store import Store, open_store
from hub.store.schema import campaign, customer, identity, message, rate
from hub.store.topics import Topics

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
CAN = Capabilities(text_limit=1000, idempotency="key", rate=100.0)
GMAIL, HOTMAIL, OTHER = "ann@gmail.com", "bob@hotmail.com", "cat@example.com"


@dataclass(frozen=True)
class Row:
    """Of ``delivery``."""

    id: int
    identity_id: int
    message_id: int = 0
    kind: str = "contact"
    reason: str | None = None


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    opened = await open_store(database_url, Topics())
    await opened.migrate()
    yield opened
    await opened.close()


def pace(
    name: str = "mail", can: Capabilities = CAN, scheme: str = "mailto", handed: Rates | None = None, **config: Any
) -> Pace:
    return Pace(Channel(name, "paper", "email", scheme, "contact", can), ChannelConfig(**config), 0.8, handed)


async def people(store: Store, *addresses: str) -> list[int]:
    def work(connection: sa.Connection) -> None:
        connection.execute(sa.insert(customer).values(id=1, created_at=NOW))
        for number, each in enumerate(addresses, 1):
            row = {"id": number, "address": f"mailto:{each}", "customer_id": 1, "proof": "verified", "created_at": NOW}
            connection.execute(sa.insert(identity).values(row))

    await store.write(work)
    return list(range(1, len(addresses) + 1))


async def claim(store: Store, way: Pace, rows: Sequence[Row], purpose: Purpose = Purpose.reply) -> dict[int, Wait]:
    """Those that may go take their places. Returns what was put off."""

    def work(connection: sa.Connection) -> dict[int, Wait]:
        waits = way.waits(connection, rows)
        jobs = [job(row, purpose) for row in rows if row.id not in waits]
        way.take(connection, jobs)
        return waits

    return await store.write(work)


def job(row: Row, purpose: Purpose = Purpose.reply, text: str = "x") -> Job:
    return Job(
        row.id, "contact", "mail", 1, row.message_id, purpose, 0, 0, NOW, NOW,
        identity_id=row.identity_id, content=Content(text),
    )  # fmt: skip


async def arrivals(store: Store) -> dict[str, float]:
    rows = await store.read(lambda connection: connection.execute(sa.select(rate)).all())
    return {row.key: row.arrival for row in rows}


async def taken_for_a_minute(store: Store, key: str) -> float:
    """Others have the next places, however slow this machine is. Returns until when, as the rate has it."""
    until = time.time() + 60
    taken = sa.update(rate).values(arrival=until).where(rate.c.key == key)
    await store.write(lambda connection: connection.execute(taken))
    return until


async def test_a_mailbox_provider_is_not_sent_more_than_it_takes_and_keeps_nobody_up(store: Store) -> None:
    gmail, hotmail, other = await people(store, GMAIL, HOTMAIL, OTHER)
    way = pace()
    crowd = [Row(number, gmail) for number in range(60)]
    began = time.monotonic()
    put_off = await claim(store, way, [*crowd, Row(100, hotmail), Row(101, other)])
    took = time.monotonic() - began
    assert 44 - 20 * took <= len(put_off) <= 50  # half a second's worth of 20 a second, and a quarter of a second ahead
    assert set(put_off) <= {row.id for row in crowd}
    assert {each.reason for each in put_off.values()} == {"RATE_DOMAIN: as fast as gmail takes mail"}


async def test_what_is_put_off_takes_no_place_of_the_sender(store: Store) -> None:
    [gmail, _] = await people(store, GMAIL, OTHER)
    way = pace()
    await claim(store, way, [Row(number, gmail) for number in range(40)])
    await taken_for_a_minute(store, "domain:mail:gmail")
    before = await arrivals(store)
    assert set(await claim(store, way, [Row(50, gmail)])) == {50}
    assert await arrivals(store) == before


async def test_those_put_off_come_back_one_after_the_other(store: Store) -> None:
    [gmail] = await people(store, GMAIL)
    way, began = pace(), time.monotonic()
    first = await claim(store, way, [Row(number, gmail) for number in range(60)])
    second = await claim(store, way, [Row(number, gmail) for number in range(60, 120)])
    for each in (first, second):
        left = [wait.left for wait in each.values()]
        assert all(later - sooner == pytest.approx(1 / 20) for sooner, later in itertools.pairwise(left))
    took = time.monotonic() - began
    assert max(wait.left for wait in second.values()) > (len(first) + len(second)) / 20 - 1.5 - took
    # One whose time has come waits for the rate alone, not behind all that were put off after it.
    again = await claim(store, way, [Row(119, gmail, reason="RATE_DOMAIN: as fast as gmail takes mail")])
    assert all(each.left < 1 for each in again.values())


async def test_who_only_looks_puts_nobody_off(store: Store) -> None:
    [gmail] = await people(store, GMAIL)
    way, rows = pace(), [Row(number, gmail) for number in range(60)]
    await claim(store, way, [Row(100, gmail)])
    await taken_for_a_minute(store, "domain:mail:gmail")
    for _ in range(3):
        seen = await store.read(lambda connection: way.waits(connection, rows, promise=False))
        assert len(seen) == 60
    put_off = await claim(store, way, rows)
    assert max(wait.left for wait in put_off.values()) < 60 + 60 / 20 + 1


async def test_a_campaign_keeps_its_rate_over_all_channels_and_whatever_its_messages_weigh(store: Store) -> None:
    [ann] = await people(store, OTHER)

    def plan(connection: sa.Connection) -> None:
        values = {"id": 5, "name": "Spring", "state": "running", "draft": '{"rate": 10}', "created_at": NOW}
        connection.execute(sa.insert(campaign).values(values))
        said = {
            "conversation_id": 1, "channel": "campaign", "inbound": False, "purpose": "marketing", "content": "{}",
            "author_kind": "campaign", "author_name": "Spring", "author_id": public_id("campaign", 5),
            "provider_at": NOW, "recorded_at": NOW,
        }  # fmt: skip
        connection.execute(sa.insert(message), [{"id": 100 + number} | said for number in range(40)])

    await store.write(plan)
    ways = [pace("mail"), pace("sms", replace(CAN, sms_segments=True), "tel")]
    gone, began = 0, time.monotonic()
    for number, way in enumerate(ways):
        rows = [Row(each, ann, 100 + each) for each in range(number * 20, number * 20 + 20)]
        put_off = await claim(store, way, rows, Purpose.marketing)
        assert {each.reason for each in put_off.values()} == {"RATE_CAMPAIGN: as fast as the campaign may"}
        gone += len(rows) - len(put_off)
    assert 5 <= gone <= 7 + 10 * (time.monotonic() - began)  # half a second ahead, one after the other
    spent = await taken_for_a_minute(store, "campaign:5")
    long = job(Row(7, ann, 107), text="x" * 400)
    await store.write(partial(_take, ways[1], Row(7, ann, 107), long))
    assert abs((await arrivals(store))["campaign:5"] - spent - 0.1) < 0.02  # three segments are one message


async def test_what_held_a_campaign_up_is_not_made_up_for(store: Store) -> None:
    handed, limit, gap = Rates(), {"campaign:5": evenly(100.0)}, evenly(100.0).gap
    ways = [pace(name, handed=handed) for name in ("mail", "sms")]
    late = [replace(job(Row(each, 1)), rates=limit, turn=time.monotonic() - 1) for each in range(40)]
    began = time.monotonic()
    slots = [ways[place % 2].slot(each) for place, each in enumerate(late)]
    assert slots[0] >= began
    assert all(later - sooner >= gap - 1e-6 for sooner, later in itertools.pairwise(slots))
    again = ways[0].slot(late[0])  # it has missed its own, as it were, and gets behind the others
    assert again >= slots[-1] + gap - 1e-6
    following = replace(job(Row(50, 1)), rates=limit)
    await store.write(lambda connection: ways[1].take(connection, [following]))
    assert following.turn >= again + gap - 0.001  # nor are further places taken that nobody could keep
    other = replace(job(Row(51, 1)), rates={"domain:mail:gmail": per_second(20.0)})
    assert ways[0].slot(other) <= time.monotonic()


async def test_who_missed_the_last_slot_gives_it_back() -> None:
    way = pace()
    one = replace(job(Row(1, 1)), rates={"campaign:5": evenly(0.001)})
    missed = way.slot(one)
    assert way.slot(one) - missed < 500


@pytest.mark.parametrize("rate", [0.5, 1, 2, 3, 5, 10, 25, 49, 50, 80, 700])
def test_in_no_second_a_campaign_is_faster_than_it_may_however_late_each_is(rate: float) -> None:
    rates, wanted = Rates(), {"campaign:5": evenly(rate)}
    turns = [rates.reserve(wanted, 0.0) for _ in range(2 + int(3 * rate))]
    for place, first in enumerate(turns):
        end = first + LATE + 1.0  # when it began late, and others came on time
        assert sum(turn < end - 1e-9 for turn in turns[place:]) <= max(1, rate)


def _take(way: Pace, row: Row, made: Job, connection: sa.Connection) -> None:
    way.waits(connection, [row])
    way.take(connection, [made])


async def test_a_person_of_an_account_is_the_same_person_at_its_other_sender(store: Store) -> None:
    [ann, bob] = await people(store, GMAIL, OTHER)
    can = replace(CAN, pair=(6.0, 1.0))
    began = time.monotonic()
    one, two = (pace(name, can, "tel", shares="acme") for name in ("one", "two"))
    assert await claim(store, one, [Row(1, ann)]) == {}
    put_off = await claim(store, two, [Row(2, ann), Row(3, bob)])
    assert set(put_off) == {2}
    assert 5 - (time.monotonic() - began) < put_off[2].left <= 6
    assert put_off[2].reason == "RATE_PAIR: one after the other"
    assert await claim(store, pace("other", can, "tel"), [Row(4, ann)]) == {}


async def test_what_a_mailbox_provider_found_too_fast_slows_that_one_down_and_over_a_restart(store: Store) -> None:
    gmail, hotmail = await people(store, GMAIL, HOTMAIL)
    way = pace()
    blamed = job(Row(1, gmail))
    await store.write(partial(_take, way, Row(1, gmail), blamed))
    await store.write(lambda connection: way.slow_down(connection, "domain", 60.0, blamed))
    for each in (way, pace()):
        put_off = await claim(store, each, [Row(2, gmail), Row(3, hotmail)])
        assert set(put_off) == {2}
        assert 55 < put_off[2].left < 61
    assert (way.room() or 0) > 20  # the sender itself is as fast as before
    rows = await store.read(lambda connection: connection.execute(sa.select(rate)).all())
    assert {row.key: row.learned for row in rows if row.learned} == {"domain:mail:gmail": pytest.approx(14)}


@pytest.mark.parametrize("shares", [None, "acme"])
async def test_a_person_who_gets_too_much_rests_and_nobody_else(store: Store, shares: str | None) -> None:
    [ann, bob] = await people(store, GMAIL, OTHER)
    way = pace(can=replace(CAN, pair=(0.01, 1.0)), scheme="tel", shares=shares)
    blamed = job(Row(1, ann))
    await store.write(partial(_take, way, Row(1, ann), blamed))
    await store.write(lambda connection: way.slow_down(connection, "pair", 30.0, blamed))
    put_off = await claim(store, way, [Row(2, ann), Row(3, bob)])
    assert set(put_off) == {2}
    assert 25 < put_off[2].left < 31
    assert all(row.learned is None for row in await store.read(lambda c: c.execute(sa.select(rate)).all()))
