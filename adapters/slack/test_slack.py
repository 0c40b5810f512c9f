"""A real adapter against the simulated Slack."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from adapters.slack import socket_mode
from adapters.slack.manifest import SCOPES, manifest
from adapters.slack.simulator import Simulator
from adapters.slack.testing import World, ts
from adapters.slack.webapi import SCOPE_OF
from hub.contract import (
    ActionTaken,
    Ambiguous,
    Card,
    ChannelDown,
    Mark,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    RateLimited,
    Reacted,
    Receipt,
    Rejected,
    SendError,
    Transient,
)
from hub.model import Attachment
from hub.testing.simulation import Fault

PNG = ("cat.png", "image/png", b"PNG")


def texts(world: World) -> list[str]:
    return [event.text for event in world.events if isinstance(event, MessageReceived)]


def screen(world: World, root: str) -> list[tuple[str, str]]:
    return [(row["name"], row["text"]) for row in world.slack.shown(ts(root))[1:]]


def marks(world: World, post: str) -> list[str]:
    return list(world.slack.post(ts(post)).reactions)


def picture(name: str = "cat.png", data: bytes | None = b"PNG") -> Attachment:
    return Attachment("image", mime="image/png", name=name, data=data)


# --- in ---


async def test_agents_are_heard_whichever_way(both: World) -> None:
    root = await both.open()
    post = await both.slack.say("It's <here> & now 🎉", thread=ts(root), user="Ada", files=[PNG])
    await both.slack.react("heart", ts=post.ts)
    await both.slack.edit(post.ts, "Tomorrow")
    assert await both.slack.press("assign", thread=ts(root), user="Ben")
    await both.slack.delete(post.ts)
    await both.slack.settle()
    said, reacted, edited, pressed, deleted = both.events
    assert isinstance(said, MessageReceived) and (said.text, said.thread) == ("It's <here> & now 🎉", root)
    assert isinstance(reacted, Reacted) and (reacted.emoji, reacted.external_id) == ("❤️", said.external_id)
    assert isinstance(edited, MessageEdited) and (edited.text, edited.external_id) == ("Tomorrow", said.external_id)
    assert isinstance(pressed, ActionTaken)
    assert (pressed.action, pressed.value, pressed.thread) == ("assign", "me", root)
    assert isinstance(deleted, MessageDeleted) and deleted.external_id == said.external_id
    content = await both.adapter.fetch(said.attachments[0], None)
    assert content is not None and [part async for part in content] == [b"PNG"]


async def test_what_we_post_comes_back_and_is_not_heard(both: World) -> None:
    root = await both.open()
    receipt = await both.show(root, attachments=[picture()])
    await both.mark(receipt.external_id, "sent", root=root)
    await both.adapter.send(both.out(edits=root, card=Card("cnv_1", "Ann", "resolved", [])))
    await both.slack.settle()
    assert len(both.slack.ledger.of("echo")) == 5 and both.events == []


async def test_what_cannot_be_kept_is_not_acknowledged_and_comes_again(both: World) -> None:
    root = await both.open()
    both.answer, both.down, both.slack.patience = 503, True, 0.2
    both.slack.repeats = (0.0,) * 50
    post = await both.slack.say("Hello", thread=ts(root))
    id = f"{both.slack.channel_id}:{post.ts}"
    assert both.slack.ledger.of("acked", id=id) == [] and both.events == []
    both.answer, both.down = 200, False
    [acked] = await both.slack.ledger.wait_for("acked", id=id)
    assert acked.data["attempt"] > 0 and texts(both) == ["Hello"]


async def test_slack_gives_up_after_its_repeats(world: World) -> None:
    root = await world.open()
    world.answer = 500
    await world.slack.say("Hello", thread=ts(root))
    await world.slack.settle()
    assert len(world.slack.ledger.of("gave_up")) == 1 and world.events == []


async def test_a_file_may_have_to_be_asked_for(world: World) -> None:
    root = await world.open()
    world.slack.files_late = True
    await world.slack.say("", thread=ts(root), files=[PNG])
    [event] = world.events
    assert isinstance(event, MessageReceived)
    content = await world.adapter.fetch(event.attachments[0], None)
    assert content is not None and [part async for part in content] == [b"PNG"]


async def test_events_signed_by_somebody_else_are_refused(world: World) -> None:
    root = await world.open()
    assert await world.slack.verify_url()
    world.slack.signing_secret = "another"
    assert not await world.slack.verify_url()
    await world.slack.say("Hello", thread=ts(root))
    await world.slack.settle()
    assert world.events == [] and world.slack.ledger.of("acked") == []


async def test_only_a_button_that_is_there_can_be_pressed(world: World) -> None:
    root = await world.open()
    with pytest.raises(LookupError, match="resolve"):
        await world.slack.press("reopen", thread=ts(root))


# --- Socket Mode ---


@pytest.mark.parametrize("reason", ["warning", "refresh_requested"])
async def test_a_connection_that_slack_ends_is_opened_again(reason: str) -> None:
    async with World(socket_mode=True) as world:
        await world.run()
        root = await world.open()
        await world.slack.say("before", thread=ts(root))
        await world.slack.disconnect(reason)
        await world.slack.say("after", thread=ts(root))
        await world.slack.settle()
        assert texts(world) == ["before", "after"]
        assert len(world.slack.ledger.of("request", method="apps.connections.open")) >= 2  # the SDK may do it twice


async def test_what_went_with_its_connection_comes_again_at_once() -> None:
    async with World(socket_mode=True) as world, aiohttp.ClientSession() as app:
        world.slack.patience = 3600.0
        async with app.ws_connect(f"{world.slack.base}/link/{world.slack.sockets.ticket()}") as first:
            await first.receive_json()
            said = asyncio.create_task(world.slack.say("lost"))
            await first.receive_json()
        await said
        async with app.ws_connect(f"{world.slack.base}/link/{world.slack.sockets.ticket()}") as second:
            await second.receive_json()
            again = await second.receive_json()
            assert again["payload"]["event"]["text"] == "lost" and again["retry_attempt"] == 1
            await second.send_json({"envelope_id": again["envelope_id"]})
            await world.slack.settle()


async def test_closing_ends_the_connection_and_every_task() -> None:
    before = asyncio.all_tasks()
    async with World(socket_mode=True) as world:
        await world.run()
        async with asyncio.timeout(5):
            await world.host.wait("pulled", 5)
        await world.halt()
        assert world.host.pulls == [None]
        async with asyncio.timeout(5):
            await world.slack.sockets.gone()
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"app_token": "xapp-wrong"}, ChannelDown), ({"base_url": "http://127.0.0.1:1/api"}, Transient)],
)
async def test_a_connection_that_cannot_be_opened_says_why(change: dict[str, Any], expected: type[SendError]) -> None:
    async with World(socket_mode=True, **change) as world:
        with pytest.raises(expected):
            await world.adapter.run(world.emit)


async def test_without_a_connection_for_long_it_starts_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_mode, "PATIENCE", 0.0)
    async with World(socket_mode=True) as world:
        with pytest.raises(Transient, match="no connection"):
            await world.adapter.run(world.emit)


async def test_no_message_and_no_token_reaches_a_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with World(socket_mode=True) as world:
            await world.run()
            root = await world.open()
            await world.slack.say("a very private word", thread=ts(root))
            world.down, world.slack.repeats = True, ()
            world.slack.patience = 0.2
            await world.slack.say("another private word", thread=ts(root))
            await world.slack.settle()
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("asyncio")]
    assert texts(world) == ["a very private word"]
    secrets = (world.slack.bot_token, world.slack.app_token, "private word")
    assert [line for line in ours for secret in secrets if secret in line] == []


# --- out ---


async def test_a_conversation_is_a_card_with_its_messages_in_the_thread(world: World) -> None:
    root = await world.open(preview="Where is my order?")
    await world.show(root, "Where is my order?")
    await world.adapter.send(world.out(edits=root, card=Card("cnv_1", "Ann", "resolved", ["sms"], assignee="Ada")))
    [card] = world.slack.channel()
    assert card.words.startswith("Ann\n✅ resolved · assigned to Ada") and card.edits
    assert [button["action"] for button in card.buttons] == ["reopen", "assign"]
    assert screen(world, root) == [("Ann · SMS", "Where is my order?")]


async def test_what_a_customer_took_back_is_replaced_in_the_thread(world: World) -> None:
    root = await world.open()
    shown = await world.show(root, "My card is 4111…")
    assert await world.show(root, "[deleted message]", edits=shown.external_id) == Receipt(shown.external_id)
    assert screen(world, root) == [("Ann · SMS", "[deleted message]")]


async def test_marks_show_how_far_an_agents_message_got(world: World) -> None:
    root = await world.open()
    post = f"{world.slack.channel_id}:{(await world.slack.say('Hi', thread=ts(root))).ts}"
    await world.mark(post, "queued", root=root)
    assert marks(world, post) == ["hourglass_flowing_sand"]
    for _ in range(2):  # a repeated mark changes nothing
        await world.mark(post, "sent", root=root)
        assert marks(world, post) == ["heavy_check_mark"]
    await world.mark(post, "delivered", root=root)
    assert marks(world, post) == ["heavy_check_mark", "white_check_mark"]
    await world.mark(post, "failed", "30006: landline", root=root)
    assert marks(world, post) == ["warning"]
    assert screen(world, root)[1:] == [("omnihub", "Not delivered: 30006: landline")]


async def test_a_mark_leaves_the_agents_own_reactions_alone(world: World) -> None:
    root = await world.open()
    post = await world.slack.say("Hi", thread=ts(root))
    await world.slack.react("tada", ts=post.ts)
    await world.mark(f"{world.slack.channel_id}:{post.ts}", "sent", root=root)
    assert list(post.reactions) == ["tada", "heavy_check_mark"]


async def test_a_failure_is_told_although_the_message_is_gone(world: World) -> None:
    root = await world.open()
    post = await world.slack.say("Hi", thread=ts(root))
    await world.slack.delete(post.ts)
    id = f"{world.slack.channel_id}:{post.ts}"
    await world.mark(id, "denied", "opted out", root=root)
    assert screen(world, root) == [("omnihub", "Not sent: opted out")]
    with pytest.raises(Rejected, match="message_not_found"):
        await world.mark(id, "sent", root=root)


async def test_files_are_shown_under_the_text(world: World) -> None:
    root = await world.open()
    await world.show(root, "Look", attachments=[picture(), picture("dog.png", b"DOG")])
    _, text, files = world.slack.thread(ts(root))
    assert (text.words, [file.data for file in files.files]) == ("Look\n📎 cat.png, dog.png", [b"PNG", b"DOG"])


async def test_a_file_that_cannot_be_shown_is_named_with_a_link(world: World) -> None:
    root = await world.open()
    link = Attachment("file", url="https://hub.example.org/f/1", name="plan.pdf")
    receipt = await world.show(root, "Look", attachments=[picture(), picture("void.png", b""), link])
    assert receipt.detail == {"files not shown": "void.png, plan.pdf"}
    *_, lost = world.slack.thread(ts(root))
    assert lost.words == "void.png: not shown here (empty file) \nplan.pdf: not shown here (only a link) open it here"
    assert lost.blocks[1]["elements"][0]["elements"][1]["url"] == link.url


async def test_without_the_scope_for_files_the_text_still_arrives(world: World) -> None:
    root = await world.open()
    world.slack.scopes.discard("files:write")
    await world.show(root, "Look", attachments=[picture()])
    assert [post.words for post in world.slack.thread(ts(root))][1:] == [
        "Look\n📎 cat.png", "cat.png: not shown here (missing_scope) "
    ]


# --- trouble ---


@pytest.mark.parametrize(
    ("fault", "expected", "taken"),
    [
        (Fault("throttle", 7), RateLimited, 0),
        (Fault("error"), Transient, 0),
        (Fault("reject", code="msg_too_long"), Rejected, 0),
        (Fault("reject"), None, 1),  # "invalid_blocks": it does without
        (Fault("drop_before"), Ambiguous, 0),
        (Fault("drop_after"), Ambiguous, 1),
        (Fault("error_after"), None, 1),  # "internal_error": it looks, and finds its post
        (Fault("slow", 0), None, 1),
    ],
)
async def test_faults(world: World, fault: Fault, expected: type[SendError] | None, taken: int) -> None:
    root = await world.open()
    world.slack.faults.queued = [fault]
    out = world.out("Hello", thread=root)
    if expected is None:
        await world.adapter.send(out)
    else:
        with pytest.raises(expected) as caught:
            await world.adapter.send(out)
        assert getattr(caught.value, "after", None) == (7 if fault.kind == "throttle" else None)
    assert len(world.slack.ledger.of("accept", key=out.key)) == taken
    assert len(await world.adapter.lookup(out, world.host.now() - timedelta(minutes=1))) == taken


async def test_a_late_post_is_found(world: World) -> None:
    root = await world.open()
    world.slack.faults.queued = [Fault("late_accept", 0)]
    out = world.out("Hello", thread=root)
    with pytest.raises(Ambiguous):
        await world.adapter.send(out)
    await world.slack.settle()
    [found] = await world.adapter.lookup(out, world.host.now() - timedelta(minutes=1))
    assert found.external_id == f"{world.slack.channel_id}:{world.slack.thread(ts(root))[1].ts}"


async def test_after_an_error_of_slacks_own_the_next_try_looks_first(world: World) -> None:
    """An "internal_error" may come although the post is taken a moment later."""
    root = await world.open()
    out = world.out("Hello", thread=root)
    world.slack.faults.queued = [Fault("error", code="internal_error")]
    with pytest.raises(Transient):
        await world.adapter.send(out)
    await world.build().send(out)  # Slack takes it after all
    await world.adapter.send(out)
    assert len(world.slack.ledger.of("accept", key=out.key)) == 1


async def test_a_card_whose_answer_was_lost_is_found_in_the_channel(world: World) -> None:
    world.slack.faults.queued = [Fault("drop_after")]
    out = world.out(card=Card("cnv_1", "Ann", "open", ["sms"]))
    with pytest.raises(Ambiguous):
        await world.adapter.send(out)
    found = await world.adapter.lookup(out, world.host.now() - timedelta(minutes=1))
    assert [each.external_id for each in found] == [f"{world.slack.channel_id}:{world.slack.channel()[0].ts}"]


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
async def test_edits_and_marks_can_be_repeated_so_a_lost_answer_is_no_reason_to_ask(world: World, kind: Any) -> None:
    root = await world.open()
    receipt = await world.show(root)
    update = world.out(edits=root, card=Card("cnv_1", "Ann", "resolved", []))
    for out in (update, world.out(mark=Mark(receipt.external_id, "sent"), thread=root)):
        world.slack.faults.queued = [Fault(kind)]
        with pytest.raises(Transient):
            await world.adapter.send(out)
        await world.adapter.send(out)
    assert marks(world, receipt.external_id) == ["heavy_check_mark"]
    assert await world.adapter.lookup(update, world.host.now() - timedelta(minutes=1)) == []


async def test_files_whose_text_is_out_are_completed_when_the_answer_was_lost(world: World) -> None:
    root = await world.open()
    since = world.host.now() - timedelta(minutes=1)
    out = world.out("Look", thread=root, attachments=[picture()])
    world.slack.faults.queued = [Fault("drop_after")]
    with pytest.raises(Ambiguous):
        await world.adapter.send(out)
    for _ in range(2):  # and only once
        [found] = await world.adapter.lookup(out, since)
        assert found.external_id == f"{world.slack.channel_id}:{world.slack.thread(ts(root))[1].ts}"
        assert [file.name for post in world.slack.thread(ts(root)) for file in post.files] == ["cat.png"]


# --- who is who ---


async def test_names_of_people_are_learned(both: World) -> None:
    root = await both.open()
    await both.slack.say("Hi", thread=ts(root), user="Zoë Newcomer")
    await both.slack.ledger.wait_for("request", method="users.info")
    async with asyncio.timeout(5):  # the answer takes a moment
        while [event.sender.name for event in both.events if isinstance(event, MessageReceived)][-1] is None:
            await both.slack.say("Hi", thread=ts(root), user="Zoë Newcomer")
    last = both.events[-1]
    assert isinstance(last, MessageReceived) and last.sender.name == "Zoë Newcomer"


async def test_everybody_is_known_before_their_first_message(both: World) -> None:
    for number in range(1001):  # more than one page
        both.slack.person(f"Agent {number}")
    root = await both.open()
    await both.halt()
    await both.run()
    async with asyncio.timeout(5):
        while "Agent 1000" not in both.adapter._names.values():  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.01)
    newcomer = await both.slack.join("Zoë Newcomer")
    await both.slack.say("Hi", thread=ts(root), user="Agent 1000")
    await both.slack.say("Hello", thread=ts(root), user=newcomer.id)
    assert [event.sender.name for event in both.events if isinstance(event, MessageReceived)] == [
        "Agent 1000", "Zoë Newcomer"
    ]  # fmt: skip


async def test_a_stranger_is_told_in_private_that_nothing_was_sent(both: World) -> None:
    root = await both.open()
    stranger = both.slack.person("Eve", team="T0PARTNER")
    await both.slack.say("Buy our things", thread=ts(root), user="Eve")
    [told] = await both.slack.ledger.wait_for("ephemeral")
    assert (told.data["user"], told.data["thread"]) == (stranger.id, ts(root))
    assert told.data["text"].startswith("Not sent to the customer: only members") and both.events == []


# --- doctor and manifest ---


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ({}, "omnihub in Simulated"),
        ({"bot_token": "xoxb-wrong"}, "invalid_auth; check bot_token"),
        ({"app_token": "xapp-wrong"}, "invalid_auth"),
        ({"channel": "C0NOWHERE"}, "channel_not_found; check channel"),
        ({"base_url": "http://127.0.0.1:1/api"}, "cannot be asked"),
    ],
)
async def test_doctor(trouble: dict[str, str], words: str) -> None:
    async with World(socket_mode=True, **trouble) as world:
        health = await world.adapter.check()
        assert health.ok is (not trouble) and words in health.detail


@pytest.mark.parametrize("code", ["not_in_channel", "is_archived"])
async def test_doctor_sees_trouble_with_the_channel(world: World, code: str) -> None:
    world.slack.trouble = code
    assert code in (await world.adapter.check()).detail


@pytest.mark.parametrize("scope", SCOPES)
async def test_doctor_names_a_missing_scope(world: World, scope: str) -> None:
    world.slack.scopes.discard(scope)
    health = await world.adapter.check()
    assert not health.ok and scope in health.detail


def test_the_manifest_asks_for_what_the_calls_need_and_no_more() -> None:
    needed = {scope for scopes in SCOPE_OF.values() for scope in scopes}
    assert set(SCOPES) == needed | {"chat:write.customize"}


def test_the_manifest_of_each_way() -> None:
    http = manifest("https://hub.example.com", False, "desk")["settings"]
    url = "https://hub.example.com/hooks/desk"
    assert (http["event_subscriptions"]["request_url"], http["interactivity"]["request_url"]) == (url, url)
    socket = manifest("https://hub.example.com", True)["settings"]
    assert socket["socket_mode_enabled"] and "request_url" not in socket["event_subscriptions"]


async def test_the_screen_tells_when_it_changes() -> None:
    slack = Simulator()
    waiting = asyncio.create_task(slack.news(after=slack.version))
    await asyncio.sleep(0)
    assert not waiting.done()
    slack.change()
    assert await waiting == slack.version
