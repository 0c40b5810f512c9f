"""Who may tell us something."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.vonage_sms import records
from adapters.vonage_sms.signature import Method, sign
from adapters.vonage_sms.testing import HOOK, NOON, SIGNATURE_SECRET, played, webhook
from hub.contract import Request

FIELDS = {
    "msisdn": "447700900001",
    "to": "447700900000",
    "messageId": "0A0000000123ABCD1",
    "text": "Hello & a=b",
    "type": "text",
    "timestamp": "1578787200",
    "nonce": "n1",
}
THEN = datetime.fromtimestamp(1578787200, UTC)
# The HMACs were made with Vonage's own library, but for sha1 and sha512.
VECTORS: list[tuple[Method, str]] = [
    ("md5hash", "938200d499edc318b74331d79ec755de"),
    ("md5", "a94bf2ce5b2a769986e45ecaed5a1f7d"),
    ("sha256", "59fc4fa95365bf6d5b192f4853ae0c9f3f36fe84c6b1676e1517163992bd9b5f"),
]
METHODS: list[Method] = ["md5hash", "md5", "sha1", "sha256", "sha512"]
WAYS = ["form", "json", "get"]


def accepted(request: Request, now: datetime = THEN, **config: Any) -> bool:
    answer = played(now=now, **config)[0].verify(request)
    assert answer.accept or (answer.status == 403 and "signature_secret" in answer.body)
    return answer.accept


def signed(fields: dict[str, str] | None = None, method: str = "md5hash", **more: str) -> dict[str, str]:
    return records.signed(SIGNATURE_SECRET, method, (FIELDS if fields is None else fields) | more)


@pytest.mark.parametrize(("method", "sig"), VECTORS)
def test_known_signatures(method: Method, sig: str) -> None:
    assert sign(SIGNATURE_SECRET, method, FIELDS) == sign(SIGNATURE_SECRET, method, FIELDS | {"sig": "x"}) == sig
    assert accepted(webhook(FIELDS | {"sig": sig}), signature_method=method)
    assert accepted(webhook(FIELDS | {"sig": sig.upper()}), signature_method=method)
    assert signed(method=method)["sig"] == sig, "the simulator"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_by_every_way(method: Method, way: str) -> None:
    request = webhook(signed(text="héllo 🌳 ✓ + 100%", method=method), way)
    assert accepted(request, signature_method=method)
    assert [other for other in METHODS if accepted(request, signature_method=other)] == [method]
    assert not accepted(request, signature_method=method, signature_secret="another")


@pytest.mark.parametrize("name", list(FIELDS))
@pytest.mark.parametrize("way", WAYS)
def test_every_field_is_signed(name: str, way: str) -> None:
    true = signed()
    assert not accepted(webhook(true | {name: true[name] + "1"}, way))
    assert not accepted(webhook({other: value for other, value in true.items() if other != name}, way))
    assert not accepted(webhook(true | {"status": "failed"}, way))


REFUSED: dict[str, Request] = {
    "nothing": webhook(b""),
    "no signature": webhook(FIELDS),
    "an empty one": webhook(FIELDS | {"sig": ""}),
    "one of another alphabet": webhook(FIELDS | {"sig": "é" * 32}),
    "a name that swallows others": webhook(
        {
            "messageId": FIELDS["messageId"],
            "msisdn": FIELDS["msisdn"] + "",
            "nonce": "n1",
            "text=Hello _ a_b&timestamp": FIELDS["timestamp"],
            "to": FIELDS["to"],
            "type": "text",
            "sig": dict(VECTORS)["md5hash"],
        }
    ),
    "two values": webhook(b"messageId=1&messageId=2"),
    "no UTF-8": webhook(b"messageId=%ff"),
    "a list": webhook(b'{"messageId": ["1"]}'),
    "JSON with one name twice": webhook(b'{"messageId": "1", "messageId": "2"}'),
    "JSON with half a letter": webhook(b'{"messageId": "\\ud800"}'),
    "a body where the query is signed": Request("POST", webhook(signed(), "get").url, {}, b"", NOON),
}


@pytest.mark.parametrize("what", list(REFUSED))
def test_what_is_not_signed_is_refused(what: str) -> None:
    assert not accepted(REFUSED[what])


def test_two_values_are_refused_although_one_is_signed() -> None:
    body = webhook(signed()).body
    assert accepted(webhook(body)) and not accepted(webhook(body + b"&text=Bye"))
    assert not accepted(Request("GET", f"{HOOK}?{body.decode()}&text=Bye", {}, b"", NOON))


AGES = [
    (timedelta(0), True),
    (timedelta(hours=24), True),
    (timedelta(hours=26), False),
    (timedelta(minutes=-4), True),
    (timedelta(minutes=-6), False),
]


@pytest.mark.parametrize(("age", "taken"), AGES)
def test_a_signature_is_good_for_as_long_as_vonage_repeats(age: timedelta, taken: bool) -> None:
    assert accepted(webhook(signed()), THEN + age) is taken


@pytest.mark.parametrize("stamp", ["", "soon", "-1", "1e9", "٣", "9" * 30])
def test_a_signature_without_a_time_is_refused(stamp: str) -> None:
    assert not accepted(webhook(signed(timestamp=stamp)))
    assert not accepted(webhook(signed({name: value for name, value in FIELDS.items() if name != "timestamp"})))
