"""Settings, the secret token, and updates to events."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.telegram.adapter import TelegramConfig
from adapters.telegram.testing import ANN, BOT, FIXTURES, HOOK, NOON, PLAIN, SECRET, played, posted
from hub.contract import (
    AccountChanged,
    ConsentChanged,
    MessageEdited,
    MessageReceived,
    Reacted,
    Rejected,
    Request,
    Unparseable,
)
from hub.model import Attachment, Location, Party, Selection

# --- settings ---

WRONG = [
    ({"bot_token": ""}, "looks like"),
    ({"bot_token": "ABC:123456"}, "looks like"),
    ({"bot_token": "1:a/../b"}, "looks like"),
    ({"secret_token": ""}, "1 to 256"),
    ({"secret_token": "two words"}, "1 to 256"),
    ({"secret_token": None}, "set secret_token"),
    ({"mode": "push"}, "mode"),
    ({"poll_wait": 51}, "poll_wait"),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_wrong_settings_are_explained(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TelegramConfig(**(PLAIN | change))


# --- verify ---


def test_the_secret_token_lets_in() -> None:
    answer = played()[0].verify(posted(b"{}"))
    assert (answer.accept, answer.status, answer.body) == (True, 200, "")


@pytest.mark.parametrize("secret", ["", SECRET.upper(), SECRET + "x", "é", "\ud800"])
def test_other_tokens_are_refused(secret: str) -> None:
    answer = played()[0].verify(posted(b"{}", secret))
    assert (answer.accept, answer.status) == (False, 403) and "secret_token" in answer.body


def test_no_token_is_refused() -> None:
    assert not played()[0].verify(replace(posted(b"{}"), headers={})).accept


def test_who_asks_for_updates_takes_no_webhooks() -> None:
    adapter, _ = played(mode="polling")
    answer = adapter.verify(posted(b"{}"))
    assert (answer.accept, answer.status) == (False, 403) and "polling" in answer.body


def test_a_pressed_button_is_answered_at_once() -> None:
    answer = played()[0].verify(posted((FIXTURES / "pressed.json").read_bytes()))
    assert answer.accept and answer.headers == {"content-type": "application/json"}
    made = {"method": "answerCallbackQuery", "callback_query_id": "4382bfdwdsb323b2d9"}
    assert json.loads(answer.body) == made


BROKEN_PRESSES = [
    *(b'"callback_query"', b'{"callback_query": 1}', b'{"callback_query": {"id": ["1"]}}', b'["callback_query"'),
]


@pytest.mark.parametrize("body", [*BROKEN_PRESSES, b'{"callback_query":' * 100_000])
def test_what_only_looks_like_a_press_is_taken_without_a_call(body: bytes) -> None:
    answer = played()[0].verify(posted(body))
    assert (answer.accept, answer.body) == (True, "")


# --- receive ---

AT = datetime(2016, 1, 30, 1, 57, 9, tzinfo=UTC)
PERSON = Party("telegram", f"{BOT}:{ANN}", "Ann Fielding")


def message(text: str = "", **more: Any) -> MessageReceived:
    return MessageReceived(more.pop("external_id", f"{ANN}:41"), PERSON, more.pop("at", AT), text, **more)


def file(
    kind: Any, number: int, mime: str, size: int, text: str = "", name: str | None = None, **more: Any
) -> MessageReceived:
    return message(text, attachments=[kept(kind, number, mime, size, name)], **more)


def kept(kind: Any, number: int, mime: str, size: int | None = None, name: str | None = None) -> Attachment:
    return Attachment(kind, ref=f"BQAC{number}", mime=mime, name=name, size=size, content_id=f"AQ{number}")


def reacted(emoji: str, update: int, *, removed: bool = False, chat: int = ANN) -> Reacted:
    return Reacted(f"{chat}:42", PERSON, AT + timedelta(seconds=2), emoji, removed, str(update))


def consent(change: Any, update: int, seconds: int) -> ConsentChanged:
    at = AT + timedelta(seconds=seconds)
    return ConsentChanged(f"my_chat_member:{update}@{at.timestamp():.0f}", PERSON, change, at)


EDITED = AT + timedelta(seconds=60)
RECEIVED: dict[str, list[Any]] = {
    "text": [message("Héllo ✓ 🌳")],
    "links": [message("🌳 See the shop (https://shop.example.com/a) and this (https://b.example.com)")],
    "reply": [message("This one", reply_to=f"{ANN}:40")],
    "start": [message("/start order-1042", entry="order-1042", selection=Selection("order-1042", "/start"))],
    "start_bare": [message("/start")],
    "photo": [file("image", 2, "image/jpeg", 180000, "The lid")],
    "album_1": [file("image", 4, "image/jpeg", 180000, "Both sides", album="13370000")],
    "video": [file("video", 5, "video/mp4", 900000, name="lid.mp4")],
    "voice": [file("audio", 6, "audio/ogg", 9000)],
    "audio": [file("audio", 7, "audio/mpeg", 3000000, name="Nina – Song")],
    "document": [file("file", 8, "application/pdf", 33000, "See page 2", "invoice 7.pdf")],
    "animation": [file("video", 9, "video/mp4", 40000, name="cat.mp4")],
    "video_note": [file("video", 10, "video/mp4", 50000)],
    "sticker": [file("sticker", 11, "image/webp", 16000, "👍")],
    "sticker_animated": [file("sticker", 12, "application/x-tgsticker", 8000, "🎉")],
    "location": [message(location=Location(51.5007, -0.1246))],
    "venue": [message(location=Location(51.5007, -0.1246, "Big Ben", "London SW1A 0AA"))],
    "contact": [
        message(
            "Carl Jr, III: +447700900123",
            attachments=[Attachment("contact", ref=f"contact:{ANN}:41", mime="text/vcard", name="Carl Jr, III.vcf")],
        )
    ],
    "poll": [message("Which colour?\n- Red\n- Blue", unsupported="poll")],
    "dice": [message("🎲 5", unsupported="dice")],
    "story": [message(unsupported="story")],
    "pinned": [],
    "edited": [MessageEdited(f"{ANN}:41", PERSON, EDITED, "Hello again")],
    "edited_caption": [MessageEdited(f"{ANN}:41", PERSON, EDITED, "The other lid", [kept("image", 1, "image/jpeg")])],
    "moving_place": [],
    "pressed": [
        message("Yes, please", external_id="callback:4382bfdwdsb323b2d9", at=NOON, reply_to=f"{ANN}:42",
                selection=Selection("yes", "Yes, please"))
    ],
    "pressed_old": [
        message("no", external_id="callback:4382bfdwdsb323b2e0", at=NOON, reply_to=f"{ANN}:42",
                selection=Selection("no", "no"))
    ],
    "reaction": [reacted("👍", 1028, chat=-100123)],
    "reaction_changed": [reacted("👍", 1029, removed=True), reacted("🔥", 1029), reacted("❔", 1029)],
    "reaction_removed": [reacted("👍", 1030, removed=True)],
    "reaction_anonymous": [],
    "blocked": [consent("blocked", 1032, 3)],
    "unblocked": [consent("unblocked", 1033, 4)],
    "added_to_group": [
        AccountChanged(
            "my_chat_member:1034@1454119032", AT + timedelta(seconds=3), "supergroup Team", "joined",
            "what is written there reaches nobody here, and nobody there is answered",
        )
    ],
    "group": [],
    "migrated": [],
    "bot": [],
    "channel_post": [],
}


def test_every_captured_payload_is_expected() -> None:
    assert sorted(RECEIVED) == sorted(path.stem for path in FIXTURES.iterdir())


@pytest.mark.parametrize("name", RECEIVED)
def test_captured_payloads_become_events(name: str) -> None:
    assert played()[0].receive(posted((FIXTURES / f"{name}.json").read_bytes())) == RECEIVED[name]


def changed(name: str, **parts: Any) -> bytes:
    """A captured payload with other parts of what it tells; None takes one away."""
    document = json.loads((FIXTURES / f"{name}.json").read_bytes())
    [kind] = [key for key in document if key != "update_id"]
    document[kind] = {key: part for key, part in {**document[kind], **parts}.items() if part is not None}
    return json.dumps(document).encode()


@pytest.mark.parametrize("origin", [{"forward_origin": {"type": "user"}}, {"forward_date": 1749416383}], ids=str)
def test_what_is_passed_on_is_marked_so(origin: dict[str, Any]) -> None:
    [event] = played()[0].receive(posted(changed("text", **origin)))
    assert isinstance(event, MessageReceived) and event.forwarded


def member(status: str) -> dict[str, Any]:
    return {"status": status, "user": {"id": int(BOT), "is_bot": True}}


@pytest.mark.parametrize(("old", "new"), [("left", "member"), ("member", "left"), ("kicked", "kicked")])
def test_only_a_block_and_its_end_say_something_of_consent(old: str, new: str) -> None:
    body = changed("blocked", old_chat_member=member(old), new_chat_member=member(new))
    assert played()[0].receive(posted(body)) == []


def test_a_reaction_that_stays_is_not_told_again() -> None:
    two = [{"type": "emoji", "emoji": each} for each in ("👍", "🔥")]
    assert played()[0].receive(posted(changed("reaction_removed", new_reaction=two))) == [reacted("🔥", 1030)]


UNPARSEABLE = [
    (b"", "not JSON"),
    (b"[]", "not a JSON object"),
    (b'{"update_id": NaN}', "not JSON"),
    (b"{}", "no update_id"),
    (b'{"update_id": true}', "no update_id"),
    (b'{"update_id": 1, "message": 1}', "without chat.id"),
    (changed("text", message_id=None), "without chat.id"),
    (changed("text", chat={"id": 1e9}), "without chat.id"),
    (changed("text", **{"from": None}), "who it is from"),
    (changed("pressed", id=None), "without an id"),
]


@pytest.mark.parametrize(("body", "words"), UNPARSEABLE)
def test_what_is_no_update_is_unparseable(body: bytes, words: str) -> None:
    with pytest.raises(Unparseable, match=words):
        played()[0].receive(posted(body))


def test_an_update_of_a_kind_that_is_new_is_left_out() -> None:
    assert played()[0].receive(posted(b'{"update_id": 1, "telepathy": {"text": "Hi"}}')) == []


def test_a_message_of_a_kind_that_is_new_is_named() -> None:
    [event] = played()[0].receive(posted(changed("text", text=None, hologram={"file_id": "x"})))
    assert isinstance(event, MessageReceived) and event.unsupported == "hologram"


def test_text_holds_nothing_that_a_database_refuses() -> None:
    [event] = played()[0].receive(posted(changed("text", text="a\0b\ud800c")))
    assert isinstance(event, MessageReceived) and event.text == "ab?c"


@pytest.mark.parametrize("date", [None, "soon", -1e300, 1 << 62, True])
def test_a_time_that_is_none_is_when_it_came(date: Any) -> None:
    [event] = played()[0].receive(posted(changed("text", date=date)))
    assert event.at == NOON


@pytest.mark.parametrize(("user", "name"), [({"id": 7}, None), ({"id": 7, "username": "annf"}, "annf")])
def test_a_person_without_a_name_may_have_a_user_name(user: dict[str, Any], name: str | None) -> None:
    [event] = played()[0].receive(posted(changed("text", **{"from": user})))
    assert isinstance(event, MessageReceived) and event.sender == Party("telegram", f"{BOT}:7", name)


@pytest.mark.parametrize("offset", [-5, 0, 1 << 40])
def test_a_link_outside_of_the_text_is_left_out(offset: int) -> None:
    link = {"type": "text_link", "offset": offset, "length": 0, "url": "https://a.example"}
    [event] = played()[0].receive(posted(changed("text", text="Hi", entities=[link])))
    assert isinstance(event, MessageReceived) and event.text == "Hi"


# --- contacts ---


async def card(body: bytes | None) -> bytes:
    request = None if body is None else Request("POST", HOOK, {}, body, NOON)
    content = await played()[0].fetch(Attachment("contact", ref=f"contact:{ANN}:41"), request)
    assert content is not None
    return b"".join([part async for part in content])


async def test_a_contact_is_a_vcard() -> None:
    written = await card((FIXTURES / "contact.json").read_bytes())
    assert written.split(b"\r\n")[2:4] == [b"FN:Carl Jr\\, III", b"TEL;TYPE=CELL:+447700900123"]
    own = {"phone_number": "1", "first_name": "C", "vcard": "BEGIN:VCARD\nEND:VCARD"}
    assert await card(changed("contact", contact=own)) == b"BEGIN:VCARD\nEND:VCARD"


@pytest.mark.parametrize("body", [None, b"", (FIXTURES / "text.json").read_bytes()])
async def test_a_contact_that_is_not_kept_is_missing(body: bytes | None) -> None:
    with pytest.raises(Rejected):
        await card(body)
