"""What the simulated Vonage keeps, and how the real one writes it down.

Source: https://developer.vonage.com/en/api/sms and the guides on inbound SMS and delivery receipts
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

# Words of the statuses that it answers a send with.
ERRORS: Mapping[str, str] = {
    "1": "Throughput Rate Exceeded - please wait [ {wait} ] and retry",
    "2": "Missing {name} param",
    "3": "Invalid {name} param",
    "4": "Bad Credentials",
    "5": "Internal Error",
    "6": "Unroutable message - rejected",
    "7": "Number barred",
    "8": "Partner account barred",
    "9": "Partner quota violation",
    "10": "Too many existing binds",
    "12": "Message too long",
    "14": "Invalid Signature",
    "15": "Illegal Sender Address - rejected",
    "22": "Invalid Network Code",
    "29": "Non White-listed Destination - rejected",
    "32": "Signature and API secret disallowed",
    "33": "Number De-activated",
}
STOP, START = "STOP", "START"
LONGEST = 3200
_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_TWICE = frozenset("\f^{}\\[~]|€")
_HASHES = {"md5": hashlib.md5, "sha1": hashlib.sha1, "sha256": hashlib.sha256, "sha512": hashlib.sha512}


def signed(secret: str, method: str, fields: Mapping[str, str]) -> dict[str, str]:
    """The fields with their signature."""
    replaced = {name: value.replace("&", "_").replace("=", "_") for name, value in fields.items()}
    text = "".join(f"&{name}={replaced[name]}" for name in sorted(replaced))
    if method == "md5hash":
        sig = hashlib.md5(f"{text}{secret}".encode()).hexdigest()  # noqa: S324 - as Vonage does
    else:
        sig = hmac.new(secret.encode(), text.encode(), _HASHES[method]).hexdigest()
    return {**fields, "sig": sig}


def cut(text: str, *, unicode: bool) -> list[str]:
    """A text as the parts of a long SMS."""
    lone, joined = (70, 67) if unicode else (160, 153)
    sizes = [_size(letter, unicode=unicode) for letter in text]
    if sum(sizes) <= lone:
        return [text]
    parts, room = [""], joined
    for letter, size in zip(text, sizes, strict=True):
        if size > room:
            parts, room = [*parts, ""], joined
        parts[-1] += letter
        room -= size
    return parts


def _size(letter: str, *, unicode: bool) -> int:
    return len(letter.encode("utf-16-be")) // 2 if unicode else 1 + (letter in _GSM_TWICE)


def is_gsm(text: str) -> bool:
    return all(letter in _GSM or letter in _GSM_TWICE for letter in text)


def shown(text: str, *, unicode: bool) -> str:
    """What a phone shows: sent as "text", a letter that is not in the alphabet of SMS is lost."""
    return text if unicode else "".join(letter if is_gsm(letter) else "?" for letter in text)


@dataclass(slots=True)
class Sms:
    """A message in Vonage's records. Numbers are without "+"; ``ids``: of its parts; ``key``: our client-ref."""

    from_: str
    to: str
    body: str
    ids: list[str]
    callback: str | None = None
    key: str | None = None
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def id(self) -> str:
        return self.ids[0]


def answer(message: Sms) -> dict[str, Any]:
    """The answer to a send that was taken."""
    rows = [
        {
            "to": message.to,
            "message-id": each,
            "status": "0",
            "remaining-balance": "15.53590000",
            "message-price": "0.03330000",
            "network": "23410",
            "client-ref": message.key or "",
        }
        for each in message.ids
    ]
    return {"message-count": str(len(rows)), "messages": rows}


def refused(status: str, **words: str) -> dict[str, Any]:
    said = ERRORS.get(status, "Refused").format_map({"name": "to", "wait": "250"} | words)
    return {"message-count": "1", "messages": [{"status": status, "error-text": said}]}


def inbound(message: Sms) -> list[dict[str, str]]:
    """The webhooks of a message from a phone: one for each of its parts."""
    unicode = not is_gsm(message.body)
    texts = cut(message.body, unicode=unicode)
    found = []
    for number, (each, text) in enumerate(zip(message.ids, texts, strict=True), 1):
        fields = {
            "msisdn": message.from_,
            "to": message.to,
            "messageId": each,
            "text": text,
            "type": "unicode" if unicode else "text",
            "keyword": text.partition(" ")[0].upper(),
            "message-timestamp": stamp(message.created),
            "api-key": "abcd1234",
        }
        if len(texts) > 1:
            fields |= {
                "concat": "true",
                "concat-ref": "108",
                "concat-total": str(len(texts)),
                "concat-part": str(number),
            }
        found.append(fields)
    return found


def receipt(message: Sms, part: str, status: str, code: str) -> dict[str, str]:
    """The webhook of a delivery receipt: here ``msisdn`` is who gets the message, and ``to`` the sender."""
    fields = {
        "msisdn": message.to,
        "to": message.from_,
        "network-code": "23410",
        "messageId": part,
        "price": "0.03330000",
        "status": status,
        "scts": f"{message.created:%y%m%d%H%M}",
        "err-code": code,
        "api-key": "abcd1234",
        "message-timestamp": stamp(datetime.now(UTC)),
    }
    return fields | ({"client-ref": message.key} if message.key else {})


def stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
