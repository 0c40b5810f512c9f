"""Settings, and webhooks to events."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl

import pytest
from pydantic import ValidationError

from adapters.vonage_sms.adapter import VonageSmsConfig
from adapters.vonage_sms.testing import ANN, AT, FIXTURES, KEY, NOON, PLAIN, played, webhook
from hub.contract import MessageReceived, StatusChanged, Unparseable
from hub.model import Party

# --- settings ---

WRONG = [
    ({"api_key": ""}, "empty"),
    ({"api_secret": "two words"}, "blanks"),
    ({"signature_secret": "x\n"}, "blanks"),
    ({"signature_method": "crc"}, "md5hash"),
    ({"from_number": "+1\r\n"}, "from_number"),
    ({"from_number": "a name that is long"}, "from_number"),
    ({"validity_period": 19}, "20"),
    ({"validity_period": 604_801}, "604800"),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_wrong_settings_are_explained(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        VonageSmsConfig(**(PLAIN | change))


@pytest.mark.parametrize("missing", ["api_key", "api_secret", "signature_secret", "from_number"])
def test_settings_are_complete(missing: str) -> None:
    with pytest.raises(ValidationError, match=missing):
        VonageSmsConfig(**{name: value for name, value in PLAIN.items() if name != missing})


# --- receive ---

DLR = "0B00000127FDBC63"


def message(number: str, text: str, sender: str = ANN.value) -> MessageReceived:
    return MessageReceived(number, Party("tel", sender), AT, text)


RECEIVED: dict[str, list[Any]] = {
    "sms.form": [message("0A0000000123ABCD1", "Hello & a=b + 100% ✓")],
    "sms.json": [message("0A0000000123ABCD1", "Hello & a=b + 100% ✓")],
    "plain.form": [MessageReceived("external1", Party("tel", "+2349067554729"), NOON, "Join")],
    "unicode.json": [message("0A0000000123ABCD2", "Grüße 🌳")],
    "short_code.form": [message("0A0000000123ABCD3", "Your code is 1234", "72345")],
    "alphanumeric.form": [message("0A0000000123ABCD4", "Sale", "GREENFIELD")],
    "part1.json": [message("0A0000000123ABCD5.1", "The first half, ")],
    "part2.json": [message("0A0000000123ABCD6.2", "the second half")],
    "binary.json": [
        MessageReceived("0A0000000123ABCD7", ANN, AT, unsupported="binary"),
    ],
    "nul.json": [message("0A0000000123ABCD8", "remove")],
    "delivered.json": [StatusChanged(DLR, "delivered", AT, key=KEY)],
    "delivered.form": [StatusChanged(DLR, "delivered", AT, key=KEY)],
    "buffered.json": [StatusChanged(DLR, "sent", AT, key=KEY)],
    "opted_out.json": [StatusChanged(DLR, "failed", AT, "9", "the recipient opted out", opted_out=True)],
    "dead.json": [StatusChanged(DLR, "failed", AT, "3", "the number is no longer in use", KEY, bad_address=True)],
    "unknown.json": [],
}


def test_every_captured_payload_is_expected() -> None:
    assert sorted(RECEIVED) == sorted(path.name for path in FIXTURES.iterdir())


@pytest.mark.parametrize("name", RECEIVED)
@pytest.mark.parametrize("way", ["form", "json", "get"])
def test_captured_payloads_become_events(name: str, way: str) -> None:
    body = (FIXTURES / name).read_bytes()
    adapter, _ = played()
    assert adapter.receive(webhook(body)) == RECEIVED[name]
    fields = json.loads(body) if name.endswith("json") else dict(parse_qsl(body.decode()))
    assert adapter.receive(webhook(fields, way)) == RECEIVED[name]


STATES = [
    ("accepted", "sent"),
    ("buffered", "sent"),
    ("delivered", "delivered"),
    ("expired", "failed"),
    ("failed", "failed"),
    ("rejected", "failed"),
]


def receipt(status: str, code: str | None = None) -> list[Any]:
    fields = {"messageId": "1", "msisdn": "447700900001", "to": "Acme", "status": status}
    return played()[0].receive(webhook(fields | ({"err-code": code} if code else {})))


@pytest.mark.parametrize(("status", "state"), STATES)
def test_statuses_are_mapped(status: str, state: str) -> None:
    [event] = receipt(status, "0")
    assert (event.external_id, event.state, event.at, event.code, event.key) == ("1", state, NOON, None, None)
    assert event.detail == (status if state == "failed" else None)


@pytest.mark.parametrize("status", ["unknown", "", "new in 2027"])
def test_other_statuses_are_of_no_interest(status: str) -> None:
    assert receipt(status, "3") == []


# err-code: whether the address is dead, and whether the person refused
CODES = {
    **{str(code): (False, False) for code in (*range(1, 17), *range(50, 55), 99, 77)},
    "3": (True, False),
    "11": (True, False),
    "12": (True, False),
    "9": (False, True),
}


@pytest.mark.parametrize("code", CODES)
def test_codes_of_failures(code: str) -> None:
    for status in ("failed", "rejected", "expired"):
        [event] = receipt(status, code)
        assert (event.code, event.bad_address, event.opted_out) == (code, *CODES[code])
        assert event.detail and (code == "77") is (event.detail == status), "words for each code that is known"


@pytest.mark.parametrize("code", ["3", "9"])
def test_only_a_failure_says_something_of_the_address(code: str) -> None:
    [event] = receipt("buffered", code)
    assert not event.bad_address and not event.opted_out


def test_parts_of_a_long_message_are_told_apart() -> None:
    fields = {"messageId": "1", "msisdn": "447700900001", "text": "x", "concat": "true", "concat-total": "2"}
    found = [played()[0].receive(webhook(fields | {"concat-part": part}))[0] for part in ("1", "2")]
    assert [event.external_id for event in found if isinstance(event, MessageReceived)] == ["1.1", "1.2"]


def test_numbers_and_truths_of_json_are_read_as_in_a_form() -> None:
    body = b'{"messageId": "1", "msisdn": 447700900001, "text": 12.50, "concat": true, "concat-part": 1, "udh": null}'
    assert played()[0].receive(webhook(body)) == [MessageReceived("1.1", ANN, NOON, "12.50")]


@pytest.mark.parametrize("stamp", ["", "soon", "2018-13-25 12:10:29", "2018-10-25"])
def test_without_its_time_a_message_is_of_now(stamp: str) -> None:
    fields = {"messageId": "1", "msisdn": "447700900001", "text": "x", "message-timestamp": stamp}
    [event] = played()[0].receive(webhook(fields))
    assert isinstance(event, MessageReceived) and event.at == NOON


UNPARSEABLE = [
    (b"", "no messageId"),
    (b"msisdn=447700900001&text=x", "no messageId"),
    (b"messageId=1&text=x", "1 has no msisdn"),
    (b"messageId=%00&msisdn=1", "no messageId"),
    (b"messageId=1&msisdn=1&text=a&text=b", "two values"),
    (b"messageId=1&text=%ff", "neither a form nor"),
    (b"messageId=1&text=\xff", "neither a form nor"),
    (b'{"messageId": "1", "text": {}}', "a list or an object"),
    (b'{"messageId": "1", "text": "\\ud800"}', "neither a form nor"),
    (b'{"messageId": NaN}', "no number"),
    (b'{"a":' * 100_000, "too deep|nested"),
    (b"[]", "no messageId"),
    (b"&".join(b"a%d=1" % number for number in range(1000)), "neither a form nor"),
]


@pytest.mark.parametrize(("body", "words"), UNPARSEABLE)
def test_what_is_no_message_is_unparseable(body: bytes, words: str) -> None:
    with pytest.raises(Unparseable, match=words):
        played()[0].receive(webhook(body))
