"""One person of a campaign: what is known of them, which way they are reached, what they are told."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hub.campaigns.draft import KNOWN, CampaignDraft, MessageDraft, Variable
from hub.context import Context
from hub.model import Attachment, Button, Content, Proof, public_id
from hub.model import Template as Approved
from hub.store.base import chunks
from hub.store.schema import conversation, customer, identity
from hub.templates import Template, TemplateError, parse

Way = tuple[str, int, str]  # channel, identity, address


class Skip(Exception):
    """This person gets no message. ``code`` is one of NO_CHANNEL, NO_MESSAGE, MISSING_VALUE, WRONG_VALUE, TEMPLATE,
    MERGED."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


@dataclass(slots=True)
class Person:
    id: int
    name: str | None
    external_id: str | None
    locale: str | None
    time_zone: str | None
    country: str | None
    tier: str | None
    attributes: dict[str, Any]
    addresses: list[tuple[int, str]] = field(default_factory=list)  # (identity, address), best first
    last_channel: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)  # columns of the list


def load(connection: Connection, ids: Iterable[int]) -> dict[int, Person]:
    """Three queries, however many people. Whoever was merged is the customer that they are one with."""
    people: dict[int, Person] = {}
    now = customer.alias("now")
    names = ("id", "name", "external_id", "locale", "time_zone", "country", "tier", "attributes")
    for some in chunks(ids):
        found: dict[int, Person] = {}
        one_with: dict[int, int] = {}
        query = (
            sa.select(customer.c.id.label("asked"), *(now.c[name] for name in names))
            .join(now, now.c.id == sa.func.coalesce(customer.c.merged_into, customer.c.id))
            .where(customer.c.id.in_(some))
        )
        for row in connection.execute(query):
            known = {name: row._mapping[name] for name in names} | {"attributes": json.loads(row.attributes)}
            found[row.id] = Person(**known)
            one_with[row.asked] = row.id
        addresses = sa.select(identity.c.customer_id, identity.c.id, identity.c.address).where(
            identity.c.customer_id.in_(found)
        )
        proven_first = addresses.order_by(identity.c.proof == str(Proof.claimed), identity.c.id.desc())
        for person, number, address in connection.execute(proven_first):
            if person in found:
                found[person].addresses.append((number, address))
        latest = (
            sa.select(conversation.c.customer_id, conversation.c.reply_channel)
            .where(conversation.c.customer_id.in_(found), conversation.c.reply_channel.is_not(None))
            .order_by(conversation.c.last_at)
        )
        for person, channel in connection.execute(latest):
            if person in found:
                found[person].last_channel = channel
        people |= {who: replace(found[person]) for who, person in one_with.items()}
    return people


def share(campaign: str, customer_id: int) -> float:
    """0 to 100: where this person stands in the lot of the campaign of this name. A check tells the same as a send."""
    digest = hashlib.blake2b(f"{campaign}:{customer_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 * 100


def variant(draft: CampaignDraft, customer_id: int) -> str | None:
    """The variant for this person, "" if there are none; None: held out."""
    place = share(draft.name, customer_id)
    if place < draft.holdout:
        return None
    place = (place - draft.holdout) / (100 - draft.holdout) * sum(draft.variants.values())
    for name, part in draft.variants.items():
        if place < part:
            return name
        place -= part
    return next(reversed(draft.variants), "")  # what rounding left over


def ways(draft: CampaignDraft, context: Context, person: Person) -> list[Way]:
    """In the order of choice, as far as it does not depend on what is said."""
    first = {"last_active": person.last_channel, "preferred": _preferred(person)}.get(draft.choose)
    names = sorted(draft.channels, key=lambda name: name != first)
    found = []
    for name in names:
        found += [
            (name, number, address)
            for scheme in context.channels[name].schemes
            for number, address in person.addresses
            if address.startswith(f"{scheme}:")
        ][:1]
    return found


def _preferred(person: Person) -> str | None:
    wanted = person.attributes.get("preferred_channel")
    return wanted if isinstance(wanted, str) else None


class Texts:
    """A draft with its texts parsed once."""

    def __init__(self, draft: CampaignDraft) -> None:
        self._draft = draft
        self._parsed: dict[int, dict[str, Template]] = {
            id(each): {key: parse(source, html=html) for key, source, html in each.sources()}
            for messages in draft.steps()
            for each in messages
        }

    def templates(self) -> Iterator[tuple[str, Approved]]:
        """Providers' templates that may be used, each with the channels it may be used in."""
        for messages in self._draft.steps():
            for each in messages:
                if each.template is not None:
                    for channel in [each.channel] if each.channel else self._draft.channels:
                        yield channel, Approved(each.template.name, each.template.language)

    def content(
        self, person: Person, channel: str, chosen: str, now: datetime, track: Callable[[str], str], step: int = 0
    ) -> Content:
        """What this person is told there. ``track``: makes an address their own. Raises: Skip."""
        said = self._draft.message(channel, person.locale, chosen, step)
        if said is None:
            raise Skip("NO_MESSAGE", f"nothing is written for {channel}, {person.locale or 'no language'}, {chosen!r}")
        values = _values(self._draft.variables, person)
        locale, zone = person.locale or "en", person.time_zone or "UTC"
        parsed = self._parsed[id(said)].items()
        try:
            texts = {key: each.render(values, now=now, locale=locale, zone=zone, track=track) for key, each in parsed}
        except TemplateError as error:
            raise Skip("MISSING_VALUE" if error.missing else "TEMPLATE", str(error)) from None
        return _content(said, texts)


def _content(said: MessageDraft, texts: Mapping[str, str]) -> Content:
    approved = None
    if said.template is not None:
        filled = {name: texts[f"template.variables.{name}"] for name in said.template.variables}
        approved = Approved(said.template.name, said.template.language, filled)
    subject = texts.get("subject")
    return Content(
        text=texts.get("text", "").strip(),
        subject=" ".join(subject.split()) if subject else None,
        html=texts.get("html"),
        attachments=[Attachment(each.kind, each.url, None, each.mime, each.name) for each in said.attachments],
        buttons=[Button(each.id, each.title) for each in said.buttons],
        template=approved,
    )


def _values(variables: Mapping[str, Variable], person: Person) -> dict[str, Any]:
    """What texts may use. Raises: Skip."""
    known = _known(person)
    values: dict[str, Any] = {"customer": known}
    for name, each in variables.items():
        found = _at(known | {"list": person.fields}, each.source) if each.source else _named(person, known, name)
        if found in (None, ""):
            if each.required:
                raise Skip("MISSING_VALUE", f"{name} has no value")
            found = each.fallback
        values[name] = _typed(name, each.type, found)
    return values


def _known(person: Person) -> dict[str, Any]:
    values = (
        public_id("customer", person.id), person.name, person.external_id, person.locale, person.country, person.tier,
        person.attributes,
    )
    return dict(zip(KNOWN, values, strict=True))


def _named(person: Person, known: Mapping[str, Any], name: str) -> Any:
    """The column of the list, else the attribute, else what is always known."""
    for place in (person.fields, person.attributes, known):
        if place.get(name) not in (None, ""):
            return place[name]
    return None


def _at(values: Any, path: str) -> Any:
    for part in path.removeprefix("customer.").split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _typed(name: str, kind: str, value: Any) -> Any:
    try:
        if kind == "number":
            number = float(value)
            if not math.isfinite(number):
                raise ValueError
            return int(number) if number.is_integer() else number
        if kind == "date" and not isinstance(value, date):
            return datetime.fromisoformat(value) if len(str(value)) > 10 else date.fromisoformat(value)
    except (TypeError, ValueError, OverflowError):
        raise Skip("WRONG_VALUE", f"{name} is no {kind}: {str(value)[:40]!r}") from None
    if kind != "text" or isinstance(value, bool):  # a text would be true, whatever it says
        return value
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def with_fields(people: Mapping[int, Person], rows: Sequence[Any]) -> None:
    """Add the list's columns, as kept in the recipients' rows."""
    for row in rows:
        if row.fields and row.customer_id in people:
            people[row.customer_id].fields = json.loads(row.fields)
