"""Messages to calls, and answers to receipts and errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.whatsapp_cloud.records import error
from adapters.whatsapp_cloud.testing import NUMBER_ID, PHONE, SECRET, TOKEN, WORD, out, played, said, taken
from hub.contract import (
    Ambiguous,
    Answer,
    BadAddress,
    ChannelDown,
    OptedOut,
    Outgoing,
    RateLimited,
    Receipt,
    Rejected,
    SendError,
    Transient,
    WindowClosed,
)
from hub.model import Address, Attachment, Button, Location, Template

# --- the call ---

URL = "https://hub.example.com/media/t/"


async def body_of(message: Outgoing) -> dict[str, Any]:
    """What is posted, without what all messages have in common."""
    adapter, player = played(taken())
    await adapter.send(message)
    [(method, url, headers, content)] = player.asked
    assert (method, url) == ("POST", f"https://graph.facebook.com/v25.0/{NUMBER_ID}/messages")
    assert headers["authorization"] == f"Bearer {TOKEN}" and headers["content-type"] == "application/json"
    body: dict[str, Any] = json.loads(content)
    common = {"messaging_product": "whatsapp", "recipient_type": "individual",
              "biz_opaque_callback_data": "del_0000000000001.0"}
    assert common.items() <= body.items()
    return {name: value for name, value in body.items() if name not in common}


def link(path: str, **more: Any) -> Attachment:
    return Attachment(url=URL + path, **more)


def template(variables: dict[str, str] | None = None, **more: Any) -> Outgoing:
    return out("", template=Template("order_update", "en_US", variables or {}), **more)


def filled(*components: dict[str, Any]) -> dict[str, Any]:
    made = {"name": "order_update", "language": {"policy": "deterministic", "code": "en_US"}}
    return {"type": "template", "template": made | ({"components": list(components)} if components else {})}


def words(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


def choices(number: int, title: str = "Choice") -> list[Button]:
    return [Button(f"b{each}", f"{title} {each}") for each in range(number)]


CARD = b"BEGIN:VCARD\r\nFN:Carl\\, Jr\r\nitem1.TEL;TYPE=CELL:+1 4\r\n 15\r\nEMAIL:c@example.com\r\nEND:VCARD\r\n"
LONG = "Rather a long title for one row of it"
BODIES: list[tuple[Outgoing, dict[str, Any]]] = [
    (out("Héllo ✓"), {"type": "text", "text": {"body": "Héllo ✓"}}),
    (out("See https://a.example"), {"type": "text", "text": {"body": "See https://a.example", "preview_url": True}}),
    (out(reply_to="wamid.0"), {"type": "text", "text": {"body": "Hello"}, "context": {"message_id": "wamid.0"}}),
    (out("", reply_to="wamid.0", reaction="👍"),
     {"type": "reaction", "reaction": {"message_id": "wamid.0", "emoji": "👍"}}),
    (out("", reply_to="wamid.0", reaction=""),
     {"type": "reaction", "reaction": {"message_id": "wamid.0", "emoji": ""}}),
    (out("Cap", attachments=[link("a.jpg", kind="image", mime="image/jpeg")]),
     {"type": "image", "image": {"link": URL + "a.jpg", "caption": "Cap"}}),
    (out("", attachments=[link("a", kind="image")]), {"type": "image", "image": {"link": URL + "a"}}),
    (out("", attachments=[link("a.gif", kind="image", mime="image/gif", name="a.gif")]),
     {"type": "document", "document": {"link": URL + "a.gif", "filename": "a.gif"}}),
    (out("", attachments=[link("a.jpg", kind="image", mime="image/jpeg", size=6 << 20)]),
     {"type": "document", "document": {"link": URL + "a.jpg"}}),
    (out("", attachments=[link("a.mp4", kind="video", mime="video/mp4")]),
     {"type": "video", "video": {"link": URL + "a.mp4"}}),
    (out("", attachments=[link("a.ogg", kind="audio", mime="audio/ogg; codecs=opus")]),
     {"type": "audio", "audio": {"link": URL + "a.ogg"}}),
    (out("", attachments=[link("a.webp", kind="sticker", mime="image/webp")]),
     {"type": "sticker", "sticker": {"link": URL + "a.webp"}}),
    (out("Page 2", attachments=[link("i.pdf", mime="application/pdf", name="invoice 7.pdf")]),
     {"type": "document", "document": {"link": URL + "i.pdf", "filename": "invoice 7.pdf", "caption": "Page 2"}}),
    (out("", attachments=[Attachment("contact", data=CARD)]),
     {"type": "contacts", "contacts": [{"name": {"formatted_name": "Carl, Jr", "first_name": "Carl, Jr"},
                                        "phones": [{"phone": "+1 415", "type": "CELL"}],
                                        "emails": [{"email": "c@example.com", "type": "WORK"}]}]}),
    (out("", location=Location(37.46, -122.21, "HQ")),
     {"type": "location", "location": {"latitude": 37.46, "longitude": -122.21, "name": "HQ"}}),
    (out("Yes?", buttons=choices(3)),
     {"type": "interactive", "interactive": {"type": "button", "body": {"text": "Yes?"}, "action": {"buttons": [
         {"type": "reply", "reply": {"id": f"b{each}", "title": f"Choice {each}"}} for each in range(3)]}}}),
    (out("Yes?", buttons=choices(1), attachments=[link("a.jpg", kind="image")]),
     {"type": "interactive", "interactive": {
         "type": "button", "body": {"text": "Yes?"}, "header": {"type": "image", "image": {"link": URL + "a.jpg"}},
         "action": {"buttons": [{"type": "reply", "reply": {"id": "b0", "title": "Choice 0"}}]}}}),
    (out("", buttons=choices(1)),
     {"type": "interactive", "interactive": {"type": "button", "body": {"text": "↓"}, "action": {"buttons": [
         {"type": "reply", "reply": {"id": "b0", "title": "Choice 0"}}]}}}),
    (out("Which?", buttons=choices(4)),
     {"type": "interactive", "interactive": {"type": "list", "body": {"text": "Which?"}, "action": {
         "button": "☰",
         "sections": [{"rows": [{"id": f"b{each}", "title": f"Choice {each}"} for each in range(4)]}]}}}),
    (out("Which?", buttons=[Button("b", LONG)]),
     {"type": "interactive", "interactive": {"type": "list", "body": {"text": "Which?"}, "action": {
         "button": "☰", "sections": [{"rows": [{"id": "b", "title": LONG[:23] + "…", "description": LONG}]}]}}}),
    (template(), filled()),
    (template({"2": "Monday", "1": "Ann"}), filled({"type": "body", "parameters": words("Ann", "Monday")})),
    (template({"first_name": "Ann", "day": "the\n 1st"}), filled({"type": "body", "parameters": [
        {"type": "text", "parameter_name": "first_name", "text": "Ann"},
        {"type": "text", "parameter_name": "day", "text": "the 1st"}]})),
    (template({"1": "Ann", "header": "Order 7", "button.0": "7?a=b"}), filled(
        {"type": "header", "parameters": words("Order 7")},
        {"type": "body", "parameters": words("Ann")},
        {"type": "button", "sub_type": "url", "index": "0", "parameters": words("7?a=b")})),
    (template({"header.order": "7"}), filled(
        {"type": "header", "parameters": [{"type": "text", "parameter_name": "order", "text": "7"}]})),
    (template({"copy.1": "SAVE7", "flow.0": "t1"}), filled(
        {"type": "button", "sub_type": "copy_code", "index": "1",
         "parameters": [{"type": "coupon_code", "coupon_code": "SAVE7"}]},
        {"type": "button", "sub_type": "flow", "index": "0",
         "parameters": [{"type": "action", "action": {"flow_token": "t1"}}]})),
    (template(attachments=[link("i.pdf", name="i.pdf")], buttons=[Button("yes_7", "Yes"), Button("no_7", "No")]),
     filled(
        {"type": "header",
         "parameters": [{"type": "document", "document": {"link": URL + "i.pdf", "filename": "i.pdf"}}]},
        {"type": "button", "sub_type": "quick_reply", "index": "0",
         "parameters": [{"type": "payload", "payload": "yes_7"}]},
        {"type": "button", "sub_type": "quick_reply", "index": "1",
         "parameters": [{"type": "payload", "payload": "no_7"}]})),
]


@pytest.mark.parametrize(("message", "body"), BODIES)
async def test_messages_become_calls(message: Outgoing, body: dict[str, Any]) -> None:
    assert await body_of(message) == {"to": PHONE, **body}


RECIPIENTS = [
    ("whatsapp:16505551234", {"to": "16505551234"}),
    ("whatsapp:+16505551234", {"to": "16505551234"}),
    ("tel:+16505551234", {"to": "16505551234"}),
    ("whatsapp:US.13491208655302741918", {"recipient": "US.13491208655302741918"}),
    ("whatsapp:US.ENT.5678", {"recipient": "US.ENT.5678"}),
]


@pytest.mark.parametrize(("to", "fields"), RECIPIENTS)
async def test_a_person_is_reached_by_number_or_by_user_id(to: str, fields: dict[str, str]) -> None:
    body = await body_of(out(to=Address.parse(to)))
    assert {name: body[name] for name in ("to", "recipient") if name in body} == fields


IMPOSSIBLE: list[tuple[Outgoing, type[SendError]]] = [
    (out(to=Address("mailto", "ann@example.com")), BadAddress),
    (out(to=Address("whatsapp", "ann")), BadAddress),
    (out(to=Address("tel", "+1")), BadAddress),
    (out(""), Rejected),
    (out("", reaction="👍"), Rejected),
    (out("Which?", buttons=choices(11)), Rejected),
    (out("Which?", buttons=choices(4), attachments=[link("a.jpg", kind="image")]), Rejected),
    (out("Cap", attachments=[link("a.ogg", kind="audio", mime="audio/ogg")]), Rejected),
    (out("", attachments=[Attachment("image")]), Rejected),
    (out("", attachments=[link("a"), link("b")]), Rejected),
    (template({"1": "Ann", "name": "Ann"}), Rejected),
    (template({"1": "Ann", "3": "Ann"}), Rejected),
    (template({"First name": "Ann"}), Rejected),
    (template({"1": " \n"}), Rejected),
    (template(attachments=[link("a.ogg", kind="audio", mime="audio/ogg")]), Rejected),
]


@pytest.mark.parametrize(("message", "kind"), IMPOSSIBLE)
async def test_what_whatsapp_cannot_show_is_refused_without_a_call(message: Outgoing, kind: type[SendError]) -> None:
    adapter, player = played()
    with pytest.raises(kind):
        await adapter.send(message)
    assert player.asked == []


async def test_a_file_without_an_address_is_uploaded_first() -> None:
    adapter, player = played(said(200, {"id": "777"}), taken())
    photo = Attachment("image", data=b"\xff\xd8JPG", mime="image/jpeg", name='a"b\r\n.jpg')
    await adapter.send(out("Cap", attachments=[photo]))
    (method, url, headers, form), (_, _, _, message) = player.asked
    assert (method, url) == ("POST", f"https://graph.facebook.com/v25.0/{NUMBER_ID}/media")
    assert headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b'filename="a_b__.jpg"\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8JPG\r\n--' in form
    assert json.loads(message)["image"] == {"id": "777", "caption": "Cap"}


@pytest.mark.parametrize("answer", [Ambiguous("answer lost"), said(502), said(200, {}), said(200, b"<html>")])
async def test_a_lost_upload_is_simply_tried_again(answer: Answer | SendError) -> None:
    adapter, player = played(answer)
    with pytest.raises(Transient):
        await adapter.send(out("", attachments=[Attachment("image", data=b"x", mime="image/jpeg")]))
    assert len(player.asked) == 1


# --- the answer ---


@pytest.mark.parametrize("state", ["", "accepted", "held_for_quality_assessment"])
async def test_what_is_accepted_is_only_queued(state: str) -> None:
    more = {"message_status": state} if state else {}
    adapter, _ = played(taken("wamid.7", **more))
    assert await adapter.send(out()) == Receipt("wamid.7", "queued", {"wa_id": PHONE, "user_id": "US.1", **more})


def refused(code: int, status: int = 400) -> Answer:
    return said(status, error(code, "No."))


ANSWERS: list[tuple[Answer | SendError, type[SendError], str | None]] = [
    *[(refused(code), RateLimited, str(code)) for code in (4, 613, 80007, 130429, 131048, 131056, 131064, 133016)],
    *[(refused(code), Transient, str(code)) for code in (1, 2, 131000, 131016, 131053, 131057)],
    *[(refused(code), BadAddress, str(code)) for code in (131021, 131026, 131030)],
    *[(refused(code), WindowClosed, str(code)) for code in (131047, 470)],
    (refused(131050), OptedOut, "131050"),
    *[(refused(code), Rejected, str(code)) for code in (100, 130472, 130497, 131008, 131009, 131049, 131051, 131062)],
    *[(refused(code), Rejected, str(code)) for code in (132000, 132001, 132005, 132007, 132012, 132015, 132016)],
    *[(refused(code), ChannelDown, str(code)) for code in (0, 3, 10, 190, 200, 299, 368, 131005, 131031, 131042)],
    (refused(131000, 500), Transient, "131000"),
    (refused(131056, 429), RateLimited, "131056"),  # the code counts before the status
    (said(400, error(100, "gone", 33)), ChannelDown, "100"),
    (said(200, error(131047)), WindowClosed, "131047"),
    (refused(999999), Rejected, "999999"),
    (said(400, {"error": {"code": 999999, "is_transient": True}}), Transient, "999999"),
    (said(429), RateLimited, "429"),
    (said(401), ChannelDown, "401"),
    (said(403), ChannelDown, "403"),
    (said(404, b"<html>"), ChannelDown, "404"),
    (said(302, location="https://elsewhere.example"), ChannelDown, "302"),
    (said(400, b"<html>"), Rejected, "400"),
    (said(400, b"[" * 100_000), Rejected, "400"),
    (said(400, {"error": {"code": "190", "message": 7, "error_data": []}}), Rejected, "400"),
    (said(408), Ambiguous, "408"),
    (said(500, b"<html>"), Ambiguous, "500"),
    (said(502), Ambiguous, "502"),
    (said(200, b"<html>"), Ambiguous, "200"),
    (said(200, {"messages": [{"id": ""}]}), Ambiguous, "200"),
    (said(200, {"messages": None}), Ambiguous, "200"),
    (Ambiguous("answer lost"), Ambiguous, None),
    (Transient("no connection"), Transient, None),
]


@pytest.mark.parametrize(("answer", "kind", "code"), ANSWERS)
async def test_answers_become_errors(answer: Answer | SendError, kind: type[SendError], code: str | None) -> None:
    adapter, _ = played(answer)
    with pytest.raises(SendError) as caught:
        await adapter.send(out())
    assert type(caught.value) is kind and caught.value.code == code
    assert not isinstance(answer, Answer) or b'"No."' not in answer.body or "No." in caught.value.detail


THROTTLES = [
    (refused(131056), "pair", 6),
    (refused(130429), "sender", 1),
    (refused(131048), "sender", 3600),
    (refused(4), "account", 60),
    (refused(80007), "account", 60),
    (said(429, retry_after="7"), "account", 7),
    (said(400, error(131056), retry_after="9"), "pair", 9),
    (said(400, error(131056), retry_after="inf"), "pair", 6),
]


@pytest.mark.parametrize(("answer", "scope", "after"), THROTTLES)
async def test_a_throttle_says_what_must_slow_down(answer: Answer, scope: str, after: float) -> None:
    adapter, _ = played(answer)
    with pytest.raises(RateLimited) as caught:
        await adapter.send(out())
    assert (caught.value.scope, caught.value.after) == (scope, after)


async def test_a_stop_to_marketing_is_no_stop_to_all() -> None:
    adapter, _ = played(refused(131050))
    with pytest.raises(OptedOut) as caught:
        await adapter.send(out())
    assert caught.value.covers == "marketing"


async def test_secrets_are_in_no_error_and_no_repr() -> None:
    for answer, kind, _ in ANSWERS:
        adapter, _ = played(answer, app_secret_previous="the-old-secret")
        with pytest.raises(kind) as caught:
            await adapter.send(out())
        shown = f"{caught.value!r} {caught.value.detail} {adapter!r} {adapter.config!r}"
        assert not [secret for secret in (TOKEN, SECRET, WORD, "the-old-secret") if secret in shown]
