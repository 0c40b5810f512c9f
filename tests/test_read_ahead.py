"""Messages are decided and loaded before they are started; what happens meanwhile counts all the same."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from hub import consent, sending
from hub.context import Context
from hub.contract import Outgoing, RateLimited, Transient
from hub.outbound import lane
from tests.paper import Office, office, until

PEOPLE = ("ann", "bob", "cid", "dan")


@pytest.fixture
async def desk(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    """The third of four answers is being handed off, the fourth has been read ahead."""
    monkeypatch.setattr(lane, "_SOON", math.inf)  # however slow the machine is
    monkeypatch.setattr(lane, "_QUICK", 0.0)  # or quick: no call is
    async with office(database_url, tmp_path, concurrency=1) as running:
        for each in PEOPLE:
            await running.write("hello", sender=each)
        first = running.letters.gate = asyncio.Event()
        third = asyncio.Event()

        async def watch(out: Outgoing) -> None:
            if out.to.value == "cid":
                running.letters.gate = third

        running.letters.watch = watch
        for number in range(len(PEOPLE)):
            await running.agent("answer", thread=running.threads[number])
        first.set()

        async def read() -> bool:
            return bool(running.hub.lanes["paper"]._ahead)

        await until(read)
        yield running


async def finish(desk: Office) -> dict[str, str]:
    """What each got of the last two."""
    assert desk.letters.gate is not None
    desk.letters.gate.set()
    await desk.settled()
    assert max(Counter(out.to.value for out in desk.letters.handed).values()) == 1
    return {out.to.value: out.text for _, out in desk.letters.accepted[2:]}


async def states(desk: Office) -> list[tuple[str, str | None]]:
    return [(row.state, row.code) for row in await desk.rows("delivery", kind="contact")]


async def test_only_what_is_handed_off_would_be_in_doubt(desk: Office) -> None:

    async def settled() -> bool:
        return [state for state, _ in await states(desk)] == ["sent", "sent", "sending", "queued"]

    await until(settled)
    assert await finish(desk) == {"cid": "answer", "dan": "answer"}
    answers = [row.id for row in await desk.rows("delivery", kind="contact")]
    assert [each.delivery_id for each in await desk.rows("decision")] == answers
    assert [each.delivery_id for each in await desk.rows("attempt") if each.delivery_id in answers] == answers


async def test_an_agents_correction_counts(desk: Office) -> None:
    await desk.post("board", {"id": "x", "from": "zoe", "edits": f"post-{desk.numbers}", "text": "better"})
    await desk.settled()
    assert await finish(desk) == {"cid": "answer", "dan": "better"}


async def test_what_an_agent_takes_back_stays_here(desk: Office) -> None:
    await desk.post("board", {"id": "x", "from": "zoe", "deletes": f"post-{desk.numbers}"})
    await desk.settled()
    assert await finish(desk) == {"cid": "answer"}
    assert (await states(desk))[3] == ("cancelled", None)


async def test_a_no_counts(desk: Office) -> None:
    def refuse(connection: Connection, context: Context) -> None:
        said: dict[str, Any] = {"channel": "paper", "source": "keyword", "evidence": {}}
        consent.record(connection, "paper:dan", "opt_out", at=context.now, now=context.now, **said)

    await desk.hub.write(refuse)
    assert await finish(desk) == {"cid": "answer"}
    assert (await states(desk))[3] == ("denied", "CONSENT_REVOKED_ALL")


async def test_what_was_decided_long_ago_is_decided_again(desk: Office) -> None:
    await desk.advance(hours=25)
    assert await finish(desk) == {"cid": "answer"}
    assert (await states(desk))[3] == ("failed", "MSG_EXPIRED")


async def test_each_of_many_goes_out_once_and_in_order(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "_SOON", math.inf)
    people, each = 40, 4
    async with office(database_url, tmp_path, concurrency=4) as desk:

        def work(connection: Connection, context: Context) -> None:
            for number in range(people * each):
                to = f"paper:p{number % people}"
                draft = sending.Draft(customer=to, text=str(number), purpose="transactional", channel="paper")
                sending.accept(connection, context, draft, "me")

        await desk.hub.write(work)
        await desk.settled()
        assert sorted(desk.letters.texts, key=int) == [str(number) for number in range(people * each)]
        got: defaultdict[str, list[int]] = defaultdict(list)
        for out in desk.letters.handed:
            got[out.to.value].append(int(out.text))
        assert all(numbers == sorted(numbers) for numbers in got.values())
        assert {row.state for row in await desk.rows("delivery", kind="contact")} == {"sent"}


async def test_of_many_each_is_told_why_it_may_not_go(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "_SOON", math.inf)
    people, silent = 60, {number for number in range(60) if number % 4 == 3}
    async with office(database_url, tmp_path, concurrency=2) as desk:

        def work(connection: Connection, context: Context) -> None:
            said: dict[str, Any] = {"channel": "paper", "source": "keyword", "evidence": {}}
            for number in range(people):
                if number in silent:
                    consent.record(
                        connection, f"paper:p{number}", "opt_out", at=context.now, now=context.now, **said
                    )
                to = f"paper:p{number}"
                draft = sending.Draft(customer=to, text=str(number), purpose="transactional", channel="paper")
                sending.accept(connection, context, draft, "me")

        await desk.hub.write(work)
        await desk.settled()
        assert {int(text) for text in desk.letters.texts} == set(range(people)) - silent
        rows = await desk.rows("delivery", kind="contact")
        assert [row.state for row in rows] == ["denied" if number in silent else "sent" for number in range(people)]
        reasons = {row.delivery_id: row.reason for row in await desk.rows("decision")}
        assert {reasons[row.id] for row in rows if row.state == "denied"} == {"CONSENT_REVOKED_ALL"}
        assert len(reasons) == people


async def test_what_has_been_started_goes_back_when_the_provider_wants_to_hear_nothing(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "_SOON", math.inf)
    monkeypatch.setattr(lane, "_QUICK", math.inf)
    async with office(database_url, tmp_path, concurrency=1) as desk:
        gate = asyncio.Event()

        async def watch(_: Outgoing) -> None:
            if len(desk.letters.handed) == 6:
                desk.letters.gate = gate
                desk.letters.answers = [RateLimited("too fast", after=0.3, scope="account")]

        def work(connection: Connection, context: Context) -> None:
            for number in range(12):
                to = f"paper:p{number}"
                draft = sending.Draft(customer=to, text=str(number), purpose="transactional", channel="paper")
                sending.accept(connection, context, draft, "me")

        desk.letters.watch = watch
        await desk.hub.write(work)

        async def started() -> bool:
            return [state for state, _ in await states(desk)][5:9] == ["sending"] * 3 + ["queued"]

        await until(started)
        gate.set()

        async def put_back() -> bool:
            return [row.outcome for row in await desk.rows("attempt")].count("Held") == 2

        await until(put_back)
        await desk.advance(seconds=1)
        assert sorted(desk.letters.texts, key=int) == [str(number) for number in range(12)]
        assert Counter(out.to.value for out in desk.letters.handed).most_common(2) == [("p5", 2), ("p0", 1)]


async def test_a_call_that_fails_slowly_is_no_quick_one(database_url: str, tmp_path: Path) -> None:
    async with office(database_url, tmp_path) as desk:
        await desk.write("hello")
        await desk.agent("quick", thread=desk.thread)
        desk.letters.watch = lambda _: asyncio.sleep(0.2)
        desk.letters.answers = [Transient("busy", after=300)]
        await desk.agent("slow", thread=desk.thread)
        assert desk.hub.lanes["paper"]._took >= 0.2
