"""Who a message is for: a small typed filter over what is known of customers, as one parameterised query."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from sqlalchemy import ColumnElement, Connection
from sqlalchemy.dialects.postgresql import JSONB

from hub import consent
from hub.context import Context
from hub.customers import Line
from hub.settings.values import Duration
from hub.store.schema import (
    campaign,
    consent_event,
    conversation,
    customer,
    customer_event,
    identity,
    message,
    micros,
    segment,
)

_DEPTH = 10
_WHOLE_DEPTH = 20  # with saved segments put in
_CONDITIONS = 200
_SHOWN = 5  # of what uses a segment
_SECONDS = 30.0  # that one query may take
_FIELDS = ("name", "external_id", "locale", "time_zone", "country", "tier", "created_at")

Scalar = str | int | float | bool
Span = Annotated[Duration, PlainSerializer(lambda span: f"{int(span.total_seconds())}s")]


class SegmentError(ValueError):
    """A filter that cannot be used; says where and why."""


class _Condition(BaseModel):
    model_config = ConfigDict(extra="forbid")


class All(_Condition):
    """Everything in the list holds. An empty list holds for everybody."""

    all: list[Filter] = Field(max_length=_CONDITIONS)


class Any_(_Condition):
    """Something in the list holds."""

    any: list[Filter] = Field(min_length=1, max_length=_CONDITIONS)


class Not(_Condition):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    not_: Filter = Field(alias="not")


class Saved(_Condition):
    """Who is in a saved segment."""

    segment: Line


class FieldIs(_Condition):
    """Something the business knows: ``name``, ``tier``, ``country`` …, or ``attributes.NAME``. One comparison."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    field: Line
    is_: Scalar | None = Field(None, alias="is")
    in_: list[Scalar] | None = Field(None, alias="in", min_length=1, max_length=1000)
    contains: str | None = Field(None, min_length=1)
    ends: str | None = Field(None, min_length=1)
    at_least: float | str | None = None
    at_most: float | str | None = None
    exists: bool | None = None

    @model_validator(mode="after")
    def _one_comparison(self) -> FieldIs:
        if not (self.field in _FIELDS or (self.field.startswith("attributes.") and len(self.field) > 11)):
            raise ValueError(f"no such field: {self.field!r}; there are {', '.join(_FIELDS)} and attributes.NAME")
        given = self.model_fields_set - {"field"}
        if not given or (len(given) > 1 and given != {"at_least", "at_most"}):
            raise ValueError("give one of: is, in, contains, ends, exists, or at_least and at_most")
        return self


class Tagged(_Condition):
    """The attribute ``tags`` is a list that has this one."""

    tag: Line


class Reached(_Condition):
    """There is an address that this channel reaches."""

    reach: Line


class Consented(_Condition):
    """What was said last on messages, or on advertising, of one of the customer's addresses (``on``: that this channel
    reaches): a yes, a no, or nothing ever. The policy still decides each message by itself."""

    consent: Literal["opt_in", "opt_out", "none"]
    on: Line | None = None


class Active(_Condition):
    """The customer wrote within this time; ``{"not": …}`` finds those who have been quiet."""

    active: Span


class Did(_Condition):
    """The customer did something, at least once if nothing else is said: an event that the business told of."""

    event: Line
    within: Span | None = None
    at_least: int | None = Field(None, ge=0)
    at_most: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _possible(self) -> Did:
        if self.at_most is not None and self.at_least is not None and self.at_most < self.at_least:
            raise ValueError("at_most is below at_least")
        return self


_KINDS: dict[str, type[_Condition]] = {
    "all": All, "any": Any_, "not": Not, "segment": Saved, "field": FieldIs,
    "tag": Tagged, "reach": Reached, "consent": Consented, "active": Active, "event": Did,
}  # fmt: skip


def _by_key(value: Any) -> Any:
    """The kind of a condition is its one telling key, so a mistake in it is told as one about that kind."""
    if not isinstance(value, dict):
        return value
    kinds = [name for name in _KINDS if name in value]
    if len(kinds) != 1:
        raise ValueError(f"a condition has exactly one of these keys: {', '.join(_KINDS)}")
    return _KINDS[kinds[0]].model_validate(value)


Filter = Annotated[
    All | Any_ | Not | Saved | FieldIs | Tagged | Reached | Consented | Active | Did, BeforeValidator(_by_key)
]
for _kind in (All, Any_, Not):
    _kind.model_rebuild()
_filter: TypeAdapter[Filter] = TypeAdapter(Filter)


def parse(value: Any) -> Filter:
    """A filter from JSON values. Raises: SegmentError."""
    try:
        found = _filter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise SegmentError(first["msg"].removeprefix("Value error, ")) from None
    _bounded(found)
    return found


def plain(filter_: Filter) -> Any:
    """As JSON values; ``parse`` reads them back."""
    return _filter.dump_python(filter_, mode="json", by_alias=True, exclude_unset=True)


def _children(each: Filter) -> list[Filter]:
    match each:
        case All():
            return each.all
        case Any_():
            return each.any
        case Not():
            return [each.not_]
        case _:
            return []


def _size(each: Filter) -> int:
    return 1 + sum(_size(child) for child in _children(each))


def _bounded(filter_: Filter) -> None:
    """Raises: SegmentError for what databases would choke on."""
    if _size(filter_) > _CONDITIONS or _depth(filter_) > _DEPTH:
        raise SegmentError(f"too large: at most {_CONDITIONS} conditions, nested {_DEPTH} deep")


def _depth(each: Filter) -> int:
    return 1 + max((_depth(child) for child in _children(each)), default=0)


# --- saved ones ---


def save(connection: Connection, context: Context, name: str, filter_: Filter) -> None:
    """Raises: SegmentError if it would contain itself, or names one that is not there."""
    _whole(connection, filter_, (name,))
    connection.execute(sa.delete(segment).where(segment.c.name == name))
    values = {"name": name, "filter": json.dumps(plain(filter_)), "saved_at": context.now}
    connection.execute(sa.insert(segment).values(values))


def saved(connection: Connection) -> dict[str, Filter]:
    rows = connection.execute(sa.select(segment.c.name, segment.c.filter).order_by(segment.c.name))
    return {row.name: stored(row.filter) for row in rows}


def stored(text: str) -> Filter:
    """A filter as ``save`` keeps it."""
    return parse(json.loads(text))


def remove(connection: Connection, name: str) -> bool:
    """Whether there was one. Raises: SegmentError if a segment or a campaign that is not over still needs it."""
    users = [f"segment {other!r}" for other, filter_ in saved(connection).items() if _names(filter_, name)]
    campaigns = sa.select(campaign.c.name, campaign.c.draft).where(campaign.c.state.not_in(("finished", "cancelled")))
    for row in connection.execute(campaigns.order_by(campaign.c.id)):
        used = json.loads(row.draft)["audience"].get("segment")
        if used is not None and _names(parse(used), name):
            users.append(f"campaign {row.name!r}")
    if users:
        more = f" and {len(users) - _SHOWN} more" if len(users) > _SHOWN else ""
        raise SegmentError(f"{name!r} is used by {', '.join(users[:_SHOWN])}{more}; end or change what uses it first")
    return bool(connection.execute(sa.delete(segment).where(segment.c.name == name)).rowcount)


def _names(filter_: Filter, name: str) -> bool:
    """Whether it is, or has in it, the saved segment of this name."""
    return (isinstance(filter_, Saved) and filter_.segment == name) or any(
        _names(child, name) for child in _children(filter_)
    )


def _whole(connection: Connection, filter_: Filter, within: tuple[str, ...] = ()) -> Filter:
    """The filter with saved segments put in their places. Raises: SegmentError."""
    _bounded(filter_)
    count = itertools.count(1)

    def expand(each: Filter, within: tuple[str, ...]) -> Filter:
        if next(count) > _CONDITIONS or len(within) > _DEPTH:
            raise SegmentError(_TOO_LARGE)
        match each:
            case All():
                return All(all=[expand(child, within) for child in each.all])
            case Any_():
                return Any_(any=[expand(child, within) for child in each.any])
            case Not():
                return Not(not_=expand(each.not_, within))
            case Saved():
                return expand(_saved(connection, each.segment, within), (*within, each.segment))
            case _:
                return each

    found = expand(filter_, within)
    if _depth(found) > _WHOLE_DEPTH:
        raise SegmentError(_TOO_LARGE)
    return found


_TOO_LARGE = (
    f"too large with the segments that are in it: at most {_CONDITIONS} conditions in all, nested {_WHOLE_DEPTH} deep"
)


def _saved(connection: Connection, name: str, within: tuple[str, ...]) -> Filter:
    if name in within:
        raise SegmentError(f"segment {name!r} contains itself")
    held = connection.execute(sa.select(segment.c.filter).where(segment.c.name == name)).scalar_one_or_none()
    if held is None:
        raise SegmentError(f"no segment is called {name!r}")
    return stored(held)


# --- people ---


def people(
    connection: Connection,
    context: Context,
    filter_: Filter,
    *,
    after: int = 0,
    limit: int | None = None,
    among: Sequence[int] | None = None,
) -> list[int]:
    """Customers whom the filter matches, by id, from the one after ``after`` on. Raises: SegmentError.

    ``among``: only these.
    """
    where = _where(connection, context, filter_)
    if among is not None:
        where = sa.and_(where, customer.c.id.in_(among))
    query = sa.select(customer.c.id).where(customer.c.merged_into.is_(None), customer.c.id > after, where)
    with _limited(connection):
        return list(connection.execute(query.order_by(customer.c.id).limit(limit)).scalars())


def count(connection: Connection, context: Context, filter_: Filter) -> int:
    """How many customers the filter matches. Raises: SegmentError."""
    where = _where(connection, context, filter_)
    query = sa.select(sa.func.count()).select_from(customer).where(customer.c.merged_into.is_(None), where)
    with _limited(connection):
        return int(connection.execute(query).scalar_one())


@contextmanager
def _limited(connection: Connection) -> Iterator[None]:
    """A query that would hold up everything else is given up. Raises: SegmentError."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(_SECONDS * 1000)}")
        try:
            yield
        except sa.exc.DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != "57014":
                raise
            raise SegmentError(f"the filter takes more than {_SECONDS:g} s") from None
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        return
    raw: Any = connection.connection.driver_connection
    steps = 0

    def out_of_time() -> bool:
        nonlocal steps
        steps += 1
        return steps > _SQLITE_STEPS

    raw.set_progress_handler(out_of_time, _SQLITE_EVERY)
    try:
        yield
    except sa.exc.OperationalError as error:
        if "interrupted" not in str(error.orig):
            raise
        raise SegmentError(f"the filter takes more than about {_SECONDS:g} s") from None
    finally:
        raw.set_progress_handler(None, 0)


_SQLITE_EVERY = 100_000  # virtual machine instructions, about a millisecond
_SQLITE_STEPS = int(_SECONDS * 1000)


def _where(connection: Connection, context: Context, filter_: Filter) -> ColumnElement[bool]:
    return _Query(context, connection.dialect.name).where(_whole(connection, filter_))


class _Query:
    def __init__(self, context: Context, dialect: str) -> None:
        self._context = context
        self._postgres = dialect == "postgresql"

    def where(self, each: Filter) -> ColumnElement[bool]:
        match each:
            case All():
                return sa.and_(sa.true(), *(self.where(child) for child in each.all))
            case Any_():
                return sa.or_(sa.false(), *(self.where(child) for child in each.any))
            case Not():
                # What is unknown is not so: NULL must not swallow the negation.
                return sa.not_(sa.func.coalesce(self.where(each.not_), sa.false()))
            case FieldIs():
                return self._field(each)
            case Tagged():
                return self._tagged(each.tag)
            case Reached():
                return self._reached(each.reach)
            case Consented():
                return self._consented(each)
            case Active():
                return self._active(each.active)
            case Did():
                return self._did(each)
            case Saved():
                raise AssertionError("expanded before")

    def _field(self, each: FieldIs) -> ColumnElement[bool]:
        name = each.field.removeprefix("attributes.")
        if each.field == "created_at":
            return self._created(each)
        column: ColumnElement[str] = (
            self._attribute(name) if each.field.startswith("attributes.") else customer.c[name]
        )
        given = each.model_fields_set
        if "exists" in given:
            return column.is_not(None) if each.exists else column.is_(None)
        if "is" in given or "is_" in given:
            return column == _text(each.is_) if each.is_ is not None else column.is_(None)
        if each.in_ is not None:
            return column.in_([_text(value) for value in each.in_])
        if each.contains is not None:
            return column.icontains(each.contains, autoescape=True)
        if each.ends is not None:
            return column.endswith(each.ends, autoescape=True)
        return sa.and_(
            *(self._compared(column, bound, "ge") for bound in (each.at_least,) if bound is not None),
            *(self._compared(column, bound, "le") for bound in (each.at_most,) if bound is not None),
        )

    def _compared(
        self, column: ColumnElement[str], bound: float | str, how: Literal["ge", "le"]
    ) -> ColumnElement[bool]:
        """Numbers as numbers, texts (such as dates) as texts. What is no number is neither more nor less."""
        if isinstance(bound, str):
            return column >= bound if how == "ge" else column <= bound
        is_number = column.regexp_match(r"^-?[0-9]{1,18}(\.[0-9]{1,18})?$")
        number: ColumnElement[Any] = sa.case((is_number, sa.cast(column, sa.Double)))
        return number >= bound if how == "ge" else number <= bound

    def _created(self, each: FieldIs) -> ColumnElement[bool]:
        bounds = {"at_least": each.at_least, "at_most": each.at_most}
        found: list[ColumnElement[bool]] = []
        for name, bound in bounds.items():
            if bound is None:
                continue
            try:
                moment = datetime.fromisoformat(str(bound))
                micros(moment)
            except ValueError:
                raise SegmentError(f"created_at: {bound!r} is no instant such as 2026-01-31T00:00:00Z") from None
            found.append(customer.c.created_at >= moment if name == "at_least" else customer.c.created_at <= moment)
        if not found:
            raise SegmentError("created_at takes at_least and at_most")
        return sa.and_(*found)

    def _attribute(self, name: str) -> ColumnElement[str]:
        if self._postgres:
            found: ColumnElement[str] = sa.cast(customer.c.attributes, JSONB)[name].astext
            return found
        # Not by a path, which cannot spell every name. Booleans are 0 and 1 in SQLite's eyes; compare their text.
        each = sa.func.json_each(customer.c.attributes).table_valued("key", "type", "atom", name="attribute")
        value = sa.case((each.c.type.in_(("true", "false")), each.c.type), else_=sa.cast(each.c.atom, sa.Text))
        return sa.select(value).select_from(each).where(each.c.key == name).correlate(customer).scalar_subquery()

    def _tagged(self, tag: str) -> ColumnElement[bool]:
        if self._postgres:
            return sa.cast(customer.c.attributes, JSONB)["tags"].contains([tag])
        each = sa.func.json_each(customer.c.attributes, "$.tags").table_valued("value", name="tag")
        return sa.exists(sa.select(1).select_from(each).where(each.c.value == tag))

    def _reached(self, channel: str, *more: ColumnElement[bool]) -> ColumnElement[bool]:
        known = self._context.channels.get(channel)
        if known is None or known.role != "contact":
            names = ", ".join(name for name, each in self._context.channels.items() if each.role == "contact")
            raise SegmentError(f"no channel to customers is called {channel!r}; there are: {names or 'none'}")
        return sa.exists().where(
            identity.c.customer_id == customer.c.id,
            sa.or_(*(identity.c.address.startswith(f"{scheme}:", autoescape=True) for scheme in known.schemes)),
            *more,
        )

    def _consented(self, each: Consented) -> ColumnElement[bool]:
        last = (
            sa.select(consent_event.c.change)
            .where(consent_event.c.address == identity.c.address, consent_event.c.change.in_(consent.WORDS))
            .order_by(consent_event.c.occurred_at.desc(), consent_event.c.id.desc())
            .limit(1)
            .correlate(identity)
            .scalar_subquery()
        )
        said = last.is_not(None) if each.consent == "none" else last.startswith(each.consent)
        if each.on is not None:
            found = self._reached(each.on, said)
        else:
            found = sa.exists().where(identity.c.customer_id == customer.c.id, said)
        return sa.not_(found) if each.consent == "none" else found

    def _active(self, span: timedelta) -> ColumnElement[bool]:
        person = customer.alias("person")
        return sa.exists(
            sa.select(1)
            .select_from(message)
            .join(conversation, conversation.c.id == message.c.conversation_id)
            .join(person, person.c.id == conversation.c.customer_id)
            .where(
                _one(person),
                message.c.inbound.is_(True),
                message.c.automatic.is_(False),
                message.c.recorded_at >= self._context.now - span,
            )
            .correlate(customer)
        )

    def _did(self, each: Did) -> ColumnElement[bool]:
        person = customer.alias("person")
        events = customer_event.join(person, person.c.id == customer_event.c.customer_id)
        happened = [_one(person), customer_event.c.name == each.event]
        if each.within is not None:
            happened.append(customer_event.c.at >= self._context.now - each.within)
        some = sa.exists(sa.select(1).select_from(events).where(*happened).correlate(customer))
        if each.at_most is None and each.at_least in (None, 1):
            return some
        if each.at_most == 0:
            return sa.not_(some)
        total = sa.select(sa.func.count()).select_from(events).where(*happened).correlate(customer)
        number = total.scalar_subquery()
        bounds = [number >= each.at_least] if each.at_least is not None else []
        bounds += [number <= each.at_most] if each.at_most is not None else []
        return sa.and_(*bounds)


def _one(person: sa.FromClause) -> ColumnElement[bool]:
    """The customer, or one that was merged into them."""
    return sa.or_(person.c.id == customer.c.id, person.c.merged_into == customer.c.id)


def _text(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
