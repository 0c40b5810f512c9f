"""The mailbox is read completely, once, in order; and what comes back of what we sent."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from adapters.email import pull
from adapters.email.imap import Line, Server
from adapters.email.testing import ANN, World, mail, out
from hub.contract import (
    Ambiguous,
    ChannelDown,
    MessageReceived,
    Rejected,
    Request,
    StatusChanged,
    Transient,
    Unparseable,
)
from hub.model import Attachment, Proof
from hub.testing.simulation import Fault


async def idling(world: World) -> None:
    """Until everything that is there has been read and marked."""
    await world.until(lambda: world.host.cursors != {} and all(world.provider.imap.seen().values()))


async def test_a_mail_is_read_when_it_comes_and_marked_once_it_is_kept(world: World) -> None:
    async with world.pulling():
        await idling(world)
        await world.provider.write(ANN, "Where is my order?", subject="Order", name="Ann")
        await world.until(lambda: world.texts() == ["Where is my order?"])
        await idling(world)
    [request] = world.host.emitted
    assert (request.method, request.url.partition(":")[0]) == ("FETCH", "imap")
    [event] = world.events()
    assert isinstance(event, MessageReceived)
    assert (event.sender.value, event.sender.name, event.sender.proof) == (ANN, "Ann", Proof.provider)


async def test_nothing_is_lost_or_read_twice_over_restarts(world: World) -> None:
    for number in range(4):
        await world.provider.write(ANN, f"{number} while away")
        async with world.pulling():
            await world.until(lambda number=number: len(world.texts()) == 2 * number + 1)  # type: ignore[misc]  # a default binds the loop's value
            await world.provider.write(ANN, f"{number} while there")
            await world.until(lambda number=number: len(world.texts()) == 2 * number + 2)  # type: ignore[misc]  # a default binds the loop's value
            await idling(world)
    assert world.texts() == [f"{number} while {place}" for number in range(4) for place in ("away", "there")]


async def test_the_place_does_not_depend_on_what_people_have_read(world: World) -> None:
    async with world.pulling():
        await idling(world)
    await world.provider.imap.append(mail("Read by a colleague"), seen=True)
    async with world.pulling():
        await world.until(lambda: world.texts() == ["Read by a colleague"])


async def test_what_could_not_be_kept_comes_again(world: World) -> None:
    async def fails(request: Request) -> None:
        raise OSError("disk full")

    await world.provider.write(ANN, "Keep me")
    async with world.pulling(fails):
        await world.until(lambda: world.provider.imap.sessions == 1)
        await world.until(lambda: world.provider.imap.sessions == 0)
    assert not any(world.provider.imap.seen().values())
    async with world.pulling():
        await world.until(lambda: world.texts() == ["Keep me"])
        await idling(world)


async def test_a_lost_connection_is_made_again(world: World) -> None:
    async with world.pulling():
        await world.provider.write(ANN, "One")
        await idling(world)
        world.provider.imap.drop()
        await world.provider.write(ANN, "Two")
        await world.until(lambda: world.texts() == ["One", "Two"])
        await world.until(lambda: world.host.pulls[-1] is None)
    assert [type(error) for error in world.host.pulls if error is not None] == [Transient]


async def test_a_mailbox_that_refuses_us_is_told(world: World) -> None:
    async with world.pulling(imap_password="changed yesterday"):
        await world.until(lambda: world.host.pulls != [])
    [error] = world.host.pulls
    assert isinstance(error, ChannelDown) and "check user and password" in error.detail


async def test_a_mail_at_which_the_connection_breaks_keeps_no_other_back_and_is_read_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "_PAUSE", (0.01, 0.01))
    world.provider.imap.bend(uid := await world.provider.imap.append(mail("One")))
    await world.provider.imap.append(mail("Two"))
    async with world.pulling():
        await world.until(lambda: world.texts() == ["Two"])
        await world.until(lambda: f'"uid": {uid + 1},' in world.host.cursors.get("imap", ""))  # it is known to be kept
    world.provider.imap.bend(uid, straight=True)
    async with world.pulling():
        await world.until(lambda: world.texts() == ["Two", "One"])
        await idling(world)
        await world.provider.imap.append(mail("Three"))
        await world.until(lambda: world.texts() == ["Two", "One", "Three"])
    assert [each.method for each in world.host.emitted] == ["FETCH"] * 3
    assert world.host.emitted[1].url.endswith(f";UID={uid}")


async def test_of_a_mail_that_cannot_be_fetched_somebody_is_told_once_and_it_is_still_tried(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "_PAUSE", (0.01, 0.01))
    monkeypatch.setattr(pull, "_AGAIN", (timedelta(0), timedelta(0)))
    world.provider.imap.bend(uid := await world.provider.imap.append(mail("One")))
    for _ in range(2):
        async with world.pulling():
            await world.until(lambda: len(world.host.emitted) == 1)
            before = world.host.cursors["imap"]
            await world.until(lambda before=before: world.host.cursors["imap"] != before)  # type: ignore[misc]  # a default binds the loop's value
    [told] = world.host.emitted
    with pytest.raises(Unparseable, match="the connection broke"):
        world.adapter.receive(told)
    world.provider.imap.bend(uid, straight=True)
    world.host.emitted.clear()
    async with world.pulling():
        await world.until(lambda: world.texts() == ["One"])
        await idling(world)


async def test_a_mailbox_that_is_numbered_anew_is_read_again_under_the_same_ids(world: World) -> None:
    async with world.pulling():
        await world.provider.write(ANN, "One")
        await idling(world)
        world.provider.imap.renumber()
        await world.provider.write(ANN, "Two")
        await world.until(lambda: world.texts() == ["One", "One", "Two"])
    first, again, _ = world.events()
    assert isinstance(first, MessageReceived) and isinstance(again, MessageReceived)
    assert first.external_id == again.external_id
    assert len({request.url for request in world.host.emitted}) == 3


async def test_a_server_without_idle_is_asked_now_and_then() -> None:
    async with World(idle=False) as world, world.pulling(imap_poll=1):
        await idling(world)
        await world.provider.write(ANN, "Hello")
        await world.until(lambda: world.texts() == ["Hello"])


@pytest.mark.parametrize(("backlog", "read"), [("unseen", ["new"]), ("none", []), ("all", ["old", "new"])])
async def test_mails_from_before_the_first_start_are_read_as_the_settings_say(
    world: World, backlog: str, read: list[str]
) -> None:
    await world.provider.imap.append(mail("old"), seen=True)
    await world.provider.imap.append(mail("new"))
    async with world.pulling(imap_backlog=backlog):
        await world.until(lambda: world.host.cursors != {})
        await world.provider.write(ANN, "later")
        await world.until(lambda: world.texts()[-1:] == ["later"])
    assert world.texts() == [*read, "later"]


@pytest.mark.parametrize("anew", [False, True])
async def test_a_connection_that_breaks_in_the_backlog_brings_in_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch, anew: bool
) -> None:
    monkeypatch.setattr(pull, "_PAUSE", (0.01, 0.01))
    monkeypatch.setattr(pull, "_TOGETHER", 1)

    async def emit(request: Request) -> None:
        await world.host.emit(request)
        if len(world.host.emitted) == 1:
            if anew:
                world.provider.imap.renumber()
            world.provider.imap.drop()

    for number in range(3):
        await world.provider.imap.append(mail(f"new {number}"))
    await world.provider.imap.append(mail("answered long ago"), seen=True)
    async with world.pulling(emit):
        await world.until(lambda: "new 2" in world.texts())
        await world.provider.write(ANN, "later")
        await world.until(lambda: "later" in world.texts())
    assert sorted(set(world.texts())) == ["later", "new 0", "new 1", "new 2"]


async def test_mails_are_left_unread_or_moved_as_the_settings_say(world: World) -> None:
    async with world.pulling(imap_mark_seen=False, imap_move_to="Done"):
        await world.provider.write(ANN, "Hello")
        await world.until(lambda: world.provider.imap.seen() == {} and world.texts() == ["Hello"])
    assert list(world.provider.imap.seen("Done").values()) == [False]


async def test_of_a_mail_that_is_too_large_the_rest_is_not_read(world: World) -> None:
    files = [("a.bin", "application/octet-stream", b"a" * 3_000), ("b.bin", "application/octet-stream", b"b" * 20_000)]
    await world.provider.write(ANN, "Two files", files=files)
    async with world.pulling(max_size=10_000):
        await world.until(lambda: len(world.host.emitted) == 1)
    [event], [raw] = world.events(), world.host.emitted
    assert isinstance(event, MessageReceived)
    assert (event.text, event.unsupported) == (
        "Two files", "mail larger than 10000 bytes; the rest is only in the mailbox",
    )  # fmt: skip
    content = await world.adapter.fetch(event.attachments[0], raw)
    assert content is not None and b"".join([part async for part in content]) == b"a" * 3_000
    with pytest.raises(Rejected, match="max_size"):
        await world.adapter.fetch(event.attachments[1], raw)


# --- what comes back ---


async def test_a_report_fails_the_message_it_is_about(world: World) -> None:
    world.provider.undeliverable[ANN] = ("5.1.1", f"550 5.1.1 <{ANN}>: User unknown")
    receipt = await world.adapter.send(out())
    async with world.pulling():
        await world.until(lambda: len(world.host.emitted) == 1)
    [event] = world.events()
    assert isinstance(event, StatusChanged)
    assert (event.external_id, event.key, event.state) == (receipt.external_id, "del_0000000000001.0", "failed")
    assert event.bad_address


async def test_an_answering_machine_is_known_as_one_and_our_own_mail_never_comes_in(world: World) -> None:
    world.provider.away.add(ANN)
    async with world.pulling():
        await world.adapter.send(out("Are you there?"))
        await world.adapter.send(out("To ourselves", number=2, to=world.provider.address))
        await world.until(lambda: len(world.host.emitted) == 2)
    [event] = world.events()
    assert isinstance(event, MessageReceived)
    assert (event.text, event.automatic, event.thread) == ("I am away until 5.12.26.", True, out().thread)


async def test_a_message_whose_answer_was_lost_is_known_by_its_report(world: World) -> None:
    world.provider.undeliverable[ANN] = ("5.2.2", "552 5.2.2 Mailbox full")
    world.provider.faults.queued.append(Fault("drop_after"))
    with pytest.raises(Ambiguous):
        await world.adapter.send(out())
    async with world.pulling():
        await world.until(lambda: len(world.host.emitted) == 1)
    [event] = world.events()
    assert isinstance(event, StatusChanged) and event.key == "del_0000000000001.0" and not event.bad_address


PASS = {"Authentication-Results": "mx.hub.example.com; dmarc=pass header.from=example.org"}
FORGED: list[dict[str, Any]] = [{}, {"headers": PASS}]


@pytest.mark.parametrize("how", FORGED)
async def test_a_sender_that_our_server_does_not_vouch_for_only_claims(world: World, how: dict[str, Any]) -> None:
    await world.provider.write(ANN, "Send it to 5 Low Street", passed=False, **how)
    async with world.pulling():
        await world.until(lambda: len(world.host.emitted) == 1)
    [event] = world.events()
    assert isinstance(event, MessageReceived) and event.sender.proof is Proof.claimed


async def test_files_arrive_both_ways(world: World) -> None:
    picture = b"\x89PNG\r\n\x1a\n"
    await world.adapter.send(out(attachments=[Attachment("image", mime="image/png", name="lid.png", data=picture)]))
    assert [each.files for each in world.inbox()] == [["lid.png"]]
    await world.provider.write(ANN, "Like this?", answers=world.inbox()[0], files=[("box.png", "image/png", picture)])
    async with world.pulling():
        await world.until(lambda: world.texts() == ["Like this?"])
    [event], [raw] = world.events(), world.host.emitted
    assert isinstance(event, MessageReceived) and event.attachments[0].name == "box.png"
    content = await world.adapter.fetch(event.attachments[0], raw)
    assert content is not None and b"".join([part async for part in content]) == picture


async def test_idle_waits_until_there_is_news(world: World) -> None:
    user, password = world.provider.address, world.provider.password
    server = Server("127.0.0.1", world.provider.imap.port, "none", user, password, "INBOX")
    await world.provider.imap.append(mail("One"))
    async with Line(server) as line:
        assert (await line.open()).idles
        assert len(await line.search("ALL")) == 1
        waiting = asyncio.create_task(line.news(60))
        assert await asyncio.wait([waiting], timeout=0.1) == (set(), {waiting})
        await world.provider.imap.append(mail("Two"))
        await waiting
        assert len(await line.search("ALL")) == 2
        await world.provider.imap.append(mail("Three"))
        await line.news(60)
        assert len(await line.search("ALL")) == 3
