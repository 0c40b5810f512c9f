"""A real adapter against the simulated Meta."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from adapters.messenger.testing import ANN, Messengers
from hub.contract import (
    Ambiguous,
    ChannelDown,
    MessageReceived,
    OptedOut,
    RateLimited,
    Receipt,
    Rejected,
    SendError,
    StatusChanged,
    Transient,
    WindowClosed,
)
from hub.model import Address, Attachment, Author, AuthorKind, Button, Party, Selection
from hub.testing.simulation import Fault, Faults

ZOE = Author(AuthorKind.agent, "Zoe")


async def test_a_message_is_sent_shown_and_reported(world: Messengers) -> None:
    await world.meta.text(ANN, "Hi")
    receipt = await world.adapter.send(world.out(ANN, "Hello 🌳"))
    await world.meta.settle()
    assert await world.meta.read(ANN) == 200
    [message] = world.meta.phone(ANN)
    assert (receipt, message.text) == (Receipt(message.id), "Hello 🌳")
    *known, seen = [each for each in world.events if isinstance(each, StatusChanged)]
    assert [(each.external_id, each.state, each.key) for each in known] == [
        (message.id, "sent", "del_0000000000001.0"), (message.id, "delivered", None)
    ]
    assert seen.state == "read" and str(seen.to) == f"psid:{world.meta.account_id}:{ANN}"
    assert seen.until is not None and abs(seen.until - message.at) < timedelta(milliseconds=2)
    [accepted] = world.meta.ledger.of("accept")
    assert (accepted.data["id"], accepted.data["key"]) == (message.id, "del_0000000000001.0")


async def test_what_a_person_sends_is_received(world: Messengers) -> None:
    assert await world.meta.text(ANN, "Hi / ✓", reply_to={"mid": "m_0"}) == 200
    assert await world.meta.file(ANN, "image", "https://scontent.xx.fbcdn.net/1.jpg") == 200
    text, image = world.events
    assert (text.text, text.reply_to) == ("Hi / ✓", "m_0")
    assert text.sender == Party("psid", f"{world.meta.account_id}:{ANN}")
    assert image.attachments == [Attachment("image", url="https://scontent.xx.fbcdn.net/1.jpg")]


async def test_a_choice_comes_back(world: Messengers) -> None:
    await world.meta.text(ANN, "Hi")
    await world.adapter.send(world.out(ANN, "Which?", buttons=[Button("b1", "Red"), Button("b2", "Blue")]))
    await world.meta.press(ANN, "b2")
    await world.meta.settle()
    [event] = [each for each in world.events if isinstance(each, MessageReceived) and each.selection]
    assert (event.selection, event.text) == (Selection("b2", "Blue"), "Blue")
    with pytest.raises(LookupError):
        await world.meta.press(ANN, "b3")


async def test_a_message_is_shown_as_seen_and_as_being_answered(world: Messengers) -> None:
    await world.meta.text(ANN, "Hi")
    [event] = world.events
    await world.adapter.seen(event.sender.address, event.external_id)
    await world.adapter.seen(event.sender.address, event.external_id, typing=True)
    assert world.meta.actions == [(ANN, "mark_seen"), (ANN, "mark_seen"), (ANN, "typing_on")]


# --- what Meta refuses ---


async def test_after_24_hours_only_people_answer_and_after_7_days_nobody(world: Messengers) -> None:
    await world.meta.text(ANN, "Hi")
    world.meta.skip(timedelta(hours=24))
    for late in (world.out(ANN), world.out(ANN, author=ZOE), world.out(ANN, late=True)):
        with pytest.raises(WindowClosed) as caught:
            await world.adapter.send(late)
        assert caught.value.code == "10/2018278"
    await world.adapter.send(world.out(ANN, author=ZOE, late=True))
    world.meta.human_agent = False
    with pytest.raises(ChannelDown):
        await world.adapter.send(world.out(ANN, author=ZOE, late=True))
    world.meta.human_agent = True
    world.meta.skip(timedelta(days=6))
    with pytest.raises(WindowClosed):
        await world.adapter.send(world.out(ANN, author=ZOE, late=True))
    await world.meta.text(ANN, "Still there?")
    await world.adapter.send(world.out(ANN))
    assert len(world.meta.phone(ANN)) == 2


async def test_who_has_blocked_us_gets_nothing_until_they_write(world: Messengers) -> None:
    await world.meta.text(ANN, "Hi")
    world.meta.person(ANN).blocked = True
    with pytest.raises(OptedOut) as caught:
        await world.adapter.send(world.out(ANN))
    assert caught.value.code == "551/1545041" and caught.value.covers == "all"
    await world.meta.text(ANN, "Sorry")
    await world.adapter.send(world.out(ANN))


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"text": "x" * 2001}, "100"),
    ({"text": "", "attachments": [Attachment("image", url="file:///etc/passwd")]}, "100/2018047"),
]


@pytest.mark.parametrize(("message", "code"), REFUSALS)
async def test_metas_refusals(world: Messengers, message: dict[str, Any], code: str) -> None:
    await world.meta.text(ANN, "Hi")
    with pytest.raises(Rejected) as caught:
        await world.adapter.send(world.out(ANN, **message))
    assert caught.value.code == code and world.meta.messages == []


async def test_nobody_has_that_id(world: Messengers) -> None:
    with pytest.raises(SendError) as caught:
        await world.adapter.send(world.out("1"))
    assert (caught.value.kind, caught.value.code) == ("bad_address", "100/2018001")


CONFIGS = [({"access_token": "wrong"}, "190"), ({"app_secret": "wrong"}, "100")]


@pytest.mark.parametrize(("config", "code"), CONFIGS)
async def test_wrong_settings_hold_the_channel(world: Messengers, config: dict[str, Any], code: str) -> None:
    with pytest.raises(ChannelDown) as caught:
        await world.build(**config).send(world.out(ANN))
    assert caught.value.code == code and "check" in caught.value.detail


# --- faults ---

FAULTS: list[tuple[Fault, type[SendError], int]] = [
    (Fault("throttle"), RateLimited, 0),
    (Fault("error"), Ambiguous, 0),
    (Fault("error", code="1200"), Transient, 0),
    (Fault("reject", code="551/1545041"), OptedOut, 0),
    (Fault("drop_before"), Ambiguous, 0),
    (Fault("error_after"), Ambiguous, 1),
    (Fault("drop_after"), Ambiguous, 1),
    (Fault("late_accept", delay=0.05), Ambiguous, 1),
]


@pytest.mark.parametrize(("fault", "kind", "accepted"), FAULTS, ids=lambda value: getattr(value, "kind", None))
async def test_an_echo_with_our_key_tells_what_became_of_a_lost_answer(
    world: Messengers, fault: Fault, kind: type[SendError], accepted: int
) -> None:
    await world.meta.text(ANN, "Hi")
    world.meta.faults.queued.append(fault)
    with pytest.raises(SendError) as caught:
        await world.adapter.send(world.out(ANN))
    assert type(caught.value) is kind
    await world.meta.settle()
    keys = {each.key for each in world.events if isinstance(each, StatusChanged)} - {None}
    assert keys == ({"del_0000000000001.0"} if accepted else set())
    assert len(world.meta.ledger.of("accept")) == accepted
    assert len(world.meta.ledger.of("fault", fault=fault.kind)) == 1


async def test_a_slow_answer_is_an_answer(world: Messengers) -> None:
    await world.meta.text(ANN, "Hi")
    world.meta.faults.queued.append(Fault("slow", delay=0.02))
    assert (await world.adapter.send(world.out(ANN))).state == "sent"


async def test_echoes_and_receipts_come_twice_and_in_any_order(world: Messengers) -> None:
    world.meta.faults = Faults(seed=1, duplicate_callbacks=True, shuffle_callbacks=True)
    await world.meta.text(ANN, "Hi")
    await world.adapter.send(world.out(ANN))
    await world.meta.settle()
    states = [state for _, state in world.states()]
    assert sorted(states) == ["delivered", "delivered", "sent", "sent"] and states != ["sent"] * 2 + ["delivered"] * 2


async def test_meta_sends_a_webhook_again_until_it_is_taken(world: Messengers) -> None:
    world.meta.repeats = (0.0, 0.0)
    world.statuses = [503, 500, 200]
    assert await world.meta.text(ANN, "Hi") == 200
    assert len(world.events) == 1


async def test_a_webhook_signed_by_another_app_is_refused(world: Messengers) -> None:
    world.adapter = world.build(app_secret="another")
    assert await world.meta.text(ANN, "Hi") == 403 and world.events == []


async def test_a_batch_is_read_and_other_pages_are_left_out(world: Messengers) -> None:
    said = [{"message": {"mid": f"m_{number}", "text": str(number)}} for number in range(3)]
    ours = world.meta.entry([world.meta.item(ANN, each) for each in said[:2]])
    other = world.meta.entry([world.meta.item(ANN, said[2])], account="1")
    assert await world.meta.post([ours, other, ours]) == 200
    assert [each.text for each in world.events] == ["0", "1", "0", "1"]


async def test_the_webhook_is_registered(world: Messengers) -> None:
    assert await world.meta.register()
    world.adapter = world.build(verify_token="another")
    assert not await world.meta.register()


async def test_people_have_names_once_they_have_written(world: Messengers) -> None:
    await world.meta.text(ANN, "Hi")
    address = world.events[0].sender.address
    assert await world.adapter.name_of(address) == "Ann Fielding"
    world.meta.person("7")
    for person in ("7", "8"):
        assert await world.adapter.name_of(world.out(person).to) is None
    assert await world.adapter.name_of(Address("psid", "99:7")) is None
    world.meta.withheld[ANN] = (10, None)
    assert await world.adapter.name_of(address) is None
    world.meta.withheld[ANN] = (2, None)
    with pytest.raises(Transient):
        await world.adapter.name_of(address)
    for wrong in ({"access_token": "wrong"}, {"app_secret": "wrong"}):
        with pytest.raises(ChannelDown):
            await world.build(**wrong).name_of(address)


async def test_a_link_leads_here_and_says_where_from(world: Messengers) -> None:
    link = world.adapter.entry_link("omni-x7")
    assert link == f"https://m.me/{world.meta.account_id}?ref=omni-x7"
    referral = {"ref": link.partition("ref=")[2], "source": "SHORTLINK", "type": "OPEN_THREAD"}
    await world.meta.tell(ANN, {"referral": referral})
    await world.meta.tell(ANN, {"postback": {"title": "Start", "payload": "start", "referral": referral}})
    assert [each.entry for each in world.events] == ["omni-x7"] * 2


async def test_check_reads_the_page(world: Messengers) -> None:
    health = await world.adapter.check()
    assert (health.ok, health.detail) == (True, "page Simulated")
    assert not (await world.build(access_token="wrong").check()).ok
    health = await world.build(page_id="1").check()
    assert (health.ok, health.detail) == (False, "access_token is of Simulated, not of page_id")
