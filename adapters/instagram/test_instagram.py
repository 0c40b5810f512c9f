"""A real adapter against the simulated Meta."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from adapters.graph.testing import said
from adapters.instagram.testing import ACCOUNT, ANN, Instagrams, played
from hub.contract import (
    Ambiguous,
    ChannelDown,
    MessageDeleted,
    OptedOut,
    RateLimited,
    Receipt,
    Rejected,
    SendError,
    StatusChanged,
    WindowClosed,
)
from hub.model import Author, AuthorKind, Button, Party, Selection
from hub.testing.simulation import Fault

ZOE = Author(AuthorKind.agent, "Zoe")


async def test_a_message_is_sent_shown_and_reported(world: Instagrams) -> None:
    await world.meta.text(ANN, "Hi")
    receipt = await world.adapter.send(world.out(ANN, "Hello 🌳"))
    await world.meta.settle()
    assert await world.meta.read(ANN) == 200
    [message] = world.meta.phone(ANN)
    assert (receipt, message.text) == (Receipt(message.id), "Hello 🌳")
    echo, seen = [each for each in world.events if isinstance(each, StatusChanged)]
    assert (echo.external_id, echo.state, echo.key) == (message.id, "sent", "del_0000000000001.0")
    assert (seen.external_id, seen.state, seen.until) == (message.id, "read", None)
    assert str(seen.to) == f"igsid:{world.meta.account_id}:{ANN}"


async def test_what_a_person_sends_and_takes_back_is_received(world: Instagrams) -> None:
    assert await world.meta.text(ANN, "Hi / ✓") == 200
    assert await world.meta.unsend(ANN, world.meta.said_by(ANN)[0]["id"]) == 200
    text, deleted = world.events
    assert text.text == "Hi / ✓" and text.sender == Party("igsid", f"{world.meta.account_id}:{ANN}")
    assert isinstance(deleted, MessageDeleted) and deleted.external_id == text.external_id


async def test_a_choice_comes_back(world: Instagrams) -> None:
    await world.meta.text(ANN, "Hi")
    await world.adapter.send(world.out(ANN, "Which?", buttons=[Button("b1", "Red"), Button("b2", "Blue")]))
    await world.meta.settle()
    await world.meta.press(ANN, "b2")
    assert (world.events[-1].selection, world.events[-1].text) == (Selection("b2", "Blue"), "Blue")


async def test_after_24_hours_only_people_answer_and_after_7_days_nobody(world: Instagrams) -> None:
    await world.meta.text(ANN, "Hi")
    world.meta.skip(timedelta(hours=24))
    with pytest.raises(WindowClosed) as caught:
        await world.adapter.send(world.out(ANN))
    assert caught.value.code == "10/2534022"
    await world.adapter.send(world.out(ANN, author=ZOE, late=True))
    world.meta.skip(timedelta(days=6))
    with pytest.raises(WindowClosed):
        await world.adapter.send(world.out(ANN, author=ZOE, late=True))
    assert len(world.meta.phone(ANN)) == 1


async def test_text_is_limited_in_bytes(world: Instagrams) -> None:
    await world.meta.text(ANN, "Hi")
    await world.adapter.send(world.out(ANN, "é" * 500))
    with pytest.raises(Rejected):
        await world.adapter.send(world.out(ANN, "é" * 501))


async def test_a_message_is_shown_as_seen(world: Instagrams) -> None:
    await world.meta.text(ANN, "Hi")
    await world.adapter.seen(world.events[0].sender.address, world.events[0].external_id)
    assert world.meta.actions == [(ANN, "mark_seen")]


CONFIGS = [({"access_token": "wrong"}, "190"), ({"app_secret": "wrong"}, "100")]


@pytest.mark.parametrize(("config", "code"), CONFIGS)
async def test_wrong_settings_hold_the_channel(world: Instagrams, config: dict[str, Any], code: str) -> None:
    with pytest.raises(ChannelDown) as caught:
        await world.build(**config).send(world.out(ANN))
    assert caught.value.code == code


FAULTS: list[tuple[Fault, type[SendError], int]] = [
    (Fault("throttle", code="4"), RateLimited, 0),
    (Fault("error"), Ambiguous, 0),
    (Fault("reject", code="551"), OptedOut, 0),
    (Fault("drop_before"), Ambiguous, 0),
    (Fault("error_after"), Ambiguous, 1),
    (Fault("drop_after"), Ambiguous, 1),
]


@pytest.mark.parametrize(("fault", "kind", "accepted"), FAULTS, ids=lambda value: getattr(value, "kind", None))
async def test_an_echo_with_our_key_tells_what_became_of_a_lost_answer(
    world: Instagrams, fault: Fault, kind: type[SendError], accepted: int
) -> None:
    await world.meta.text(ANN, "Hi")
    world.meta.faults.queued.append(fault)
    with pytest.raises(SendError) as caught:
        await world.adapter.send(world.out(ANN))
    assert type(caught.value) is kind
    await world.meta.settle()
    keys = {each.key for each in world.events if isinstance(each, StatusChanged)}
    assert keys == ({"del_0000000000001.0"} if accepted else set())


async def test_people_have_names_once_they_have_written(world: Instagrams) -> None:
    await world.meta.text(ANN, "Hi")
    address = world.events[0].sender.address
    assert await world.adapter.name_of(address) == "Ann Fielding"
    world.meta.person(ANN).name = ""
    assert await world.adapter.name_of(address) is None
    world.meta.withheld[ANN] = (230, None)
    assert await world.adapter.name_of(address) is None


async def test_a_link_leads_here_if_the_name_is_known(world: Instagrams) -> None:
    assert world.adapter.entry_link("omni-x7") == "https://ig.me/m/simulated?ref=omni-x7"
    assert world.build(username=None).entry_link("omni-x7") is None


async def test_check_reads_the_account(world: Instagrams) -> None:
    health = await world.adapter.check()
    assert (health.ok, health.detail) == (True, "account @simulated")
    assert not (await world.build(access_token="wrong").check()).ok
    health = await world.build(account_id="1").check()
    assert (health.ok, health.detail) == (False, "access_token is of simulated, not of account_id")


async def test_check_reads_the_account_at_instagram_itself() -> None:
    adapter, player = played(said(200, {"user_id": ACCOUNT, "username": "simulated"}), login="instagram")
    assert (await adapter.check()).detail == "account @simulated"
    assert player.asked[0][1].startswith("https://graph.instagram.com/v25.0/me?fields=user_id%2Cusername&")
