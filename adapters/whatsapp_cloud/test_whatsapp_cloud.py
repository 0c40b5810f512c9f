"""A real adapter against the simulated Meta."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from adapters.graph.records import Template as Made
from adapters.whatsapp_cloud.testing import PHONE, World
from hub.contract import (
    Ambiguous,
    BadAddress,
    ChannelDown,
    ConsentChanged,
    MessageReceived,
    OptedOut,
    RateLimited,
    Receipt,
    Rejected,
    SendError,
    Transient,
    WindowClosed,
)
from hub.model import Address, Attachment, Button, Party, Selection, Template
from hub.testing.simulation import Fault, Faults

PHOTO = Attachment("image", url="https://hub.example.com/media/a.jpg", mime="image/jpeg")


async def test_a_message_is_sent_shown_and_reported(world: World) -> None:
    await world.meta.text(PHONE, "Hi")
    receipt = await world.adapter.send(world.out("Hello 🌳"))
    await world.meta.settle()
    await world.meta.read(PHONE)
    user = world.meta.user(PHONE)
    message = world.meta.messages[0]
    assert receipt == Receipt(message.id, "queued", {"wa_id": PHONE, "user_id": user.user_id})
    assert [each.text for each in world.meta.phone(PHONE)] == ["Hello 🌳"]
    key = "del_0000000000001.0"
    assert world.states() == [(key, "sent", None), (key, "delivered", None), (key, "read", None)]
    [accepted] = world.meta.ledger.of("accept")
    assert (accepted.data["id"], accepted.data["key"]) == (receipt.external_id, key)


async def test_what_a_phone_sends_is_received(world: World) -> None:
    assert await world.meta.text(PHONE, "Hi / ✓", reply_to="wamid.0") == 200
    [event] = world.events
    user = world.meta.user(PHONE)
    assert event.text == "Hi / ✓" and event.reply_to == "wamid.0"
    assert event.sender == Party("whatsapp", user.user_id, "Ann Fielding")
    assert event.also == [Party("tel", f"+{PHONE}", "Ann Fielding")]


async def test_a_person_without_a_number_is_answered(world: World) -> None:
    world.meta.user(PHONE).hidden = True
    await world.meta.text(PHONE, "Hi")
    [event] = world.events
    assert event.also == []
    await world.adapter.send(world.out("Hello", to=event.sender.address))
    await world.meta.settle()
    assert [each.text for each in world.meta.phone(PHONE)] == ["Hello"]
    assert "to" not in world.meta.messages[0].body


async def test_files_come_and_go(world: World) -> None:
    await world.meta.file(PHONE, "document", "application/pdf", b"%PDF-1", filename="a.pdf", caption="Look")
    [event] = world.events
    content = await world.adapter.fetch(event.attachments[0], None)
    assert content is not None and [part async for part in content] == [b"%PDF-1"]
    await world.adapter.send(world.out("Cap", attachments=[Attachment("image", data=b"JPG", mime="image/jpeg")]))
    await world.meta.settle()
    [shown] = world.meta.phone(PHONE)
    assert (shown.type, shown.text, shown.body["image"].keys()) == ("image", "Cap", {"id", "caption"})


@pytest.mark.parametrize(("number", "kind"), [(3, "button"), (4, "list")])
async def test_a_choice_comes_back(world: World, number: int, kind: str) -> None:
    await world.meta.text(PHONE, "Hi")
    receipt = await world.adapter.send(world.out("Which?", buttons=[Button(f"b{n}", f"No {n}") for n in range(number)]))
    await world.meta.settle()
    assert world.meta.messages[0].body["interactive"]["type"] == kind
    await world.meta.press(PHONE, "b2")
    event = world.events[-1]
    assert (event.selection, event.text, event.reply_to) == (Selection("b2", "No 2"), "No 2", receipt.external_id)


async def test_a_message_is_shown_as_read_and_as_being_answered(world: World) -> None:
    await world.meta.text(PHONE, "Hi")
    [event] = world.events
    await world.adapter.seen(event.sender.address, event.external_id)
    await world.adapter.seen(event.sender.address, event.external_id, typing=True)
    assert world.meta.seen == [event.external_id] * 2 and world.meta.typing == [event.external_id]
    with pytest.raises(Rejected):
        await world.adapter.seen(event.sender.address, "wamid.0")


async def test_a_reaction_is_shown_and_only_ever_sent(world: World) -> None:
    await world.meta.text(PHONE, "Hi")
    await world.adapter.send(world.out("", reply_to="wamid.0", reaction="👍"))
    await world.meta.settle()
    assert [each.text for each in world.meta.phone(PHONE)] == ["👍"]
    assert [state for _, state, _ in world.states()] == ["sent"]


# --- what Meta refuses ---


async def test_after_24_hours_only_a_template_gets_through(world: World) -> None:
    world.meta.add_template(Made("order_update", "en_US", "Hi {{1}}, your order {{2}} has shipped."))
    await world.meta.text(PHONE, "Hi")
    world.meta.skip(timedelta(hours=24))
    await world.adapter.send(world.out())
    await world.adapter.send(world.out("", template=Template("order_update", "en_US", {"1": "Ann", "2": "7"})))
    await world.meta.settle()
    assert [each.text for each in world.meta.phone(PHONE)] == ["Hi Ann, your order 7 has shipped."]
    assert world.states()[0] == ("del_0000000000001.0", "failed", "131047")
    await world.meta.text(PHONE, "Thanks")
    await world.adapter.send(world.out("Welcome"))
    await world.meta.settle()
    assert world.meta.phone(PHONE)[-1].text == "Welcome"


@pytest.mark.parametrize("code", [131047, 131049, 131050, 131026])
async def test_what_the_recipients_side_breaks_may_be_refused_at_once_too(world: World, code: int) -> None:
    world.meta.late = False
    world.meta.undeliverable[PHONE] = code
    expected = {131047: WindowClosed, 131049: Rejected, 131050: OptedOut, 131026: BadAddress}[code]
    with pytest.raises(expected) as caught:
        await world.adapter.send(world.out())
    assert caught.value.code == str(code) and world.meta.messages == []


async def test_marketing_has_a_limit_for_each_person_and_a_stop_button(world: World) -> None:
    world.meta.add_template(Made("sale", "en", "Sale!", category="MARKETING"))
    sale = Template("sale", "en")
    for _ in range(3):
        await world.adapter.send(world.out("", template=sale))
    await world.meta.settle()
    assert [code for _, state, code in world.states() if state == "failed"] == ["131049"]
    await world.meta.stop_marketing(PHONE)
    await world.adapter.send(world.out("", template=sale))
    await world.meta.settle()
    assert world.states()[-1][2] == "131050" and world.events[-1].opted_out
    await world.meta.stop_marketing(PHONE, resume=True)
    told = [(each.change, each.covers) for each in world.events if isinstance(each, ConsentChanged)]
    assert told == [("opt_out", "marketing"), ("opt_in", "marketing")]
    world.meta.skip(timedelta(hours=24))
    await world.adapter.send(world.out("", template=sale))
    await world.meta.settle()
    assert len(world.meta.phone(PHONE)) == 3


async def test_one_person_gets_a_message_in_six_seconds_after_a_burst(world: World) -> None:
    await world.meta.text(PHONE, "Hi")
    for _ in range(45):
        await world.adapter.send(world.out())
    with pytest.raises(RateLimited) as caught:
        await world.adapter.send(world.out())
    assert (caught.value.code, caught.value.scope, caught.value.after) == ("131056", "pair", 6)
    await world.adapter.send(world.out(to=Address("tel", "+447700900123")))
    world.meta.skip(timedelta(seconds=6))
    await world.adapter.send(world.out())


TEMPLATES: list[tuple[Made, Template, dict[str, Any], str | None]] = [
    (Made("a", "en", "Hi {{name}}"), Template("a", "en", {"name": "Ann"}), {}, None),
    (Made("a", "en", "Hi {{name}}"), Template("a", "en", {"nom": "Ann"}), {}, "100"),
    (Made("a", "en", "Hi {{1}}"), Template("a", "en"), {}, "132000"),
    (Made("a", "en", "Hi {{1}}"), Template("a", "de", {"1": "Ann"}), {}, "132001"),
    (Made("a", "en", "Hi", status="PENDING"), Template("a", "en"), {}, "132001"),
    (Made("a", "en", "Hi", status="PAUSED"), Template("a", "en"), {}, "132015"),
    (Made("a", "en", "Hi", status="DISABLED"), Template("a", "en"), {}, "132016"),
    (Made("a", "en", "Hi", header="IMAGE"), Template("a", "en"), {}, "132012"),
    (Made("a", "en", "Hi", header="IMAGE"), Template("a", "en"), {"attachments": [PHOTO]}, None),
]


@pytest.mark.parametrize(("made", "used", "more", "code"), TEMPLATES)
async def test_templates_are_approved_and_complete(
    world: World, made: Made, used: Template, more: dict[str, Any], code: str | None
) -> None:
    world.meta.add_template(made)
    message = world.out("", template=used, **more)
    if code is None:
        await world.adapter.send(message)
        return
    with pytest.raises(Rejected) as caught:
        await world.adapter.send(message)
    assert caught.value.code == code


async def test_a_template_that_is_paused_is_told(world: World) -> None:
    made = world.meta.add_template(Made("sale", "en", "Sale!"))
    await world.meta.change_template(made, "PAUSED")
    [event] = world.events
    assert (event.type, event.what, event.state) == ("account", "template sale (en)", "PAUSED")


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"text": "x" * 4097}, "100"),
    ({"text": "x" * 1025, "attachments": [PHOTO]}, "100"),
    ({"text": "x" * 1025, "buttons": [Button("b", "Yes")]}, "100"),
    ({"text": "Which?", "buttons": [Button("b", "Yes"), Button("b", "No")]}, "131009"),
    ({"text": "", "attachments": [Attachment("image", url="file:///etc/passwd")]}, "131009"),
]


@pytest.mark.parametrize(("message", "code"), REFUSALS)
async def test_metas_refusals(world: World, message: dict[str, Any], code: str) -> None:
    with pytest.raises(Rejected) as caught:
        await world.adapter.send(world.out(**message))
    assert caught.value.code == code and world.meta.messages == []


CONFIGS: list[tuple[dict[str, Any], str]] = [({"access_token": "wrong"}, "190"), ({"phone_number_id": "1"}, "100")]


@pytest.mark.parametrize(("config", "code"), CONFIGS)
async def test_wrong_settings_hold_the_channel(world: World, config: dict[str, Any], code: str) -> None:
    with pytest.raises(ChannelDown) as caught:
        await world.build(**config).send(world.out())
    assert caught.value.code == code and "check" in caught.value.detail


# --- faults ---

FAULTS: list[tuple[Fault, type[SendError], int]] = [
    (Fault("throttle"), RateLimited, 0),
    (Fault("error"), Ambiguous, 0),
    (Fault("error", code="131016"), Transient, 0),
    (Fault("reject", code="131026"), BadAddress, 0),
    (Fault("drop_before"), Ambiguous, 0),
    (Fault("error_after"), Ambiguous, 1),
    (Fault("drop_after"), Ambiguous, 1),
    (Fault("late_accept", delay=0.05), Ambiguous, 1),
]


@pytest.mark.parametrize(("fault", "kind", "accepted"), FAULTS, ids=lambda value: getattr(value, "kind", None))
async def test_a_status_with_our_key_tells_what_became_of_a_lost_answer(
    world: World, fault: Fault, kind: type[SendError], accepted: int
) -> None:
    await world.meta.text(PHONE, "Hi")
    world.meta.faults.queued.append(fault)
    with pytest.raises(SendError) as caught:
        await world.adapter.send(world.out())
    assert type(caught.value) is kind
    await world.meta.settle()
    assert len(world.meta.ledger.of("accept")) == accepted
    assert {key for key, _, _ in world.states()} == ({"del_0000000000001.0"} if accepted else set())
    assert len(world.meta.ledger.of("fault", fault=fault.kind)) == 1


async def test_a_slow_answer_is_an_answer(world: World) -> None:
    await world.meta.text(PHONE, "Hi")
    world.meta.faults.queued.append(Fault("slow", delay=0.02))
    assert (await world.adapter.send(world.out())).state == "queued"


async def test_statuses_come_twice_and_in_any_order(world: World) -> None:
    world.meta.faults = Faults(seed=4, duplicate_callbacks=True, shuffle_callbacks=True)
    await world.meta.text(PHONE, "Hi")
    await world.adapter.send(world.out())
    await world.meta.settle()
    states = [state for _, state, _ in world.states()]
    assert sorted(states) == ["delivered", "delivered", "sent", "sent"] != states


async def test_meta_sends_a_webhook_again_until_it_is_taken(world: World) -> None:
    world.meta.repeats = (0.0, 0.0)
    world.statuses = [503, 500, 200]
    assert await world.meta.text(PHONE, "Hi") == 200
    assert len(world.events) == 1


async def test_a_webhook_signed_by_another_app_is_refused(world: World) -> None:
    world.adapter = world.build(app_secret="another")
    assert await world.meta.text(PHONE, "Hi") == 403 and world.events == []


async def test_a_batch_is_read_and_other_numbers_are_left_out(world: World) -> None:
    raw = {"from": PHONE, "timestamp": "1749416383", "type": "text"}
    ours = world.meta.change("messages", {"messages": [raw | {"id": "1", "text": {"body": "One"}}]})
    other = world.meta.change("messages", {"messages": [raw | {"id": "2", "text": {"body": "Two"}}]}, number="1")
    assert await world.meta.post([ours, other, ours]) == 200
    assert [each.text for each in world.events if isinstance(each, MessageReceived)] == ["One", "One"]


async def test_the_webhook_is_registered(world: World) -> None:
    assert await world.meta.register()
    world.adapter = world.build(verify_token="another")
    assert not await world.meta.register()


async def test_check_reads_the_number(world: World) -> None:
    health = await world.adapter.check()
    assert (health.ok, health.detail) == (True, "Simulated +15550783881, quality green")
    world.meta.quality = "RED"
    assert not (await world.adapter.check()).ok
    assert not (await world.build(access_token="wrong").check()).ok
