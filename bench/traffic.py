"""Signed Twilio webhooks, as bytes on the wire."""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
from urllib.parse import urlencode

TOKEN = "0123456789abcdef0123456789abcdef"
ACCOUNT = "AC" + "0" * 32
NUMBER = "+12025550100"
PATH = "/hooks/sms"
SENDS = "/2010-04-01/Accounts/{account}/Messages.json"
FORM = "application/x-www-form-urlencoded"
TEXT = "Your parcel is on its way. It arrives tomorrow between 9 and 12."
PUBLIC_URL = "https://hub.example.com"
FIRST_PHONE = 5_000_000  # after +1202: customers' phones are numbered from here
PHONES = 2000  # that write to us in a benchmark
_WORDS = ["hello", "could", "you", "tell", "me", "when", "my", "order", "arrives", "thank", "very", "much", "number"]


def webhooks(count: int, *, seed: int, customers: int = PHONES) -> list[bytes]:
    """``count`` inbound SMS, each unique and truly signed, from ``PHONES`` phones spread over all customers'."""
    generator = random.Random(seed)
    return [_webhook(generator, number, customers // PHONES) for number in range(count)]


def _webhook(generator: random.Random, number: int, stride: int) -> bytes:
    sid = f"SM{generator.getrandbits(128):032x}"
    sender = f"+1202{FIRST_PHONE + generator.randrange(PHONES) * stride}"
    fields = {
        "ToCountry": "US", "ToState": "DC", "SmsMessageSid": sid, "NumMedia": "0", "ToCity": "", "FromZip": "01022",
        "SmsSid": sid, "FromState": "MA", "SmsStatus": "received", "FromCity": "CHICOPEE",
        "Body": " ".join(generator.choices(_WORDS, k=12)) + f" {number}", "FromCountry": "US", "To": NUMBER,
        "MessagingServiceSid": "MG" + "1" * 32, "ToZip": "", "NumSegments": "1", "MessageSid": sid,
        "AccountSid": ACCOUNT, "From": sender, "ApiVersion": "2010-04-01",
    }
    text = PUBLIC_URL + PATH + "".join(name + fields[name] for name in sorted(fields))
    signature = base64.b64encode(hmac.new(TOKEN.encode(), text.encode(), hashlib.sha1).digest()).decode()
    body = urlencode(fields).encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nX-Twilio-Signature: {signature}\r\nUser-Agent: TwilioProxy/1.1\r\n"
        f"I-Twilio-Idempotency-Token: {sid}\r\nAccept: */*\r\n\r\n"
    )
    return head.encode() + body
