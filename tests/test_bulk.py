"""Many rows in one statement, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from hub.clock import Ids
from hub.store import Store, open_store
from hub.store.bulk import fetch, insert_many, insert_new, select_many, update_many
from hub.store.schema import conversation, customer, event

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    one = await open_store(database_url)
    await one.migrate()
    yield one
    await one.close()


def row(number: int, **more: Any) -> dict[str, Any]:
    waiting = NOON - timedelta(microseconds=number) if number % 2 else None
    base = {"id": number, "customer_id": 1, "state": "resolved", "opened_at": NOON, "last_at": NOON}
    return {**base, "waiting_since": waiting, **more}


@pytest.mark.parametrize("count", [1, 2, 1500])
async def test_rows_come_back_as_they_were_written(store: Store, count: int) -> None:
    names = ("id", "state", "last_at", "waiting_since")
    rows = [row(number) for number in range(1, count + 1)]

    def work(connection: sa.Connection) -> list[tuple[Any, ...]]:
        insert_many(connection, customer, [{"id": 1, "created_at": NOON}])
        insert_many(connection, conversation, rows)
        found = select_many(connection, conversation, names, "id", [each["id"] for each in rows])
        return sorted(map(tuple, found))

    assert await store.write(work) == [tuple(each[name] for name in names) for each in rows]


async def test_a_further_condition_has_values_of_its_own(store: Store) -> None:
    later = NOON + timedelta(hours=1)
    rows = [row(1), row(2, last_at=later), row(3, state="open")]

    def work(connection: sa.Connection) -> list[int]:
        insert_many(connection, customer, [{"id": 1, "created_at": NOON}])
        insert_many(connection, conversation, rows)
        more, given = "state <> 'resolved' OR last_at >= ?", int(later.timestamp() * 1_000_000)
        found = select_many(connection, conversation, ("id",), "id", {1, 2, 3, 4}, more, given)
        assert select_many(connection, conversation, ("id",), "id", []) == []
        return sorted(each[0] for each in found)

    assert await store.write(work) == [2, 3]


async def test_each_row_is_changed_by_its_key(store: Store) -> None:
    def work(connection: sa.Connection) -> list[tuple[Any, ...]]:
        insert_many(connection, customer, [{"id": 1, "created_at": NOON}])
        insert_many(connection, conversation, [row(number) for number in (1, 2, 3)])
        changes = [{"id": number, "preview": f"new {number}", "waiting_since": None} for number in (3, 1)]
        update_many(connection, conversation, "id", changes)
        return [tuple(each) for each in fetch(connection, "SELECT id, preview FROM conversation WHERE id <= ?", 3)]

    assert sorted(await store.write(work)) == [(1, "new 1"), (2, ""), (3, "new 3")]


async def test_keys_may_be_bytes(store: Store) -> None:
    keys = [bytes([number]) * 16 for number in range(5)]

    def work(connection: sa.Connection) -> set[bytes]:
        insert_many(connection, event, [{"key": key, "message_id": None} for key in keys[:3]])
        return {each[0] for each in select_many(connection, event, ("key",), "key", keys)}

    assert await store.write(work) == set(keys[:3])


def test_ids_taken_together_grow_like_those_taken_alone() -> None:
    ids = Ids(lambda: NOON, node=3)
    found = [ids(), *ids.take(70_000), ids()]
    assert found == sorted(set(found))
    assert {number >> 16 & 31 for number in found} == {3}


def test_ids_go_on_after_one_that_was_made_when_the_clock_was_ahead() -> None:
    ahead = Ids(lambda: NOON + timedelta(hours=1), node=5)()
    ids = Ids(lambda: NOON)
    first = ids()
    ids.start_after(ahead)
    ids.start_after(first)
    assert first < ahead < ids() < ids()


async def test_what_is_there_already_is_left_as_it_is(store: Store) -> None:
    def work(connection: sa.Connection) -> list[Any]:
        old = {"key": b"a", "message_id": 1}
        counts = [insert_new(connection, event, rows) for rows in (
            [], [old], [{"key": b"a", "message_id": 2}, {"key": b"b", "message_id": 3}], [old, old],
        )]
        return [counts, *sorted(map(tuple, select_many(connection, event, ("key", "message_id"), "key", [b"a", b"b"])))]

    assert await store.write(work) == [[0, 1, 1, 0], (b"a", 1), (b"b", 3)]
