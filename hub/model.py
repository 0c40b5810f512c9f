"""The nouns of the hub, as plain values. No I/O, no provider, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal

import msgspec

Medium = str  # "sms", "email", "webchat", "slack" …: open, since a new channel may bring a new one
State = Literal["queued", "sending", "indoubt", "sent", "delivered", "read", "failed", "denied", "unknown", "cancelled"]

# Statuses only move to the right; "failed" ends a delivery unless a later receipt contradicts it.
LADDER: tuple[State, ...] = ("queued", "sending", "indoubt", "sent", "delivered", "read")
RANK: Mapping[str, int] = {state: rank for rank, state in enumerate(LADDER)}


def clean(text: str) -> str:
    """Without what no database takes: NULs, and lone surrogates, which become question marks."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


class Proof(StrEnum):
    """How sure we are that an address belongs to who wrote."""

    claimed = "claimed"  # somebody said so: merges with nobody, sees no history
    verified = "verified"  # a code, a signed link, the host page's signature
    provider = "provider"  # the network vouches (phone network, DMARC-aligned mail)


class Purpose(StrEnum):
    reply = "reply"
    transactional = "transactional"
    marketing = "marketing"
    note = "note"


class AuthorKind(StrEnum):
    customer = "customer"
    agent = "agent"
    automation = "automation"
    campaign = "campaign"


class ConversationState(StrEnum):
    open = "open"  # waits for us
    pending = "pending"  # waits for the customer
    snoozed = "snoozed"
    resolved = "resolved"


@dataclass(frozen=True, slots=True)
class Address:
    """Where somebody is reached: ``tel:+447700900123``, ``mailto:ann@example.com``, ``webchat:<visitor>``."""

    scheme: str
    value: str

    def __str__(self) -> str:
        return f"{self.scheme}:{self.value}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """``scheme:value``. Raises ValueError if there is no scheme or no value."""
        scheme, _, value = text.partition(":")
        if not scheme or not value:
            raise ValueError(f"not an address: {text!r} (expected scheme:value, for example tel:+447700900123)")
        return cls(scheme, value)


@dataclass(slots=True)
class Party:
    """An address with what its provider told about the person."""

    scheme: str
    value: str
    name: str | None = None
    proof: Proof = Proof.provider

    @property
    def address(self) -> Address:
        return Address(self.scheme, self.value)


@dataclass(slots=True)
class Attachment:
    """A file. Inbound: ``url`` or ``ref`` says where the provider keeps it. Outbound: ``url`` is public and signed.

    ``data`` is set only where the channel wants bytes (``Capabilities.media`` "bytes" or "both"); ``size`` in bytes.
    """

    kind: Literal["image", "audio", "video", "file", "sticker", "contact"] = "file"
    url: str | None = None
    ref: str | None = None
    mime: str | None = None
    name: str | None = None
    size: int | None = None
    data: bytes | None = None
    content_id: str | None = None  # the provider's name of what is in it, where it has one: the same for the same file
    part: str | None = None  # of an album that is one message here: external id of the one it came as


@dataclass(slots=True)
class Location:
    latitude: float
    longitude: float
    name: str | None = None
    address: str | None = None


@dataclass(slots=True)
class Button:
    """A choice offered to the customer; ``id`` comes back in a Selection."""

    id: str
    title: str


@dataclass(slots=True)
class Selection:
    """The choice a customer made."""

    id: str
    title: str


@dataclass(slots=True)
class Template:
    """A provider-approved template and its variables by name."""

    name: str
    language: str
    variables: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """For our own people: ``[template order_update (en): name Ann, day Friday]``."""
        told = ", ".join(f"{name} {value}" for name, value in self.variables.items())
        return f"[template {self.name} ({self.language}){': ' if told else ''}{told}]"


@dataclass(slots=True)
class Content:
    """What a message says, as stored. All parts are optional, but not all at once."""

    text: str = ""
    subject: str | None = None
    html: str | None = None
    attachments: list[Attachment] = field(default_factory=list)
    location: Location | None = None
    buttons: list[Button] = field(default_factory=list)
    selection: Selection | None = None
    template: Template | None = None
    unsupported: str | None = None  # the provider's name of a kind we cannot show
    full_text: str | None = None  # the whole mail where ``text`` is only its new part

    def empty(self) -> bool:
        return not (self.text or self.html or self.attachments or self.location or self.template or self.selection
                    or self.unsupported)


@dataclass(frozen=True, slots=True)
class Author:
    kind: AuthorKind
    name: str
    id: str | None = None  # agents: their address at the desk
    avatar: str | None = None


def utc(moment: datetime) -> datetime:
    """The same instant in UTC. Raises ValueError on a naive datetime."""
    if moment.tzinfo is None:
        raise ValueError("naive datetime: every time in the hub carries a zone")
    return moment.astimezone(UTC)


def readable(moment: datetime) -> str:
    """An instant for people, to the minute: ``2026-11-26 04:00 UTC``."""
    return f"{utc(moment):%Y-%m-%d %H:%M} UTC"


_LARGEST = (1 << 63) - 1  # of a row id
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32: no i, l, o, u
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_VALUE: dict[str, int] = {letter: number for number, letter in enumerate(_ALPHABET)}
Kind = Literal["customer", "identity", "conversation", "message", "delivery", "media", "campaign"]
_PREFIX: dict[Kind, str] = {
    "customer": "cus_", "identity": "idn_", "conversation": "con_", "message": "msg_", "delivery": "del_",
    "media": "med_", "campaign": "cmp_",
}


def public_id(kind: Kind, number: int) -> str:
    """A row's id as people and API clients see it: ``msg_0c4v2n7k9m2pa``."""
    pairs = [_PAIRS[number >> place & 1023] for place in range(50, -1, -10)]
    return f"{_PREFIX[kind]}{_ALPHABET[number >> 60]}{''.join(pairs)}"


def private_id(kind: Kind, text: str) -> int:
    """The row id inside a public id. Raises ValueError if it is not one of this kind."""
    prefix = _PREFIX[kind]
    digits = text.removeprefix(prefix)
    if not text.startswith(prefix) or len(digits) != 13 or any(letter not in _VALUE for letter in digits):
        raise ValueError(f"not a {kind} id: {text!r} (it looks like {prefix}0c4v2n7k9m2pa)")
    number = 0
    for letter in digits:
        number = number * 32 + _VALUE[letter]
    if number > _LARGEST:
        raise ValueError(f"not a {kind} id: {text!r} (no row has such a number)")
    return number


def known_id(kind: Kind, text: str | None) -> int | None:
    """The row id inside a public id; None if it is not one of this kind."""
    try:
        return None if text is None else private_id(kind, text)
    except ValueError:
        return None


def is_public_id(kind: Kind, text: str) -> bool:
    return known_id(kind, text) is not None


def encode(value: Any) -> str:
    """A value of this module as JSON text, for a column."""
    return _encoder.encode(value).decode()


def decode_content(text: str) -> Content:
    return _content.decode(text)


def decode_attachment(text: str) -> Attachment:
    return _attachment.decode(text)


_encoder = msgspec.json.Encoder()
_content = msgspec.json.Decoder(Content)
_attachment = msgspec.json.Decoder(Attachment)


def json_ready(value: Any) -> Any:
    """A value without its empty optional parts, fit for ``json.dumps`` (datetimes as RFC 3339 UTC)."""
    plain = msgspec.to_builtins(value, builtin_types=(datetime,))
    return _compact(plain)


def _compact(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _compact(part) for key, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_compact(part) for part in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value
