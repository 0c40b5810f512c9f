"""Double opt-in: one message asks whoever has an address to confirm a permission, which is worth nothing until then.

A link is confirmed by the button of its page, since link scanners follow links; elsewhere a word is answered.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any, Literal
from urllib.parse import urlsplit

import sqlalchemy as sa
from itsdangerous import BadSignature, URLSafeSerializer
from sqlalchemy import Connection

from hub import advertising, consent, identity, sending, tombstones
from hub.channels import Channel
from hub.consent import Source
from hub.context import Context
from hub.customers import parse_address
from hub.model import public_id, readable
from hub.outbound.judge import whereabouts_of
from hub.policy import pack
from hub.policy.ledger import ANY, Book, Event, Scope, Target
from hub.policy.pack import Policy
from hub.policy.places import Known, whereabouts
from hub.store.schema import consent_event, customer
from hub.store.schema import identity as identity_table

Outcome = Literal["confirmed", "expired", "refused", "unknown"]


class Refused(ValueError):
    """Why nobody is asked. ``code``: as of a decision."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Wish:
    """A permission that somebody wants to give, as we were told. ``own``: on a page that only they have a link to.

    ``channel``: name; None: the first that reaches the address. ``source``: where it was said. ``by``: who told us.
    """

    address: str
    source: str
    channel: str | None = None
    topic: str = ANY
    evidence: Mapping[str, Any] = field(default_factory=dict)
    way: Source = "api"
    by: str = ""
    own: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """``already``: it was allowed before, and nobody was asked. ``message``: row of what was sent."""

    address: str
    channel: str
    already: bool = False
    expires_at: datetime | None = None
    message: int | None = None


class Confirmations:
    """Links to ``{public_url}/confirm/<token>``, and who asks. ``business``: None is the host of the address."""

    def __init__(self, public_url: str, secret: bytes, business: str | None) -> None:
        self._public_url = public_url
        self._serializer = URLSafeSerializer(secret, salt="confirm")
        self.business = business or urlsplit(public_url).hostname or public_url

    def make(self, number: int) -> str:
        return f"{self._public_url}/confirm/{self._serializer.dumps(number)}"

    def read(self, token: str) -> int | None:
        """The number of the request; None if the token is forged."""
        try:
            value = self._serializer.loads(token)
        except BadSignature:
            return None
        return value if isinstance(value, int) else None


@cache
def texts() -> dict[str, dict[str, str]]:
    """By language, those of ``config/confirmation.toml``."""
    return tomllib.loads(files("config").joinpath("confirmation.toml").read_text(encoding="utf-8"))


# --- ask ---


def ask(connection: Connection, context: Context, links: Confirmations, wish: Wish) -> Asked:
    """Write the permission down as unconfirmed, and send the message that asks for it.

    Raises: Refused; ValueError for an address that is none; sending.Unsendable for a channel or topic there is not.
    """
    if (problem := advertising.unknown_topic(context, None if wish.topic == ANY else wish.topic)) is not None:
        raise sending.Unsendable("topic", problem)
    policy = pack.default()
    address = str(parse_address(wish.address))
    channel = _channel(context, address, wish.channel)
    person = _person(connection, address)
    scope = Scope(channel.medium, "marketing", wish.topic)
    book = _book(connection, context, person, address, scope, policy)
    not_erased(connection, context, address)
    if (against := book.suppressed() or book.revoked()) is not None:
        raise Refused(against.reason, f"{against.detail}; only the person can take that back")
    permitted = book.permitted()
    if permitted.ok:
        return Asked(address, channel.name, already=True)
    country = (book.target.jurisdiction or "").partition("-")[0]
    if country in policy.doi_wants_consent and not wish.own:
        words = f"{permitted.detail}; in {country} to ask for a permission is itself advertising, which needs one"
        raise Refused(permitted.reason, words)
    _not_too_often(book.grants, context.now, policy)
    number = context.ids()
    language = _language(person.locale if person else None)
    draft = _draft(address, channel, links, number, language, policy)
    sent = sending.accept(connection, context, draft, links.business)
    said: dict[str, Any] = {"source": wish.source, "by": wish.by, "language": language, "asked": True}
    said["message"] = public_id("message", sent.message)
    said["text"] = hashlib.sha256(draft.text.encode()).hexdigest()
    entry = Event(
        "grant", context.now, address, "subject" if wish.own else "agent", scope, basis="double_opt_in",
        verified=wish.own, source=wish.way, evidence=said | dict(wish.evidence),
    )  # fmt: skip
    consent.append(
        connection, entry, change="asked", channel=channel.name, source=wish.way, now=context.now, key=_key(number)
    )
    return Asked(address, channel.name, False, context.now + timedelta(hours=policy.doi_ttl_h), sent.message)


def _key(number: int) -> str:
    return f"confirm:{number}"


def _channel(context: Context, address: str, wanted: str | None) -> Channel:
    scheme = address.partition(":")[0]
    able = [each for each in context.channels.values() if each.role == "contact" and scheme in each.schemes]
    found = next((each for each in able if wanted in (None, each.name)), None)
    if found is None:
        names = ", ".join(each.name for each in able) or "none"
        what = "no channel reaches" if wanted is None else f"{wanted} does not reach"
        raise sending.Unsendable("channel", f"{what} addresses of the scheme {scheme}: (channels that do: {names})")
    return found


@dataclass(frozen=True, slots=True)
class _Person:
    people: tuple[str, ...]
    row: Any

    @property
    def locale(self) -> str | None:
        return self.row.locale  # type: ignore[no-any-return]  # a column of text


def _person(connection: Connection, address: str) -> _Person | None:
    query = (
        sa.select(
            identity_table.c.address, customer.c.id, customer.c.locale, customer.c.time_zone, customer.c.country,
            customer.c.attributes,
        )
        .join(customer, customer.c.id == identity_table.c.customer_id)
        .where(identity_table.c.address == address)
    )  # fmt: skip
    row = connection.execute(query).first()
    if row is None:
        return None
    return _Person(tuple(consent.person(each) for each in identity.family(connection, row.id)), row)


def _book(
    connection: Connection, context: Context, person: _Person | None, address: str, scope: Scope, policy: Policy
) -> Book:
    people = person.people if person is not None else ()
    topic = None if scope.topic == ANY else scope.topic
    number = address.removeprefix("tel:") if address.startswith("tel:") else None
    where = whereabouts_of(person.row, policy) if person is not None else whereabouts(Known(number=number), policy)
    target = Target(address, scope.channel, "marketing", topic, jurisdiction=where.jurisdiction, persons=people)
    return Book(consent.concerning(connection, context.secret, address, people), target, context.now, policy)


def _not_too_often(grants: Iterable[Event], now: datetime, policy: Policy) -> None:
    """Whoever did not ask for it gets few of these, whoever sends them."""
    asked = [each.at for each in grants if each.basis == "double_opt_in" and each.evidence.get("asked")]
    recent = sorted(each for each in asked if each > now - timedelta(hours=policy.doi_most_h))
    if not recent:
        return
    again = recent[-1] + timedelta(hours=policy.doi_pause_h)
    if len(recent) >= policy.doi_most:
        again = max(again, recent[-policy.doi_most] + timedelta(hours=policy.doi_most_h))
    if now < again:
        words = f"they were asked {len(recent)} times of late, the last time on {readable(recent[-1])}"
        raise Refused("CONSENT_PENDING", f"{words}; they may be asked again from {readable(again)}")


def _language(locale: str | None) -> str:
    short = (locale or "").replace("_", "-").partition("-")[0].lower()
    return short if short in texts() else "en"


def _draft(
    address: str, channel: Channel, links: Confirmations, number: int, language: str, policy: Policy
) -> sending.Draft:
    words = texts()[language]
    how = policy.channel(channel.medium).confirm
    text = (policy.replies.get("confirm") or words[how]).format(
        business=links.business, link=links.make(number), word=words["word"]
    )
    buttons = []
    if how == "reply" and channel.capabilities.buttons:
        buttons = [sending.ButtonDraft(id="confirm", title=words["word"])]
    subject = words["subject"].format(business=links.business) if channel.capabilities.subject else None
    return sending.Draft(
        customer=address, text=text, subject=subject, buttons=buttons, channel=channel.name, purpose="transactional"
    )


# --- confirm ---


@dataclass(frozen=True, slots=True)
class Request:
    """What a link is about. ``channel``: name of the channel that it was sent by."""

    entry: Event
    address: str
    locale: str | None


def request(connection: Connection, number: int) -> Request | None:
    row = connection.execute(sa.select(consent_event).where(consent_event.c.key == _key(number))).first()
    if row is None:
        return None
    person = _person(connection, row.address)
    return Request(consent.event_of(row), row.address, person.locale if person else None)


def outcome(connection: Connection, context: Context, asked: Request) -> Outcome | None:
    """How it stands; None: it may be confirmed."""
    policy = pack.default()
    said = consent.events(connection, [asked.address]).get(asked.address, ())
    if any(each.type == "confirm" and each.of == asked.entry.id for each in said):
        return "confirmed"
    scope = asked.entry.scope
    book = _book(connection, context, _person(connection, asked.address), asked.address, scope, policy)
    if book.suppressed() or book.revoked() or any(each.at >= asked.entry.at for each in book.resets):
        return "refused"
    if context.now > asked.entry.at + timedelta(hours=policy.doi_ttl_h):
        return "expired"
    return None


def confirm(connection: Connection, context: Context, number: int, evidence: Mapping[str, Any]) -> Outcome:
    """Somebody who has the link confirms. A second time changes nothing."""
    asked = request(connection, number)
    if asked is None:
        return "unknown"
    if (found := outcome(connection, context, asked)) is not None:
        return found
    said = {"by": "link", "message": asked.entry.evidence.get("message"), **evidence}
    entry = Event(
        "confirm", context.now, asked.address, "subject", asked.entry.scope, verified=True, of=asked.entry.id,
        source="page", evidence=said,
    )  # fmt: skip
    change = consent.word("opt_in", entry.scope)
    consent.append(connection, entry, change=change, channel=None, source="page", now=context.now)
    consent.digest(connection, asked.address, context.now)
    return "confirmed"


# --- what forbids a permission ---


def not_erased(connection: Connection, context: Context, address: str) -> None:
    """Raises: Refused."""
    at = tombstones.buried(connection, context.secret, [address]).get(address)
    said = consent.events(connection, [address]).get(address, ())
    if at is not None and not any(each.type == "grant" and each.actor == "subject" and each.at > at for each in said):
        raise Refused("SUPP_ERASED", f"they were erased on {readable(at)}; only they themselves come back")
