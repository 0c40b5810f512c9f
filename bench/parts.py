"""What single steps cost in CPU: the policy's decision, and verifying and translating a webhook."""

from __future__ import annotations

import hashlib
import hmac
import importlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl, urlencode

from adapters.instagram.testing import ACCOUNT as ACCOUNT_ID
from adapters.messenger.testing import PAGE
from adapters.twilio.records import sign as signed_by_twilio
from adapters.vonage_sms.signature import sign as signed_by_vonage
from bench.report import Figure, of_rounds
from bench.traffic import ACCOUNT, FORM, NUMBER, PATH, PUBLIC_URL, TOKEN, webhooks
from hub import registry
from hub.contract import AnyAdapter, Request
from hub.model import Purpose
from hub.policy import pack
from hub.policy.decide import Facts, Intent, decide
from hub.testing.host import LocalHost

_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
_MAIL = (
    b"Received: from mail.example.net by mx.example.com; Thu, 26 Nov 2026 12:00:00 +0000\r\n"
    b"Message-ID: <one@example.net>\r\nDate: Thu, 26 Nov 2026 12:00:00 +0000\r\n"
    b"From: Ann Example <ann@example.net>\r\nTo: support@example.com\r\nSubject: My order\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    b"Hello, could you tell me when my order arrives?\r\n\r\nOn Wed, Support wrote:\r\n> Thank you for your order.\r\n"
)

_SOCIAL: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("whatsapp_cloud", "whatsapp_cloud", {}),
    ("messenger", "graph", {"page_id": PAGE}),
    ("instagram", "graph", {"account_id": ACCOUNT_ID}),
    ("telegram", "telegram", {}),
    ("line", "line", {}),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """A request an adapter accepts. ``parse``: its format's own parser, the bound together with one HMAC."""

    adapter: str
    config: dict[str, Any]
    request: Request
    parse: Callable[[bytes], object] | None  # None: nothing to compare with


def measure(rounds: int) -> list[Figure]:
    return [_policy(rounds), *[figure for sample in _samples() for figure in _adapter(sample, rounds)]]


def _micros(work: Callable[[], object], seconds: float = 0.02) -> float:
    """CPU microseconds of one call."""
    count = 1
    while True:
        started = time.process_time()
        for _ in range(count):
            work()
        spent = time.process_time() - started
        if spent >= seconds:
            return spent / count * 1e6
        count *= 4


def _policy(rounds: int) -> Figure:
    now = datetime.now(UTC)
    facts = Facts(address="tel:+12025550123", last_inbound=now - timedelta(hours=1))
    intent = Intent(purpose=Purpose.reply, medium="whatsapp", expires_at=now + timedelta(hours=4))
    policy = pack.default()
    costs = [_micros(lambda: decide(facts, intent, now, policy)) for _ in range(rounds)]
    return of_rounds("single steps, CPU", "policy.decide, a message", costs, "µs")


def _adapter(sample: Sample, rounds: int) -> list[Figure]:
    """Cost of verify and receive, and where there is a bound, how many times as much as that."""
    kind = registry.adapters()[sample.adapter]
    adapter: AnyAdapter = kind(PATH.rpartition("/")[2], registry.parse_config(kind, sample.config), LocalHost())
    request, parse = sample.request, sample.parse
    if parse is not None and not adapter.verify(request).accept:
        raise RuntimeError(f"{sample.adapter} does not accept the sample")
    if not adapter.receive(request):
        raise RuntimeError(f"{sample.adapter} sees nothing in the sample")

    def bound() -> None:
        assert parse is not None
        hmac.new(_SECRET.encode(), request.body, hashlib.sha256).digest()
        parse(request.body)

    verified, received, bounds = [], [], []
    for _ in range(rounds):
        bounds.append(_micros(bound) if parse else 1.0)
        verified.append(_micros(lambda: adapter.verify(request)) if parse else 0.0)
        received.append(_micros(lambda: adapter.receive(request)))
    area = "single steps, CPU"
    if parse is None:
        return [of_rounds(area, f"{sample.adapter}: receive", received, "µs", note="pulled, so nothing to verify")]
    both = [(left + right) / bound for left, right, bound in zip(verified, received, bounds, strict=True)]
    return [
        of_rounds(area, f"{sample.adapter}: verify", verified, "µs"),
        of_rounds(area, f"{sample.adapter}: receive", received, "µs"),
        of_rounds(area, f"{sample.adapter}: both", both, "× parse + HMAC"),
    ]


def _samples() -> list[Sample]:
    twilio = {"account_sid": ACCOUNT, "auth_token": TOKEN, "from_number": NUMBER}
    vonage = {"api_key": "k", "api_secret": "s", "signature_secret": _SECRET, "signature_method": "sha256",
              "from_number": NUMBER}
    slack = {"bot_token": "xoxb-a-bot-token", "signing_secret": _SECRET, "channel": "C0123ABCDEF"}
    mail = Request("POST", "imap:INBOX", {}, _MAIL, datetime.now(UTC))
    return [
        Sample("twilio_sms", twilio, _twilio(), _parsed),
        Sample("twilio_whatsapp", twilio, _twilio_whatsapp(), _parsed),
        Sample("vonage_sms", vonage, _vonage(), _parsed),
        Sample("slack", slack, _slack(), json.loads),
        Sample("email", {"address": "support@example.com"}, mail, None),
        *(_fixture(*each) for each in _SOCIAL),
    ]


def _fixture(adapter: str, place: str, more: dict[str, str]) -> Sample:
    """A text message as in the adapter's own fixtures, signed as its own tests sign it."""
    testing = importlib.import_module(f"adapters.{place}.testing")
    body = files(f"adapters.{adapter}").joinpath("fixtures", "text.json").read_bytes()
    return Sample(adapter, testing.PLAIN | more, testing.posted(body), json.loads)


def _twilio() -> Request:
    head, _, body = webhooks(1, seed=1)[0].partition(b"\r\n\r\n")
    lines = [line.partition(": ") for line in head.decode().split("\r\n")[1:]]
    headers = {name.lower(): value for name, _, value in lines}
    return Request("POST", PUBLIC_URL + PATH, headers, body, datetime.now(UTC))


def _parsed(body: bytes) -> dict[str, str]:
    return dict(parse_qsl(body.decode(), keep_blank_values=True))


def _form(adapter: str, name: str) -> dict[str, str]:
    return _parsed(files(f"adapters.{adapter}").joinpath("fixtures", f"{name}.form").read_bytes())


def _posted(form: dict[str, str], **headers: str) -> Request:
    headers = {"content-type": FORM} | {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("POST", PUBLIC_URL + PATH, headers, urlencode(form).encode(), datetime.now(UTC))


def _twilio_whatsapp() -> Request:
    form = _form("twilio_whatsapp", "text")
    return _posted(form, x_twilio_signature=signed_by_twilio(TOKEN, PUBLIC_URL + PATH, form))


def _vonage() -> Request:
    form = _form("vonage_sms", "sms") | {"timestamp": str(int(time.time()))}
    return _posted(form | {"sig": signed_by_vonage(_SECRET, "sha256", form)})


def _slack() -> Request:
    now = datetime.now(UTC)
    event = {
        "type": "message", "user": "U0AGENT0001", "text": "It left us this morning.", "ts": f"{now.timestamp():.6f}",
        "thread_ts": "1769860800.000100", "channel": "C0123ABCDEF", "event_ts": f"{now.timestamp():.6f}",
        "channel_type": "channel", "team": "T0TEAM00001", "client_msg_id": "0d2c1c1e-3a39-4a5f-8a0f-1f1d4f3b0c55",
    }
    body = json.dumps(
        {"token": "x", "team_id": "T0TEAM00001", "api_app_id": "A0APP000001", "event": event, "type": "event_callback",
         "event_id": "Ev0000000001", "event_time": int(now.timestamp())}
    ).encode()
    at = str(int(now.timestamp()))
    signature = hmac.new(_SECRET.encode(), f"v0:{at}:".encode() + body, hashlib.sha256).hexdigest()
    headers = {
        "content-type": "application/json", "x-slack-request-timestamp": at, "x-slack-signature": f"v0={signature}",
    }
    return Request("POST", f"{PUBLIC_URL}/hooks/slack", headers, body, now)
