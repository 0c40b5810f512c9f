"""Settings, and webhooks to events."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from pydantic import ValidationError

from adapters.twilio_sms.adapter import TwilioSmsConfig
from adapters.twilio_sms.testing import ANN, FORM, NOON, PHONE, PLAIN, PUBLIC_URL, played, sid
from hub.contract import (
    ConsentChanged,
    MessageReceived,
    Request,
    StatusChanged,
    Unparseable,
)
from hub.model import Attachment, Party

# --- settings ---

WRONG = [
    ({"auth_token": ""}, "empty"),
    ({"auth_token": "two words"}, "blanks"),
    ({"auth_token_previous": ""}, "empty"),
    ({"shared_key": ""}, "empty"),
    ({"from_number": None}, "set from_number or messaging_service_sid, one of the two"),
    ({"messaging_service_sid": "MG01"}, "set from_number or messaging_service_sid, one of the two"),
    ({"from_number": "+1\r\n"}, "from_number"),
    ({"account_sid": "SK01"}, "account_sid"),
    ({"api_key_sid": "SK01"}, "belong together"),
    ({"api_key_secret": "x"}, "belong together"),
    ({"validity_period": 36_001}, "36000"),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_wrong_settings_are_explained(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TwilioSmsConfig(**(PLAIN | change))


# --- receive ---

MEDIA = "https://api.twilio.com/2010-04-01/Accounts/AC{:032d}/Messages/MM{:032d}/Media/ME{:032d}"


def message(number: int, text: str, sender: str = PHONE) -> MessageReceived:
    return MessageReceived(sid(number), Party("tel", sender), NOON, text)


RECEIVED: dict[str, list[Any]] = {
    "sms": [message(1, "Hi")],
    "sms_service": [message(2, "héllo & co = 100% + ✓")],
    "mms": [
        replace(
            message(3, ""),
            external_id=sid(3, "MM"),
            attachments=[
                Attachment("image", MEDIA.format(1, 3, 1), mime="image/jpeg"),
                Attachment("contact", MEDIA.format(1, 3, 2), mime="text/x-vcard"),
                Attachment("file", MEDIA.format(1, 3, 3), mime="application/pdf"),
            ],
        )
    ],
    "stop": [message(4, "STOP"), ConsentChanged(sid(4), ANN, "opt_out", NOON)],
    "start": [message(5, "START"), ConsentChanged(sid(5), ANN, "opt_in", NOON)],
    "help": [message(6, "HELP")],
    "base64": [
        message(7, "Hello, the tree you sent arrived today, but two of its branches are broken.\n"
                   "“Fragile”, it said on the box 🌳 — what shall we do?")
    ],
    "nul": [message(8, "remove")],
    "short_code": [message(9, "Your code is 1234", "72345")],
    "alphanumeric": [message(10, "Sale", "GREENFIELD")],
    "status_sending": [StatusChanged(sid(11), "queued", NOON, key="del_1.0")],
    "status_sent": [StatusChanged(sid(11), "sent", NOON, key="del_1.0")],
    "status_delivered": [StatusChanged(sid(11), "delivered", NOON, key="del_1.0")],
    "status_unreachable": [
        StatusChanged(
            sid(12), "failed", NOON, "30003", "the handset cannot be reached now: off or out of range", "del_1.0"
        )
    ],
    "status_unknown_number": [
        StatusChanged(sid(13), "failed", NOON, "30005", "the number does not exist", "del_1.0", bad_address=True)
    ],
    "status_opted_out": [
        StatusChanged(sid(14), "failed", NOON, "21610", "Attempt to send to unsubscribed recipient", "del_1.0",
                      opted_out=True)
    ],
    "status_receiving": [],
    "status_of_old": [StatusChanged(sid(16), "sent", NOON, key="del_1.0")],
}
FIXTURES = Path(__file__).parent / "fixtures"


def webhook(body: bytes | dict[str, str], query: str = "", method: str = "POST") -> Request:
    if isinstance(body, dict):
        body = urlencode(body).encode()
    return Request(method, f"{PUBLIC_URL}/hooks/sms{query}", {"content-type": FORM}, body, NOON)


def test_every_captured_payload_is_expected() -> None:
    assert sorted(RECEIVED) == sorted(path.stem for path in FIXTURES.iterdir())


@pytest.mark.parametrize("name", RECEIVED)
def test_captured_payloads_become_events(name: str) -> None:
    body = (FIXTURES / f"{name}.form").read_bytes()
    adapter, _ = played()
    assert adapter.receive(webhook(body, "?key=del_1.0" if name.startswith("status") else "")) == RECEIVED[name]


def test_a_message_by_get_is_read_from_the_url() -> None:
    body = (FIXTURES / "sms.form").read_text()
    adapter, _ = played()
    assert adapter.receive(webhook(b"", "?" + body, "GET")) == RECEIVED["sms"]


STATES = [
    ("accepted", "queued"), ("scheduled", "queued"), ("queued", "queued"), ("sending", "queued"), ("sent", "sent"),
    ("delivered", "delivered"), ("partially_delivered", "delivered"), ("read", "read"), ("undelivered", "failed"),
    ("failed", "failed"), ("canceled", "failed"),
]


@pytest.mark.parametrize(("status", "state"), STATES)
def test_statuses_are_mapped(status: str, state: str) -> None:
    adapter, _ = played()
    [event] = adapter.receive(webhook({"MessageSid": "SM1", "MessageStatus": status}))
    assert isinstance(event, StatusChanged) and event.state == state and event.key is None


@pytest.mark.parametrize("status", ["receiving", "received", "new in 2027"])
def test_other_statuses_are_of_no_interest(status: str) -> None:
    adapter, _ = played()
    assert adapter.receive(webhook({"MessageSid": "SM1", "MessageStatus": status, "From": PHONE, "Body": "x"})) == []


@pytest.mark.parametrize("name", ["SmsMessageSid", "SmsSid"])
def test_the_sid_has_other_names_too(name: str) -> None:
    [event] = played()[0].receive(webhook({name: "SM1", "SmsStatus": "received", "From": PHONE, "Body": "x"}))
    assert isinstance(event, MessageReceived) and event.external_id == "SM1"


BASE64 = "SGVsbG8sIHRoZSB0cmVlIHlvdSBzZW50IGFycml2ZWQgdG9kYXksIGJ1dCB0d28gb2YgaXRz"
NO_BASE64 = [
    "hello",
    "SGVsbG8=",  # too short to have been a long message
    "f" * 64,
    "H" * 64,
    "9" * 64,
    "haha" * 20,
    "A" * 64,  # NULs
    "bN5sPWYvT1oT2W0y7m3Z9lqk9v0nQ3tXlq8jv7o9mJc1c0fKq1vFv3s8yq0m2rZt",  # a key
    BASE64 + "=",
    BASE64 + " " + BASE64,
    "https://example.com/" + BASE64,
]


@pytest.mark.parametrize("text", NO_BASE64)
def test_what_only_looks_like_base64_stays_as_it_is(text: str) -> None:
    adapter, _ = played()
    [event] = adapter.receive(webhook({"MessageSid": "SM1", "From": PHONE, "Body": text}))
    assert isinstance(event, MessageReceived) and event.text == text


PASSING = [
    *[(code, "transient") for code in ("30001", "30017", "30021", "30410", "63009", "63012")],
    *[(code, "rate_limited") for code in ("30022", "30023", "63018")],
    *[(code, "channel_down") for code in ("20003", "30032", "30034")],
    *[(code, None) for code in ("30003", "30005", "30007", "21610")],
]


@pytest.mark.parametrize(("code", "error"), PASSING)
def test_a_status_says_which_failures_pass(code: str, error: str | None) -> None:
    adapter, _ = played()
    for status, expected in (("undelivered", error), ("failed", error), ("delivered", None)):
        [event] = adapter.receive(webhook({"MessageSid": "SM1", "MessageStatus": status, "ErrorCode": code}))
        assert isinstance(event, StatusChanged) and event.error == expected


def test_only_a_failure_says_something_of_the_address() -> None:
    adapter, _ = played()
    for code in ("30005", "21610"):
        [event] = adapter.receive(webhook({"MessageSid": "SM1", "MessageStatus": "sent", "ErrorCode": code}))
        assert isinstance(event, StatusChanged) and not event.bad_address and not event.opted_out


UNPARSEABLE = [
    (b"", "no MessageSid"),
    (b"From=%2B14133881111&Body=x", "no MessageSid"),
    (b"MessageSid=SM1&Body=x", "SM1 has no From"),
    (b"MessageSid=%00&From=%2B1", "no MessageSid"),
    (b"MessageSid=SM1&From=%2B1&Body=a&Body=b", "two values"),
    (b"MessageSid=SM1&From=whatsapp%3A%2B14133881111&Body=a", "did not come by SMS: give whatsapp a channel"),
    (b"MessageSid=SM1&From=%2B1&Body=%ff", "not a form"),
    (b"MessageSid=SM1&From=%2B1&Body=\xff", "not a form"),
    (b'{"MessageSid": "SM1"}', "no MessageSid"),
]


@pytest.mark.parametrize(("body", "words"), UNPARSEABLE)
def test_what_is_no_message_is_unparseable(body: bytes, words: str) -> None:
    adapter, _ = played()
    with pytest.raises(Unparseable, match=words):
        adapter.receive(webhook(body))
