"""What becomes of a send: every error has one meaning, order holds, doubts are settled by the adapter's class."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hub import app
from hub.context import Context
from hub.contract import (
    Ambiguous,
    BadAddress,
    ChannelDown,
    OptedOut,
    Outgoing,
    RateLimited,
    Receipt,
    Rejected,
    Transient,
)
from hub.model import decode_content
from hub.outbound import lane
from hub.outbound.claim import in_doubt_after_crash
from hub.sending import AuthorDraft, Draft, accept
from hub.statuses import _rises
from hub.store.schema import attempt, delivery, message, rate
from tests.paper import Office, office, until


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(database_url, tmp_path) as running:
        await running.write("hello")
        yield running


async def contact(desk: Office) -> Any:
    [row] = await desk.rows("delivery", kind="contact")
    return row


@pytest.mark.parametrize(
    ("error", "state", "shown"),
    [
        (Rejected("too rude", code="30007"), "failed", "rejected: too rude"),
        (BadAddress("no such number", code="21211"), "failed", "bad_address: no such number"),
        (OptedOut("blocked", code="21610"), "failed", "opted_out: blocked"),
        (ZeroDivisionError("oops"), "unknown", "adapter bug: ZeroDivisionError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_a_final_refusal_is_kept_with_the_providers_words(
    desk: Office, error: Exception, state: str, shown: str
) -> None:
    desk.letters.answers = [error]
    post = await desk.agent("answer", thread=desk.thread)
    row = await contact(desk)
    assert (row.state, row.reason) == (state, shown)
    assert desk.marks(post) == [state]
    assert len(desk.letters.handed) == 1


CUT = "an emoji cut in half: \ud83d, and a NUL: \0"
KEPT = "an emoji cut in half: ?, and a NUL: "


async def test_words_that_no_database_takes_are_kept_without_what_it_does_not_take(desk: Office) -> None:
    desk.letters.answers = [Rejected(CUT, code="9\0\ud83d"), Receipt("paper\ud83d\0", detail={"price": CUT})]
    for text in "ab":
        await desk.agent(text, thread=desk.thread)
    refused, sent = await desk.rows("delivery", kind="contact")
    assert (refused.state, refused.reason, refused.code) == ("failed", f"rejected: {KEPT}", "9?")
    [row] = await desk.rows("receipt", delivery_id=sent.id)
    assert (sent.state, row.external_id, json.loads(row.detail)) == ("sent", "paper?", {"price": KEPT})


@pytest.mark.parametrize("long", [False, True], ids=["one part", "first of some parts"])
async def test_an_answer_that_cannot_be_written_is_unknown_and_stops_nothing(
    database_url: str, tmp_path: Path, long: bool
) -> None:
    broken: Exception | Receipt = Rejected("as an adapter cannot make it")
    if long:
        broken = Receipt("paper")
    object.__setattr__(broken, "external_id" if long else "detail", "\ud83d")
    async with office(database_url, tmp_path, text_limit=10) as desk:
        for sender in ("ann", "bob", "cid"):
            await desk.write("hello", sender=sender)
        desk.letters.gate = asyncio.Event()
        desk.letters.answers = [None, broken, None] if not long else [broken]
        for number, thread in enumerate(desk.threads):
            await desk.agent("one two three" if long else "one", thread=thread)
            await _handed(desk, number + 1)
        desk.letters.gate.set()  # so they are settled together
        await desk.settled()
        rows = await desk.rows("delivery", kind="contact")
        poor = 0 if long else 1
        assert [row.state for row in rows] == ["unknown" if each == poor else "sent" for each in range(3)]
        assert rows[poor].reason.startswith("adapter bug: ")
        [told] = await desk.rows("alert", kind="adapter bug")
        assert str(rows[poor].id) in told.detail
        assert len(desk.letters.handed) == (5 if long else 3)  # and no part goes out behind one that is unknown
        await desk.write("again", sender="dan")
        await desk.agent("also", thread=desk.threads[3])
        assert (await desk.rows("delivery", kind="contact"))[3].state == "sent"


@pytest.mark.parametrize("error", [BadAddress("dead"), OptedOut("no")], ids=["dead", "opted out"])
async def test_the_next_message_to_a_refused_address_is_denied(desk: Office, error: Exception) -> None:
    desk.letters.answers = [error]
    await desk.agent("first", thread=desk.thread)
    await desk.agent("second", thread=desk.thread)
    assert [row.state for row in await desk.rows("delivery", kind="contact")] == ["failed", "denied"]
    assert len(desk.letters.handed) == 1


async def test_a_transient_error_is_tried_again_later_and_keeps_the_order(desk: Office) -> None:
    desk.letters.answers = [Transient("busy"), Transient("busy")]
    for text in ("one", "two", "three"):
        await desk.agent(text, thread=desk.thread)
    assert desk.letters.texts == []
    await desk.advance(minutes=1)
    await desk.advance(minutes=1)
    assert desk.letters.texts == ["one", "two", "three"]
    assert [row.outcome for row in (await desk.rows("attempt"))[:2]]
    first = (await desk.rows("delivery", kind="contact"))[0]
    assert first.attempts == 2


async def test_throttling_burns_no_attempt(desk: Office) -> None:
    desk.letters.answers = [RateLimited("slow down", after=3, scope="pair")] * 5
    await desk.agent("answer", thread=desk.thread)
    for _ in range(5):
        await desk.advance(seconds=10)
    assert desk.letters.texts == ["answer"]
    assert (await contact(desk)).attempts == 0


async def test_a_channel_that_is_down_holds_its_messages(desk: Office) -> None:
    desk.letters.answers = [ChannelDown("bad token", code="20003")]
    await desk.agent("answer", thread=desk.thread)
    row = await contact(desk)
    assert (row.state, row.attempts, row.code) == ("queued", 0, "20003")


async def test_a_channel_that_is_down_is_an_alert_once_an_hour(desk: Office) -> None:
    desk.letters.answers = [ChannelDown("bad token", code="20003")] * 3
    await desk.agent("answer", thread=desk.thread)
    [first] = await desk.rows("alert")
    assert (first.kind, first.channel) == ("down", "paper")
    assert first.detail.startswith("bad token; ")
    for minutes, alerts in ((30, 1), (31, 2)):
        desk.hub.lanes["paper"]._held_until = 0.0  # it rests for real seconds
        await desk.advance(minutes=minutes)
        assert len(await desk.rows("alert")) == alerts


async def test_one_channel_that_hangs_does_not_delay_another(desk: Office) -> None:
    desk.letters.gate = asyncio.Event()
    await desk.agent("by letter", thread=desk.thread)
    await desk.write("hi", sender="007", channel="fax")
    fax_thread = [name for name, out in desk.board.accepted if out.card and out.edits is None][-1]
    await desk.agent("by fax", thread=fax_thread)
    assert (desk.letters.texts, desk.faxes.texts) == ([], ["by fax"])
    desk.letters.gate.set()


async def test_a_message_is_given_up_after_its_time(desk: Office) -> None:
    desk.letters.answers = [Transient("busy")] * 50
    post = await desk.agent("answer", thread=desk.thread)
    await desk.advance(hours=25)
    row = await contact(desk)
    assert (row.state, row.code) == ("failed", "MSG_EXPIRED")
    assert "busy" in row.reason
    assert desk.marks(post) == ["failed"]


async def test_a_lost_answer_is_looked_up_and_not_sent_again(desk: Office) -> None:
    desk.letters.answers = [(Ambiguous("timeout"),)]
    post = await desk.agent("answer", thread=desk.thread)
    assert (await contact(desk)).state == "indoubt"
    await desk.advance(seconds=61)
    assert desk.letters.texts == ["answer"]
    assert (await contact(desk)).state == "sent"
    assert desk.marks(post) == ["queued", "sent"]


async def test_a_status_that_comes_before_the_answer_is_lost_settles_it(desk: Office) -> None:
    desk.letters.gate = asyncio.Event()
    desk.letters.answers = [Ambiguous("timeout")]
    await desk.agent("answer", thread=desk.thread)

    async def handed() -> bool:
        return bool(desk.letters.handed)

    await until(handed)
    await desk.status("paper-7", "delivered", key=desk.letters.handed[0].key)
    desk.letters.gate.set()

    async def delivered() -> bool:
        return bool((await contact(desk)).state == "delivered")

    await until(delivered)
    assert (len(desk.letters.handed), desk.letters.inquiries) == (1, 0)


async def test_the_settings_say_when_a_lost_answer_is_looked_up(database_url: str, tmp_path: Path) -> None:
    async with office(database_url, tmp_path, configured={"settle": 5}) as desk:
        await desk.write("hello")
        desk.letters.answers = [(Ambiguous("timeout"),)]
        await desk.agent("answer", thread=desk.thread)
        await desk.advance(seconds=3)
        assert (await contact(desk)).state == "indoubt"
        await desk.advance(seconds=3)
        assert (await contact(desk)).state == "sent"


async def test_a_lost_request_is_looked_up_and_sent_again(desk: Office) -> None:
    desk.letters.answers = [Ambiguous("timeout")]
    await desk.agent("answer", thread=desk.thread)
    assert desk.letters.texts == []
    await desk.advance(seconds=61)
    assert desk.letters.texts == ["answer"]


async def test_a_doubt_that_nothing_can_settle_is_unknown_at_once(desk: Office) -> None:
    desk.letters.answers = [Ambiguous("lost for good", settles=False)]
    post = await desk.agent("answer", thread=desk.thread)
    row = await contact(desk)
    assert (row.state, row.reason) == ("unknown", "ambiguous: lost for good")
    await desk.advance(minutes=5)
    assert (desk.letters.texts, desk.letters.inquiries, desk.marks(post)) == ([], 0, ["unknown"])


async def test_a_twin_of_an_earlier_message_is_not_mistaken_for_the_lost_one(desk: Office) -> None:
    await desk.agent("ok", thread=desk.thread)
    desk.letters.answers = [Ambiguous("timeout")]
    await desk.agent("ok", thread=desk.thread)
    await desk.advance(seconds=61)
    assert desk.letters.texts == ["ok", "ok"]


async def test_a_status_that_echoes_our_key_settles_the_doubt(desk: Office) -> None:
    desk.letters.answers = [(Ambiguous("timeout"),)]
    await desk.agent("answer", thread=desk.thread)
    await desk.status("paper-1", "delivered", key=desk.letters.handed[0].key)
    assert (await contact(desk)).state == "delivered"
    assert len(desk.letters.handed) == 1


async def test_a_status_that_comes_while_the_provider_is_asked_settles_the_doubt(desk: Office) -> None:
    desk.letters.answers = [(Ambiguous("timeout"),)]
    desk.letters.inquiry = asyncio.Event()
    await desk.agent("answer", thread=desk.thread)
    desk.clock.now += timedelta(seconds=61)

    async def asked() -> bool:
        return desk.letters.inquiries > 0

    await until(asked)
    told = {"id": "paper-1", "status": "delivered", "key": desk.letters.handed[0].key}
    assert await desk.post("paper", told) == 200

    async def heard() -> bool:
        return bool(await desk.rows("receipt", external_id="paper-1"))

    await until(heard)
    desk.letters.inquiry.set()
    await desk.advance(minutes=5)
    assert desk.letters.texts == ["answer"]
    assert (await contact(desk)).state == "delivered"


@pytest.mark.parametrize(
    ("idempotency", "state", "calls"), [("none", "unknown", 1), ("echo", "unknown", 1), ("key", "sent", 2)]
)
async def test_other_classes_of_doubt(
    database_url: str, tmp_path: Path, idempotency: str, state: str, calls: int
) -> None:
    async with office(database_url, tmp_path, idempotency=idempotency) as desk:
        await desk.write("hello")
        desk.letters.answers = [Ambiguous("timeout")]
        await desk.agent("answer", thread=desk.thread)
        await desk.advance(minutes=11)

        async def settled() -> bool:
            return bool((await contact(desk)).state == state)

        await until(settled)
        assert len(desk.letters.handed) == calls
        assert len({out.key for out in desk.letters.handed}) == 1


async def test_what_was_being_sent_when_the_process_died_is_in_doubt(desk: Office) -> None:
    desk.letters.gate = asyncio.Event()
    await desk.agent("answer", thread=desk.thread)

    async def handed() -> bool:
        return bool(desk.letters.handed)

    await until(handed)
    assert (await contact(desk)).state == "sending"
    hub = desk.hub
    count = await hub.write(lambda c, context: in_doubt_after_crash(c, context, hub.channels["paper"]))
    assert count == 1
    assert (await contact(desk)).state == "indoubt"
    desk.letters.gate.set()


async def test_after_a_crash_there_is_time_for_the_status_that_proves_a_send(database_url: str, tmp_path: Path) -> None:
    async with office(database_url, tmp_path, idempotency="echo", settle=timedelta(minutes=10)) as desk:
        await desk.write("hello")
        desk.letters.gate = asyncio.Event()
        await desk.agent("answer", thread=desk.thread)

        async def handed() -> bool:
            return bool(desk.letters.handed)

        await until(handed)
        hub = desk.hub
        await hub.write(lambda c, context: in_doubt_after_crash(c, context, hub.channels["paper"]))
        row = await contact(desk)
        assert row.state == "indoubt" and row.due_at - desk.clock.now > timedelta(minutes=9)
        desk.letters.gate.set()


async def test_what_is_still_handed_off_when_a_worker_starts_again_is_not_in_doubt(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "_PATIENCE", 0.0)
    async with office(database_url, tmp_path, settle=timedelta(0)) as desk:
        await desk.write("hello")
        await desk.write("hello", sender="bob")
        desk.letters.gate = asyncio.Event()
        await desk.agent("answer", thread=desk.threads[0])
        await _handed(desk, 1)
        for task in asyncio.all_tasks():
            if getattr(task.get_coro(), "__qualname__", None) == "Lane.run":
                task.cancel()
        await desk.agent("to another one", thread=desk.threads[1])
        await _handed(desk, 2)  # so it works again
        assert [row.state for row in await desk.rows("delivery", kind="contact")] == ["sending", "sending"]
        desk.letters.gate.set()
        await desk.settled()
        assert desk.letters.texts == ["answer", "to another one"]


@pytest.mark.parametrize(
    ("answer", "state", "receipts"), [(Transient("busy"), "denied", 1), (None, "sent", 2)], ids=["refused", "taken"]
)
async def test_an_answer_that_comes_when_another_process_has_tried_again_tells_only_what_was_taken(
    postgres_dsn: str, tmp_path: Path, answer: Exception | None, state: str, receipts: int
) -> None:
    async with office(postgres_dsn, tmp_path) as desk:
        await desk.write("hello")
        await desk.write("hello", sender="bob")
        desk.letters.gate, desk.letters.answers = asyncio.Event(), [answer]
        await desk.agent("answer", thread=desk.threads[0])
        await _handed(desk, 1)
        [row] = await desk.rows("delivery", kind="contact")

        def tried_elsewhere(connection: sa.Connection, context: Context) -> None:
            values = {"delivery_id": row.id, "number": 1, "started_at": context.now}
            connection.execute(sa.insert(attempt).values(values))
            changed = sa.update(delivery).where(delivery.c.id == row.id)
            connection.execute(changed.values(state="denied", part=1, code="ELSEWHERE"))

        await desk.hub.write(tried_elsewhere)
        desk.letters.gate.set()
        await desk.agent("to another one", thread=desk.threads[1])
        [first, second] = await desk.rows("delivery", kind="contact")
        assert (first.state, first.code, second.state) == (state, "ELSEWHERE", "sent")
        assert len(await desk.rows("receipt", channel="paper")) == receipts
        assert len(desk.letters.handed) == 2


@pytest.mark.parametrize("kind", [RateLimited, Transient])
@pytest.mark.parametrize(("asked", "waits"), [(1e300, 86_400), (float("inf"), 86_400), (float("nan"), 0), (-5.0, 0)])
async def test_a_provider_that_asks_for_an_absurd_pause_does_not_stop_the_lane(
    tmp_path: Path, kind: type[RateLimited | Transient], asked: float, waits: float
) -> None:
    async with office(f"sqlite:///{tmp_path}/hub.db", tmp_path) as desk:
        await desk.write("hello")
        desk.letters.answers = [kind("busy", after=asked)]
        await desk.agent("answer", thread=desk.thread)
        row = await contact(desk)
        assert row.state == "queued"
        assert timedelta(0) < row.due_at - desk.clock.now <= timedelta(seconds=waits + 60)


async def test_nothing_waits_again_because_the_clock_is_set_back(desk: Office) -> None:
    desk.letters.gate = asyncio.Event()
    await desk.agent("one", thread=desk.thread)
    await _handed(desk, 1)
    await desk.agent("two", thread=desk.thread)
    desk.clock.now -= timedelta(hours=1)
    desk.letters.gate.set()
    await _handed(desk, 2)
    assert desk.letters.handed[1].text == "two"


async def test_nothing_waits_again_because_the_clock_was_set_back_while_the_hub_was_away(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hub.db"
    async with office(url, tmp_path, later=60) as desk:
        await desk.write("hello")
        desk.letters.answers = [Transient("busy", after=2)]
        await desk.agent("answer", thread=desk.thread)
    async with office(url, tmp_path) as desk:
        await _handed(desk, 1)
        assert desk.letters.texts == ["answer"]


async def test_ids_go_on_though_the_clock_was_ahead_before_the_restart(database_url: str, tmp_path: Path) -> None:
    async with office(database_url, tmp_path, later=60) as desk:
        await desk.write("one")
        await desk.agent("two", thread=desk.thread)
    async with office(database_url, tmp_path) as desk:
        await desk.post("paper", {"id": "in-3", "from": "ann", "text": "three"})
        await desk.settled()
        rows = await desk.rows("message")
        assert [decode_content(row.content).text for row in sorted(rows, key=lambda row: row.id)] == [
            "one", "two", "three",
        ]  # fmt: skip


@pytest.mark.parametrize("back", [2, 600])
async def test_a_second_attempt_counts_though_the_clock_was_set_back_between(
    database_url: str, tmp_path: Path, back: int
) -> None:
    async with office(database_url, tmp_path) as desk:
        await desk.write("hello")
        thread = desk.thread
        desk.letters.answers = [Transient("busy", after=0)]
        await desk.agent("one", thread=thread)
        desk.clock.now -= timedelta(seconds=back)
        due = sa.update(delivery).where(delivery.c.state == "queued").values(due_at=desk.clock.now)
        await desk.hub.store.write(lambda connection: connection.execute(due))
        await desk.advance(seconds=1)
        await desk.agent("two", thread=thread)
        assert desk.letters.texts == ["one", "two"]
        assert [row.state for row in await desk.rows("delivery", kind="contact")] == ["sent", "sent"]


async def test_a_clock_that_was_ahead_when_something_was_sent_holds_up_nothing_after_a_restart(
    database_url: str, tmp_path: Path
) -> None:
    async with office(database_url, tmp_path, configured={"rate": 5}) as desk:
        await desk.write("hello")
        await desk.agent("one", thread=desk.thread)
        thread = desk.thread
        ahead = sa.update(rate).values(arrival=rate.c.arrival + 3600, at=rate.c.at + 3600)
        await desk.hub.store.write(lambda connection: connection.execute(ahead))
    async with office(database_url, tmp_path, later=1, configured={"rate": 5}) as desk:
        async with asyncio.timeout(10):
            await desk.agent("two", thread=thread)
        assert desk.letters.texts == ["two"]


async def test_what_waits_for_a_channel_that_is_not_configured_any_more_is_told_and_given_up_in_its_time(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_BEAT", 1)  # it looks each second
    async with office(database_url, tmp_path) as desk:
        await desk.write("hello")
        desk.letters.answers = [Transient("busy", after=60)]
        post = await desk.agent("answer", thread=desk.thread)
    others = {name: {"adapter": name} for name in ("fax", "board")}
    async with office(database_url, tmp_path, later=30, settings_={"channels": others}) as desk:

        async def told() -> bool:
            return bool(await desk.rows("alert", kind="not configured", channel="paper"))

        await until(told)
        assert (await contact(desk)).state == "queued"
        assert await _metric(desk, 'hub_deliveries_queued{channel="paper"}') == 1
        desk.clock.now += timedelta(hours=25)

        async def ended() -> bool:
            return bool((await contact(desk)).state == "failed")

        await until(ended)
        row = await contact(desk)
        assert row.code == "MSG_EXPIRED" and row.reason.endswith("and paper is not configured")
        await desk.settled()
        assert desk.marks(post)[-1] == "failed"
        assert await _metric(desk, 'hub_deliveries_queued{channel="paper"}') == 0
        assert len(await desk.rows("alert", kind="not configured")) == 1


async def test_while_outbound_is_off_nothing_is_handed_over_and_no_time_runs_out_but_what_authors_set(
    database_url: str, tmp_path: Path
) -> None:
    async with office(database_url, tmp_path) as desk:
        await desk.write("hello")
        await desk.write("hello", sender="bob")
        desk.letters.answers = [Transient("busy", after=60)] * 2
        for text, thread in zip(("answer", "offer"), desk.threads, strict=True):
            await desk.agent(text, thread=thread)
        [_, offer] = await desk.rows("delivery", kind="contact")
        by_campaign = sa.update(message).where(message.c.id == offer.message_id).values(author_kind="campaign")
        await desk.hub.store.write(lambda connection: connection.execute(by_campaign))
    async with office(database_url, tmp_path, later=30, settings_={"outbound": "off"}) as desk:
        assert await desk.post("paper", {"id": "more", "from": "ann", "text": "are you there?"}) == 200
        for hours in (23, 23, 23):  # it is tried for 24
            desk.clock.now += timedelta(hours=hours)
            before = len(await desk.rows("decision", reason="TENANT_PAUSED"))

            async def looked(before: int = before) -> bool:
                return len(await desk.rows("decision", reason="TENANT_PAUSED")) > before

            await until(looked)
        rows = await desk.rows("delivery", kind="contact")
        assert [(row.state, row.code) for row in rows] == [("queued", None), ("failed", "MSG_EXPIRED")]
        assert desk.board.handed == [] and desk.letters.handed == []
    async with office(database_url, tmp_path, later=30 + 69 * 60 + 10) as desk:
        await desk.settled()
        assert desk.letters.texts == ["answer"]
        assert "are you there?" in " ".join(desk.posts)


@pytest.mark.parametrize("number", [None, "Spring 7"])
async def test_what_another_programs_campaign_says_goes_out(desk: Office, number: str | None) -> None:
    author = AuthorDraft(kind="campaign", name="Mailer", id=number)
    draft = Draft(customer="paper:ann", text="offer", purpose="transactional", author=author)
    await desk.hub.write(lambda connection, context: accept(connection, context, draft, "me"))
    await desk.settled()
    assert desk.letters.texts == ["offer"]


async def _metric(desk: Office, name: str) -> float:
    async with desk.session.get(f"http://127.0.0.1:{desk.hub.port}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


async def _handed(desk: Office, count: int) -> None:
    async def handed() -> bool:
        return len(desk.letters.handed) >= count

    await until(handed)


async def test_what_has_arrived_is_sent_even_if_its_time_is_over_when_that_is_known(desk: Office) -> None:
    desk.letters.answers = [(Ambiguous("timeout"),)]
    await desk.agent("answer", thread=desk.thread)
    await desk.advance(hours=25)
    row = await contact(desk)
    assert (row.state, row.reason) == ("sent", None)
    assert len(desk.letters.handed) == 1


async def test_what_a_status_proved_before_a_crash_is_sent_whenever_the_hub_comes_back(desk: Office) -> None:
    desk.letters.gate = asyncio.Event()
    await desk.agent("answer", thread=desk.thread)
    await _handed(desk, 1)
    told = {"id": "paper-1", "status": "delivered", "key": desk.letters.handed[0].key}
    assert await desk.post("paper", told) == 200

    async def heard() -> bool:
        return bool(await desk.rows("receipt", external_id="paper-1"))

    await until(heard)
    desk.clock.now += timedelta(hours=25)
    hub = desk.hub
    await hub.write(lambda c, context: in_doubt_after_crash(c, context, hub.channels["paper"]))

    async def ended() -> bool:
        return bool((await contact(desk)).state == "delivered")

    await until(ended)
    desk.letters.gate.set()
    assert desk.letters.inquiries == 0


@pytest.mark.parametrize("idempotency", ["query", "echo"])
async def test_a_failure_told_during_a_send_settles_it_after_a_crash(
    database_url: str, tmp_path: Path, idempotency: str
) -> None:
    async with office(database_url, tmp_path, idempotency=idempotency) as desk:
        await desk.write("hello")
        desk.letters.gate = asyncio.Event()
        await desk.agent("answer", thread=desk.thread)
        await _handed(desk, 1)
        await desk.status("paper-1", "failed", code="30003", key=desk.letters.handed[0].key)
        assert (await contact(desk)).state == "sending"
        hub = desk.hub
        await hub.write(lambda c, context: in_doubt_after_crash(c, context, hub.channels["paper"]))
        await _refused(desk, "30003")
        assert (len(desk.letters.handed), desk.letters.inquiries) == (1, 0)
        desk.letters.gate.set()


@pytest.mark.parametrize("answer", [Ambiguous("timeout"), ZeroDivisionError()])
async def test_a_failure_told_during_a_send_settles_it_when_the_answer_is_lost(
    database_url: str, tmp_path: Path, answer: Exception
) -> None:
    async with office(database_url, tmp_path, idempotency="echo") as desk:
        await desk.write("hello")
        desk.letters.gate, desk.letters.answers = asyncio.Event(), [answer]
        await desk.agent("answer", thread=desk.thread)
        await _handed(desk, 1)
        await desk.status("paper-1", "failed", code="30003", key=desk.letters.handed[0].key)
        desk.letters.gate.set()
        await _refused(desk, "30003")
        assert len(desk.letters.handed) == 1


async def _refused(desk: Office, reason: str) -> None:
    async def refused() -> bool:
        row = await contact(desk)
        return bool((row.state, row.reason) == ("failed", reason))

    await until(refused)
    assert await desk.rows("parked_status") == []


@pytest.mark.parametrize("error", ["transient", "rate_limited"])
async def test_a_failure_that_passes_is_tried_again_though_it_came_late(desk: Office, error: str) -> None:
    post = await desk.agent("answer", thread=desk.thread)
    key = desk.letters.handed[0].key
    await desk.status("paper-1", "failed", code="E7", error=error, key=key)
    row = await contact(desk)
    assert (row.state, row.code, row.attempts) == ("queued", "E7", 1)
    assert row.due_at - desk.clock.now > timedelta(seconds=59)
    for told in ("failed", "sent"):  # once more, and out of order
        await desk.status("paper-1", told, code="E7", error=error, key=key)
    assert await contact(desk) == row
    await desk.advance(minutes=1)
    await desk.status("paper-1", "failed", code="E7", error=error, key=key)
    await desk.status("paper-2", "delivered")
    assert desk.letters.texts == ["answer"] * 2
    assert desk.marks(post) == ["sent", "queued", "sent", "delivered"]
    assert [each.outcome for each in await desk.rows("attempt", delivery_id=row.id)] == ["failed", "sent"]
    assert await desk.rows("alert") == []


async def test_a_late_failure_for_a_fault_of_our_account_holds_the_channel(desk: Office) -> None:
    await desk.agent("answer", thread=desk.thread)
    await desk.status("paper-1", "failed", code="E9", error="channel_down")
    working = desk.hub.lanes["paper"]

    async def held() -> bool:
        return working._held_until > time.monotonic()

    await until(held)
    assert [(each.kind, each.channel) for each in await desk.rows("alert")] == [("down", "paper")]
    working._held_until = 0.0  # it rests for real seconds
    await desk.advance(minutes=1)
    assert desk.letters.texts == ["answer"] * 2


async def test_what_has_arrived_after_all_is_not_sent_once_more(desk: Office) -> None:
    await desk.agent("answer", thread=desk.thread)
    await desk.status("paper-1", "failed", error="transient")
    await desk.status("paper-1", "delivered")
    await desk.advance(minutes=1)
    assert desk.letters.texts == ["answer"]
    assert (await contact(desk)).state == "delivered"


async def test_a_late_failure_is_final_once_the_conversation_has_gone_on(desk: Office) -> None:
    post = await desk.agent("one", thread=desk.thread)
    await desk.agent("two", thread=desk.thread)
    await desk.status("paper-1", "failed", code="E7", error="transient")
    assert [row.state for row in await desk.rows("delivery", kind="contact")] == ["failed", "sent"]
    assert desk.marks(post)[-1] == "failed"


async def test_of_a_long_text_only_the_last_part_is_tried_again(database_url: str, tmp_path: Path) -> None:
    async with office(database_url, tmp_path, text_limit=10) as desk:
        await desk.write("hello")
        await desk.agent("one two three four", thread=desk.thread)
        [first, last] = desk.letters.texts
        await desk.status("paper-2", "failed", error="transient")
        await desk.advance(minutes=1)
        assert desk.letters.texts == [first, last, last]
        await desk.status("paper-1", "failed", code="E7", error="transient")
        assert (await contact(desk)).state == "failed"


async def test_what_waits_to_be_tried_again_can_be_taken_back(desk: Office) -> None:
    post = await desk.agent("answer", thread=desk.thread)
    await desk.status("paper-1", "failed", error="transient")
    assert await desk.post("board", {"deletes": post, "from": "zoe"}) == 200
    await desk.settled()
    await desk.advance(minutes=1)
    assert (await contact(desk)).state == "cancelled"
    assert desk.letters.texts == ["answer"]


async def test_a_message_is_delivered_once_all_its_pieces_are(desk: Office) -> None:
    desk.letters.answers = [Receipt("one", pieces=["two", "three"])]
    post = await desk.agent("answer", thread=desk.thread)
    for name, state in (("one", "sent"), ("three", "sent"), ("two", "delivered")):
        await desk.status(name, "delivered")
        assert (await contact(desk)).state == state
    assert desk.marks(post) == ["sent", "delivered"]


async def test_a_message_of_which_a_piece_failed_has_failed_and_is_not_sent_once_more(desk: Office) -> None:
    desk.letters.answers = [Receipt("one", pieces=["two"])]
    post = await desk.agent("answer", thread=desk.thread)
    await desk.status("one", "delivered")
    await desk.status("two", "failed", code="E6", error="transient")
    assert desk.marks(post) == ["sent", "failed"]
    row = await contact(desk)
    assert (row.state, row.reason, len(desk.letters.handed)) == ("failed", "E6", 1)


async def test_a_piece_whose_status_was_quicker_than_the_answer_counts(desk: Office) -> None:
    desk.letters.gate, desk.letters.answers = asyncio.Event(), [Receipt("one", pieces=["two"])]
    post = await desk.agent("answer", thread=desk.thread)
    await desk.status("two", "failed", code="E6")
    desk.letters.gate.set()
    await desk.settled()

    async def failed() -> bool:
        return bool((await contact(desk)).state == "failed")

    await until(failed)
    await desk.status("one", "delivered")
    assert (await contact(desk)).state == "failed"
    assert desk.marks(post)[-1] == "failed"


async def test_a_piece_that_nobody_knew_of_fails_what_seemed_to_have_arrived(
    database_url: str, tmp_path: Path
) -> None:
    async with office(database_url, tmp_path, idempotency="echo") as desk:
        await desk.write("hello")
        desk.letters.answers = [Ambiguous("timeout")]
        post = await desk.agent("answer", thread=desk.thread)
        key = desk.letters.handed[0].key
        await desk.status("one", "delivered", key=key)
        assert (await contact(desk)).state == "delivered"
        await desk.status("two", "failed", code="E6", key=key)
        assert (await contact(desk)).state == "failed"
        assert desk.marks(post)[-1] == "failed"


async def test_a_receipt_that_comes_before_the_answer_is_joined_to_it(desk: Office) -> None:
    desk.letters.gate = asyncio.Event()
    await desk.agent("answer", thread=desk.thread)
    await desk.status("paper-1", "delivered")
    desk.letters.gate.set()
    await desk.settled()
    assert (await contact(desk)).state == "delivered"
    assert await desk.rows("parked_status") == []


@pytest.mark.parametrize("order", list(itertools.permutations(["sent", "delivered", "read", "delivered"]))[::3])
async def test_receipts_in_any_order_end_at_the_highest(order: tuple[str, ...], tmp_path: Path) -> None:
    async with office(f"sqlite:///{tmp_path}/hub.db", tmp_path) as desk:
        await desk.write("hello")
        await desk.agent("answer", thread=desk.thread)
        for state in order:
            await desk.status("paper-1", state)
        assert (await contact(desk)).state == "read"


@pytest.mark.parametrize(
    ("old", "new", "rises"),
    [
        ("sent", "delivered", True),
        ("read", "delivered", False),
        ("delivered", "sent", False),
        ("sent", "failed", True),
        ("delivered", "failed", False),
        ("failed", "delivered", True),
        ("failed", "sent", False),
        ("unknown", "sent", True),
        ("sent", "sent", False),
    ],
)
def test_states_only_move_up_and_failed_is_final_unless_contradicted(old: str, new: str, rises: bool) -> None:
    assert _rises(old, new) is rises


async def test_long_text_goes_out_in_parts_and_resumes_at_the_one_that_failed(
    database_url: str, tmp_path: Path
) -> None:
    async with office(database_url, tmp_path, text_limit=10, settle=timedelta(0)) as desk:
        await desk.write("hello")
        desk.letters.answers = [None, Transient("busy")]
        await desk.agent("one two three four five six", thread=desk.thread)
        assert len(desk.letters.accepted) == 1
        await desk.advance(minutes=1)
        assert " ".join(desk.letters.texts).split() == ["one", "two", "three", "four", "five", "six"]
        assert len(await desk.rows("receipt", channel="paper")) == len(desk.letters.accepted)


async def test_a_part_is_handed_off_when_the_one_before_is_settled(database_url: str, tmp_path: Path) -> None:
    async with office(database_url, tmp_path, text_limit=10) as desk:
        await desk.write("hello")
        settled: list[int] = []

        async def watch(_: Outgoing) -> None:
            settled.append(len(await desk.rows("receipt", channel="paper")))

        desk.letters.watch = watch
        await desk.agent("one two three four five six", thread=desk.thread)
        assert settled == list(range(len(desk.letters.accepted)))
        assert len(settled) > 2


@pytest.mark.parametrize("long", [1.0, 100.0], ids=["in the queue", "where it was started"])
async def test_a_part_that_waits_for_its_turn_when_the_hub_stops_goes_out_after_the_restart(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long: float
) -> None:
    monkeypatch.setattr(lane, "_LONG", long)
    alike: dict[str, Any] = {"text_limit": 10, "idempotency": "none"}
    async with office(database_url, tmp_path, configured={"rate": 0.02}, **alike) as desk:
        await desk.write("hello")
        said = {"id": "post", "from": "zoe", "name": "Zoe", "text": "one two three", "thread": desk.thread}
        assert await desk.post("board", said) == 200
        waits, places = ("queued", 1) if long < 50 else ("sending", 2)

        async def waiting() -> bool:
            states = [(row.state, row.part) for row in await desk.rows("delivery", kind="contact")]
            taken = [row.arrival for row in await desk.rows("rate", key="sender:paper")]
            return states == [(waits, 1)] and taken[0] > time.time() + 50 * places - 25

        await until(waiting)
        if waits == "queued":
            hub = desk.hub
            assert not await hub.write(lambda c, context: in_doubt_after_crash(c, context, hub.channels["paper"]))
        assert len(desk.letters.handed) == 1
        began = time.monotonic()
    assert time.monotonic() - began < 15
    async with office(database_url, tmp_path, later=1, configured={"rate": 0.02}, **alike) as desk:
        await asyncio.sleep(0.5)
        assert [(row.state, row.part) for row in await desk.rows("delivery", kind="contact")] == [("queued", 1)]
        await desk.hub.store.write(lambda connection: connection.execute(sa.delete(rate)))
    async with office(database_url, tmp_path, later=2, configured={"rate": 50}, **alike) as desk:
        await desk.settled()
        assert [(row.state, row.attempts) for row in await desk.rows("delivery", kind="contact")] == [("sent", 0)]
        assert desk.letters.texts == ["three"]


async def test_what_waits_for_a_call_when_the_hub_stops_goes_out_after_the_restart(
    database_url: str, tmp_path: Path
) -> None:
    async with office(database_url, tmp_path, idempotency="none", concurrency=1) as desk:
        await desk.write("hello")
        await desk.hub.lanes["paper"]._calls.acquire()  # as one does whose provider holds it up
        said = {"id": "post", "from": "zoe", "name": "Zoe", "text": "answer", "thread": desk.thread}
        assert await desk.post("board", said) == 200

        async def started() -> bool:
            return [row.state for row in await desk.rows("delivery", kind="contact")] == ["sending"]

        await until(started)
        began = time.monotonic()
    assert time.monotonic() - began < 15
    async with office(database_url, tmp_path, later=1) as desk:
        await desk.settled()
        assert desk.letters.texts == ["answer"]


async def test_a_status_of_what_waits_to_be_sent_again_settles_it(desk: Office) -> None:
    desk.letters.answers = [(Transient("refused, they said"),)]
    await desk.agent("answer", thread=desk.thread)
    await desk.status("paper-1", "delivered", key=desk.letters.handed[0].key)
    await desk.advance(minutes=1)
    assert desk.letters.texts == ["answer"]
    assert (await contact(desk)).state == "delivered"


async def test_every_delivery_ends_in_a_state_that_says_what_happened(desk: Office) -> None:
    desk.letters.answers = [Transient("x"), Rejected("y"), (Ambiguous("z"),), None]
    for text in "abcd":
        await desk.agent(text, thread=desk.thread)
    for _ in range(4):
        await desk.advance(minutes=5)
    states = {row.state for row in await desk.rows("delivery")}
    assert states <= {"sent", "failed"}
