"""Rows of people as the hub takes them: which column says what, addresses in normal form, mistakes told by line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time
from os import PathLike
from typing import Any, Literal

import phonenumbers
from pydantic import ValidationError

from hub.client.files import FileProblem, Row, read
from hub.customers import CustomerDraft, parse_address

Source = str | PathLike[str] | Iterable[Mapping[str, Any]]
Proof = Literal["claimed", "verified"]

_PLAIN = ("external_id", "name", "locale", "time_zone", "country", "tier")
_ADDRESSES = ("tel", "mailto", "address")
_WHOLE = ("attributes", "identities")  # already in the hub's form, in JSON lines
_IGNORED = "-"
TARGETS = (*_PLAIN, *_ADDRESSES, "tags", _IGNORED)
_LARGEST = 1_000_000  # bytes of one row: the hub takes 1 MiB at a time
_NAMES = {
    "external_id": ("external_id", "externalid", "customer_id", "customer", "id"),
    "name": ("name", "full_name", "fullname"),
    "tel": ("tel", "phone", "telephone", "mobile", "mobile_phone", "cell", "phone_number", "msisdn"),
    "mailto": ("mailto", "email", "e_mail", "mail", "email_address"),
    "address": ("address", "addresses"),
    "locale": ("locale", "language", "lang"),
    "time_zone": ("time_zone", "timezone", "tz"),
    "country": ("country", "country_code"),
    "tier": ("tier",),
    "tags": ("tags",),
    _IGNORED: ("hub_id",),  # the hub's own id, as an export has it
}
_FLOAT = re.compile(r"^(\d+)\.0$")  # as tables write a number where another row has none
_STRANGE = re.compile(  # dashes and invisible marks come along from address books
    r"[^-\d\s+＋()（）\[\]./／~－\u2010-\u2015\u2212\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
)
_KNOWN = {name: target for target, names in _NAMES.items() for name in names}


class Columns:
    """What each column says: as ``given`` (column → target), else by its name, else an attribute of that name."""

    def __init__(self, given: Mapping[str, str] | None = None, present: Iterable[str] | None = None) -> None:
        self._given = dict(given or {})
        self._targets: dict[str, str] = {}
        for column, target in self._given.items():
            if target not in TARGETS and not re.fullmatch(r"attributes\.\S.*", target):
                raise FileProblem(f"{column}={target}: say one of {', '.join(TARGETS)} or attributes.NAME")
        self._exact = False  # a column is called external_id, so that another id is something else
        if present is not None:
            self._check(list(present))

    def _check(self, columns: list[str]) -> None:
        for column in self._given:
            if column not in columns:
                known = ", ".join(columns)
                raise FileProblem(f"{column}={self._given[column]}: there is no such column; there are {known}")
        self._exact = "external_id" in map(_normal, columns)
        for target in (*_PLAIN, "tags"):
            said = [column for column in columns if self.target(column) == target]
            if len(said) > 1:
                both = " and ".join(map(repr, said))
                raise FileProblem(f"columns {both} are both {target}: say for one of them {said[-1]}=attributes.NAME")

    def target(self, column: str) -> str:
        found = self._targets.get(column)
        if found is None:
            found = self._targets[column] = self._target(column)
        return found

    def _target(self, column: str) -> str:
        if column in self._given:
            return self._given[column]
        name = _normal(column)
        known = _KNOWN.get(name)
        if known in self._given.values() and known not in _ADDRESSES:
            known = None  # another column was said to be it
        if known == "external_id" and self._exact and name != "external_id":
            known = None
        if name in _WHOLE or column.startswith("attributes."):
            return column.strip()
        return known or f"attributes.{column.strip()}"


def _normal(column: str) -> str:
    return re.sub(r"[\s.-]+", "_", column.strip().lower())


def read_customers(
    source: Source, *, columns: Mapping[str, str] | None = None, country: str | None = None, proof: Proof = "claimed"
) -> Iterator[Row]:
    """Rows whose values are a ``CustomerDraft``, or whose problem says why there is none.

    ``source``: a file (CSV, JSON lines) or mappings; ``columns``: column → target; ``country``: of phone numbers
    without one; ``proof``: how sure it is that the addresses are theirs. Raises: FileProblem.
    """
    rows, names = _opened(source, columns)
    region = _region(country)
    seen: dict[str, int] = {}
    for row in rows:
        done = row if row.problem else _customer(row, names, region, proof)
        known = done.values.get("external_id")
        if known is not None and known in seen:
            done = Row(row.line, {}, f"external_id {known!r} is in line {seen[known]} already")
        elif known is not None:
            seen[known] = row.line
        yield done


def read_people(
    source: Source, *, columns: Mapping[str, str] | None = None, country: str | None = None
) -> Iterator[Row]:
    """Rows for a campaign's list: ``customer`` and values for its texts. Raises: FileProblem."""
    rows, names = _opened(source, columns)
    region = _region(country)
    seen: dict[str, int] = {}
    for row in rows:
        done = row if row.problem else _person(row, names, region)
        who = done.values.get("customer")
        if who is not None and who in seen:
            done = Row(row.line, {}, f"customer {who!r} is in line {seen[who]} already")
        elif who is not None:
            seen[who] = row.line
        yield done


def _opened(source: Source, given: Mapping[str, str] | None) -> tuple[Iterator[Row], Columns]:
    if isinstance(source, str | PathLike):
        present, rows = read(source)
        return rows, Columns(given, present)
    return (Row(place, _given(one)) for place, one in enumerate(source, 1)), Columns(given)


def _given(row: Mapping[str, Any]) -> dict[str, Any]:
    """Values as Python's own: a table in a notebook has NaN where there is nothing, and kinds of its own."""
    found = {}
    for name, value in row.items():
        plain = value.tolist() if hasattr(value, "tolist") else value
        if not _missing(plain):
            found[str(name)] = _plain(plain)
    return found


def _missing(value: Any) -> bool:
    try:
        return value is None or value == "" or bool(value != value)  # NaN and NaT are not even themselves
    except TypeError:
        return True  # pandas' NA is neither equal nor unequal


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():  # a column of numbers that has a gap is of floats there
        return int(value)
    if isinstance(value, datetime) and value.tzinfo is None and value.time() == time():
        return value.date().isoformat()  # tables know days by their midnight
    return value.isoformat() if isinstance(value, date) else value


def targets(source: str | PathLike[str], given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Column → target of a CSV file; of JSON lines nothing is known beforehand. Raises: FileProblem."""
    present, _ = read(source)
    names = Columns(given, present)
    return {column: names.target(column) for column in present or ()}


def _region(country: str | None) -> str | None:
    if country is not None and country.upper() not in phonenumbers.SUPPORTED_REGIONS:
        raise FileProblem(f"{country!r} is no country: give two letters, such as GB")
    return country.upper() if country else None


# --- one row ---


def _customer(row: Row, names: Columns, region: str | None, proof: Proof) -> Row:
    draft: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    addresses: dict[str, str] = {}  # address → column
    origin: dict[str, str] = {}
    problems = []
    for column, value in row.values.items():
        target = names.target(column)
        if target in _ADDRESSES:
            for text in _several(value):
                try:
                    addresses.setdefault(_address(target, text, _country(row, names) or region), column)
                except ValueError as error:
                    problems.append(f"{column}: {error}")
        elif target == "tags":
            attributes["tags"] = _several(value, ",;")
        elif target == "attributes" and isinstance(value, Mapping):
            attributes |= value
        elif target.startswith("attributes."):
            attributes[target.removeprefix("attributes.")] = value
        elif target != _IGNORED:
            draft[target] = str(value) if target in _PLAIN and isinstance(value, int) else value
            origin[target] = column
    if isinstance(draft.get("country"), str):
        draft["country"] = draft["country"].upper()
    if addresses:
        draft["identities"] = draft.get("identities", []) + [{"address": each, "proof": proof} for each in addresses]
    if attributes:
        draft["attributes"] = attributes
    if not problems:
        problems = list(_wrong(draft, origin, proof))
    return Row(row.line, {}, "; ".join(problems)) if problems else _sendable(Row(row.line, draft))


def _sendable(row: Row) -> Row:
    """The same, or with the problem that it cannot be said in JSON."""
    try:
        text = json.dumps(row.values, ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except (TypeError, ValueError) as error:
        return Row(row.line, {}, f"cannot be sent to the hub: {error}")
    if size > _LARGEST:
        return Row(row.line, {}, f"too large: {size} bytes, at most {_LARGEST} can be sent to the hub")
    return Row(row.line, {}, "a NUL character") if "\\u0000" in text else row


def _wrong(draft: Mapping[str, Any], origin: Mapping[str, str], proof: Proof) -> Iterator[str]:
    try:
        checked = CustomerDraft.model_validate(draft)
    except ValidationError as error:
        told: dict[str, None] = {}
        for each in error.errors(include_url=False, include_context=False, include_input=False):
            if each["loc"][0] == "attributes" and len(each["loc"]) > 2:  # one for each kind that it might have been
                told[str(each["loc"][1])] = None
                continue
            first, *rest = map(str, each["loc"])
            where = ".".join([origin.get(first, first), *rest])
            yield f"{where}: {each['msg'].removeprefix('Value error, ')}"
        yield from (f"attributes.{name}: say a text, a number, true or false, or a list of texts" for name in told)
        return
    if checked.external_id is None and not any(each.proof == "verified" for each in checked.identities):
        yield "nothing says who this is: give an external_id, or addresses that are verified (--verified)"


def _person(row: Row, names: Columns, region: str | None) -> Row:
    """``customer`` is the public id, else your own id, else the first address."""
    who: dict[str, str] = {}
    values: dict[str, Any] = {}
    for column, value in row.values.items():
        target = names.target(column)
        if target == _IGNORED and column == "hub_id":
            target = "hub_id"
        if target in _ADDRESSES:
            try:
                who[target] = _address(target, str(value), _country(row, names) or region)
            except ValueError as error:
                return Row(row.line, {}, f"{column}: {error}")
        elif target in ("hub_id", "external_id"):
            who[target] = str(value)
        elif target != _IGNORED:
            values[column] = value
        if isinstance(value, list | dict):
            return Row(row.line, {}, f"{column}: a text, a number, true or false can be said, not a list or an object")
    found = next((who[each] for each in ("hub_id", "external_id", *_ADDRESSES) if each in who), None)
    if found is None:
        return Row(row.line, {}, "nothing says who this is: give a column customer, external_id, phone or email")
    return _sendable(Row(row.line, {"customer": found, **values}))


def _country(row: Row, names: Columns) -> str | None:
    for column, value in row.values.items():
        if names.target(column) == "country" and str(value).upper() in phonenumbers.SUPPORTED_REGIONS:
            return str(value).upper()
    return None


def _several(value: Any, between: str = ";") -> list[str]:
    parts = value if isinstance(value, list) else re.split(f"[{between}]", str(value))
    return [str(part).strip() for part in parts if str(part).strip()]


def _address(scheme: str, text: str, region: str | None) -> str:
    """Raises: ValueError."""
    if scheme == "address":
        return str(parse_address(text))
    value = text.removeprefix(f"{scheme}:").strip()
    if scheme == "tel":
        value = _FLOAT.sub(r"\1", value)
        if strange := _STRANGE.search(value):  # what reads numbers would skip it, or take it for digits
            raise ValueError(f"not a phone number: {value!r}: no number has {strange[0]!r}")
    if scheme == "tel" and region is not None:
        try:
            number = phonenumbers.parse(value, region)
        except phonenumbers.NumberParseException:
            raise ValueError(f"not a phone number: {value!r}") from None
        digits = f"+{phonenumbers.normalize_digits_only(value)}"
        if value[:1] not in "+＋" and digits.startswith(f"+{number.country_code}"):
            # German 491701234567 is 0170 1234567 with its country to people, and 0491 701234567 to the library.
            other = phonenumbers.parse(digits, None)
            if other != number and phonenumbers.is_valid_number(other):
                raise ValueError(f"{value!r} may be two numbers: write {digits}, or what is dialled within {region}")
        value = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    elif scheme == "tel" and not value.startswith("+"):
        raise ValueError(f"{value!r} has no country: write +44…, or say which country is meant (GB)")
    return str(parse_address(f"{scheme}:{value}"))
