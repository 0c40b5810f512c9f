"""Payloads to events, messages to calls, and stories with the simulated Twilio."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from pydantic import ValidationError

from adapters.twilio_whatsapp.adapter import TwilioWhatsAppConfig
from adapters.twilio_whatsapp.testing import NOON, PHONE, PLAIN, World, out, played, received, said
from hub.contract import (
    Ambiguous,
    BadAddress,
    ChannelDown,
    ConsentChanged,
    MessageReceived,
    Outgoing,
    RateLimited,
    Receipt,
    Rejected,
    SendError,
    StatusChanged,
    Transient,
    Unparseable,
    WindowClosed,
)
from hub.model import Address, Attachment, Button, Location, Party, Selection, Template

FIXTURES = Path(__file__).parent / "fixtures"
ANN = Party("whatsapp", "ID.4566000000000001", "Ann")
NUMBER = Party("tel", "+6285100000001", "Ann")
SID = "HX" + "a" * 32
MADE = {"sid": "SM7", "status": "queued"}


def heard(text: str = "", **more: Any) -> MessageReceived:
    return MessageReceived("SM0004", more.pop("sender", ANN), NOON, text, more.pop("also", [NUMBER]), **more)


def state(name: Any, code: str | None = None, detail: str | None = None, **more: Any) -> StatusChanged:
    return StatusChanged("SM0005", name, NOON, code, detail, "del_1.0", **more)


MEDIA = "https://api.twilio.com/2010-04-01/Accounts/AC0001/Messages/MM0002/Media/ME0001"
EVENTS: dict[str, list[Any]] = {
    "text": [heard("Hello, is it here?")],
    "button": [heard("Yes", selection=Selection("yes_1", "Yes"), reply_to="MM0003")],
    "button_of_template": [heard("Track it", selection=Selection("Track it", "Track it"), reply_to="MM0003")],
    "list": [heard("Thursday", selection=Selection("day_4", "Thursday"), reply_to="MM0003")],
    "reply": [heard("this one", reply_to="SM0003")],
    "image": [heard("look", attachments=[Attachment("image", MEDIA, mime="image/jpeg")])],
    "sticker": [heard(attachments=[Attachment("sticker", MEDIA, mime="image/webp")])],
    "location": [heard(location=Location(-6.2, 106.816666, "Monas", "Jl. Thamrin 1"))],
    "location_broken": [heard(unsupported="location")],
    "username": [heard("hi", sender=Party("whatsapp", "US.1234", "ann.smith"), also=[])],
    "no_prefix": [heard("hi", sender=Party("whatsapp", "6285100000001"), also=[Party("tel", "+6285100000001")])],
    "ad": [heard("Is it on sale?", subject="Came from an ad “Summer sale”, 120210000000000000")],
    "order": [heard(unsupported="order")],
    "stop": [heard("STOP"), ConsentChanged("SM0004", ANN, "opt_out", NOON)],
    "status_read": [state("read")],
    "status_window_closed": [
        state("failed", "63016", "more than 24 hours after the customer's last message: only a template can be sent")
    ],
    "status_unknown": [state("failed", "63003", "not reachable by this channel", bad_address=True)],
}


@pytest.mark.parametrize("name", EVENTS)
def test_a_payload_becomes_events(name: str) -> None:
    assert received((FIXTURES / f"{name}.form").read_bytes()) == EVENTS[name]


@pytest.mark.parametrize("name", [b"Forwarded", b"FrequentlyForwarded"])
def test_what_is_passed_on_is_marked_so(name: bytes) -> None:
    [event] = received((FIXTURES / "text.form").read_bytes().replace(b"&" + name + b"=false", b"&" + name + b"=true"))
    assert isinstance(event, MessageReceived) and event.forwarded


def test_a_message_from_nobody_is_unparseable() -> None:
    with pytest.raises(Unparseable, match="who it is from"):
        received((FIXTURES / "no_sender.form").read_bytes())


def test_every_fixture_has_its_test() -> None:
    assert {path.stem for path in FIXTURES.iterdir()} == {*EVENTS, "no_sender"}


# --- messages to calls ---

YES, NO = Button("y", "Yes"), Button("n", "No")
CALLS: list[tuple[Outgoing, dict[str, str]]] = [
    (out("Hi"), {"Body": "Hi"}),
    (out("Hi", to="tel:+14133881111"), {"Body": "Hi"}),
    (out("Hi", to="whatsapp:US.1234"), {"To": "whatsapp:US.1234", "Body": "Hi"}),
    (out("look", attachments=[Attachment("image", "https://hub.example.com/a")]),
     {"Body": "look", "MediaUrl": "https://hub.example.com/a"}),
    (out("", location=Location(51.5, -0.12, "Har|bour", "Quay 1")),
     {"PersistentAction": "geo:51.500000,-0.120000|Har bour, Quay 1", "Body": "Har|bour, Quay 1"}),
    (out("", template=Template(SID, "en", {"1": "Ann"})), {"ContentSid": SID, "ContentVariables": '{"1": "Ann"}'}),
    (out("", template=Template("order", "de")), {"ContentSid": "HX" + "b" * 32}),
    (out("", template=Template("order", "fr")), {"ContentSid": "HX" + "c" * 32}),
    (out("Hi", callback_url="https://hub.example.com/x"),
     {"Body": "Hi", "StatusCallback": "https://hub.example.com/x"}),
]


@pytest.mark.parametrize(("message", "fields"), CALLS)
async def test_a_message_is_one_call(message: Outgoing, fields: dict[str, str]) -> None:
    adapter, player = played(said(201, MADE), templates={"order/de": "HX" + "b" * 32, "order": "HX" + "c" * 32})
    assert await adapter.send(message) == Receipt("SM7", "queued")
    [(method, url, _, body)] = player.asked
    assert (method, url) == ("POST", "https://api.twilio.com/2010-04-01/Accounts/AC01/Messages.json")
    usual = {"To": PHONE, "From": "whatsapp:+12025550100"}
    assert dict(parse_qsl(body.decode())) == usual | fields


async def test_choices_are_kept_as_content_once() -> None:
    adapter, player = played(said(201, {"sid": SID}), said(201, MADE), said(201, MADE))
    await adapter.send(out("Well?", buttons=[YES, NO]))
    await adapter.send(out("And now?", buttons=[YES, NO]))
    (_, url, _, body), *sends = player.asked
    assert url == "https://content.twilio.com/v1/Content"
    actions = [{"type": "QUICK_REPLY", "title": "Yes", "id": "y"}, {"type": "QUICK_REPLY", "title": "No", "id": "n"}]
    assert json.loads(body)["types"] == {"twilio/quick-reply": {"body": "{{1}}", "actions": actions}}
    assert [dict(parse_qsl(each.decode()))["ContentVariables"] for *_, each in sends] == [
        '{"1": "Well?"}', '{"1": "And now?"}'
    ]


REFUSED: list[tuple[Outgoing, type[SendError]]] = [
    (out(to="mailto:ann@example.com"), BadAddress),
    (out(to="whatsapp:ann"), BadAddress),
    (out("", template=Template("unknown", "en")), Rejected),
    (out("", template=Template(SID, "en"), attachments=[Attachment("file", "https://hub.example.com/a")]), Rejected),
    (out("", template=Template(SID, "en"), buttons=[YES]), Rejected),
    (out(attachments=[Attachment("image", data=b"x")]), Rejected),
]


@pytest.mark.parametrize(("message", "error"), REFUSED)
async def test_what_cannot_be_sent_is_refused_without_a_call(message: Outgoing, error: type[SendError]) -> None:
    adapter, player = played()
    with pytest.raises(error):
        await adapter.send(message)
    assert player.asked == []


ERRORS: list[tuple[int, int, type[SendError]]] = [
    (400, 63016, WindowClosed), (400, 63007, ChannelDown), (400, 63003, BadAddress), (400, 63028, Rejected),
    (400, 63041, Rejected), (429, 63018, RateLimited), (503, 63012, Transient), (400, 21655, Rejected),
    (400, 63015, Rejected), (400, 63024, BadAddress), (400, 63032, Rejected), (401, 20003, ChannelDown),
    (500, 20500, Ambiguous),
]


@pytest.mark.parametrize(("status", "code", "error"), ERRORS)
async def test_an_error_code_says_what_to_do(status: int, code: int, error: type[SendError]) -> None:
    adapter, _ = played(said(status, {"code": code, "message": "no", "status": status}))
    with pytest.raises(SendError) as caught:
        await adapter.send(out())
    assert (type(caught.value), caught.value.code) == (error, str(code))


@pytest.mark.parametrize("message", [out(""), out("", reaction="👍"), out("", reaction="")])
async def test_what_cannot_be_said_there_is_refused_without_a_call(message: Outgoing) -> None:
    adapter, player = played()
    with pytest.raises(Rejected):
        await adapter.send(message)
    assert player.asked == []


@pytest.mark.parametrize("answer", [Ambiguous("no answer"), said(500, {"code": 20500, "message": "oops"})])
async def test_content_whose_answer_was_lost_is_made_again(answer: Any) -> None:
    """Nothing was sent, so nothing can be sent twice."""
    adapter, player = played(answer, said(201, {"sid": SID}), said(201, MADE))
    message = out("Well?", buttons=[YES, NO])
    with pytest.raises(Transient):
        await adapter.send(message)
    assert await adapter.send(message) == Receipt("SM7", "queued")
    assert len(player.asked) == 3


@pytest.mark.parametrize("wrong", [{"from_number": "whatsapp:+12025550100"}, {"templates": {"a": "order"}},
                                   {"api_key_sid": "SK1"}, {"account_sid": "x"}])
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TwilioWhatsAppConfig(**(PLAIN | wrong))


# --- stories ---


async def test_an_answer_is_delivered_and_read(world: World) -> None:
    assert await world.twilio.text(PHONE, "hello") == 200
    await world.adapter.send(world.sent("hi Ann"))
    await world.twilio.settle()
    assert world.phone() == ["hi Ann"]
    assert [name for name, _ in world.states()] == ["queued", "sent", "delivered", "read"]


async def test_a_closed_window_shows_only_after_the_message_was_taken(world: World) -> None:
    assert (await world.adapter.send(world.sent("too late"))).state == "queued"
    await world.twilio.settle()
    assert world.phone() == []
    assert world.states()[-1] == ("failed", "63016")


async def test_a_template_goes_through_a_closed_window(world: World) -> None:
    sid = world.twilio.template("Your order {{1}} is here, {{2}}.")
    await world.adapter.send(world.sent("", template=Template(sid, "en", {"1": "1042", "2": "Ann"})))
    await world.twilio.settle()
    assert world.phone() == ["Your order 1042 is here, Ann."]
    with pytest.raises(Rejected):
        await world.adapter.send(world.sent("", template=Template(sid, "en", {"1": "1042"})))


@pytest.mark.parametrize("count", [2, 3, 4, 10])
async def test_what_is_pressed_comes_back(world: World, count: int) -> None:
    await world.twilio.text(PHONE, "hello")
    buttons = [Button(f"id_{number}", f"Number {number}") for number in range(count)]
    receipt = await world.adapter.send(world.sent("Which?", buttons=buttons))
    await world.twilio.press(PHONE, count - 1)
    pressed = world.heard()[-1]
    assert pressed.selection == Selection(f"id_{count - 1}", f"Number {count - 1}")
    assert pressed.reply_to == receipt.external_id
    [content] = world.twilio.contents.values()
    assert list(content["types"]) == ["twilio/quick-reply" if count <= 3 else "twilio/list-picker"]


async def test_a_file_is_fetched_with_our_credentials(world: World) -> None:
    await world.twilio.text(PHONE, "look", [("image/png", b"a picture")])
    [file] = world.heard()[0].attachments
    chunks = await world.adapter.fetch(file, None)
    assert chunks is not None
    assert b"".join([chunk async for chunk in chunks]) == b"a picture"


async def test_the_account_is_checked(world: World) -> None:
    assert (await world.adapter.check()).ok
    world.twilio.auth_token = "another"
    assert not (await world.adapter.check()).ok


def test_a_link_leads_to_the_number() -> None:
    adapter, _ = played()
    assert adapter.entry_link("omni-x") == "https://wa.me/12025550100?text=Hi%21%20%28omni-x%29"


async def test_what_is_answered_was_read() -> None:
    async with World() as world:
        await world.twilio.text(PHONE, "Hi")
        [heard] = world.heard()
        await world.adapter.seen(heard.sender.address, heard.external_id)
        assert world.twilio.seen == [heard.external_id]


async def test_a_read_mark_that_is_refused_says_why() -> None:
    adapter, player = played(said(401, {"code": 20003, "message": "Authenticate"}))
    with pytest.raises(ChannelDown):
        await adapter.seen(Address.parse("whatsapp:14133881111"), "SM1")
    assert player.asked[0][:2] == ("POST", "https://messaging.twilio.com/v3/Indicators/Typing.json")
