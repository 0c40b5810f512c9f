"""Messages to calls, and answers to receipts and errors."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qsl

import pytest

from adapters.twilio_sms.testing import FORM, KEY_SECRET, PHONE, PUBLIC_URL, SHARED, TOKEN, out, played, said
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
)
from hub.model import Address, Attachment, Template

# --- send: the call ---

MADE = {"sid": "SM7", "status": "queued", "num_segments": "2"}


async def test_a_send_is_one_call() -> None:
    adapter, player = played(said(201, MADE), validity_period=14_400)
    callback = f"{PUBLIC_URL}/hooks/sms?key=del_1.0"
    files = [Attachment("image", "https://hub.example.com/media/a"), Attachment("image", "https://hub.example.com/media/b")]
    receipt = await adapter.send(out("Héllo & co", attachments=files, callback_url=callback))
    assert receipt == Receipt("SM7", "queued", {"num_segments": "2"})
    [(method, url, headers, body)] = player.asked
    assert (method, url) == ("POST", "https://api.twilio.com/2010-04-01/Accounts/AC01/Messages.json")
    assert headers["authorization"] == "Basic QUMwMTp0aGUtYXV0aC10b2tlbg==" and headers["content-type"] == FORM
    assert parse_qsl(body.decode()) == [
        ("From", "+12025550100"), ("To", PHONE), ("Body", "Héllo & co"),
        ("MediaUrl", files[0].url), ("MediaUrl", files[1].url), ("StatusCallback", callback),
        ("ValidityPeriod", "14400"),
    ]


@pytest.mark.parametrize(
    ("configured", "meant", "told"),
    [(None, None, None), (None, 3600, "3600"), (14_400, 3600, "3600"), (600, 3600, "600"), (None, 90_000, "36000")],
)
async def test_what_comes_too_late_is_not_to_be_delivered(
    configured: int | None, meant: int | None, told: str | None
) -> None:
    adapter, player = played(said(201, MADE), validity_period=configured)
    await adapter.send(replace(out(), valid_for=meant))
    [(_, _, _, body)] = player.asked
    assert dict(parse_qsl(body.decode())).get("ValidityPeriod") == told


@pytest.mark.parametrize("sender, answerable", [("+12025550100", True), ("60777", True), ("Greenfield", False)])
def test_a_name_cannot_be_answered(sender: str, answerable: bool) -> None:
    assert played(from_number=sender)[0].answerable is answerable


async def test_an_api_key_and_a_messaging_service_are_used() -> None:
    key = {"api_key_sid": "SK01", "api_key_secret": KEY_SECRET}
    adapter, player = played(said(201, MADE), from_number=None, messaging_service_sid="MG01", **key)
    await adapter.send(out())
    [(_, url, headers, body)] = player.asked
    assert "/Accounts/AC01/" in url and headers["authorization"] == "Basic U0swMTp0aGUta2V5LXNlY3JldA=="
    assert parse_qsl(body.decode())[0] == ("MessagingServiceSid", "MG01")


RECEIPTS = [("accepted", "queued"), ("queued", "queued"), ("sending", "queued"), ("sent", "sent"),
            ("delivered", "delivered"), ("failed", "queued")]


@pytest.mark.parametrize(("status", "state"), RECEIPTS)
async def test_the_receipt_says_how_far_it_is(status: str, state: str) -> None:
    adapter, _ = played(said(201, MADE | {"status": status}))
    assert (await adapter.send(out())).state == state


IMPOSSIBLE = [
    (replace(out(), to=Address("mailto", "ann@example.com")), BadAddress),
    (out("", template=Template("welcome", "en")), Rejected),
    (out(attachments=[Attachment("image", data=b"x")]), Rejected),
]


@pytest.mark.parametrize(("message", "error"), IMPOSSIBLE)
async def test_what_cannot_be_an_sms_is_refused_without_a_call(message: Outgoing, error: type[SendError]) -> None:
    adapter, player = played()
    with pytest.raises(error):
        await adapter.send(message)
    assert player.asked == []


# --- send: what answers mean ---


def refused(code: int, status: int = 400) -> Answer:
    return said(status, {"code": code, "message": "No.", "more_info": "…", "status": status})


def problem(code: int, status: int = 400) -> Answer:
    """RFC 9457, of newer services."""
    return said(status, {"type": "…", "title": "Refused", "status": status, "code": code, "detail": "No."})


ANSWERS: list[tuple[Answer | SendError, type[SendError], str | None]] = [
    *[(refused(code), BadAddress, str(code)) for code in (21211, 21214, 21217, 21401, 21421, 21612, 21614)],
    *[(refused(code), BadAddress, str(code)) for code in (30005, 30006)],
    *[(refused(code), Rejected, str(code)) for code in (21215, 21408, 21602, 21617, 21620, 21623, 30003, 30007, 30011)],
    *[(refused(code), ChannelDown, str(code)) for code in (20005, 21212, 21603, 21606, 21703, 30032, 30034)],
    *[(refused(code), Transient, str(code)) for code in (30001, 30017, 30021, 30410)],
    *[(refused(code), RateLimited, str(code)) for code in (21611, 30022, 30023, 30027, 63018, 63038)],
    (refused(21610), OptedOut, "21610"),
    (problem(21610), OptedOut, "21610"),
    (refused(21211, 500), BadAddress, "21211"),  # the code counts before the status
    (refused(99999), Rejected, "99999"),
    (refused(20003, 401), ChannelDown, "20003"),
    (refused(20404, 404), ChannelDown, "20404"),
    (refused(20429, 429), RateLimited, "20429"),
    (said(429), RateLimited, "429"),
    (said(401), ChannelDown, "401"),
    (said(403), ChannelDown, "403"),
    (said(408), Ambiguous, "408"),
    (said(201, {"sid": ""}), Ambiguous, "201"),
    (said(202), Ambiguous, "202"),
    (said(302, location="https://elsewhere.example"), ChannelDown, "302"),
    (said(400, b"<html>"), Rejected, "400"),
    (refused(20503, 503), Transient, "20503"),
    (said(503, b"<html>a proxy's"), Ambiguous, "503"),
    (refused(20500, 500), Ambiguous, "20500"),
    (said(502, b"<html>"), Ambiguous, "502"),
    (said(504), Ambiguous, "504"),
    (said(201, b"<html>"), Ambiguous, "201"),
    (said(201, {"sid": None}), Ambiguous, "201"),
    (said(400, b"[" * 100_000), Rejected, "400"),
    (said(400, {"code": {}, "message": []}), Rejected, "400"),
    (Ambiguous("answer lost"), Ambiguous, None),
    (Transient("no connection"), Transient, None),
]


@pytest.mark.parametrize(("answer", "error", "code"), ANSWERS)
async def test_answers_become_errors(answer: Answer | SendError, error: type[SendError], code: str | None) -> None:
    adapter, _ = played(answer)
    with pytest.raises(SendError) as caught:
        await adapter.send(out())
    assert type(caught.value) is error and caught.value.code == code
    assert not isinstance(answer, Answer) or b'"No."' not in answer.body or "No." in caught.value.detail


THROTTLES = [
    (said(429, retry_after="7"), "account", 7),
    (said(429, {"code": 20429}), "account", None),
    (refused(21611, 429), "sender", None),
    (said(429, {"code": 21611}, retry_after="inf"), "sender", None),
    (refused(63038, 429), "account", 3600),
    (refused(30023), "sender", 3600),
]


@pytest.mark.parametrize(("answer", "scope", "after"), THROTTLES)
async def test_a_throttle_says_what_must_slow_down(answer: Answer, scope: str, after: float | None) -> None:
    adapter, _ = played(answer)
    with pytest.raises(RateLimited) as caught:
        await adapter.send(out())
    assert (caught.value.scope, caught.value.after) == (scope, after)


async def test_secrets_are_in_no_error_and_no_repr() -> None:
    secrets = {"auth_token": TOKEN, "auth_token_previous": "the-old-token", "shared_key": SHARED,
               "api_key_sid": "SK01", "api_key_secret": KEY_SECRET}
    for answer, error, _ in ANSWERS:
        adapter, player = played(answer, **secrets)
        with pytest.raises(error) as caught:
            await adapter.send(out())
        sent = [value for *_, headers, _ in player.asked for value in headers.values() if value.startswith("Basic ")]
        shown = f"{caught.value!r} {caught.value.detail} {adapter!r} {adapter.config!r}"
        hidden = [TOKEN, "the-old-token", SHARED, KEY_SECRET, *(value.removeprefix("Basic ") for value in sent)]
        assert len(hidden) == 5 and not [secret for secret in hidden if secret in shown]
