"""A real adapter against the simulated Telegram."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from adapters.telegram.adapter import Telegram
from adapters.telegram.records import CHAT_BURST
from adapters.telegram.testing import ANN, World, emitted
from hub.contract import (
    Ambiguous,
    BadAddress,
    ChannelDown,
    ConsentChanged,
    MessageReceived,
    OptedOut,
    RateLimited,
    Rejected,
    Request,
    SendError,
    Transient,
    WindowClosed,
)
from hub.model import Address, Attachment, Button, Location, Party, Selection
from hub.testing.simulation import Fault


async def test_a_message_is_sent_and_shown(world: World) -> None:
    await world.telegram.text(ANN, "Hi")
    receipt = await world.adapter.send(world.out("Hello 🌳"))
    [message] = world.telegram.chat(ANN)
    assert (message.text, receipt.external_id, receipt.state) == ("Hello 🌳", f"{ANN}:{message.id}", "sent")
    [accepted] = world.telegram.ledger.of("accept")
    assert accepted.data["id"] == receipt.external_id


async def test_what_somebody_writes_is_received(world: World) -> None:
    assert await world.telegram.text(ANN, "Hi / ✓") == 200
    assert await world.telegram.write(ANN, {"text": "This one"}, reply_to=1) == 200
    first, second = world.events
    assert first.sender == Party("telegram", f"{world.telegram.bot_id}:{ANN}", "Ann Fielding")
    assert (first.text, first.reply_to, second.reply_to) == ("Hi / ✓", None, f"{ANN}:1")
    await world.telegram.edit(ANN, 1, "Hello")
    assert (world.events[2].external_id, world.events[2].text) == (first.external_id, "Hello")


async def test_files_come_and_go(world: World) -> None:
    about = {"file_name": "a.pdf", "mime_type": "application/pdf", "caption": "Look"}
    await world.telegram.file(ANN, "document", b"%PDF-1", **about)
    [event] = world.events
    assert (event.text, event.attachments[0].name) == ("Look", "a.pdf")
    content = await world.adapter.fetch(event.attachments[0], None)
    assert content is not None and [part async for part in content] == [b"%PDF-1"]
    photo = Attachment("image", data=b"JPG", mime="image/jpeg", name="a.jpg")
    await world.adapter.send(world.out("Cap", attachments=[photo], buttons=[Button("b", "Yes")]))
    linked = Attachment("file", url="https://hub.example.com/a.pdf", mime="application/pdf")
    await world.adapter.send(world.out("", attachments=[linked]))
    await world.adapter.send(world.out("", location=Location(51.5, -0.1, "Shop", "1 Road")))
    shown, document, venue = world.telegram.chat(ANN)
    assert (shown.method, shown.text, shown.file) == ("sendPhoto", "Cap", ("a.jpg", b"JPG"))
    assert shown.buttons() == [{"id": "b", "title": "Yes"}]
    assert (document.method, document.fields["document"]) == ("sendDocument", "https://hub.example.com/a.pdf")
    assert (venue.method, venue.fields["title"]) == ("sendVenue", "Shop")


async def test_a_choice_comes_back_and_its_wheel_ends(world: World) -> None:
    await world.telegram.text(ANN, "Hi")
    receipt = await world.adapter.send(world.out("Which?", buttons=[Button("r", "Red"), Button("b", "Blue")]))
    assert await world.telegram.press(ANN, "b") == 200
    event = world.events[-1]
    assert (event.selection, event.text, event.reply_to) == (Selection("b", "Blue"), "Blue", receipt.external_id)
    assert [f"callback:{each}" for each in world.telegram.answered] == [event.external_id]


async def test_who_blocks_the_bot_gets_nothing_until_they_lift_it(world: World) -> None:
    await world.telegram.text(ANN, "Hi")
    await world.telegram.block(ANN)
    with pytest.raises(OptedOut):
        await world.adapter.send(world.out())
    await world.telegram.block(ANN, lift=True)
    await world.adapter.send(world.out())
    told = [(each.sender.value, each.change) for each in world.events if isinstance(each, ConsentChanged)]
    person = f"{world.telegram.bot_id}:{ANN}"
    assert told == [(person, "blocked"), (person, "unblocked")]


async def test_a_reaction_is_shown(world: World) -> None:
    await world.telegram.text(ANN, "Hi")
    [event] = world.events
    await world.adapter.send(world.out("", reply_to=event.external_id, reaction="👍"))
    await world.adapter.send(world.out("", reply_to=event.external_id, reaction=""))
    assert [each.data["reaction"] for each in world.telegram.ledger.of("accept")] == ["👍", ""]
    for emoji, target in (("🦄", event.external_id), ("👍", f"{ANN}:999")):
        with pytest.raises(Rejected):
            await world.adapter.send(world.out("", reply_to=target, reaction=emoji))


# --- what Telegram refuses ---


async def test_who_never_wrote_cannot_be_written_to(world: World) -> None:
    with pytest.raises(BadAddress):
        await world.adapter.send(world.out())
    user = world.telegram.user(ANN)
    with pytest.raises(WindowClosed):
        await world.adapter.send(world.out())
    user.started = user.deactivated = True
    with pytest.raises(BadAddress):
        await world.adapter.send(world.out())


REFUSALS: list[dict[str, Any]] = [
    {"text": "x" * 4097},
    {"text": "🌳" * 2049},
    {"text": "x" * 1025, "attachments": [Attachment("image", data=b"JPG", mime="image/jpeg")]},
    {"text": " "},
    {"text": "", "attachments": [Attachment("image", url="file:///etc/passwd")]},
]


@pytest.mark.parametrize("message", REFUSALS)
async def test_telegrams_refusals(world: World, message: dict[str, Any]) -> None:
    await world.telegram.text(ANN, "Hi")
    with pytest.raises(Rejected):
        await world.adapter.send(world.out(**message))
    assert world.telegram.messages == []


async def test_what_was_deleted_is_answered_without_a_quote(world: World) -> None:
    await world.telegram.text(ANN, "Hi")
    await world.adapter.send(world.out(reply_to=f"{ANN}:999"))
    assert len(world.telegram.chat(ANN)) == 1


async def test_too_many_in_one_chat_stop_the_whole_bot(world: World) -> None:
    await world.telegram.text(ANN, "Hi")
    await world.telegram.text(7, "Hi")
    for _ in range(CHAT_BURST):
        await world.adapter.send(world.out())
    for to in (ANN, 7):
        with pytest.raises(RateLimited) as caught:
            await world.adapter.send(world.out(to=to))
        assert (caught.value.after, caught.value.scope) == (3, "sender")
    world.telegram.skip(timedelta(seconds=3))
    await world.adapter.send(world.out(to=7))


async def test_a_group_is_followed_to_its_new_number(world: World) -> None:
    world.telegram.upgraded[-123] = -100123
    receipt = await world.adapter.send(world.out(to=-123))
    assert receipt.external_id.startswith("-100123:")
    assert [each.chat for each in world.telegram.messages] == [-100123]


async def test_a_wrong_token_holds_the_channel(world: World) -> None:
    wrong = world.build(bot_token=f"{world.telegram.bot_id}:wrong")
    with pytest.raises(ChannelDown, match="check bot_token"):
        await wrong.send(world.out())
    health = await wrong.check()
    assert not health.ok and "bot_token" in health.detail


# --- faults ---

FAULTS: list[tuple[Fault, type[SendError], int]] = [
    (Fault("throttle", delay=4), RateLimited, 0),
    (Fault("error"), Ambiguous, 0),
    (Fault("reject"), OptedOut, 0),
    (Fault("reject", code="400 Bad Request: chat not found"), BadAddress, 0),
    (Fault("drop_before"), Ambiguous, 0),
    (Fault("error_after"), Ambiguous, 1),
    (Fault("drop_after"), Ambiguous, 1),
    (Fault("late_accept", delay=0.01), Ambiguous, 1),
]


@pytest.mark.parametrize(("fault", "kind", "accepted"), FAULTS, ids=lambda value: getattr(value, "kind", None))
async def test_a_lost_answer_is_never_taken_for_a_refusal(
    world: World, fault: Fault, kind: type[SendError], accepted: int
) -> None:
    await world.telegram.text(ANN, "Hi")
    world.telegram.faults.queued.append(fault)
    with pytest.raises(SendError) as caught:
        await world.adapter.send(world.out())
    assert type(caught.value) is kind
    await world.telegram.settle()
    assert len(world.telegram.ledger.of("accept")) == accepted
    assert len(world.telegram.ledger.of("fault", fault=fault.kind)) == 1


async def test_a_slow_answer_is_an_answer(world: World) -> None:
    await world.telegram.text(ANN, "Hi")
    world.telegram.faults.queued.append(Fault("slow", delay=0.02))
    assert (await world.adapter.send(world.out())).state == "sent"


async def test_nobody_there_means_nothing_was_sent(world: World) -> None:
    with pytest.raises(Transient):
        await world.build(base_url="http://127.0.0.1:1").send(world.out())


# --- webhook ---


async def test_an_update_is_posted_again_until_it_is_taken(world: World) -> None:
    world.telegram.repeats = (0.0, 0.0)
    world.statuses = [503, 500, 200]
    assert await world.telegram.text(ANN, "Hi") == 200
    assert len(world.events) == 1


async def test_the_hub_tells_telegram_where_to_post(world: World) -> None:
    world.telegram.webhook_url = None
    assert "no webhook is set" in (await world.adapter.check()).detail
    world.telegram.secret = "another"
    await world.adapter.run(world.host.emit)
    assert (await world.adapter.check()).ok
    assert await world.telegram.text(ANN, "Hi") == 200 and len(world.events) == 1


async def test_the_webhook_may_be_set_by_hand(world: World) -> None:
    world.telegram.webhook_url = None
    await world.build(register_webhook=False).run(world.host.emit)
    assert world.telegram.webhook_url is None


async def test_check_tells_what_keeps_updates_away(world: World) -> None:
    health = await world.adapter.check()
    assert (health.ok, health.detail) == (True, "@simulated_bot: webhook, 0 updates wait")
    world.telegram.secret = "another"
    assert await world.telegram.text(ANN, "Hi") == 403 and world.events == []
    health = await world.adapter.check()
    assert not health.ok and "another secret_token" in health.detail
    world.statuses = [500]
    await world.telegram.text(ANN, "Hi")
    health = await world.adapter.check()
    assert not health.ok and "500" in health.detail
    await world.adapter.run(world.host.emit)
    world.telegram.webhook_url = "https://other.example.com/hook"
    health = await world.adapter.check()
    assert not health.ok and "https://other.example.com/hook, not to" in health.detail
    health = await world.build(mode="polling").check()
    assert not health.ok and "polling is refused" in health.detail


# --- long polling ---


@contextlib.asynccontextmanager
async def pulling(world: World, adapter: Telegram, emit: Any = None) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(adapter.run(emit or world.host.emit))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_updates_are_asked_for_and_forgotten_once_they_are_kept(world: World) -> None:
    await world.telegram.text(ANN, "Hi")
    adapter = world.build(mode="polling", poll_wait=1)
    world.telegram.webhook_url = "https://other.example.com/hook"  # deleted at the start
    await world.telegram.tell("message", {"message_id": 9, **_head(world), "text": "Before"})
    async with pulling(world, adapter):
        await emitted(world.host, 1)
        await world.telegram.text(ANN, "One")
        await world.telegram.text(ANN, "Two")
        requests = await emitted(world.host, 3)
        await world.telegram.ledger.wait_for("acked", offset=_number(requests[2]) + 1)
    events = [event for each in requests for event in adapter.receive(each)]
    assert [event.text for event in events if isinstance(event, MessageReceived)] == ["Before", "One", "Two"]
    assert requests[0].method == "POLL" and (await adapter.check()).ok


async def test_a_webhook_that_somebody_sets_meanwhile_is_told_and_deleted(world: World) -> None:
    world.telegram.polling = True
    async with pulling(world, world.build(mode="polling", poll_wait=0)):
        await world.telegram.text(ANN, "Hi")
        await emitted(world.host, 1)
        world.telegram.polling, world.telegram.webhook_url = False, "https://other.example.com/hook"
        await world.telegram.ledger.wait_for("request", method="deleteWebhook", count=2)
        await world.telegram.text(ANN, "Are you there?")
        await emitted(world.host, 2)
    assert [error.code for error in world.host.pulls if error is not None] == ["409"]
    assert world.host.pulls[-1] is None


async def test_what_the_hub_could_not_keep_is_asked_for_again(world: World) -> None:
    world.telegram.polling = True
    adapter = world.build(mode="polling", poll_wait=1)

    async def full(request: Request) -> None:
        raise OSError("disk full")

    async with pulling(world, adapter, full) as task:
        await world.telegram.text(ANN, "Hi")
        await asyncio.wait({task}, timeout=10)
        assert "disk full" in str(task.exception())
    assert [line for line in world.telegram.ledger.of("acked") if "offset" in line.data] == []
    async with pulling(world, adapter):
        [request] = await emitted(world.host, 1)
    [event] = adapter.receive(request)
    assert isinstance(event, MessageReceived) and event.text == "Hi"


async def test_the_offset_is_named_only_once(world: World) -> None:
    """Numbers of updates may start anew after a quiet week: what is below an old offset must not be lost."""
    world.telegram.polling = True
    async with pulling(world, world.build(mode="polling", poll_wait=0)):
        await world.telegram.text(ANN, "Hi")
        requests = await emitted(world.host, 1)
        await world.telegram.ledger.wait_for("acked", offset=_number(requests[0]) + 1)
        before = len(world.telegram.ledger.of("request", method="getUpdates"))
        await world.telegram.ledger.wait_for("request", method="getUpdates", count=before + 2)
        world.telegram.restart_numbers(5)
        await world.telegram.text(ANN, "A week later")
        requests = await emitted(world.host, 2)
    assert _number(requests[1]) == 5


async def test_a_pressed_button_is_answered_after_it_was_kept(world: World) -> None:
    await world.telegram.text(ANN, "Hi")
    await world.adapter.send(world.out("Which?", buttons=[Button("b", "Blue")]))
    world.telegram.polling = True
    async with pulling(world, world.build(mode="polling", poll_wait=1)):
        await world.telegram.press(ANN, "b")
        await emitted(world.host, 1)
        await world.telegram.ledger.wait_for("request", method="answerCallbackQuery")
        await world.telegram.text(ANN, "Thanks")
        await emitted(world.host, 2)
    assert len(world.telegram.answered) == 1


async def test_a_second_poller_is_told_and_the_first_goes_on(world: World) -> None:
    world.telegram.polling = True
    async with pulling(world, world.build(mode="polling", poll_wait=5)):
        await world.telegram.ledger.wait_for("request", method="getUpdates")
        rival = world.build(mode="polling")
        await rival._api.ask("getUpdates", {"timeout": 0})  # whoever asks last is served
        await world.telegram.text(ANN, "Hi")
        assert len(await emitted(world.host, 1)) == 1


def _head(world: World) -> dict[str, Any]:
    user = world.telegram.user(ANN)
    return {"from": user.shown(), "chat": user.chat(), "date": 1}


def _number(request: Request) -> int:
    found: int = json.loads(request.body)["update_id"]
    return found


async def test_addresses_may_leave_the_bot_out(world: World) -> None:
    await world.telegram.text(ANN, "Hi")
    message = world.out()
    message.to = Address("telegram", str(ANN))
    await world.adapter.send(message)
    assert len(world.telegram.chat(ANN)) == 1
