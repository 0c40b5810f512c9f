"""Settings, signatures, and webhooks to events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.graph.testing import HOOK, KEY, NOON, PLAIN, SECRET, WORD, posted
from adapters.instagram.adapter import InstagramConfig
from adapters.instagram.testing import ACCOUNT, ANN, FIXTURES, TO, played
from hub.contract import (
    ConsentChanged,
    MessageDeleted,
    MessageEchoed,
    MessageEdited,
    MessageReceived,
    Reacted,
    Request,
    StatusChanged,
    Unparseable,
)
from hub.model import Attachment, Party, Selection

# --- settings ---

WRONG = [
    ({"account_id": "@simulated"}, "account_id"),
    ({"username": "@simulated"}, "username"),
    ({"login": "google"}, "login"),
    ({"access_token": ""}, "empty"),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_wrong_settings_are_explained(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        InstagramConfig(**({"account_id": ACCOUNT} | PLAIN | change))


# --- verify ---


def test_a_signature_is_of_the_app_that_is_configured() -> None:
    adapter, _ = played()
    assert adapter.verify(posted(b"{}")).accept
    refused = adapter.verify(posted(b"{}", "sha256=" + "0" * 64))
    assert (refused.accept, refused.status) == (False, 403)
    assert not played(app_secret="another")[0].verify(posted(b"{}")).accept
    assert played(app_secret="another", app_secret_previous=SECRET)[0].verify(posted(b"{}")).accept


@pytest.mark.parametrize(("token", "status", "body"), [(WORD, 200, "1158201444"), ("wrong", 403, "verify_token")])
def test_the_handshake_is_answered(token: str, status: int, body: str) -> None:
    query = f"hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={token}"
    answer = played()[0].verify(Request("GET", f"{HOOK}?{query}", {}, b"", NOON))
    assert (answer.accept, answer.status) == (False, status) and answer.body.startswith(body)


# --- receive ---

AT = datetime.fromtimestamp(1749416383.25, UTC)
SENDER = Party("igsid", f"{ACCOUNT}:{ANN}")
CDN = "https://lookaside.fbsbx.com/ig_messaging_cdn/?asset_id="


def message(name: str, text: str = "", **more: Any) -> MessageReceived:
    return MessageReceived(f"i_{name}", SENDER, more.pop("at", AT), text, **more)


def file(name: str, kind: Any, url: str, text: str = "", **more: Any) -> MessageReceived:
    return message(name, text, attachments=[Attachment(kind, url=url)], **more)


def seen(name: str) -> StatusChanged:
    return StatusChanged(name, "read", AT, to=TO)


RECEIVED: dict[str, list[Any]] = {
    "text": [message("text", "Is it in stock? ✓")],
    "reply": [message("reply", "This one", reply_to="i_parent")],
    "quick_reply": [message("quick_reply", "Yes", selection=Selection("QR1", "Yes"))],
    "image": [file("image", "image", CDN + "1&signature=A")],
    "video": [file("video", "video", CDN + "2")],
    "audio": [file("audio", "audio", CDN + "3")],
    "file": [file("file", "file", CDN + "4")],
    "share": [file("share", "file", CDN + "5")],
    "share_link": [message("share_link", "https://www.instagram.com/p/Cx1/")],
    "post": [file("post", "file", CDN + "6", "This?\nNew lamps")],
    "reel": [file("reel", "video", "https://scontent.cdninstagram.com/o1/v/t16/r.mp4?x=1", "Lamps")],
    "story_mention": [file("story_mention", "file", CDN + "7", subject="Mentioned you in a story")],
    "story_reply": [file("story_reply", "file", CDN + "8", "wow", subject="Answer to your story")],
    "like_heart": [message("like_heart", "❤️")],
    "ephemeral": [message("ephemeral", unsupported="ephemeral")],
    "unsupported": [message("unsupported", unsupported="message")],
    "unsend": [MessageDeleted("i_unsend", SENDER, AT)],
    "ad": [
        message("ad", "How much?", subject="Came from an ad “Summer sale”, 6045246247433 (spring)", entry="spring")
    ],
    "product": [message("product", "How much?", subject="Came from a link, about product 77")],
    "ig_me": [
        MessageReceived(f"referral:{SENDER.value}@1749416383250", SENDER, AT, "Came from a link (poster-7)",
                        automatic=True, entry="poster-7")
    ],
    "ice_breaker": [message("ice", "Where are you?", selection=Selection("WHERE", "Where are you?"))],
    "reaction": [Reacted("i_parent", SENDER, AT, "🔥")],
    "reaction_named": [Reacted("i_parent", SENDER, AT, "❤️")],
    "reaction_removed": [Reacted("i_parent", SENDER, AT, removed=True)],
    "edit": [MessageEdited("i_text", SENDER, AT, "Is it in stock today?")],
    "seen": [seen("i_9")],
    "echo": [StatusChanged("i_9", "sent", AT, key=KEY)],
    "echo_of_app": [MessageEchoed("i_10", SENDER, AT, "Typed in the app")],
    "echo_unsent": [MessageDeleted("i_9", Party("igsid", ACCOUNT, "Colleague elsewhere"), AT)],
    "own_reaction": [Reacted("i_text", Party("igsid", ACCOUNT, "Colleague elsewhere"), AT, "❤")],
    "standby": [],
    "optin_marketing": [ConsentChanged(f"optin:{SENDER.value}@1749416383250", SENDER, "opt_in", AT, "marketing")],
    "test_button": [message("test", "Test", at=datetime.fromtimestamp(1749416383, UTC))],
    "comment": [],
    "batch": [
        message("b1", "One"),
        MessageReceived("i_b2", Party("igsid", f"{ACCOUNT}:777"), AT + timedelta(seconds=1), "Two"),
        seen("i_9"),
    ],
}


def test_every_captured_payload_is_expected() -> None:
    assert sorted(RECEIVED) == sorted(path.stem for path in FIXTURES.iterdir())


@pytest.mark.parametrize("name", RECEIVED)
def test_captured_payloads_become_events(name: str) -> None:
    adapter, _ = played()
    assert adapter.receive(posted((FIXTURES / f"{name}.json").read_bytes())) == RECEIVED[name]


def test_a_webhook_of_a_page_is_unparseable() -> None:
    with pytest.raises(Unparseable, match="object 'instagram'"):
        played()[0].receive(posted(b'{"object": "page", "entry": []}'))
