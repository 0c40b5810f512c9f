"""Messages to calls, and answers to receipts and errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

import pytest

from adapters.vonage_sms.errors import MEANING
from adapters.vonage_sms.testing import HOOK, KEY, PLAIN, SECRET, SIGNATURE_SECRET, out, played, said
from hub.contract import (
    Ambiguous,
    Answer,
    BadAddress,
    ChannelDown,
    Outgoing,
    RateLimited,
    Receipt,
    Rejected,
    SendError,
    Transient,
)
from hub.model import Address, Attachment, Template

# --- send: the call ---


def row(number: int = 1, **more: Any) -> dict[str, Any]:
    return {"to": "447700900001", "message-id": f"0A{number:014d}", "status": "0", "remaining-balance": "15.5",
            "message-price": "0.03330000", "network": "23410", **more}  # fmt: skip


def taken(*rows: dict[str, Any]) -> Answer:
    return said(200, {"message-count": str(len(rows)), "messages": list(rows)})


async def test_a_send_is_one_call() -> None:
    adapter, player = played(taken(row()), validity_period=14_400)
    receipt = await adapter.send(out("Hello & co", callback_url=f"{HOOK}?key={KEY}"))
    assert receipt == Receipt("0A00000000000001", "sent", {"num_segments": "1", "price": "0.03330000 EUR"})
    [(method, url, headers, body)] = player.asked
    assert (method, url) == ("POST", "https://rest.nexmo.com/sms/json")
    assert headers["authorization"] == "Basic dGhlLWFwaS1rZXk6dGhlLWFwaS1zZWNyZXQ="
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qsl(body.decode()) == [
        ("from", "447700900000"),
        ("status-report-req", "1"),
        ("ttl", "14400000"),
        ("to", "447700900001"),
        ("text", "Hello & co"),
        ("type", "text"),
        ("client-ref", KEY),
        ("callback", HOOK),
    ]


TYPES = [
    ("Hello [€] ~", "text"), ("Grüße", "text"), ("façade", "unicode"), ("`", "unicode"), ("Здравствуйте", "unicode"),
    ("Hello 🌳", "unicode"), ("a\tb", "unicode"), ("line\nline\r\n", "text"), ("“Fragile”", "unicode"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "kind"), TYPES)
async def test_what_is_not_in_the_alphabet_of_sms_goes_as_unicode(words: str, kind: str) -> None:
    adapter, player = played(taken(row()))
    await adapter.send(out(words))
    form = dict(parse_qsl(player.asked[0][3].decode(), keep_blank_values=True))
    assert (form["text"], form["type"]) == (words, kind)


async def test_a_callback_that_is_too_long_is_left_to_the_accounts_setting() -> None:
    for length, given in ((100, True), (101, False)):
        adapter, player = played(taken(row()))
        await adapter.send(out(callback_url="https://".ljust(length, "x") + "?key=1"))
        assert ("callback" in dict(parse_qsl(player.asked[0][3].decode()))) is given


async def test_a_name_may_be_the_sender() -> None:
    adapter, player = played(taken(row()), from_number="Greenfield", base_url="http://127.0.0.1:9/")
    await adapter.send(out(to="447700900001"))
    [(_, url, _, body)] = player.asked
    form = dict(parse_qsl(body.decode()))
    assert (url, form["from"], form["to"]) == ("http://127.0.0.1:9/sms/json", "Greenfield", "447700900001")
    assert "callback" not in form and adapter.entry_link("t") is None
    assert not adapter.answerable


def test_a_number_has_a_link_into_it() -> None:
    assert played()[0].answerable
    assert played()[0].entry_link("a1") == "sms:+447700900000?body=Hi%21%20%28a1%29"


async def test_a_long_message_has_an_id_for_each_of_its_parts() -> None:
    adapter, _ = played(taken(row(1), row(2), row(3)))
    detail = {"num_segments": "3", "price": "0.09990000 EUR"}
    pieces = ("0A00000000000002", "0A00000000000003")
    assert await adapter.send(out("x" * 400)) == Receipt("0A00000000000001", "sent", detail, pieces=pieces)


@pytest.mark.parametrize("price", [None, "", "free", "NaN", "Infinity", {}])
async def test_a_price_that_is_none_is_not_shown(price: Any) -> None:
    adapter, _ = played(taken(row(**{"message-price": price})))
    assert (await adapter.send(out())).detail == {"num_segments": "1"}


IMPOSSIBLE = [
    (replace(out(), to=Address("mailto", "ann@example.com")), BadAddress),
    (out(to="GREENFIELD"), BadAddress),
    (out(to="+44 7700"), BadAddress),
    (out("", template=Template("welcome", "en")), Rejected),
    (out(attachments=[Attachment("image", url="https://hub.example.com/media/a")]), Rejected),
    (out("", reaction="👍", reply_to="1"), Rejected),
    (out(""), Rejected),
]


@pytest.mark.parametrize(("message", "error"), IMPOSSIBLE)
async def test_what_cannot_be_an_sms_is_refused_without_a_call(message: Outgoing, error: type[SendError]) -> None:
    adapter, player = played()
    with pytest.raises(error):
        await adapter.send(message)
    assert player.asked == []


# --- send: what answers mean ---


def refused(status: str, http: int = 200, words: str = "No.") -> Answer:
    return said(http, {"message-count": "1", "messages": [{"status": status, "error-text": words}]})


ANSWERS: list[tuple[Answer | SendError, type[SendError], str | None]] = [
    (refused("1"), RateLimited, "1"),
    *[(refused(status), Rejected, status) for status in ("2", "3", "6", "12", "15", "22", "29")],
    *[(refused(status), ChannelDown, status) for status in ("4", "8", "9", "14", "32")],
    *[(refused(status), Transient, status) for status in ("5", "10")],
    *[(refused(status), BadAddress, status) for status in ("7", "33")],
    (refused("77"), Rejected, "77"),
    (refused("4", 401), ChannelDown, "4"),
    (refused("5", 503), Transient, "5"),  # the body counts before the status
    (refused("77", 500), Ambiguous, "77"),
    (taken({"status": 7, "error-text": "No."}), BadAddress, "7"),  # a number that is none in text
    (taken(row(1), {"status": "9", "error-text": "No."}), Ambiguous, "9"),
    (taken({"status": "1", "error-text": "No."}, row(2)), Ambiguous, "1"),
    (taken({}), Ambiguous, "200"),
    (taken(), Ambiguous, "200"),
    (taken(row() | {"message-id": ""}), Ambiguous, "200"),
    (said(200), Ambiguous, "200"),
    (said(200, b"<html>"), Ambiguous, "200"),
    (said(200, []), Ambiguous, "200"),
    (said(200, {"messages": {"0": row()}}), Ambiguous, "200"),
    (said(200, b"[" * 100_000), Ambiguous, "200"),
    (said(202), Ambiguous, "202"),
    (said(302, location="https://elsewhere.example"), ChannelDown, "302"),
    (said(400), Rejected, "400"),
    (said(401), ChannelDown, "401"),
    (said(402), ChannelDown, "402"),
    (said(403), ChannelDown, "403"),
    (said(404), ChannelDown, "404"),
    (said(408), Ambiguous, "408"),
    (said(429), RateLimited, "429"),
    (said(500), Ambiguous, "500"),
    (said(500, {"messages": [row()]}), Ambiguous, "500"),
    (said(503, b"<html>"), Ambiguous, "503"),
    (Ambiguous("answer lost"), Ambiguous, None),
    (Transient("no connection"), Transient, None),
]


def test_every_status_is_in_the_table() -> None:
    assert set(MEANING) <= {code for _, _, code in ANSWERS}


@pytest.mark.parametrize(("answer", "error", "code"), ANSWERS)
async def test_answers_become_errors(answer: Answer | SendError, error: type[SendError], code: str | None) -> None:
    adapter, _ = played(answer)
    with pytest.raises(SendError) as caught:
        await adapter.send(out())
    assert type(caught.value) is error and caught.value.code == code
    assert not isinstance(answer, Answer) or b'"No."' not in answer.body or "No." in caught.value.detail


async def test_half_a_message_is_neither_settled_nor_sent_again() -> None:
    adapter, _ = played(taken(row(1), row(2), {"status": "9", "error-text": "Partner quota violation"}))
    with pytest.raises(Ambiguous, match="2 of 3 parts were taken, then: Partner quota violation") as caught:
        await adapter.send(out("x" * 400))
    assert not caught.value.settles


THROTTLES = [
    (refused("1", words="Throughput Rate Exceeded - please wait [ 250 ] and retry"), 0.25),
    (refused("1", words="Throughput Rate Exceeded - please wait [1500] and retry"), 1.5),
    (refused("1", words="Throughput Rate Exceeded"), None),
    (refused("1", words="please wait [ soon ]"), None),
    (said(429, retry_after="7"), 7),
    (said(429, retry_after="inf"), None),
]


@pytest.mark.parametrize(("answer", "after"), THROTTLES)
async def test_a_throttle_says_how_long(answer: Answer, after: float | None) -> None:
    adapter, _ = played(answer)
    with pytest.raises(RateLimited) as caught:
        await adapter.send(out())
    assert (caught.value.scope, caught.value.after) == ("account", after)


async def test_secrets_are_in_no_body_no_error_and_no_repr() -> None:
    for answer, error, _ in ANSWERS:
        adapter, player = played(answer)
        with pytest.raises(error) as caught:
            await adapter.send(out())
        [(_, _, headers, body)] = player.asked
        shown = f"{caught.value!r} {caught.value.detail} {adapter!r} {adapter.config!r} {body!r}"
        hidden = [PLAIN["api_key"], SECRET, SIGNATURE_SECRET, headers["authorization"].removeprefix("Basic ")]
        assert not [secret for secret in hidden if secret in shown]


# --- check ---

CHECKS = [
    (said(200, {"value": 10.285, "autoReload": False}), True, "the account has 10.29 EUR left"),
    (said(200, {"value": 0, "autoReload": False}), False, "top it up"),
    (said(200, {"value": -1.5}), False, "top it up"),
    (said(200, b"<html>"), False, "HTTP 200"),
    (said(200, {"value": "NaN"}), False, "HTTP 200"),
    (said(401, {"error-code": "401"}), False, "check api_key, api_secret and base_url"),
    (Transient("no connection"), False, "no connection"),
]


@pytest.mark.parametrize(("answer", "ok", "words"), CHECKS)
async def test_check_reads_the_balance(answer: Answer | SendError, ok: bool, words: str) -> None:
    adapter, player = played(answer)
    health = await adapter.check()
    assert health.ok is ok and words in health.detail
    assert [asked[:2] for asked in player.asked] == [("GET", "https://rest.nexmo.com/account/get-balance")]
