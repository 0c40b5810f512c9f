"""Texts with variables, written by users: Liquid with limits. Values are data: a template in them stays text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time
from babel.numbers import UnknownCurrencyError, format_currency, format_decimal
from liquid import BoundTemplate, Environment, RenderContext
from liquid.ast import Node
from liquid.builtin.expressions.primitive import IntegerLiteral, RangeLiteral
from liquid.exceptions import LiquidError, ResourceLimitError, UndefinedError
from liquid.expression import Expression
from liquid.filter import with_context
from liquid.undefined import FalsyStrictUndefined, Undefined

T = TypeVar("T")

_SOURCE = 200_000  # characters of a template
_MARKUP = 5_000  # characters between {{ and }}, or {% and %}
_OUTPUT = 400_000  # characters of a text
_NODES = 2_000  # tags, outputs and literals of a template
_STEPS = 50_000  # nodes times loop iterations: some 50 ms
_WORK = 4_000_000  # characters that filters may touch; a call alone counts as 1000
_VALUE = 50_000  # characters or items of a value that a filter takes or gives
_RANGE = 1_000
_MARKS = re.compile(r"\{\{|\{%|\}\}|%\}")
_DIGITS = 18  # of a number in a calculation
_TAGS = (
    *("if", "unless", "case", "for", "break", "continue", "assign", "capture", "comment", "#", "cycle", "echo"),
    *("content", "output", "illegal"),  # what the parser itself needs
)
_FILTERS = (
    *("abs", "at_least", "at_most", "ceil", "divided_by", "floor", "minus", "modulo", "plus", "round", "times"),
    *("append", "capitalize", "downcase", "escape", "lstrip", "newline_to_br", "prepend", "remove", "remove_first"),
    *("replace_first", "rstrip", "strip", "strip_newlines", "truncate", "truncatewords", "upcase", "url_encode"),
    *("default", "first", "join", "last", "size", "slice", "sort", "split"),
)
_NUMERIC = frozenset(_FILTERS[:11])


class TemplateError(ValueError):
    """A template that cannot be used, or not with these values. ``missing``: the variable that has no value."""

    def __init__(self, detail: str, missing: str | None = None) -> None:
        super().__init__(detail)
        self.missing = missing


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template. ``variables``: what it reads, as dotted paths."""

    source: str
    variables: frozenset[str]
    _bound: BoundTemplate = field(repr=False, compare=False)

    def render(
        self,
        values: Mapping[str, Any],
        *,
        now: datetime,
        locale: str = "en",
        zone: str = "UTC",
        track: Callable[[str], str] | None = None,
    ) -> str:
        """The text with these values: strings, numbers, booleans, dates, and lists and mappings of them.

        None is no value: it needs a ``default`` like one that is missing. ``track``: makes an address this reader's
        own. Raises: TemplateError.
        """
        known = _given(values) | {"now": now.astimezone(ZoneInfo(zone)), "today": now.astimezone(ZoneInfo(zone)).date()}
        place = _Place(_locale(locale), zone, track)
        return _guarded(lambda: self._bound.render(known | {_PLACE: place}))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the reader is. No string, number, list or mapping: a template can do nothing with it."""

    locale: Locale
    zone: str
    track: Callable[[str], str] | None


_PLACE = "\0place"  # no template can spell it


def parse(source: str, *, html: bool = False) -> Template:
    """``html``: values are escaped. Raises: TemplateError, with the line."""
    if len(source) > _SOURCE:
        raise TemplateError(f"the template has {len(source)} characters; the limit is {_SOURCE}")
    _refuse_endless(source)
    environment = _environment(html)
    bound = _guarded(lambda: environment.from_string(source))
    nodes = _guarded(lambda: _check(bound))
    found = _guarded(lambda: bound.analyze(include_partials=False)).globals
    names = {str(each) for places in found.values() for each in places} - {"now", "today"}
    # Each template has its own limit, so that all its loops together stay within the steps.
    limit = max(1, _STEPS // (len(nodes) + 1))
    environment.loop_iteration_limit = limit  # type: ignore[misc]  # declared for classes, read from instances
    return Template(source, frozenset(names), bound)


class _Limited(Environment):
    block_nesting_limit = 20
    context_depth_limit = 30
    local_namespace_limit = 1_000_000
    output_stream_limit = _OUTPUT


def _environment(html: bool) -> Environment:
    environment = _Limited(undefined=FalsyStrictUndefined, autoescape=html)
    environment.tags = {name: environment.tags[name] for name in _TAGS}
    kept = {name: environment.filters[name] for name in _FILTERS}
    own: dict[str, Callable[..., Any]] = {"date": _date, "time": _time, "money": _money, "number": _number,
                                      "track": _track}  # fmt: skip
    environment.filters = {name: _bounded(name, each) for name, each in (kept | own | {"replace": _replace}).items()}
    return environment


def _guarded(work: Callable[[], T]) -> T:
    """Whatever goes wrong with a template is an error of the template, told in one line."""
    try:
        return work()
    except TemplateError:
        raise
    except UndefinedError as error:
        name = str(error.args[0]).split("'")[1] if "'" in str(error.args[0]) else str(error.args[0]).split(" ")[0]
        raise TemplateError(f"{name} has no value{_line(error)}; give one, or write | default: …", name) from error
    except ResourceLimitError as error:
        raise TemplateError(f"the template does too much: {error.args[0]}{_line(error)}") from error
    except LiquidError as error:
        raise TemplateError(f"{error.args[0]}{_line(error)}") from error
    except RecursionError:
        raise TemplateError("the template is nested too deeply") from None
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise TemplateError(f"cannot be rendered: {error}") from error


def _line(error: LiquidError) -> str:
    if error.token is None or not error.token.source:
        return ""
    return f" (line {error.token.source.count(chr(10), 0, error.token.start_index) + 1})"


# --- looking at a template before it runs ---


def _refuse_endless(source: str) -> None:
    """The parser's time is not linear in the length of one expression."""
    opened: int | None = None
    for start, mark in (*((each.start(), each[0]) for each in _MARKS.finditer(source)), (len(source), "}}")):
        if mark in ("{{", "{%"):
            opened = start if opened is None else opened
            continue
        if opened is not None and start - opened > _MARKUP:
            line = source.count("\n", 0, opened) + 1
            raise TemplateError(f"more than {_MARKUP} characters between the braces of one expression (line {line})")
        opened = None


def _check(bound: BoundTemplate) -> list[Node]:
    """All nodes. Raises: TemplateError for too many, and for ranges that nobody could bound."""
    context = RenderContext(bound)
    found = list(_nodes(bound.nodes, context))
    if len(found) > _NODES:
        raise TemplateError(f"the template has {len(found)} tags and texts; the limit is {_NODES}")
    for node in found:
        for expression in node.expressions():
            for each in _expressions(expression):
                if isinstance(each, RangeLiteral):
                    _check_range(each)
    return found


def _nodes(nodes: Any, context: RenderContext) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from _nodes(node.children(context, include_partials=False), context)


def _expressions(expression: Expression) -> Iterator[Expression]:
    yield expression
    for child in expression.children():
        yield from _expressions(child)


def _check_range(each: RangeLiteral) -> None:
    ends = [end.value for end in (each.start, each.stop) if isinstance(end, IntegerLiteral)]
    if len(ends) != 2 or abs(ends[1] - ends[0]) > _RANGE:
        raise TemplateError(f"{each}: a range goes between two numbers, at most {_RANGE} apart")


# --- filters ---


def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, if what it is given, what it gives, and all filters' work together stay within limits."""
    wants_context = getattr(function, "with_context", False)
    wants_environment = getattr(function, "with_environment", False)

    @with_context
    def run(value: Any, *arguments: Any, context: RenderContext, **options: Any) -> Any:
        for each in (value, *arguments):
            _spend(context, each)
            if name in _NUMERIC:
                _refuse_monster(each)
        if wants_context:
            options["context"] = context
        if wants_environment:
            options["environment"] = context.env
        result = function(value, *arguments, **options)
        _spend(context, result)
        return result

    return run


def _spend(context: RenderContext, value: Any) -> None:
    size = len(value) if isinstance(value, str | list | tuple) else 0
    spent = context.tag_namespace.get("work", 0) + size + 1000
    context.tag_namespace["work"] = spent
    if size > _VALUE:
        raise ResourceLimitError(f"a value of {size} characters or items; the limit is {_VALUE}", token=None)
    if spent > _WORK:
        raise ResourceLimitError("filters work too long", token=None)
    if isinstance(value, int) and abs(value) >= 10**_DIGITS:
        raise ResourceLimitError(f"a number of more than {_DIGITS} digits", token=None)


def _refuse_monster(value: Any) -> None:
    """``"1e999999999" | floor`` is a number of a gigabyte."""
    if isinstance(value, str) and (len(value) > _DIGITS or "e" in value.lower()):
        raise ResourceLimitError(f"{value[:_DIGITS]!r} is no number to calculate with", token=None)


def _replace(value: Any, old: Any, new: Any = "") -> str:
    text, old, new = str(value), str(old), str(new)
    if len(text) + text.count(old) * (len(new) - len(old)) > _VALUE:
        raise ResourceLimitError(f"replace would give more than {_VALUE} characters", token=None)
    return text.replace(old, new)


def _place(context: RenderContext) -> _Place:
    place = context.globals[_PLACE]
    assert isinstance(place, _Place)
    return place


@with_context
def _date(value: Any, style: Any = "medium", *, context: RenderContext) -> str:
    """``short``, ``medium``, ``long`` or ``full``, in the reader's language and zone."""
    place, moment = _place(context), _moment(value, context)
    if isinstance(moment, datetime):
        moment = moment.astimezone(ZoneInfo(place.zone)) if moment.tzinfo else moment
    return str(format_date(moment, _style(style), place.locale))


@with_context
def _time(value: Any, style: Any = "short", *, context: RenderContext) -> str:
    place, moment = _place(context), _moment(value, context)
    if not isinstance(moment, datetime):
        raise TemplateError(f"{value!r} has no time of day")
    if moment.tzinfo is None:
        return str(format_time(moment, _style(style), locale=place.locale))
    return str(format_time(moment, _style(style), ZoneInfo(place.zone), place.locale))


@with_context
def _money(value: Any, currency: Any = None, *, context: RenderContext) -> str:
    """``{{ 12.5 | money: "EUR" }}``"""
    if not isinstance(currency, str) or len(currency) != 3:
        raise TemplateError(f'money needs a currency, as in | money: "EUR", not {currency!r}')
    try:
        return str(format_currency(_decimal(value), currency.upper(), locale=_place(context).locale))
    except UnknownCurrencyError:
        raise TemplateError(f"{currency!r} is no currency") from None


@with_context
def _number(value: Any, *, context: RenderContext) -> str:
    return str(format_decimal(_decimal(value), locale=_place(context).locale))


@with_context
def _track(value: Any, *, context: RenderContext) -> str:
    """``{{ "https://shop.example/sale" | track }}``"""
    _refuse_undefined(value)
    track = _place(context).track
    if track is None:
        raise TemplateError("track makes links only in the texts of campaigns")
    return track(str(value))


def _style(style: Any) -> Any:
    if style not in ("short", "medium", "long", "full"):
        raise TemplateError(f"{style!r} is no style of date: use short, medium, long or full")
    return style


def _moment(value: Any, context: RenderContext) -> date | datetime:
    _refuse_undefined(value)
    if value in ("now", "today"):
        value = context.globals[value]
    if isinstance(value, date):
        return value
    try:
        text = str(value).strip()
        return datetime.fromisoformat(text) if len(text) > 10 else date.fromisoformat(text)
    except ValueError:
        raise TemplateError(f"{str(value)[:40]!r} is no date, as 2026-01-31 or 2026-01-31T12:00:00Z are") from None


def _decimal(value: Any) -> Decimal:
    _refuse_undefined(value)
    _refuse_monster(value)
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise TemplateError(f"{str(value)[:40]!r} is no number") from None
    if not number.is_finite():
        raise TemplateError(f"{number} is no number")
    return number


def _refuse_undefined(value: Any) -> None:
    if isinstance(value, Undefined):
        str(value)  # raises, and names the variable


# --- values ---


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is None, at any depth."""
    return {str(name): _plain(value) for name, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _given(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value if each is not None]
    if isinstance(value, str | bool | int | float | Decimal | date):
        return value
    raise TemplateError(f"a value of type {type(value).__name__} cannot be shown")


def _locale(name: str) -> Locale:
    """The nearest known: ``de-XX`` is German."""
    for known in (name, name.replace("_", "-").partition("-")[0], "en"):
        try:
            return Locale.parse(known, sep="_" if "_" in known else "-")
        except (UnknownLocaleError, ValueError):
            continue
    raise AssertionError("English is known")
