"""Settings, signatures, and webhooks to events."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.line.adapter import LineConfig
from adapters.line.testing import ANN, AT, FIXTURES, NOON, PLAIN, played, posted
from hub.contract import (
    AccountChanged,
    ConsentChanged,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    Unparseable,
)
from hub.model import Attachment, Location, Party, Selection

# --- settings ---

WRONG = [
    ({"channel_secret": ""}, "empty"),
    ({"channel_secret": "two words"}, "blanks"),
    ({"channel_access_token": "a\r\nX: y"}, "blanks"),
    ({"channel_token": "x"}, "channel_token"),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_wrong_settings_are_explained(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        LineConfig(**(PLAIN | change))


# --- verify ---

LINE_BODY, LINE_SIGNATURE = b'{"destination":"U0","events":[]}', "mPzXvmp5o47ZLzcZ27C0voI4JEov6gID7IZ7YD4j1Z4="


def test_the_signature_is_lines() -> None:
    adapter, _ = played()
    answer = adapter.verify(posted(LINE_BODY, LINE_SIGNATURE))
    assert (answer.accept, answer.status) == (True, 200)
    assert not adapter.verify(posted(LINE_BODY + b" ", LINE_SIGNATURE)).accept


@pytest.mark.parametrize("signature", ["", LINE_SIGNATURE.lower(), LINE_SIGNATURE[:-1], "é", "\ud800"])
def test_other_signatures_are_refused(signature: str) -> None:
    answer = played()[0].verify(posted(LINE_BODY, signature))
    assert (answer.accept, answer.status) == (False, 403) and "channel_secret" in answer.body


def test_no_signature_is_refused() -> None:
    assert not played()[0].verify(replace(posted(LINE_BODY), headers={})).accept


# --- receive ---

PERSON = Party("line", ANN)


def message(text: str = "", **more: Any) -> MessageReceived:
    return MessageReceived(more.pop("external_id", "325708"), more.pop("sender", PERSON), AT, text, **more)


def file(kind: Any, mime: str | None = None, **more: Any) -> MessageReceived:
    return message(attachments=[Attachment(kind, ref=None if "url" in more else "325708", mime=mime, **more)])


def sticker(number: int, name: str, text: str = "") -> MessageReceived:
    url = f"https://stickershop.line-scdn.net/stickershop/v1/sticker/{number}/android/sticker.png"
    return message(text, attachments=[Attachment("sticker", url=url, mime="image/png", name=name)])


def picture(number: int) -> MessageReceived:
    shown = Attachment("image", ref=str(number), mime="image/jpeg")
    return message(external_id=str(number), attachments=[shown], album="E005D41A7288F41B655")


def choice(id: str, title: str) -> MessageReceived:
    return message(title, external_id="", selection=Selection(id, title))


POINT = (35.67966, 139.73669)
RECEIVED: dict[str, list[Any]] = {
    "text": [message("Héllo ✓ 🌳")],
    "emojis": [message("@Shop Good (moon grin)")],
    "quote": [message("This one", reply_to="325700")],
    "image": [file("image", "image/jpeg")],
    "image_external": [file("image", "image/jpeg", url="https://pics.example.com/a.jpg")],
    "image_set": [picture(325710), picture(325711)],
    "video": [file("video", "video/mp4")],
    "audio": [file("audio", "audio/mp4")],
    "file": [file("file", name="invoice 7.pdf", size=2138)],
    "sticker": [sticker(1988, "cony, sally, stop")],
    "sticker_message": [sticker(738839, "sticker", "Let's go")],
    "location": [message(location=Location(*POINT, "my location", "1-3 Kioicho, Chiyoda-ku"))],
    "location_bare": [message(location=Location(*POINT))],
    "new_kind": [message(unsupported="hologram")],
    "edited": [MessageEdited("325708", PERSON, AT, "Hello again")],
    "unsend": [MessageDeleted("325708", PERSON, AT)],
    "follow": [ConsentChanged("", PERSON, "unblocked", AT)],
    "unblocked": [ConsentChanged("", PERSON, "unblocked", AT)],
    "unfollow": [ConsentChanged("", PERSON, "blocked", AT)],
    "postback": [choice("a=1", "a=1")],
    "postback_ours": [choice("b1", "Blue, please")],
    "postback_date": [choice("visit", "2026-02-03T10:00")],
    "account_link": [
        message("account link: ok", external_id="", selection=Selection("bm9uY2U", "account link: ok"), automatic=True)
    ],
    "suspended": [AccountChanged("", AT, "official account", "suspended")],
    "standby": [],
    "verify_button": [],
    "group": [
        AccountChanged(
            "", AT, "group Ca56f94637c4b1bcb9a3a1a2b3c4d5e6f", "joined",
            "what is written there reaches nobody here, and nobody there is answered",
        ),
        AccountChanged("", AT, "group Ca56f94637c4b1bcb9a3a1a2b3c4d5e6f", "left"),
    ],
    "of_no_interest": [],
    "batch": [
        message("One", external_id="325720"),
        message("Two", external_id="325721", sender=Party("line", "U" + "1" * 32)),
        ConsentChanged("", PERSON, "blocked", AT),
    ],
}


def test_every_captured_payload_is_expected() -> None:
    assert sorted(RECEIVED) == sorted(path.stem for path in FIXTURES.iterdir())


@pytest.mark.parametrize("name", RECEIVED)
def test_captured_payloads_become_events(name: str) -> None:
    """What has no id of its own has that of its event."""
    found = played()[0].receive(posted((FIXTURES / f"{name}.json").read_bytes()))
    for event in found:
        if str(getattr(event, "external_id", "")).startswith("01FZ"):
            event.external_id = ""  # type: ignore[union-attr]  # each of them has one
    assert found == RECEIVED[name]


def test_to_turn_a_page_of_a_menu_is_no_message() -> None:
    turned = {"data": "richmenu-changed", "params": {"newRichMenuAliasId": "b", "status": "SUCCESS"}}
    assert played()[0].receive(posted(changed("postback", postback=turned))) == []


def test_an_event_that_is_delivered_again_is_the_same() -> None:
    document = json.loads((FIXTURES / "postback.json").read_bytes())
    document["events"][0]["deliveryContext"]["isRedelivery"] = False
    once, again = (played()[0].receive(posted(json.dumps(each).encode()))
                   for each in (document, json.loads((FIXTURES / "postback.json").read_bytes())))
    assert once == again


def changed(name: str, **parts: Any) -> bytes:
    """A captured payload with other parts of its first event; None takes one away."""
    document = json.loads((FIXTURES / f"{name}.json").read_bytes())
    merged = {**document["events"][0], **parts}
    document["events"][0] = {key: part for key, part in merged.items() if part is not None}
    return json.dumps(document).encode()


UNPARSEABLE = [
    (b"", "not JSON"),
    (b"[]", "not a JSON object"),
    (b'{"events": NaN}', "not JSON"),
    (b"{}", "no events"),
    (b'{"events": {}}', "no events"),
    (changed("text", message={"type": "text", "text": "Hi"}), "no id"),
    (changed("unsend", unsend={}), "no messageId"),
    (changed("edited", message=None), "no id"),
    (changed("follow", webhookEventId=None), "without webhookEventId"),
    (changed("postback", webhookEventId=1e30), "without webhookEventId"),
]


@pytest.mark.parametrize(("body", "words"), UNPARSEABLE)
def test_what_is_no_webhook_is_unparseable(body: bytes, words: str) -> None:
    with pytest.raises(Unparseable, match=words):
        played()[0].receive(posted(body))


def test_text_holds_nothing_that_a_database_refuses() -> None:
    [event] = played()[0].receive(posted(changed("text", message={"id": "1", "type": "text", "text": "a\0b\ud800c"})))
    assert isinstance(event, MessageReceived) and event.text == "ab?c"


@pytest.mark.parametrize("timestamp", [None, "soon", 1e17, -1e17, True])
def test_a_time_that_is_none_is_when_it_came(timestamp: Any) -> None:
    [event] = played()[0].receive(posted(changed("text", timestamp=timestamp)))
    assert event.at == NOON


@pytest.mark.parametrize("number", ["../../x", "", "１２"])
def test_a_sticker_of_a_strange_number_has_no_address(number: str) -> None:
    said = {"id": "1", "type": "sticker", "stickerId": number, "keywords": "x"}
    [event] = played()[0].receive(posted(changed("text", message=said)))
    assert isinstance(event, MessageReceived) and event.attachments[0].url is None
