"""Continue elsewhere: a signed link to another channel. Whoever writes there with its token is the same customer."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from hub import identity
from hub.channels import Channel
from hub.context import Context
from hub.contract import MessageReceived
from hub.model import Party, Proof
from hub.store.schema import conversation, customer, event, message
from hub.store.schema import identity as identity_table

LIFE = timedelta(days=3)
_MARK = "omni-"
_HEAD, _MAC = 12, 12  # bytes: conversation and the second it expires; a MAC over them and the channel
_LETTERS = 39  # of base32: mail servers fold case, and a Telegram link takes 64 characters
_TOKEN = re.compile(rf"{_MARK}[a-z2-7]{{{_LETTERS}}}(?![a-z2-7])")
# As adapters put it into a first message. Blanks are looked at from their first one only: there may be very many.
_SHOWN = re.compile(rf"(?<![ \t])[ \t]*\(?{_TOKEN.pattern}\)?")


@dataclass(frozen=True, slots=True)
class Link:
    url: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Redeemed:
    """What came of a token. ``conversation``: where its message belongs; ``notice``: what the desk should be told."""

    conversation: int | None
    notice: str | None


@dataclass(frozen=True, slots=True)
class _Claim:
    conversation: int
    expires_at: datetime
    key: bytes  # of the event that it was used


def link(context: Context, conversation_id: int, channel: Channel) -> Link | None:
    """Into ``channel``, for the customer of that conversation; None if the channel has none."""
    expires_at = context.now.replace(microsecond=0) + LIFE
    head = conversation_id.to_bytes(8, "big") + int(expires_at.timestamp()).to_bytes(4, "big")
    token = base64.b32encode(head + _mac(context, channel.name, head)).decode().rstrip("=").lower()
    url = channel.entry_link(_MARK + token)
    return Link(url, expires_at) if url is not None else None


def token_in(happening: MessageReceived) -> str | None:
    """What looks like a token of ours, if anything does."""
    for text in (happening.entry, happening.text, happening.subject):
        if text and _MARK in text and (found := _TOKEN.search(text)):
            return found[0]
    return None


def plain(happening: MessageReceived) -> MessageReceived:
    """The message as people see it, without a token."""
    if token_in(happening) is None:
        return happening
    subject = _SHOWN.sub("", happening.subject).strip() if happening.subject else None
    chosen = happening.selection
    if chosen is not None and _MARK in chosen.id and _TOKEN.search(chosen.id):
        chosen = None
    return replace(happening, text=_SHOWN.sub("", happening.text).strip(), subject=subject or None, selection=chosen)


def redeem(
    connection: Connection, context: Context, arrived: Iterable[tuple[str, MessageReceived, int]]
) -> dict[int, Redeemed]:
    """Join whoever writes with a token to the customer it was made for: (channel, message, its id), in order.

    By id of the message. What is forged, expired, used by somebody else, or comes from another customer joins nothing.
    """
    done: dict[int, Redeemed] = {}
    used: dict[bytes, str] = {}
    seen: set[str] = set()
    for channel, happening, message_id in arrived:
        if (token := token_in(happening)) is not None:
            done[message_id] = _redeem(connection, context, channel, happening, message_id, token, used, seen)
        seen.update(_proven(happening))
    return done


def _proven(happening: MessageReceived) -> list[str]:
    """All addresses of who wrote, the sender's first."""
    proven = [each for each in happening.also if each.proof is not Proof.claimed]
    return [str(each.address) for each in (happening.sender, *proven)]


def _redeem(
    connection: Connection,
    context: Context,
    channel: str,
    happening: MessageReceived,
    message_id: int,
    token: str,
    used: dict[bytes, str],
    seen: set[str],
) -> Redeemed:
    address = str(happening.sender.address)
    claim = _read(context, channel, token)
    if claim is None:
        return _refused("it was not made by this hub for this channel")
    by = used.get(claim.key) or _used_by(connection, claim.key)
    if by == address:
        return Redeemed(claim.conversation, None)
    if by is not None:
        return _refused("somebody else has used it already")
    if claim.expires_at <= context.now:
        return _refused("it has expired; send a new one")
    if happening.sender.proof is Proof.claimed:
        return _refused("nobody vouches for the address it came from")
    owner = _owner(connection, claim.conversation)
    if owner is None:
        return _refused("its conversation is gone")
    if _is_another(connection, owner, _proven(happening), seen):
        return _refused("who used it is known as another customer; if it is one person, merge the two")
    party = Party(happening.sender.scheme, happening.sender.value, happening.sender.name, Proof.verified)
    identity.attach(connection, context, owner, party, f"{address} used a link of this customer's")
    connection.execute(sa.insert(event).values(key=claim.key, message_id=message_id))
    used[claim.key] = address
    return Redeemed(claim.conversation, f"Continued by {channel}: {address} used the link and is the same customer.")


def _is_another(connection: Connection, owner: int, addresses: list[str], seen: set[str]) -> bool:
    """Whether any of these addresses is somebody else's, be it only by what the business says. ``seen``: those that
    wrote a moment before."""
    known = identity.find(connection, addresses)
    ours = set(identity.family(connection, owner))
    return any(
        known[each].customer_id not in ours if each in known else each in seen for each in addresses
    )


def _refused(reason: str) -> Redeemed:
    return Redeemed(None, f"A link to continue a conversation was used here, and joined nothing: {reason}.")


def _read(context: Context, channel: str, token: str) -> _Claim | None:
    """None if it was made by another hub, for another channel, or by nobody."""
    raw = base64.b32decode(token.removeprefix(_MARK).upper() + "=")
    head, mac = raw[:_HEAD], raw[_HEAD:]
    if not hmac.compare_digest(mac, _mac(context, channel, head)):
        return None
    expires_at = datetime.fromtimestamp(int.from_bytes(head[8:], "big"), UTC)
    key = hashlib.blake2b(b"continuation\0" + raw, digest_size=16).digest()
    return _Claim(int.from_bytes(head[:8], "big"), expires_at, key)


def _mac(context: Context, channel: str, head: bytes) -> bytes:
    return hmac.new(context.secret, b"continue\0" + channel.encode() + b"\0" + head, hashlib.sha256).digest()[:_MAC]


def _used_by(connection: Connection, key: bytes) -> str | None:
    """The address that has used it."""
    query = (
        sa.select(identity_table.c.address)
        .join(message, message.c.identity_id == identity_table.c.id)
        .join(event, event.c.message_id == message.c.id)
        .where(event.c.key == key)
    )
    return connection.execute(query).scalar_one_or_none()


def _owner(connection: Connection, conversation_id: int) -> int | None:
    """Whose conversation it is, by the name of the customer that others were merged into."""
    query = (
        sa.select(sa.func.coalesce(customer.c.merged_into, customer.c.id))
        .join(conversation, conversation.c.customer_id == customer.c.id)
        .where(conversation.c.id == conversation_id)
    )
    return connection.execute(query).scalar_one_or_none()
