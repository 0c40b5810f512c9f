"""Links that say whose they are: a signed id of the campaign's message in an address of the business's own site.

The hub redirects nobody: the address is the site's own, and the site tells the hub the id with what happened there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit, urlunsplit

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.context import Context
from hub.model import AuthorKind, known_id
from hub.store.schema import conversation, customer, message

PARAMETER = "hub"  # of the address
LIFE = timedelta(days=90)
_HEAD, _MAC = 8, 10  # bytes: the message, and a MAC over it
_LETTERS = 24  # of base64, without padding


class LinkError(ValueError):
    """An id of a link that is not ours, or not any more."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Whom the link was sent to. ``customer`` stands for them today, ``campaign`` is a row."""

    message: int
    campaign: int
    customer: int


def link(secret: bytes, message_id: int, url: str) -> str:
    """The address with the message's id. Raises: ValueError if it is no web address."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"track makes links of web addresses, as https://shop.example/sale, and not of {url[:80]!r}")
    head = message_id.to_bytes(_HEAD, "big")
    token = base64.urlsafe_b64encode(head + _mac(secret, head)).decode()
    return urlunsplit(parts._replace(query=f"{parts.query}&{PARAMETER}={token}".lstrip("&")))


def origin(connection: Connection, context: Context, token: str) -> Origin:
    """Raises: LinkError."""
    number = _read(context.secret, token)
    query = (
        sa.select(message.c.author_id, message.c.recorded_at)
        .add_columns(sa.func.coalesce(customer.c.merged_into, customer.c.id).label("customer"))
        .join(conversation, conversation.c.id == message.c.conversation_id)
        .join(customer, customer.c.id == conversation.c.customer_id)
        .where(message.c.id == number, message.c.author_kind == str(AuthorKind.campaign))
    )
    row = connection.execute(query).first()
    if row is None:
        raise LinkError("the message that this link was in is not here any more")
    if context.now > row.recorded_at + LIFE:
        raise LinkError(f"this link is of {row.recorded_at:%Y-%m-%d}, and links count for {LIFE.days} days")
    made = known_id("campaign", row.author_id)
    if made is None:
        raise LinkError("the message that this link was in is of no campaign of this hub")
    return Origin(number, made, row.customer)


def _read(secret: bytes, token: str) -> int:
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raw = b""
    head = raw[:_HEAD]
    if len(token) != _LETTERS or not hmac.compare_digest(raw[_HEAD:], _mac(secret, head)):
        raise LinkError(f"this hub made no such link: give the value of the parameter {PARAMETER} as it came")
    return int.from_bytes(head, "big")


def _mac(secret: bytes, head: bytes) -> bytes:
    return hmac.new(secret, b"tracking:" + head, hashlib.sha256).digest()[:_MAC]
