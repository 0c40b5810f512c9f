"""No hand-off starts after a no: the ledger is looked at once more right before the provider is called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
import sqlalchemy as sa

from hub import consent, sending
from hub.contract import Outgoing
from hub.outbound.claim import claim
from hub.policy.ledger import Event, Scope
from hub.store.schema import consent_event
from tests.paper import Office, office


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(database_url, tmp_path, text_limit=10) as running:
        await running.write("hello")
        yield running


async def refuse(desk: Office, address: str = "paper:ann") -> None:
    await desk.hub.write(
        lambda connection, context: consent.record(
            connection,
            address,
            "opt_out",
            channel="paper",
            source="keyword",
            evidence={},
            at=context.now,
            now=context.now,
        )
    )


async def test_a_no_between_two_parts_keeps_the_second_back(desk: Office) -> None:
    async def refuse_now(out: Outgoing) -> None:
        desk.letters.watch = None
        await refuse(desk)

    desk.letters.watch = refuse_now
    await desk.agent("one two three four", thread=desk.thread)
    await desk.settled()
    assert len(desk.letters.handed) == 1
    [row] = await desk.rows("delivery", kind="contact")
    assert (row.state, row.code) == ("denied", "CONSENT_REVOKED_ALL")
    verdicts = [each.reason for each in await desk.rows("decision")]
    assert verdicts == ["ALLOWED", "CONSENT_REVOKED_ALL"]


async def test_a_no_counts_at_once_though_the_clock_of_who_heard_it_is_ahead(desk: Office) -> None:
    for kind, minutes in (("revoke", 5), ("grant", 6)):
        entry = Event(kind, desk.clock.now + timedelta(minutes=minutes), "paper:ann", scope=Scope(), basis="express")
        await desk.hub.write(lambda connection, _, entry=entry: heard_elsewhere(connection, entry))
        await desk.agent(f"after {kind}", thread=desk.thread)
        await desk.settled()
    assert [each.code for each in await desk.rows("delivery", kind="contact")] == ["CONSENT_REVOKED_ALL", None]


def heard_elsewhere(connection: sa.Connection, entry: Event) -> None:
    consent.append(connection, entry, change=entry.type, channel="paper", source="keyword", now=entry.at)


async def test_an_agent_reads_why_nothing_was_sent_and_what_comes_next(desk: Office) -> None:
    await refuse(desk)
    at = desk.clock.now
    await desk.agent("hi", thread=desk.thread)
    [mark] = [out.mark for _, out in desk.board.accepted if out.mark is not None]
    when = f"{at:%Y-%m-%d %H:%M} UTC"
    assert mark.reason == (
        f"they opted out of everything on {when} (CONSENT_REVOKED_ALL). They must write START first."
    )


async def test_news_of_somebody_else_keep_nothing_back(desk: Office) -> None:
    async def refuse_now(out: Outgoing) -> None:
        desk.letters.watch = None
        await refuse(desk, "paper:bob")

    desk.letters.watch = refuse_now
    await desk.agent("one two three four", thread=desk.thread)
    await desk.settled()
    assert len(desk.letters.handed) > 1
    assert [each.state for each in await desk.rows("delivery", kind="contact")] == ["sent"]


async def test_a_no_of_the_person_counts_for_each_of_their_addresses(desk: Office) -> None:
    [customer] = await desk.rows("customer")
    await refuse(desk, consent.person(customer.id))
    await desk.agent("hi", thread=desk.thread)
    await desk.settled()
    assert desk.letters.handed == []


async def test_advertising_leaves_room_for_answers(desk: Office) -> None:
    claimed: list[str] = []

    def work(connection: sa.Connection, context: Any) -> None:
        drafts: list[tuple[str, Literal["marketing", "reply"]]] = [
            ("a", "marketing"), ("b", "marketing"), ("c", "marketing"), ("ann", "reply"),
        ]  # fmt: skip
        for name, purpose in drafts:
            address = f"paper:{name}"
            consent.record(
                connection,
                address,
                "opt_in",
                channel=None,
                source="api",
                evidence={},
                at=context.now,
                now=context.now,
            )
            sending.accept(connection, context, sending.Draft(customer=address, text="x", purpose=purpose), "me")
        jobs = claim(connection, context, desk.hub.channels["paper"], 10, "on", bulk=2)
        claimed.extend(str(job.purpose) for job in jobs)
        raise ZeroDivisionError  # nothing of it is kept

    with pytest.raises(ZeroDivisionError):
        await desk.hub.write(work)
    assert claimed == ["reply", "marketing", "marketing"]


async def test_the_ledger_tells_when_somebody_changed_it(desk: Office) -> None:
    for _ in range(3):
        await refuse(desk)
    assert await desk.hub.store.read(consent.broken_links) == []
    rows = await desk.rows("consent_event")
    forge = sa.update(consent_event).where(consent_event.c.id == rows[1].id).values(actor="agent")
    await desk.hub.write(lambda connection, _: connection.execute(forge))
    assert await desk.hub.store.read(consent.broken_links) == [rows[1].id]
    remove = sa.delete(consent_event).where(consent_event.c.id == rows[1].id)
    await desk.hub.write(lambda connection, _: connection.execute(remove))
    assert await desk.hub.store.read(consent.broken_links) == [rows[2].id]


async def test_entries_that_come_at_once_form_one_chain(desk: Office) -> None:
    await asyncio.gather(*(refuse(desk, f"paper:p{number}") for number in range(8)))
    assert len(await desk.rows("consent_event")) == 8
    assert await desk.hub.store.read(consent.broken_links) == []
