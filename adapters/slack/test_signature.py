"""Who signed, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from adapters.slack.testing import FIXTURES, NOON, SECRET, fixture, played, posted
from adapters.slack.wire import sign
from hub.contract import Request, Verified

# The example of https://docs.slack.dev/authentication/verifying-requests-from-slack
SIGNED_AT = datetime.fromtimestamp(1531420618, UTC)
BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
EXAMPLE = {
    "x-slack-request-timestamp": "1531420618",
    "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
}
URL = "https://hub.example.com/hooks/slack"


def signed(body: bytes, *, secret: str = SECRET, at: datetime = NOON, seen: datetime = NOON) -> Request:
    stamp = str(int(at.timestamp()))
    headers = {"x-slack-request-timestamp": stamp, "x-slack-signature": sign(secret, stamp, body)}
    return Request("POST", URL, headers, body, seen)


def status(request: Request) -> int:
    answer = played()[0].verify(request)
    return 200 if answer.accept else answer.status


def test_slacks_own_example_is_accepted_in_its_minute_and_refused_years_later() -> None:
    request = Request("POST", URL, EXAMPLE, BODY, SIGNED_AT)
    assert status(request) == 200
    assert status(replace(request, received_at=NOON)) == 401


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, 200), (300, 200), (-300, 200), (301, 401), (-301, 401), (86_400, 401)]
)
def test_five_minutes_of_clock_difference_are_allowed(seconds: int, expected: int) -> None:
    assert status(signed(b"{}", seen=NOON + timedelta(seconds=seconds))) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"x-slack-signature": ""},
        {"x-slack-signature": "v0="},
        {"x-slack-signature": "v0=é"},
        {"x-slack-signature": "v1=" + "0" * 64},
        {"x-slack-request-timestamp": ""},
        {"x-slack-request-timestamp": "noon"},
        {"x-slack-request-timestamp": "9" * 400},
        {"x-slack-request-timestamp": str(int(NOON.timestamp()) + 1)},
    ],
)
def test_another_header_is_refused(change: dict[str, str]) -> None:
    request = signed(b"{}")
    assert status(replace(request, headers={**request.headers, **change})) == 401


def test_another_body_secret_or_no_header_is_refused() -> None:
    request = signed(b'{"a": 1}')
    assert status(replace(request, body=b'{"a":1}')) == 401
    assert status(signed(b"{}", secret="another")) == 401
    assert status(replace(request, headers={})) == 401


def test_without_a_signing_secret_nothing_is_accepted_over_http() -> None:
    adapter, _ = played(signing_secret=None, app_token="xapp-1-A0001-1-abc")
    for secret in ("", " ", "None"):
        assert adapter.verify(signed(b"{}", secret=secret)).status == 401


def test_the_handshake_is_answered_only_if_it_is_signed() -> None:
    body = (FIXTURES / "url_verification.json").read_bytes()
    answer = played()[0].verify(signed(body))
    assert (answer.accept, answer.status, answer.body) == (False, 200, fixture("url_verification")["challenge"])
    assert answer.headers["content-type"].startswith("text/plain")  # what is sent back is never a page
    assert status(replace(signed(body), headers={})) == 401


def test_a_message_that_speaks_of_the_handshake_is_a_message() -> None:
    payload = fixture("message")
    payload["event"]["text"] = "url_verification"
    assert played()[0].verify(signed(posted(payload).body)).accept


@pytest.mark.parametrize(("url", "body"), [(URL + "?ssl_check=1", b""), (URL, b"ssl_check=1&token=x")])
def test_slacks_test_of_the_certificate_gets_a_200_and_is_not_kept(url: str, body: bytes) -> None:
    assert played()[0].verify(Request("GET", url, {}, body, NOON)) == Verified(False, 200)
