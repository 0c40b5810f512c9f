"""A real adapter against the simulated Twilio."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from adapters.twilio.records import HELP, START, STOP
from adapters.twilio_sms.adapter import TwilioSms
from adapters.twilio_sms.testing import ANN, PHONE, World
from hub.contract import (
    Ambiguous,
    BadAddress,
    ChannelDown,
    OptedOut,
    RateLimited,
    Receipt,
    Rejected,
    SendError,
    Transient,
    Verified,
)
from hub.model import Attachment
from hub.testing.simulation import Fault, Faults


async def test_a_message_is_sent_shown_and_reported(world: World) -> None:
    receipt = await world.adapter.send(world.sent("Hello 🌳"))
    await world.twilio.settle()
    assert receipt == Receipt(world.twilio.messages[0].sid, "queued", {"num_segments": "1"})
    assert world.phone() == ["Hello 🌳"]
    key = "del_0000000000001.0"
    assert world.states() == [(key, "queued"), (key, "sent"), (key, "delivered")]
    [taken] = world.twilio.ledger.of("accept")
    assert (taken.data["id"], taken.data["key"]) == (receipt.external_id, key)


async def test_no_callbacks_where_they_are_switched_off(world: World) -> None:
    world.twilio.deliver = False
    await world.adapter.send(world.sent())
    await world.twilio.settle()
    assert world.states() == [] and world.phone() == ["Hello"]


async def test_an_undeliverable_message_is_reported_as_failed(world: World) -> None:
    world.twilio.undeliverable[PHONE] = 30006
    await world.adapter.send(world.sent())
    await world.twilio.settle()
    assert world.phone() == []
    last = world.events[-1]
    assert (last.state, last.code, last.bad_address) == ("failed", "30006", True)


async def test_what_was_not_stored_is_told_once_or_as_long_as_twilio_insists(world: World) -> None:
    world.statuses = [503] * 1000
    assert await world.twilio.text(PHONE, "hi") == 503
    assert world.calls == 1
    world.twilio.insists = 0.3
    assert await world.twilio.text(PHONE, "hi again") == 503
    assert world.calls > 2


async def test_a_webhook_is_answered_with_nothing_to_send(world: World) -> None:
    """Any text in the answer would be sent to the person who wrote."""
    assert await world.twilio.text(PHONE, "hi") == 200
    assert world.adapter.taken == Verified(True, body="<Response/>", headers={"content-type": "text/xml"})


def test_the_hub_is_told_each_word_that_twilio_answers() -> None:
    assert TwilioSms.capabilities.answers == {word.lower() for word in STOP | START | HELP}


async def test_messages_come_twice(world: World) -> None:
    world.twilio.faults.duplicate_callbacks = True
    await world.twilio.text(PHONE, "hi")
    first, second = world.events
    assert first.external_id == second.external_id


async def test_callbacks_come_twice_and_in_any_order(world: World) -> None:
    world.twilio.faults = Faults(seed=4, duplicate_callbacks=True, shuffle_callbacks=True)
    await world.adapter.send(world.sent())
    await world.twilio.settle()
    states = [state for _, state in world.states()]
    assert sorted(states) == ["delivered", "delivered", "queued", "queued", "sent", "sent"] != states


async def test_what_a_phone_sends_is_received_with_its_files(world: World) -> None:
    assert await world.twilio.text(PHONE, "Look", [("image/png", b"PNG")]) == 200
    [event] = world.events
    assert (event.text, event.sender, event.attachments[0].mime) == ("Look", ANN, "image/png")
    content = await world.adapter.fetch(event.attachments[0], None)
    assert content is not None and [part async for part in content] == [b"PNG"]


async def test_a_webhook_signed_by_somebody_else_is_refused(world: World) -> None:
    world.adapter = world.build(auth_token="another")
    assert await world.twilio.text(PHONE, "Hello") == 403
    world.adapter = world.build(auth_token="another", auth_token_previous=world.twilio.auth_token)
    assert await world.twilio.text(PHONE, "Hello") == 200


async def test_stop_is_answered_by_twilio_told_to_us_and_kept(world: World) -> None:
    await world.twilio.text(PHONE, "stop")
    assert [event.type for event in world.events] == ["message", "consent"]
    with pytest.raises(OptedOut, match="unsubscribed"):
        await world.adapter.send(world.sent())
    await world.twilio.text(PHONE, "START")
    await world.adapter.send(world.sent())
    assert [event.change for event in world.events if event.type == "consent"] == ["opt_out", "opt_in"]
    first, second, third = world.phone()
    assert ("unsubscribed" in first, "re-subscribed" in second, third) == (True, True, "Hello")


async def test_twilio_calls_again_only_if_it_could_not_connect(world: World) -> None:
    world.statuses = [503] * 1000
    assert await world.twilio.text(PHONE, "lost") == 503
    assert world.calls == 1
    world.twilio.webhook_url = "http://127.0.0.1:1/hooks/sms"
    assert await world.twilio.text(PHONE, "lost too") is None


REFUSALS: list[tuple[dict[str, Any], type[SendError], str]] = [
    ({"to": "+15005550001"}, BadAddress, "21211"),
    ({"to": "+15005550002"}, BadAddress, "21612"),
    ({"to": "+15005550003"}, Rejected, "21408"),
    ({"to": "+15005550004"}, OptedOut, "21610"),
    ({"to": "+15005550009"}, BadAddress, "21614"),
    ({"to": "12"}, BadAddress, "21211"),
    ({"text": ""}, Rejected, "21602"),
    ({"text": "x" * 1601}, Rejected, "21617"),
    ({"attachments": [Attachment(url="https://hub.example.com/media/a")] * 11}, Rejected, "21623"),
    ({"attachments": [Attachment(url="file:///etc/passwd")]}, Rejected, "21620"),
]


@pytest.mark.parametrize(("message", "error", "code"), REFUSALS)
async def test_twilios_refusals(world: World, message: dict[str, Any], error: type[SendError], code: str) -> None:
    with pytest.raises(error) as caught:
        await world.adapter.send(world.sent(**message))
    assert caught.value.code == code and world.twilio.messages == []


CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"auth_token": "wrong"}, "20003"),
    ({"account_sid": "AC0"}, "20003"),
    ({"api_key_sid": "SK0", "api_key_secret": "wrong"}, "20003"),
    ({"from_number": "+12025550199"}, "21606"),
    ({"from_number": "+15005550001"}, "21212"),
]


@pytest.mark.parametrize(("config", "code"), CONFIGS)
async def test_wrong_settings_hold_the_channel(world: World, config: dict[str, Any], code: str) -> None:
    with pytest.raises(ChannelDown) as caught:
        await world.build(**config).send(world.sent())
    assert caught.value.code == code and "check" in caught.value.detail


FAULTS: list[tuple[Fault, type[SendError], int]] = [
    (Fault("throttle", delay=3), RateLimited, 0),
    (Fault("error"), Ambiguous, 0),
    (Fault("error", code="20503"), Transient, 0),
    (Fault("reject", code="21610"), OptedOut, 0),
    (Fault("drop_before"), Ambiguous, 0),
    (Fault("error_after"), Ambiguous, 1),
    (Fault("drop_after"), Ambiguous, 1),
    (Fault("late_accept", delay=0.05), Ambiguous, 1),
]


@pytest.mark.parametrize(("fault", "error", "taken"), FAULTS, ids=lambda value: getattr(value, "kind", None))
async def test_lookup_tells_what_became_of_a_lost_answer(
    world: World, fault: Fault, error: type[SendError], taken: int
) -> None:
    world.twilio.faults.queued.append(fault)
    since = datetime.now(UTC)
    message = world.sent()
    with pytest.raises(SendError) as caught:
        await world.adapter.send(message)
    assert type(caught.value) is error
    await world.twilio.settle()
    found = await world.adapter.lookup(message, since)
    assert [each.external_id for each in found] == [each.sid for each in world.twilio.messages]
    assert len(found) == taken
    assert len(world.twilio.ledger.of("fault", fault=fault.kind)) == 1


async def test_a_slow_answer_is_an_answer(world: World) -> None:
    world.twilio.faults.queued.append(Fault("slow", delay=0.02))
    assert (await world.adapter.send(world.sent())).state == "queued"


# --- check, secrets ---


async def test_check_reads_the_account(world: World) -> None:
    health = await world.adapter.check()
    assert (health.ok, health.detail) == (True, "account Simulated is active")
    world.twilio.account_status = "suspended"
    assert not (await world.adapter.check()).ok
    assert not (await world.build(auth_token="wrong").check()).ok


async def test_check_tries_the_api_key_too(world: World) -> None:
    name, secret = world.twilio.api_key
    assert (await world.build(api_key_sid=name, api_key_secret=secret).check()).ok
    health = await world.build(api_key_sid=name, api_key_secret="wrong").check()
    assert not health.ok and "API key" in health.detail
