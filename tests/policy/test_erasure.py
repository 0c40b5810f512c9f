"""Erased people: nothing of them is left but a keyed hash, and that keeps them out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from hub import consent, customers, deliveries, erasure, sending
from hub.customers import CustomerDraft, IdentityDraft
from hub.model import Purpose, decode_content
from hub.policy.ledger import Event, Scope
from hub.store.bulk import insert_many
from hub.store.schema import conversation, delivery, message, metadata
from tests.paper import Office, office, until

ANN, NAME = "paper:ann-of-elm-street", "ann-of-elm-street"


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    """Ann has written, allowed advertising, been answered; Bob has written too."""
    async with office(database_url, tmp_path) as running:
        await running.write("hello, this is Ann", sender=NAME)
        await running.agent("hi Ann", thread=running.thread)
        await running.write("hello", sender="bob-of-elm-street")
        await allow(running, ANN)
        yield running


async def allow(desk: Office, address: str) -> None:
    def work(connection: sa.Connection, context: Any) -> None:
        scope = Scope("paper", "marketing")
        entry = Event("grant", context.now, address, basis="express_written", scope=scope, evidence={"who": address})
        consent.append(connection, entry, change="opt_in", channel=None, source="page", now=context.now)

    await desk.hub.write(work)


async def forget(desk: Office, address: str = ANN) -> None:
    def work(connection: sa.Connection, context: Any) -> None:
        number = customers.find(connection, address)
        assert number is not None
        erasure.erase(connection, context, number)

    await desk.hub.write(work)


async def offer(desk: Office, address: str = ANN, purpose: Any = "marketing") -> tuple[str, str | None]:
    draft = sending.Draft(customer=address, text="Sale!", purpose=purpose)
    await desk.hub.write(lambda connection, context: sending.accept(connection, context, draft, "me"))
    await desk.settled()
    row = (await desk.rows("delivery", kind="contact"))[-1]
    return row.state, row.code


def dump(connection: sa.Connection) -> str:
    rows = [row for table in metadata.sorted_tables for row in connection.execute(sa.select(table))]
    return repr([[bytes(each) if isinstance(each, memoryview) else each for each in row] for row in rows])


async def test_nothing_of_an_erased_person_is_left(desk: Office) -> None:
    assert NAME in await desk.hub.store.read(dump)
    await forget(desk)
    left = await desk.hub.store.read(dump)
    assert NAME not in left
    assert "this is Ann" not in left
    assert "bob-of-elm-street" in left
    assert await desk.hub.store.read(consent.broken_links) == []


async def test_an_import_does_not_bring_them_back(desk: Office) -> None:
    await forget(desk)
    draft = CustomerDraft(name="Ann", identities=[IdentityDraft(address=ANN, proof="verified")])
    _, _, refused = await desk.hub.write(lambda connection, context: customers.upsert(connection, context, draft))
    assert refused == [ANN]
    for purpose in ("marketing", "transactional", "reply"):
        assert await offer(desk, purpose=purpose) == ("denied", "SUPP_ERASED")


async def test_who_writes_again_is_answered_and_gets_offers_only_once_they_say_so(desk: Office) -> None:
    await forget(desk)
    await desk.write("it is me again", sender=NAME)
    assert await offer(desk, purpose="reply") == ("sent", None)
    assert await offer(desk) == ("denied", "SUPP_ERASED")
    await desk.write("START", sender=NAME)
    await allow(desk, ANN)
    assert await offer(desk) == ("sent", None)


async def test_only_the_entries_that_were_erased_may_have_changed(desk: Office) -> None:
    await allow(desk, "paper:bob-of-elm-street")
    await forget(desk)
    table = metadata.tables["consent_event"]
    forge = sa.update(table).where(table.c.address == "paper:bob-of-elm-street").values(actor="agent")
    await desk.hub.write(lambda connection, _: connection.execute(forge))
    assert len(await desk.hub.store.read(consent.broken_links)) == 1


async def say(desk: Office, *entries: Event) -> None:
    def work(connection: sa.Connection, context: Any) -> None:
        for each in entries:
            consent.append(connection, each, change="opt_out", channel=None, source="provider", now=context.now)

    await desk.hub.write(work)


async def test_a_complaint_outlives_the_erasure(desk: Office) -> None:
    await say(desk, Event("suppress", desk.clock.now, ANN, "provider", reason="complaint"))
    await forget(desk)
    desk.clock.now += timedelta(minutes=1)
    await desk.write("START", sender=NAME)
    await allow(desk, ANN)
    assert await offer(desk) == ("denied", "SUPP_COMPLAINT")
    await forget(desk)
    assert NAME not in await desk.hub.store.read(dump)
    assert await desk.hub.store.read(consent.broken_links) == []


async def test_so_does_a_stop_until_they_say_start(desk: Office) -> None:
    await desk.write("STOP", sender=NAME)
    await forget(desk)
    desk.clock.now += timedelta(minutes=1)
    await desk.write("who is this?", sender=NAME)
    assert await offer(desk, purpose="reply") == ("denied", "CONSENT_REVOKED_ALL")
    await desk.write("START", sender=NAME)
    assert await offer(desk, purpose="reply") == ("sent", None)
    await allow(desk, ANN)
    assert await offer(desk) == ("sent", None)


async def test_and_what_the_person_refused_everywhere(desk: Office) -> None:
    def refuse(connection: sa.Connection, context: Any) -> None:
        number = customers.find(connection, ANN)
        assert number is not None
        entry = Event("object", context.now, consent.person(number), scope=Scope(purpose="reply"))
        consent.append(connection, entry, change="opt_out", channel=None, source="api", now=context.now)

    await desk.hub.write(refuse)
    await forget(desk)
    await desk.write("it is me again", sender=NAME)
    assert await offer(desk, purpose="reply") == ("denied", "CONSENT_REVOKED")


async def test_no_spelling_of_an_erased_number_is_left(desk: Office) -> None:
    await allow(desk, "tel:+551187654321")
    draft = CustomerDraft(name="Caio", identities=[IdentityDraft(address="tel:+5511987654321", proof="verified")])
    await desk.hub.write(lambda connection, context: customers.upsert(connection, context, draft))
    await forget(desk, "tel:+5511987654321")
    left = await desk.hub.store.read(dump)
    assert "87654321" not in left
    known = await desk.hub.store.read(
        lambda connection: consent.events(connection, ["tel:+551187654321"], desk.hub.context().secret)
    )
    assert [each.type for each in known["tel:+551187654321"]] == ["grant"]


def _of_nobody(connection: sa.Connection) -> int:
    found = 0
    for table in (message, delivery):
        there = sa.exists().where(conversation.c.id == table.c.conversation_id)
        found += int(connection.execute(sa.select(sa.func.count()).select_from(table).where(~there)).scalar_one())
    return found


async def test_what_comes_from_them_at_that_moment_is_of_somebody_new(postgres_dsn: str, tmp_path: Path) -> None:
    async with office(postgres_dsn, tmp_path) as desk:
        await desk.write("hello")
        [ann] = await desk.rows("customer")
        other = await asyncpg.connect(postgres_dsn)
        try:
            erasing = other.transaction()
            await erasing.start()
            await other.execute("SELECT id FROM customer WHERE id = $1 FOR UPDATE", ann.id)
            assert await desk.post("paper", {"id": "late", "from": "ann", "text": "one thing more"}) == 200
            await until(lambda: _waits(other))
            for table in ("message", "delivery", "desk_thread", "conversation", "identity", "customer"):
                await other.execute(f"DELETE FROM {table}")
            await erasing.commit()
        finally:
            await other.close()
        await desk.settled()
        assert await desk.hub.store.read(_of_nobody) == 0
        [said] = await desk.rows("message")
        [person] = await desk.rows("customer")
        assert decode_content(said.content).text == "one thing more" and person.id != ann.id


async def _waits(connection: asyncpg.Connection[Any]) -> bool:
    """Whether somebody waits for a row that this connection has locked."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    return bool(await connection.fetchval(query))


async def test_what_is_left_of_them_at_the_desk_stops_nobody(desk: Office) -> None:
    def leave(connection: sa.Connection, context: Any) -> None:
        row = deliveries.delivery_row(context, context.ids(), "board", "card", Purpose.note)
        insert_many(connection, delivery, [row])

    await desk.hub.write(leave)
    await desk.write("hello", sender="bob")
    assert desk.posts[-1].endswith("hello")
    assert await desk.hub.store.read(_of_nobody) == 0
