"""A real adapter against the simulated LINE."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from adapters.line.testing import ANN, World
from hub.contract import (
    Ambiguous,
    BadAddress,
    ChannelDown,
    ConsentChanged,
    MessageDeleted,
    MessageReceived,
    RateLimited,
    Rejected,
    SendError,
    Transient,
)
from hub.model import Address, Attachment, Button, Location, Party, Selection
from hub.testing.simulation import Fault

PHOTO = Attachment("image", url="https://hub.example.com/a.jpg", mime="image/jpeg")


async def test_what_somebody_writes_is_received_and_answered_for_free(world: World) -> None:
    assert await world.line.text(ANN, "Hi / ✓", quotedMessageId="325700") == 200
    [event] = world.events
    assert (event.sender, event.text, event.reply_to) == (Party("line", ANN), "Hi / ✓", "325700")
    receipt = await world.adapter.send(world.out("Hello 🌳"))
    assert [(each.id, each.text) for each in world.line.phone(ANN)] == [(receipt.external_id, "Hello 🌳")]
    assert world.ways() == ["reply"] and world.line.used == 0


async def test_a_second_answer_is_pushed(world: World) -> None:
    await world.line.text(ANN, "Hi")
    for _ in range(2):
        await world.adapter.send(world.out())
    assert world.ways() == ["reply", "push"] and world.line.used == 1


async def test_a_token_that_grew_old_at_line_is_no_loss(world: World) -> None:
    await world.line.text(ANN, "Hi")
    world.line.skip(timedelta(minutes=1))
    await world.adapter.send(world.out())
    assert world.ways() == ["push"]


async def test_after_a_restart_answers_are_pushed(world: World) -> None:
    await world.line.text(ANN, "Hi")
    await world.build().send(world.out())
    assert world.ways() == ["push"]


async def test_files_come_and_go(world: World) -> None:
    await world.line.file(ANN, "file", b"%PDF-1", fileName="a.pdf", fileSize=6)
    [event] = world.events
    world.line.preparing.add(event.external_id)
    with pytest.raises(Transient):
        await world.adapter.fetch(event.attachments[0], None)
    world.line.preparing.clear()
    content = await world.adapter.fetch(event.attachments[0], None)
    assert content is not None and [part async for part in content] == [b"%PDF-1"]
    document = Attachment(url="https://hub.example.com/a.pdf", name="a.pdf")
    await world.adapter.send(world.out("See", attachments=[PHOTO, document]))
    await world.adapter.send(world.out("", location=Location(35.7, 139.7)))
    shown = [each.body["type"] for each in world.line.phone(ANN)]
    assert shown == ["text", "image", "text", "location"] and len(world.line.ledger.of("request")) == 2


async def test_what_is_unsent_is_gone(world: World) -> None:
    await world.line.file(ANN, "image", b"JPG")
    [event] = world.events
    await world.line.unsend(ANN, event.external_id)
    told = world.events[-1]
    assert isinstance(told, MessageDeleted) and told.external_id == event.external_id
    with pytest.raises(Rejected):
        await world.adapter.fetch(event.attachments[0], None)


async def test_a_choice_comes_back(world: World) -> None:
    await world.adapter.send(world.out("Which?", buttons=[Button("r", "Red"), Button("b", "Blue")]))
    assert world.line.phone(ANN)[0].choices() == [{"id": "r", "title": "Red"}, {"id": "b", "title": "Blue"}]
    await world.line.choose(ANN, "b")
    event = world.events[-1]
    assert (event.selection, event.text) == (Selection("b", "Blue"), "Blue")


async def test_who_blocks_the_account_gets_nothing_and_line_does_not_say_so(world: World) -> None:
    await world.line.block(ANN)
    await world.adapter.send(world.out("Unseen"))
    await world.line.block(ANN, lift=True)
    await world.adapter.send(world.out("Seen"))
    assert [each.text for each in world.line.phone(ANN)] == ["Seen"]
    told = [(each.sender.value, each.change) for each in world.events if isinstance(each, ConsentChanged)]
    assert told == [(ANN, "blocked"), (ANN, "unblocked")]


async def test_people_have_names_until_they_block_the_account(world: World) -> None:
    address = Address("line", ANN)
    assert await world.adapter.name_of(address) == "Ann Fielding"
    await world.line.block(ANN)
    assert await world.adapter.name_of(address) is None
    with pytest.raises(ChannelDown):
        await world.build(channel_access_token="wrong").name_of(address)


# --- what LINE refuses ---

REFUSALS: list[tuple[dict[str, Any], type[SendError]]] = [
    ({"to": Address("line", "U" + "0" * 32)}, BadAddress),
    ({"text": "x" * 5001}, Rejected),
    ({"text": "🌳" * 2501}, Rejected),
    ({"text": "Which?", "buttons": [Button(str(n), "Yes") for n in range(14)]}, Rejected),
]


@pytest.mark.parametrize(("message", "kind"), REFUSALS)
async def test_lines_refusals(world: World, message: dict[str, Any], kind: type[SendError]) -> None:
    with pytest.raises(SendError) as caught:
        await world.adapter.send(world.out(**message))
    assert type(caught.value) is kind and world.line.messages == []


async def test_when_the_month_is_used_up_only_free_replies_go_out(world: World) -> None:
    world.line.quota = 1
    await world.adapter.send(world.out())
    with pytest.raises(RateLimited) as caught:
        await world.adapter.send(world.out())
    assert (caught.value.scope, caught.value.after) == ("account", 3600)
    health = await world.adapter.check()
    assert not health.ok and "all 1 messages of this month are used up" in health.detail
    await world.line.text(ANN, "Hi")
    await world.adapter.send(world.out())
    assert world.ways() == ["push", "reply"]


async def test_a_wrong_token_holds_the_channel(world: World) -> None:
    wrong = world.build(channel_access_token="wrong")
    with pytest.raises(ChannelDown, match="check channel_access_token"):
        await wrong.send(world.out())
    assert not (await wrong.check()).ok


# --- faults ---

FAULTS: list[tuple[Fault, type[SendError]]] = [
    (Fault("throttle"), RateLimited),
    (Fault("error"), Transient),
    (Fault("drop_before"), Ambiguous),
    (Fault("error_after"), Transient),
    (Fault("drop_after"), Ambiguous),
    (Fault("late_accept", delay=0.01), Ambiguous),
]


@pytest.mark.parametrize(("fault", "kind"), FAULTS, ids=lambda value: getattr(value, "kind", None))
async def test_a_push_is_carried_out_once_however_often_it_is_tried(
    world: World, fault: Fault, kind: type[SendError]
) -> None:
    message = world.out()
    world.line.faults.queued.append(fault)
    with pytest.raises(SendError) as caught:
        await world.adapter.send(message)
    assert type(caught.value) is kind
    await world.line.settle()
    receipt = await world.build().send(message)
    assert receipt == await world.adapter.send(message)
    assert [each.id for each in world.line.phone(ANN)] == [receipt.external_id]
    assert len(world.line.ledger.of("fault", fault=fault.kind)) == 1


REPLY_FAULTS: list[tuple[Fault, str]] = [
    (Fault("error"), "reply"),
    (Fault("drop_before"), "reply"),
    (Fault("error_after"), "unknown"),
    (Fault("drop_after"), "unknown"),
]


@pytest.mark.parametrize(("fault", "outcome"), REPLY_FAULTS, ids=lambda value: getattr(value, "kind", None))
async def test_a_reply_is_carried_out_once_or_its_fate_is_unknown(world: World, fault: Fault, outcome: str) -> None:
    await world.line.text(ANN, "Hi")
    message = world.out()
    world.line.faults.queued.append(fault)
    if outcome == "unknown":
        with pytest.raises(Ambiguous) as caught:
            await world.adapter.send(message)
        assert not caught.value.settles
    else:
        await world.adapter.send(message)
    assert world.ways() == ["reply"]


async def test_a_crash_after_a_reply_was_taken_does_not_send_it_again(world: World) -> None:
    await world.line.text(ANN, "Hi")
    message = world.out()
    await world.adapter.send(message)  # and the hub dies before it has written that down
    with pytest.raises(Ambiguous) as caught:
        await world.build().send(message)
    assert not caught.value.settles and world.ways() == ["reply"]


async def test_a_reply_to_nobody_marks_the_address(world: World) -> None:
    world.line.faults.queued.append(Fault("reject"))
    with pytest.raises(BadAddress, match="Failed to send messages"):
        await world.adapter.send(world.out())


async def test_a_slow_answer_is_an_answer(world: World) -> None:
    world.line.faults.queued.append(Fault("slow", delay=0.02))
    assert (await world.adapter.send(world.out())).state == "sent"


# --- webhooks ---


async def test_a_webhook_is_delivered_again_as_the_same_event(world: World) -> None:
    world.line.redelivery = (0.0,)
    world.statuses = [503, 200]
    assert await world.line.text(ANN, "Hi") == 200
    [event] = world.events
    assert isinstance(event, MessageReceived) and event.external_id == world.line.said_by(ANN)[0]["id"]


async def test_a_batch_is_read_and_the_verify_button_is_answered(world: World) -> None:
    said = {"type": "text", "text": "Hi"}
    batch = [world.line.event(ANN, "message", message={"id": str(n), **said}) for n in range(3)]
    assert await world.line.tell(batch) == 200
    assert [each.external_id for each in world.events] == ["0", "1", "2"]
    assert await world.line.tell([]) == 200


async def test_a_webhook_signed_with_another_secret_is_refused(world: World) -> None:
    world.adapter = world.build(channel_secret="another")
    assert await world.line.text(ANN, "Hi") == 403 and world.events == []


async def test_check_tells_where_webhooks_go(world: World) -> None:
    health = await world.adapter.check()
    assert (health.ok, health.detail) == (True, "Simulated @216ru: 0 of any number of messages used this month")
    world.line.endpoint = "https://other.example.com/hook"
    health = await world.adapter.check()
    assert not health.ok and "https://other.example.com/hook: enter http" in health.detail
    world.line.endpoint, world.line.active = None, False
    health = await world.adapter.check()
    assert not health.ok and "Use webhook" in health.detail
