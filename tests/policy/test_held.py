"""An agent's answer after WhatsApp's window has closed, and templates at the desk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.graph.records import Template
from hub.customers import CustomerDraft, IdentityDraft, upsert
from hub.testing.simulation import Fault
from tests.policy.chat import PHONE, Shop, chat


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with chat(database_url, tmp_path) as running:
        yield running


async def test_an_answer_waits_until_the_customer_writes(shop: Shop) -> None:
    await shop.agent("It is on its way.", thread=shop.thread)
    await shop.agent("Tomorrow!", thread=shop.thread)
    await shop.become(*[("queued", "WINDOW_CLOSED")] * 2)
    told = [text for text in shop.posts if text.startswith("Held")]
    assert "window 24 h (WINDOW_CLOSED). Or send: !template NAME" in told[0]
    await shop.says("Hello?")
    assert await shop.shown(2) == ["It is on its way.", "Tomorrow!"]


async def test_an_answer_that_nobody_waits_for_any_more_ends_and_says_so(shop: Shop) -> None:
    await shop.agent("It is on its way.", thread=shop.thread)
    await shop.advance(days=7, minutes=1)
    await shop.says("Hello?")
    await shop.become(("failed", "MSG_EXPIRED"))
    assert shop.got == []


async def test_what_the_provider_alone_finds_too_late_waits_as_well(shop: Shop) -> None:
    await shop.says("Hello?")
    shop.meta.faults.queued.append(Fault("reject", code="131047"))
    await shop.agent("It is on its way.", thread=shop.thread)
    await shop.become(("queued", "WINDOW_CLOSED"))
    await shop.says("And?")
    assert await shop.shown(1) == ["It is on its way."]


async def test_what_the_provider_tells_later_waits_as_well(shop: Shop) -> None:
    await shop.says("Hello?")
    shop.meta.undeliverable[PHONE[1:]] = 131047
    await shop.agent("It is on its way.", thread=shop.thread)
    await shop.become(("queued", "WINDOW_CLOSED"))
    shop.meta.undeliverable.clear()
    await shop.says("And?")
    assert await shop.shown(1) == ["It is on its way."]


async def test_an_answer_by_another_channel_goes_instead_of_the_one_that_waits(shop: Shop) -> None:
    address = {"address": "paper:ann", "proof": "verified"}
    held = [IdentityDraft.model_validate({"address": (await shop.rows("identity"))[0].address, "proof": "verified"})]
    draft = CustomerDraft(external_id="1", identities=[*held, IdentityDraft.model_validate(address)])
    await shop.hub.write(lambda connection, context: upsert(connection, context, draft))
    post = await shop.agent("Your PIN is 1.", thread=shop.thread)
    await shop.become(("queued", "WINDOW_CLOSED"))
    await shop.agent("!via paper Your PIN is 1.", thread=shop.thread)
    assert shop.letters.texts == ["Your PIN is 1."]
    assert shop.marks(post) == ["queued", "denied"]
    [told] = [out.mark.reason for _, out in shop.board.accepted if out.mark and out.mark.state == "denied"]
    assert told == "taken back, because an answer goes by paper instead; write it anew if it shall go out as well"
    await shop.says("Hello?")
    await shop.agent("Anything else?", thread=shop.thread)
    assert await shop.shown(1) == ["Anything else?"]
    assert [row.state for row in await shop.rows("conversation")] == ["pending"]


async def test_a_channel_may_be_called_by_its_medium(shop: Shop) -> None:
    await shop.says("Hello?")
    await shop.agent("!via WhatsApp It is on its way.", thread=shop.thread)
    assert await shop.shown(1) == ["It is on its way."]


async def test_a_template_overtakes_the_answer_that_waits(shop: Shop) -> None:
    await shop.meta.change_template(shop.meta.add_template(Template("moved", "en_GB", "Hi {{name}}!")), "APPROVED")
    await shop.settled()
    await shop.agent("It is on its way.", thread=shop.thread)
    assert [text for text in shop.posts if "approved: moved en_GB" in text]
    await shop.agent("!template moved name='Ann Smith'", thread=shop.thread)
    assert await shop.shown(1) == ["Hi Ann Smith!"]
    assert (await shop.answers())[0] == ("queued", "WINDOW_CLOSED")


async def test_a_template_that_is_paused_waits_until_it_is_not(shop: Shop) -> None:
    moved = shop.meta.add_template(Template("moved", "en_GB", "Hello!"))
    await shop.meta.change_template(moved, "PAUSED")
    await shop.settled()
    await shop.agent("!template moved en_GB", thread=shop.thread)
    [row] = await shop.rows("delivery", kind="contact")
    assert (row.state, row.reason) == ("queued", "TEMPLATE_PAUSED: the provider has paused the template")
    await shop.meta.change_template(moved, "APPROVED")
    await shop.settled()
    await shop.advance(minutes=1)
    assert await shop.shown(1) == ["Hello!"]


@pytest.mark.parametrize(
    ("category", "event", "code"),
    [("MARKETING", "APPROVED", "TEMPLATE_CATEGORY_MISMATCH"), ("UTILITY", "REJECTED", "TEMPLATE_NOT_APPROVED")],
)
async def test_a_template_that_will_not_do_is_not_sent(shop: Shop, category: str, event: str, code: str) -> None:
    await shop.meta.change_template(shop.meta.add_template(Template("moved", "en", "Hi!", category=category)), event)
    await shop.settled()
    await shop.agent("!template moved en", thread=shop.thread)
    await shop.become(("denied", code))


async def test_a_template_that_the_provider_does_not_know_is_tried_once(shop: Shop) -> None:
    await shop.agent("!template moved en", thread=shop.thread)
    await shop.become(("failed", "132001"))
    await shop.agent("!template moved en", thread=shop.thread)
    await shop.become(("failed", "132001"), ("denied", "TEMPLATE_NOT_APPROVED"))
    await shop.meta.change_template(shop.meta.add_template(Template("moved", "en", "Hi!")), "APPROVED")
    await shop.agent("!template moved en", thread=shop.thread)
    assert await shop.shown(1) == ["Hi!"]


@pytest.mark.parametrize(
    ("text", "words"),
    [("!template moved", "Not sent: say in which language"), ("!template 'moved", "Not a command I know")],
)
async def test_what_is_no_template_is_a_note(shop: Shop, text: str, words: str) -> None:
    await shop.agent(text, thread=shop.thread)
    assert await shop.answers() == []
    assert any(each.startswith(words) for each in shop.posts)
