"""Customers as the business knows them: found by any of their names, made and updated with their addresses."""

from __future__ import annotations

import json
import re
import unicodedata
import zoneinfo
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Literal

import phonenumbers
import sqlalchemy as sa
from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy import Connection

from hub import consent, identity, tombstones
from hub.context import Context
from hub.model import Address, Party, Proof, is_public_id, private_id, public_id
from hub.policy.address import canonical as compared
from hub.store.base import Overtaken, chunks
from hub.store.schema import customer
from hub.store.schema import identity as identity_table

# Everything that breaks a line or a header somewhere: C0 and C1 controls, line and paragraph separators.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def one_line(value: str) -> str:
    if _CONTROLS.search(value):
        raise ValueError("line breaks and control characters are not possible here")
    return value


def dated(value: object) -> object:
    """Date and time as they are written; a number is none: "2027" would be a moment of 1970."""
    try:
        if isinstance(value, str):
            return datetime.fromisoformat(value.strip().upper())
        if not isinstance(value, int | float):
            return value
    except ValueError:
        pass
    raise ValueError("write date and time, as in 2026-01-31T12:00:00Z")


Line = Annotated[str, StringConstraints(min_length=1, max_length=320), AfterValidator(one_line)]


# --- addresses ---


@lru_cache(maxsize=4096)
def parse_address(text: str) -> Address:
    """``tel:+44 7700 900123`` → ``tel:+447700900123``. Raises ValueError with what is wrong."""
    address = Address.parse(one_line(text.strip()))
    normal = _NORMAL.get(address.scheme)
    return Address(address.scheme, normal(address.value)) if normal else address


def _phone(value: str) -> str:
    try:
        number = phonenumbers.parse(value, None)
        if not phonenumbers.is_possible_number(number):  # as Mexican mobiles were written once
            number = phonenumbers.parse(compared("tel", value), None)
    except phonenumbers.NumberParseException:
        raise ValueError(f"not a phone number: {value!r} (write it with its country: +447700900123)") from None
    if not phonenumbers.is_possible_number(number):
        raise ValueError(f"no phone number is like this: {value!r}")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _mailbox(value: str) -> str:
    try:
        typed = unicodedata.normalize("NFKC", value)
        checked = validate_email(typed, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise ValueError(f"not a mail address: {value!r}: {error}") from None
    return checked.normalized.lower()


# Schemes with an open standard of their own; all others are compared as they are.
_NORMAL: dict[str, Callable[[str], str]] = {"tel": _phone, "mailto": _mailbox}


def checked_address(value: str) -> str:
    return str(parse_address(value))


# --- what is asked for, what is shown ---


def _time_zone(value: str) -> str:
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("not a time zone: it looks like Europe/London") from None
    return value


class IdentityDraft(BaseModel):
    """An address and how sure the business is that it is this customer's."""

    model_config = ConfigDict(extra="forbid")

    address: Annotated[Line, AfterValidator(checked_address)] = Field(
        description="scheme:value, for example tel:+447700900123 or mailto:ann@example.com."
    )
    proof: Literal["claimed", "verified"] = Field(
        "claimed", description="verified: a code, a signed link or a login proved it; joins customers that share it."
    )
    name: Line | None = None


class CustomerDraft(BaseModel):
    """A customer to make, or to update when ``external_id`` is known: only what is given changes."""

    model_config = ConfigDict(extra="forbid")

    external_id: Line | None = Field(None, description="The customer's id in your own system.")
    name: Line | None = None
    locale: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8})*$")] | None = None
    time_zone: Annotated[Line, AfterValidator(_time_zone)] | None = None
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] | None = Field(
        None, description="ISO 3166-1, two capital letters."
    )
    tier: Line | None = None
    attributes: dict[Line, str | int | float | bool | list[str] | None] | None = Field(
        None, max_length=100, description="Anything else worth knowing; replaces all attributes."
    )
    identities: list[IdentityDraft] = Field([], max_length=20)


class IdentityView(BaseModel):
    address: str
    proof: Proof
    name: str | None = None
    suppressed: list[str] = Field([], description="Why nothing is sent there: opt_out, bounced.")


class CustomerView(BaseModel):
    id: str
    external_id: str | None = None
    name: str | None = None
    locale: str | None = None
    time_zone: str | None = None
    country: str | None = None
    tier: str | None = None
    attributes: dict[str, Any] = {}
    identities: list[IdentityView] = []
    merged: list[str] = Field([], description="Customers merged into this one; each can be unmerged.")
    created_at: datetime


class Saved(BaseModel):
    """A customer after POST. ``not_attached``: claimed addresses that belong to somebody else and stay there."""

    customer: CustomerView
    not_attached: list[str] = []


# --- finding ---


def row_id(text: str) -> int | None:
    """The row a public customer id names, whether or not it exists."""
    return private_id("customer", text) if is_public_id("customer", text) else None


def find(connection: Connection, who: str) -> int | None:
    """By public id, address or external id: the customer, or whom it was merged into."""
    number = row_id(who)
    if number is not None and (known := canonical(connection, number)) is not None:
        return known
    known = by_external_id(connection, who)
    return known if known is not None else by_address(connection, who)


def find_many(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """``find`` for many, in a few statements; who is not known is left out."""
    wanted = set(names)
    rows = {number: name for name in wanted if (number := row_id(name)) is not None}
    stands_for = sa.func.coalesce(customer.c.merged_into, customer.c.id)
    found: dict[str, int] = {}
    for numbers in chunks(rows):
        query = sa.select(customer.c.id, stands_for).where(customer.c.id.in_(numbers))
        found |= {rows[row[0]]: row[1] for row in connection.execute(query)}
    for some in chunks(wanted - found.keys()):
        query_ = sa.select(customer.c.external_id, stands_for).where(customer.c.external_id.in_(some))
        found |= {row[0]: row[1] for row in connection.execute(query_)}
    addresses = {name: normal for name in wanted - found.keys() if (normal := _normal_address(name)) is not None}
    known_ = identity.find(connection, set(addresses.values()))
    return found | {name: known_[normal].customer_id for name, normal in addresses.items() if normal in known_}


def _normal_address(text: str) -> str | None:
    try:
        return str(parse_address(text))
    except ValueError:
        return None


def by_external_id(connection: Connection, external_id: str) -> int | None:
    query = sa.select(sa.func.coalesce(customer.c.merged_into, customer.c.id))
    return connection.execute(query.where(customer.c.external_id == external_id)).scalar_one_or_none()


def canonical(connection: Connection, customer_id: int) -> int | None:
    """The customer that stands for this one; None if there is no such row."""
    query = sa.select(sa.func.coalesce(customer.c.merged_into, customer.c.id)).where(customer.c.id == customer_id)
    return connection.execute(query).scalar_one_or_none()


def by_address(connection: Connection, text: str) -> int | None:
    address = _normal_address(text)
    known = identity.find(connection, [address]).get(address) if address is not None else None
    return known.customer_id if known else None


def view(connection: Connection, customer_id: int) -> CustomerView | None:
    """One customer with all addresses; None if there is none."""
    found = views(connection, [customer_id])
    return found[0] if found else None


def views(connection: Connection, customer_ids: Sequence[int]) -> list[CustomerView]:
    """Customers in the order asked for."""
    rows = {row.id: row for row in connection.execute(sa.select(customer).where(customer.c.id.in_(customer_ids)))}
    known: dict[int, list[Any]] = {}
    query = sa.select(identity_table).where(identity_table.c.customer_id.in_(customer_ids))
    for row in connection.execute(query.order_by(identity_table.c.id)):
        known.setdefault(row.customer_id, []).append(row)
    merged: dict[int, list[Any]] = {}
    joined = sa.select(customer.c.id, customer.c.merged_into, customer.c.external_id)
    for row in connection.execute(joined.where(customer.c.merged_into.in_(customer_ids)).order_by(customer.c.id)):
        merged.setdefault(row.merged_into, []).append(row)
    held = consent.suppressions(connection, [row.address for rows_of in known.values() for row in rows_of])
    return [
        CustomerView(
            id=public_id("customer", number),
            external_id=next(
                (row.external_id for row in (rows[number], *merged.get(number, [])) if row.external_id is not None),
                None,
            ),
            **{name: getattr(rows[number], name) for name in _PLAIN},
            attributes=json.loads(rows[number].attributes),
            identities=[
                IdentityView(
                    address=row.address,
                    proof=row.proof,
                    name=row.name,
                    suppressed=[reason for reason, _ in held.get(row.address, ())],
                )
                for row in known.get(number, [])
            ],
            merged=[public_id("customer", row.id) for row in merged.get(number, [])],
            created_at=rows[number].created_at,
        )
        for number in customer_ids
        if number in rows
    ]


_PLAIN = ("name", "locale", "time_zone", "country", "tier")


def page(
    connection: Connection, *, before: int | None, limit: int, among: Sequence[int] | None = None
) -> list[int]:
    """Customers that stand for themselves, newest first. ``among``: only these."""
    query = sa.select(customer.c.id).where(customer.c.merged_into.is_(None))
    if among is not None:
        query = query.where(customer.c.id.in_(among))
    if before is not None:
        query = query.where(customer.c.id < before)
    return list(connection.execute(query.order_by(customer.c.id.desc()).limit(limit)).scalars())


# --- making ---


def upsert(
    connection: Connection, context: Context, draft: CustomerDraft, *, keep: bool = False
) -> tuple[int, bool, list[str]]:
    """The customer's id, whether it is new, and the addresses that are not attached: claimed ones of somebody else,
    and erased ones.

    ``keep``: attributes that are not given stay as they are; None removes one.
    """
    number = _existing(connection, draft)
    is_new = number is None
    if number is None:
        row = identity.new_customer(context, draft.name)
        identity.insert(connection, [row], [])
        number = int(row["id"])
    if draft.external_id is not None:
        holder = by_external_id(connection, draft.external_id)
        if is_new and holder is not None:
            raise Overtaken("another transaction has made this customer")
        if holder is None:
            # Before an address can merge this customer into another one: an unmerge gives it back.
            _update(connection, number, {"external_id": draft.external_id})
    made = number
    refused: list[str] = []
    erased = tombstones.buried(connection, context.secret, [each.address for each in draft.identities])
    for each in draft.identities:
        if each.address in erased:  # only they themselves come back
            refused.append(each.address)
            continue
        address = Address.parse(each.address)
        party = Party(address.scheme, address.value, each.name or draft.name, Proof(each.proof))
        number = identity.attach(connection, context, number, party, f"the API said: {each.proof}")
        owner = identity.find(connection, [each.address])[each.address].customer_id
        if owner != number:
            refused.append(each.address)
    values = {name: getattr(draft, name) for name in _PLAIN if name in draft.model_fields_set}
    if draft.attributes is not None:
        known = _attributes(connection, number) if keep else {}
        merged = {name: value for name, value in (known | draft.attributes).items() if value is not None or not keep}
        values["attributes"] = json.dumps(merged, ensure_ascii=False)
    _update(connection, number, values)
    return number, is_new and number == made, refused


def _update(connection: Connection, number: int, values: dict[str, Any]) -> None:
    if values:
        connection.execute(sa.update(customer).where(customer.c.id == number).values(values))


def _attributes(connection: Connection, number: int) -> dict[str, Any]:
    query = sa.select(customer.c.attributes).where(customer.c.id == number)
    found: dict[str, Any] = json.loads(connection.execute(query).scalar_one())
    return found


def _existing(connection: Connection, draft: CustomerDraft) -> int | None:
    """Whom the draft speaks of: by external id, else the nameless owner of an address proven on both sides."""
    if draft.external_id is not None and (known := by_external_id(connection, draft.external_id)) is not None:
        return known
    proven = [each.address for each in draft.identities if each.proof != Proof.claimed]
    for found in identity.find(connection, proven).values():
        if found.proof is Proof.claimed:
            continue
        held = sa.select(customer.c.external_id).where(customer.c.id == found.customer_id)
        if draft.external_id is None or connection.execute(held).scalar_one() is None:
            return found.customer_id
    return None
