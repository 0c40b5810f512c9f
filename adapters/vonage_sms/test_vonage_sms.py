"""A real adapter against the simulated Vonage."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from adapters.vonage_sms.testing import ANN, KEY, PHONE, World
from hub.contract import (
    Ambiguous,
    BadAddress,
    ChannelDown,
    RateLimited,
    Receipt,
    Rejected,
    SendError,
    StatusChanged,
    Transient,
)
from hub.testing.simulation import Fault, Faults

WAYS: list[Literal["json", "form", "get"]] = ["json", "form", "get"]
METHODS = ["md5hash", "md5", "sha1", "sha256", "sha512"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_message_is_sent_shown_and_reported(world: World, way: Literal["json", "form", "get"]) -> None:
    world.vonage.way = way
    receipt = await world.adapter.send(world.sent("Hello 🌳"))
    await world.vonage.settle()
    [message] = world.vonage.messages
    assert receipt == Receipt(message.id, "sent", {"num_segments": "1", "price": "0.03330000 EUR"})
    assert world.phone() == ["Hello 🌳"]
    assert world.states() == [(KEY, "sent"), (KEY, "delivered")]
    [taken] = world.vonage.ledger.of("accept")
    assert (taken.data["id"], taken.data["key"], taken.data["to"]) == (receipt.external_id, KEY, PHONE)


async def test_a_text_arrives_as_it_was_written(world: World) -> None:
    texts = ["façade `x`", "[€] {~}", "Grüße", "x" * 3200, "žluťoučký " * 60]
    for number, text in enumerate(texts, 1):
        await world.adapter.send(world.sent(text, number))
    assert world.phone() == texts


async def test_each_part_of_a_long_message_is_reported(world: World) -> None:
    receipt = await world.adapter.send(world.sent("Hello " * 60))
    await world.vonage.settle()
    assert (len(receipt.ids), receipt.detail["num_segments"]) == (3, "3")
    assert [event.external_id for event in world.events] == [each for each in receipt.ids for _ in range(2)]
    assert {key for key, _ in world.states()} == {KEY}


async def test_a_part_that_is_lost_is_reported_by_its_id(world: World) -> None:
    world.vonage.lost[PHONE] = {1}
    receipt = await world.adapter.send(world.sent("Hello " * 60))
    await world.vonage.settle()
    states = {event.external_id: event.state for event in world.events if isinstance(event, StatusChanged)}
    assert states == dict(zip(receipt.ids, ["delivered", "failed", "delivered"], strict=True))
    assert world.phone() == []


async def test_half_a_message_is_told(world: World) -> None:
    world.vonage.takes = 2
    with pytest.raises(Ambiguous, match="2 of 3 parts were taken") as caught:
        await world.adapter.send(world.sent("Hello " * 60))
    assert caught.value.code == "9"


async def test_no_receipts_where_they_are_switched_off(world: World) -> None:
    world.vonage.deliver = False
    await world.adapter.send(world.sent())
    await world.vonage.settle()
    assert world.events == [] and world.phone() == ["Hello"]


async def test_receipts_come_to_the_accounts_own_address_too(world: World) -> None:
    message = world.sent()
    message.callback_url = None
    await world.adapter.send(message)
    await world.vonage.settle()
    assert world.states() == [(KEY, "sent"), (KEY, "delivered")]


async def test_what_is_not_delivered_is_reported_as_failed(world: World) -> None:
    world.vonage.undeliverable[PHONE] = 3
    await world.adapter.send(world.sent())
    await world.vonage.settle()
    last = world.events[-1]
    assert world.phone() == [] and (last.state, last.code, last.bad_address) == ("failed", "3", True)


async def test_stop_is_kept_by_vonage_and_told_with_the_next_message(world: World) -> None:
    await world.vonage.text(PHONE, "stop")
    await world.adapter.send(world.sent())
    await world.vonage.settle()
    last = world.events[-1]
    assert (last.state, last.code, last.opted_out) == ("failed", "9", True)
    await world.vonage.text(PHONE, "START")
    await world.adapter.send(world.sent("Hello again", 2))
    assert world.phone() == ["Hello again"]


# --- what phones send ---


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", METHODS)
async def test_what_a_phone_sends_is_received(way: Literal["json", "form", "get"], method: str) -> None:
    async with World(signature_method=method) as world:
        world.vonage.way, world.vonage.signature_method = way, method
        assert await world.vonage.text(PHONE, "Hello & a=b + 100% 🌳") == 200
        [event] = world.events
        assert (event.text, event.sender) == ("Hello & a=b + 100% 🌳", ANN)
        assert event.external_id == world.vonage.written[0].id


async def test_a_long_message_comes_in_parts(world: World) -> None:
    assert await world.vonage.text(PHONE, "Hello " * 40) == 200
    assert [event.external_id for event in world.events] == [
        f"{each}.{part}" for part, each in enumerate(world.vonage.written[0].ids, 1)
    ]
    assert "".join(event.text for event in world.events) == "Hello " * 40


async def test_what_was_not_taken_comes_again(world: World) -> None:
    world.statuses = [503, 503]
    world.vonage.redelivery = (0, 0)
    assert await world.vonage.text(PHONE, "Hi") == 200
    world.statuses = [503]
    world.vonage.redelivery = ()
    assert await world.vonage.text(PHONE, "lost") == 503
    assert [event.text for event in world.events] == ["Hi"]
    world.vonage.webhook_url = "http://127.0.0.1:1/hooks/sms"
    assert await world.vonage.text(PHONE, "lost too") is None


async def test_messages_come_twice(world: World) -> None:
    world.vonage.faults.duplicate_callbacks = True
    await world.vonage.text(PHONE, "Hi")
    first, second = world.events
    assert first.external_id == second.external_id


async def test_receipts_come_twice_and_in_any_order(world: World) -> None:
    world.vonage.faults = Faults(seed=4, duplicate_callbacks=True, shuffle_callbacks=True)
    await world.adapter.send(world.sent())
    await world.vonage.settle()
    states = [state for _, state in world.states()]
    assert sorted(states) == ["delivered", "delivered", "sent", "sent"] != states[::-1]


async def test_a_webhook_signed_by_somebody_else_is_refused(world: World) -> None:
    world.adapter = world.build(signature_secret="another")
    assert await world.vonage.text(PHONE, "Hello") == 403
    world.adapter = world.build(signature_method="sha256")
    assert await world.vonage.text(PHONE, "Hello") == 403
    assert world.events == []


# --- refusals and faults ---

REFUSALS: list[tuple[dict[str, Any], dict[str, Any], type[SendError], str]] = [
    ({"to": "+12"}, {}, Rejected, "3"),
    ({"text": "x" * 3201}, {}, Rejected, "12"),
    ({"to": "+447700900007"}, {}, BadAddress, "7"),
    ({}, {"from_number": "Elsewhere"}, Rejected, "15"),
    ({}, {"api_secret": "wrong"}, ChannelDown, "4"),
    ({}, {"api_key": "wrong"}, ChannelDown, "4"),
]


@pytest.mark.parametrize(("message", "config", "error", "code"), REFUSALS)
async def test_vonages_refusals(
    world: World, message: dict[str, Any], config: dict[str, Any], error: type[SendError], code: str
) -> None:
    world.vonage.barred.add("+447700900007")
    with pytest.raises(error) as caught:
        await world.build(**config).send(world.sent(**message))
    assert caught.value.code == code and world.vonage.messages == []


async def test_how_long_it_is_tried_is_told_in_milliseconds(world: World) -> None:
    for seconds in (20, 604_800):
        await world.build(validity_period=seconds).send(world.sent())
    assert len(world.vonage.messages) == 2


FAULTS: list[tuple[Fault, type[SendError], int]] = [
    (Fault("throttle", delay=0.25), RateLimited, 0),
    (Fault("error"), Ambiguous, 0),
    (Fault("error", code="5"), Transient, 0),
    (Fault("error", code="10"), Transient, 0),
    (Fault("reject"), BadAddress, 0),
    (Fault("reject", code="9"), ChannelDown, 0),
    (Fault("drop_before"), Ambiguous, 0),
    (Fault("error_after"), Ambiguous, 1),
    (Fault("drop_after"), Ambiguous, 1),
    (Fault("late_accept", delay=0.05), Ambiguous, 1),
]


@pytest.mark.parametrize(("fault", "error", "taken"), FAULTS, ids=lambda value: getattr(value, "kind", None))
async def test_a_receipt_tells_what_became_of_a_lost_answer(
    world: World, fault: Fault, error: type[SendError], taken: int
) -> None:
    world.vonage.faults.queued.append(fault)
    with pytest.raises(SendError) as caught:
        await world.adapter.send(world.sent())
    assert type(caught.value) is error and getattr(caught.value, "after", None) in (None, fault.delay)
    await world.vonage.settle()
    assert world.states() == [(KEY, "sent"), (KEY, "delivered")] * taken
    assert len(world.phone()) == len(world.vonage.ledger.of("accept", key=KEY)) == taken
    assert len(world.vonage.ledger.of("fault", fault=fault.kind)) == 1


async def test_a_slow_answer_is_an_answer(world: World) -> None:
    world.vonage.faults.queued.append(Fault("slow", delay=0.02))
    assert (await world.adapter.send(world.sent())).state == "sent"


async def test_check_reads_the_balance(world: World) -> None:
    assert (await world.adapter.check()).detail == "the account has 15.50 EUR left"
    world.vonage.balance = 0
    assert not (await world.adapter.check()).ok
    health = await world.build(api_secret="wrong").check()
    assert not health.ok and "api_secret" in health.detail
