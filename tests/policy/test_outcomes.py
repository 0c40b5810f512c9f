"""What a provider's refusals do beyond their message: counts, suppressions, holds, later tries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from adapters.graph.records import Template
from hub import consent, sending
from hub.contract import BadAddress, OptedOut, RateLimited, Rejected
from hub.feedback import Failure, take
from hub.outbound import health
from hub.outbound.judge import judge
from hub.outbound.pace import Pace
from hub.policy import pack
from hub.policy.ledger import Event, Scope
from hub.sending import TemplateDraft
from hub.store.schema import delivery, hold
from tests.paper import Office, office, until
from tests.policy.chat import PHONE, Shop, chat


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with chat(database_url, tmp_path) as running:
        yield running


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    """Its channel answers as a mail server does."""
    async with office(database_url, tmp_path, codes="smtp") as running:
        await running.write("hello")
        yield running


async def send(office: Office, to: str, purpose: str = "reply", **more: Any) -> None:
    def work(connection: sa.Connection, context: Any) -> None:
        if purpose == "marketing":
            entry = Event("grant", context.now, to, basis="express_written", scope=Scope(purpose="marketing"))
            consent.append(connection, entry, change="opt_in", channel=None, source="page", now=context.now)
        draft = sending.Draft.model_validate({"customer": to, "purpose": purpose, "text": "x"} | more)
        sending.accept(connection, context, draft, "me")

    await office.hub.write(work)
    await office.settled()


async def codes(office: Office) -> list[tuple[str, str | None]]:
    return [(row.state, row.code) for row in await office.rows("delivery", kind="contact")]


async def test_only_failures_that_repeat_suppress_and_for_a_month(desk: Office) -> None:
    desk.letters.answers = [Rejected("mailbox full", code="5.2.2")] * 5
    for _ in range(6):
        await send(desk, "paper:ann")
    assert await codes(desk) == [*[("failed", "5.2.2")] * 5, ("denied", "SUPP_HARD_BOUNCE")]
    await desk.advance(days=31)
    await send(desk, "paper:ann")
    assert (await codes(desk))[-1] == ("sent", None)


async def test_what_arrives_in_between_ends_the_count(desk: Office) -> None:
    for _ in range(3):
        desk.letters.answers = [Rejected("refused", code="550")]
        await send(desk, "paper:ann")
        await send(desk, "paper:ann")
        await desk.status(desk.letters.accepted[-1][0], "delivered")
    assert [state for state, _ in await codes(desk)] == ["failed", "delivered"] * 3


async def test_a_dead_address_is_suppressed_at_once(desk: Office) -> None:
    desk.letters.answers = [BadAddress("no such user", code="5.1.1")]
    await send(desk, "paper:ann")
    await send(desk, "paper:ann")
    assert await codes(desk) == [("failed", "5.1.1"), ("denied", "SUPP_HARD_BOUNCE")]


async def test_what_the_network_blocks_is_opened_by_start_from_the_phone_alone(
    database_url: str, tmp_path: Path
) -> None:
    async with office(database_url, tmp_path, codes="twilio") as desk:
        await desk.write("hello")
        desk.letters.answers = [OptedOut("unsubscribed recipient", code="21610")]
        await send(desk, "paper:ann")

        async def said_yes(source: consent.Source) -> None:
            await desk.advance(minutes=1)
            work = partial(
                consent.record, address="paper:ann", change="opt_in", channel=None, source=source, evidence={},
                at=desk.clock.now, now=desk.clock.now,
            )  # fmt: skip
            await desk.hub.write(lambda connection, _: work(connection))
            await send(desk, "paper:ann")

        await send(desk, "paper:ann")
        sources: tuple[consent.Source, ...] = ("api", "import", "page", "provider")
        for source in sources:
            await said_yes(source)
        assert await codes(desk) == [("failed", "21610"), *[("denied", "SUPP_PROVIDER_OPTOUT")] * 5]
        await desk.advance(minutes=1)
        await desk.write("START")
        await send(desk, "paper:ann")
        assert (await codes(desk))[-1] == ("sent", None)


async def test_a_no_to_advertising_on_whatsapp_is_no_block_of_the_network(database_url: str, tmp_path: Path) -> None:
    async with office(database_url, tmp_path, codes="whatsapp") as desk:
        await desk.write("hello")
        desk.letters.answers = [OptedOut("stopped marketing", code="131050", covers="marketing")]
        await send(desk, "paper:ann", "marketing")
        await send(desk, "paper:ann", "transactional")
        assert await codes(desk) == [("failed", "131050"), ("sent", None)]
        assert [row.kind for row in await desk.rows("consent_event")] == ["grant", "revoke"]


async def test_a_fault_of_ours_holds_the_senders_advertising_and_nothing_else(desk: Office) -> None:
    desk.letters.answers = [Rejected("not authenticated", code="5.7.15")]
    await send(desk, "paper:ann", "marketing")
    await send(desk, "paper:ann", "marketing")
    await send(desk, "paper:ann")
    assert await codes(desk) == [("failed", "5.7.15"), ("queued", None), ("sent", None)]
    assert (await desk.rows("delivery", kind="contact"))[1].reason == "SENDER_HELD: 5.7.15: not authenticated"
    assert [row.kind for row in await desk.rows("alert")] == ["held"]
    await desk.hub.write(lambda connection, _: connection.execute(sa.delete(hold)))
    await desk.advance(minutes=1)
    assert (await codes(desk))[1] == ("sent", None)


async def test_advertising_pauses_where_too_many_complain(desk: Office, tmp_path: Path) -> None:
    packs = tmp_path / "packs"
    packs.mkdir()
    ours = (Path(__file__).parents[2] / "config" / "policy" / "limits.toml").read_text()
    (packs / "limits.toml").write_text(ours.replace("minimum = 1000", "minimum = 2"))
    pack.choose(packs)
    try:
        for name in ("ann", "bob", "cat"):
            await send(desk, f"paper:{name}", "marketing")
        assert await desk.hub.store.read(partial(health.of, channel="paper", now=desk.clock.now)) == "OK"

        def complain(connection: sa.Connection, context: Any) -> None:
            failure = Failure(row.id, "complaint", "abuse", context.now, refused=True)
            take(connection, context, desk.hub.channels["paper"], failure)

        row = (await desk.rows("delivery", kind="contact"))[0]
        await desk.hub.write(complain)
        paused = await desk.hub.store.read(partial(health.of, channel="paper", now=desk.clock.now))
        assert paused == "PAUSE_COMPLAINT_RATE"
        await send(desk, "paper:ann", "marketing")
        assert (await codes(desk))[-1] == ("denied", "SUPP_COMPLAINT")
        draft = sending.Draft(customer="paper:bob", text="x", purpose="marketing")
        claimed = await desk.hub.write(partial(_held_back, desk=desk, draft=draft, state=paused))
        assert claimed == "BREAKER_COMPLAINT"
    finally:
        pack.choose(None)


async def test_complaints_slow_advertising_down_and_are_told_once(
    desk: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packs, shares = tmp_path / "packs", []
    packs.mkdir()
    ours = (Path(__file__).parents[2] / "config" / "policy" / "limits.toml").read_text()
    ours = ours.replace("minimum = 1000", "minimum = 2").replace("complaint_pause = 0.003", "complaint_pause = 0.9")
    (packs / "limits.toml").write_text(ours)
    monkeypatch.setattr("hub.outbound.lane._EXAMINED", 0.0)
    monkeypatch.setattr(Pace, "advertise", lambda _, share: shares.append(share))
    pack.choose(packs)
    try:
        for name in ("ann", "bob", "cat"):
            await send(desk, f"paper:{name}", "marketing")
        row = (await desk.rows("delivery", kind="contact"))[0]
        assert 0.4 not in shares
        failure = partial(Failure, row.id, "complaint", "abuse", refused=True)
        await desk.hub.write(
            lambda connection, context: take(connection, context, desk.hub.channels["paper"], failure(at=context.now))
        )

        async def told() -> bool:
            await desk.advance(seconds=1)
            return bool(await desk.rows("alert"))

        await until(told)
        for _ in range(3):
            await desk.advance(seconds=1)
        [alert] = await desk.rows("alert")
        assert (alert.kind, alert.channel) == ("reception", "paper")
        assert "complained, so it goes on more slowly" in alert.detail
        assert shares[-1] == 0.4
        await send(desk, "paper:bob", "marketing")
        assert (await codes(desk))[-1] == ("sent", None)
        context = desk.hub.context()
        await desk.hub.write(
            lambda connection, _: health.tell(connection, context, channel="paper", state="SLOW_COMPLAINT_RATE")
        )
        assert len(await desk.rows("alert")) == 1, "as after a restart"
    finally:
        pack.choose(None)


def _held_back(connection: sa.Connection, context: Any, desk: Office, draft: sending.Draft, state: str) -> str:
    made = sending.accept(connection, context, draft, "me")
    row = connection.execute(sa.select(delivery).where(delivery.c.id == made.delivery)).one()
    return judge(connection, context, desk.hub.channels["paper"], [row], "on", state)[row.id].reason


async def test_a_daily_quota_begins_anew_at_midnight_in_california(database_url: str, tmp_path: Path) -> None:
    async with office(database_url, tmp_path, codes="twilio") as desk:
        await desk.write("hello")
        desk.letters.answers = [RateLimited("daily cap", code="30023", after=3600)]
        await send(desk, "paper:ann")
        [row] = await desk.rows("delivery", kind="contact")
        assert f"{row.due_at:%Y-%m-%d %H:%M}" == "2026-03-03 08:00"


async def test_whatsapp_finds_nobody_three_times(shop: Shop) -> None:
    await shop.says("Hi")
    shop.meta.undeliverable[PHONE[1:]] = 131026
    for count in range(1, 4):
        await shop.agent("Hello?", thread=shop.thread)
        await shop.become(*[("failed", None)] * count)
    await shop.agent("Hello?", thread=shop.thread)
    await shop.become(*[("failed", None)] * 3, ("denied", "SUPP_HARD_BOUNCE"))


async def test_who_got_enough_advertising_from_all_gets_ours_a_day_later(shop: Shop) -> None:
    shop.meta.add_template(Template("sale", "en", "Sale!", category="MARKETING"))
    known = (await shop.rows("identity"))[0]
    shop.meta.undeliverable[PHONE[1:]] = 131049
    sale = TemplateDraft(name="sale", language="en").model_dump()
    await send(shop, known.address, "marketing", text="", template=sale)
    await shop.become(("queued", "131049"))
    await shop.advance(hours=23)
    shop.meta.undeliverable.clear()
    assert shop.got == []
    await shop.advance(hours=2)
    assert await shop.shown(1) == ["Sale!"]


async def test_the_third_refusal_for_too_much_advertising_is_final(shop: Shop) -> None:
    shop.meta.add_template(Template("sale", "en", "Sale!", category="MARKETING"))
    known = (await shop.rows("identity"))[0]
    shop.meta.undeliverable[PHONE[1:]] = 131049
    sale = TemplateDraft(name="sale", language="en").model_dump()
    await send(shop, known.address, "marketing", text="", template=sale)
    for pause in (24, 48):
        await shop.become(("queued", "131049"))
        [row] = await shop.rows("delivery", kind="contact")
        assert pause - 0.1 < (row.due_at - shop.clock.now) / timedelta(hours=1) <= pause
        await shop.advance(hours=pause, minutes=1)
    await shop.become(("failed", None))


async def test_what_whatsapp_fails_for_a_moment_arrives_later(shop: Shop) -> None:
    await shop.says("Hi")
    shop.meta.undeliverable[PHONE[1:]] = 131000
    await shop.agent("Hello", thread=shop.thread)
    await shop.become(("queued", "131000"))
    shop.meta.undeliverable.clear()
    await shop.advance(minutes=1)
    assert await shop.shown(1) == ["Hello"]


async def test_what_whatsapp_does_not_take_for_an_unpaid_bill_waits(shop: Shop) -> None:
    await shop.says("Hi")
    shop.meta.undeliverable[PHONE[1:]] = 131042
    await shop.agent("Hello", thread=shop.thread)
    await shop.become(("queued", "131042"))
    [told] = await shop.rows("alert")
    assert told.kind == "down" and "payment" in told.detail


async def test_who_wanted_it_gone_by_then_gets_no_later_try(shop: Shop) -> None:
    shop.meta.add_template(Template("sale", "en", "Sale!", category="MARKETING"))
    known = (await shop.rows("identity"))[0]
    shop.meta.undeliverable[PHONE[1:]] = 131049
    sale = TemplateDraft(name="sale", language="en").model_dump()
    await send(shop, known.address, "marketing", text="", template=sale)
    await shop.become(("queued", "131049"))
    [row] = await shop.rows("delivery", kind="contact")
    wanted = {"expires_at": row.created_at + timedelta(hours=40)}
    await shop.hub.write(lambda connection, _: connection.execute(sa.update(delivery).values(wanted)))
    await shop.advance(hours=24, minutes=1)
    await shop.become(("failed", None))


async def test_a_failure_told_before_the_answer_is_not_undone_by_it(database_url: str, tmp_path: Path) -> None:
    async with office(database_url, tmp_path, codes="whatsapp") as desk:
        await desk.write("hello")
        desk.letters.gate = asyncio.Event()
        await send(desk, "paper:ann", "marketing")

        async def handed() -> bool:
            return len(desk.letters.handed) == 1

        await until(handed)
        await desk.status("paper-1", "failed", code="131049", key=desk.letters.handed[0].key)
        [row] = await desk.rows("delivery", kind="contact")

        async def answered() -> bool:
            return [each.finished_at for each in await desk.rows("attempt", delivery_id=row.id)] != [None]

        desk.letters.gate.set()
        await until(answered)
        [row] = await desk.rows("delivery", kind="contact")
        assert (row.state, row.code) == ("queued", "131049")
        assert row.due_at > desk.clock.now


async def test_a_template_found_paused_waits(shop: Shop) -> None:
    moved = shop.meta.add_template(Template("moved", "en", "Moved!"))
    moved.status = "PAUSED"
    await shop.agent("!template moved en", thread=shop.thread)

    async def waits() -> bool:
        rows = await shop.rows("delivery", kind="contact")
        return bool(rows and str(rows[0].reason).startswith("TEMPLATE_PAUSED"))

    await until(waits)
    await shop.meta.change_template(moved, "APPROVED")
    await shop.settled()
    await shop.advance(minutes=1)
    assert await shop.shown(1) == ["Moved!"]
