"""Settings, signatures, and webhooks to events."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.graph.records import sign
from adapters.graph.testing import HOOK, KEY, NOON, PLAIN, SECRET, WORD, posted
from adapters.messenger.adapter import MessengerConfig
from adapters.messenger.testing import ANN, FIXTURES, PAGE, TO, played
from hub.contract import (
    AccountChanged,
    ConsentChanged,
    MessageDeleted,
    MessageEchoed,
    MessageEdited,
    MessageReceived,
    Reacted,
    Request,
    StatusChanged,
    Unparseable,
    Verified,
)
from hub.model import Attachment, Location, Party, Selection

# --- settings ---

WRONG = [
    ({"page_id": "my-page"}, "page_id"),
    ({"access_token": ""}, "empty"),
    ({"app_secret": "two words"}, "blanks"),
    ({"app_secret_previous": ""}, "empty"),
    ({"api_version": "25"}, "api_version"),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_wrong_settings_are_explained(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        MessengerConfig(**({"page_id": PAGE} | PLAIN | change))


# --- verify ---

META_BODY = rb'{"object":"page","entry":[{"id":"1","time":1,"messaging":[]}],"t":"\u00e9\/x"}'
META_SIGNATURE = "sha256=774a6fbcc2f245a58ec3f7f3b10a79cdde4db9fd1b227318dbb86e4a37eff4a4"  # of secret "appsecret"


def test_the_signature_is_metas() -> None:
    adapter, _ = played(app_secret="appsecret")
    assert adapter.verify(posted(META_BODY, META_SIGNATURE)).accept
    assert not adapter.verify(posted(META_BODY.replace(rb"\/", b"/"), META_SIGNATURE)).accept


FORGED = ["", "sha256=", META_SIGNATURE.upper(), META_SIGNATURE[7:], "sha1=" + META_SIGNATURE[7:], "é", "\ud800"]


@pytest.mark.parametrize("signature", FORGED)
def test_other_signatures_are_refused(signature: str) -> None:
    adapter, _ = played(app_secret="appsecret")
    answer = adapter.verify(replace(posted(META_BODY), headers={"x-hub-signature-256": signature}))
    assert (answer.accept, answer.status) == (False, 403) and "app_secret" in answer.body


def test_the_former_secret_holds_while_it_is_rotated() -> None:
    old = sign("the-old-secret", b"{}")
    assert not played()[0].verify(posted(b"{}", old)).accept
    adapter, _ = played(app_secret_previous="the-old-secret")
    assert adapter.verify(posted(b"{}", old)).accept and adapter.verify(posted(b"{}", sign(SECRET, b"{}"))).accept


def handshake(query: str, **config: Any) -> Verified:
    return played(**config)[0].verify(Request("GET", f"{HOOK}?{query}", {}, b"", NOON))


def test_the_handshake_echoes_the_challenge_as_plain_text() -> None:
    answer = handshake(f"hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={WORD}")
    assert (answer.accept, answer.status, answer.body) == (False, 200, "1158201444")
    assert answer.headers == {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"}


@pytest.mark.parametrize("config", [{}, {"verify_token": None}])
def test_other_handshakes_echo_nothing(config: dict[str, Any]) -> None:
    answer = handshake("hub.mode=subscribe&hub.challenge=%3Cscript%3E&hub.verify_token=wrong", **config)
    assert (answer.accept, answer.status) == (False, 403) and "script" not in answer.body


# --- receive ---

AT = datetime.fromtimestamp(1749416383.25, UTC)
UNTIL = datetime.fromtimestamp(1749416383, UTC)
SENDER = Party("psid", f"{PAGE}:{ANN}")
CDN = "https://scontent.xx.fbcdn.net/v/t1.15752-9/"


def message(name: str, text: str = "", **more: Any) -> MessageReceived:
    return MessageReceived(more.pop("external_id", f"m_{name}"), SENDER, more.pop("at", AT), text, **more)


def file(name: str, kind: Any, url: str, text: str = "", title: str | None = None) -> MessageReceived:
    return message(name, text, attachments=[Attachment(kind, url=url, name=title)])


def told(kind: str, text: str = "", at: datetime = AT, **more: Any) -> MessageReceived:
    """What Meta gives no id."""
    external_id = f"{kind}:{PAGE}:{ANN}@{at.timestamp() * 1000:.0f}"
    return MessageReceived(external_id, SENDER, at, text, **{"automatic": True} | more)


def consent(change: Any) -> ConsentChanged:
    return ConsentChanged(f"optin:{PAGE}:{ANN}@1749416383250", SENDER, change, AT, "marketing")


def watermark(kind: str, state: Any, at: datetime = AT, until: datetime = UNTIL) -> StatusChanged:
    external_id = f"{kind}:{PAGE}:{ANN}@{at.timestamp() * 1000:.0f}"
    return StatusChanged(external_id, state, at, to=TO, until=until + timedelta(microseconds=999))


RECEIVED: dict[str, list[Any]] = {
    "text": [message("text", "Is it in stock? ✓")],
    "reply": [message("reply", "This one", reply_to="m_parent")],
    "quick_reply": [message("quick_reply", "Yes", selection=Selection("QR1", "Yes"))],
    "image": [file("image", "image", CDN + "1.jpg?_nc_cat=1&oh=00_A")],
    "images": [
        message("images", "Both", attachments=[Attachment("image", url=f"{CDN}{number}.jpg") for number in (1, 2)])
    ],
    "video": [file("video", "video", "https://video.xx.fbcdn.net/v/t42/1.mp4?x=1")],
    "audio": [file("audio", "audio", "https://cdn.fbsbx.com/v/t59/audioclip-1.mp4?x=1")],
    "file": [
        file("file", "file", "https://cdn.fbsbx.com/v/t59/in%20voice.pdf/in%20voice%207.pdf?x=1", "", "in voice 7.pdf")
    ],
    "file_on_disk": [message("file_on_disk", "My Documents/foo.doc")],
    "sticker": [file("sticker", "sticker", "https://scontent.xx.fbcdn.net/v/t39/s.png")],
    "like": [message("like", "👍")],
    "location": [message("location", location=Location(1.2, -1.3, "Ann's Location"))],
    "location_fallback": [message("location_fallback", location=Location(51.5074, -0.1278, "Pinned Location"))],
    "link": [message("link", "Look https://shop.example.com/7")],
    "link_alone": [message("link_alone", "A lamp: https://shop.example.com/7")],
    "reel": [message("reel", "Lamps: https://www.facebook.com/reel/123/")],
    "share": [message("share", "https://www.facebook.com/shop/posts/1")],
    "of_tomorrow": [message("of_tomorrow", unsupported="hologram")],
    "template": [message("template", "Order 7", unsupported="template")],
    "empty": [message("empty", unsupported="message")],
    "ad": [message("ad", "Tell me more", subject="Came from an ad “Summer sale”, 6045246247433 (spring)",
                   entry="spring")],
    "unsend": [MessageDeleted("m_unsend", SENDER, AT)],
    "postback": [
        message("postback", "Start", selection=Selection("get_started", "Start"), subject="Came from a link (r)",
                entry="r")
    ],
    "postback_old": [told("postback", "Menu", selection=Selection("MENU", "Menu"), automatic=False)],
    "referral": [told("referral", "Came from a link (poster-7)", entry="poster-7")],
    "referral_seconds": [told("referral", "Came from a link (poster-7)", UNTIL, entry="poster-7")],
    "reaction": [Reacted("m_parent", SENDER, AT, "❤")],
    "reaction_named": [Reacted("m_parent", SENDER, AT, "😮")],
    "reaction_removed": [Reacted("m_parent", SENDER, AT, removed=True)],
    "edit": [MessageEdited("m_text", SENDER, AT, "Is it in stock today?")],
    "delivery": [StatusChanged("m_8", "delivered", AT), StatusChanged("m_9", "delivered", AT)],
    "delivery_watermark": [watermark("delivery", "delivered")],
    "read": [watermark("read", "read")],
    "echo": [StatusChanged("m_9", "sent", AT, key=KEY)],
    "echo_of_inbox": [MessageEchoed("m_10", SENDER, AT, "From the inbox")],
    "echo_of_another_app": [MessageEchoed("m_11", SENDER, AT, "Bot")],
    "optin_marketing": [consent("opt_in")],
    "optin_stopped": [consent("opt_out")],
    "optin_resumed": [consent("opt_in")],
    "optin_plugin": [told("optin", "Pressed “Send to Messenger”, ref: cart-7")],
    "optin_checkbox": [],
    "standby": [],
    "handover": [],
    "account_linking": [],
    "unknown_event": [told("messaging_feedback", unsupported="messaging_feedback")],
    "policy": [
        AccountChanged(f"policy_enforcement:{PAGE}@1749416383:warning", AT, f"account {PAGE}", "warning",
                       "Sending spam")
    ],
    "feed": [],
    "test_button": [message("test", "Test", at=UNTIL)],
    "batch": [
        message("b1", "One"),
        MessageReceived("m_b2", Party("psid", f"{PAGE}:777"), AT + timedelta(seconds=1), "Two"),
        watermark("read", "read", until=AT),
        message("b3", "Three", at=AT + timedelta(seconds=2)),
    ],
}


@pytest.mark.parametrize(("action", "holds"), [("block", True), ("unblock", False), ("warning", None)])
def test_a_page_that_is_blocked_sends_no_advertising(action: str, holds: bool | None) -> None:
    item = {"recipient": {"id": PAGE}, "timestamp": 1, "policy_enforcement": {"action": action, "reason": "Spam"}}
    body = json.dumps({"object": "page", "entry": [{"id": PAGE, "time": 1, "messaging": [item]}]}).encode()
    [told] = played()[0].receive(posted(body))
    assert isinstance(told, AccountChanged) and told.holds is holds


def test_every_captured_payload_is_expected() -> None:
    assert sorted(RECEIVED) == sorted(path.stem for path in FIXTURES.iterdir())


@pytest.mark.parametrize("name", RECEIVED)
def test_captured_payloads_become_events(name: str) -> None:
    adapter, _ = played()
    assert adapter.receive(posted((FIXTURES / f"{name}.json").read_bytes())) == RECEIVED[name]


def test_a_webhook_for_another_page_says_nothing_to_this_one() -> None:
    adapter, _ = played(page_id="99")
    [event] = adapter.receive(posted((FIXTURES / "batch.json").read_bytes()))
    assert isinstance(event, MessageReceived) and event.sender == Party("psid", f"99:{ANN}")


def changed(**parts: Any) -> bytes:
    """The captured text with other parts of its message; None takes one away."""
    document = json.loads((FIXTURES / "text.json").read_bytes())
    raw = document["entry"][0]["messaging"][0]
    raw["message"] |= {name: value for name, value in parts.items() if name != "sender"}
    raw["message"] = {name: value for name, value in raw["message"].items() if value is not None}
    raw["sender"] = parts.get("sender", raw["sender"])
    return json.dumps(document).encode()


UNPARSEABLE = [
    (b"", "not JSON"),
    (b"[]", "not a JSON object"),
    (b"{}", "object 'page'"),
    (b'{"object": "instagram", "entry": []}', "object 'page'"),
    (b'{"object": "page"}', "object 'page'"),
    (changed(mid=None), "without mid"),
    (changed(sender=None), "no sender"),
]


@pytest.mark.parametrize(("body", "words"), UNPARSEABLE)
def test_what_is_no_message_is_unparseable(body: bytes, words: str) -> None:
    adapter, _ = played()
    with pytest.raises(Unparseable, match=words):
        adapter.receive(posted(body))


MAP = "https://l.facebook.com/l.php?u=https%3A%2F%2Fwww.bing.com%2Fmaps%3Fwhere1%3D"
SHARED: list[tuple[dict[str, Any], str, list[str]]] = [
    ({"type": "share", "payload": {"url": "https://lookaside.fbsbx.com/x?asset_id=1"}}, "",
     ["https://lookaside.fbsbx.com/x?asset_id=1"]),
    ({"type": "share", "payload": {"url": "https://fbsbx.com.evil.example/x"}}, "https://fbsbx.com.evil.example/x", []),
    ({"type": "share", "payload": {"url": "http://scontent.fbcdn.net/x"}}, "http://scontent.fbcdn.net/x", []),
    ({"type": "reel", "payload": {"url": "//evil.example/x"}}, "//evil.example/x", []),
    ({"type": "image", "payload": {"url": "file:///etc/passwd"}}, "file:///etc/passwd", []),
    ({"type": "image", "payload": {}}, "[image without an address]", []),
    ({"type": "fallback", "payload": None}, "[shared something]", []),
    ({"type": "fallback", "title": "Map", "url": MAP + "here"}, f"Map: {MAP}here", []),
    ({"type": "fallback", "url": "https://[bad"}, "https://[bad", []),
    ({"type": "share", "payload": {"url": "https://[bad"}}, "https://[bad", []),
]


@pytest.mark.parametrize(("attachment", "text", "files"), SHARED)
def test_only_what_meta_keeps_is_a_file(attachment: dict[str, Any], text: str, files: list[str]) -> None:
    adapter, _ = played()
    [event] = adapter.receive(posted(changed(text=None, attachments=[attachment])))
    assert isinstance(event, MessageReceived)
    assert (event.text, [each.url for each in event.attachments]) == (text, files)


def test_a_time_that_is_none_is_when_it_came() -> None:
    document = json.loads((FIXTURES / "text.json").read_bytes())
    for wrong in ("", "soon", "nan", "1e300", None):
        document["entry"][0]["messaging"][0]["timestamp"] = document["entry"][0]["time"] = wrong
        [event] = played()[0].receive(posted(json.dumps(document).encode()))
        assert event.at == NOON


def test_text_holds_nothing_that_a_database_refuses() -> None:
    [event] = played()[0].receive(posted(changed(text="a\0b\ud800c")))
    assert isinstance(event, MessageReceived) and event.text == "ab?c"


def test_a_thousand_messages_in_one_webhook_are_all_read() -> None:
    document = json.loads((FIXTURES / "text.json").read_bytes())
    [raw] = document["entry"][0]["messaging"]
    many = [raw | {"message": {"mid": f"m_{number}", "text": "Hi"}} for number in range(1000)]
    document["entry"][0]["messaging"] = many
    found = played()[0].receive(posted(json.dumps(document).encode()))
    assert [getattr(each, "external_id", "") for each in found] == [f"m_{number}" for number in range(1000)]
