"""Reading JSON that somebody else wrote: a part of another shape counts as absent, and text fits into a database."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

from hub.contract import Answer, Event, Unparseable
from hub.model import clean

_WORDS = 500  # characters
_LATEST = 4e9  # seconds; above it are milliseconds, which some webhooks give


def document(body: bytes) -> dict[str, Any]:
    """Raises: Unparseable."""
    try:
        found = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Unparseable(f"not JSON: {type(error).__name__}") from error
    if not isinstance(found, dict):
        raise Unparseable("not a JSON object")
    return found


def answered(answer: Answer) -> dict[str, Any] | None:
    """The JSON object of a provider's answer, if it is one."""
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def retry_after(answer: Answer) -> float | None:
    """Seconds that an answer's ``Retry-After`` asks for, as a number or up to a date; None if it does not say."""
    asked = answer.headers.get("retry-after", "")
    try:
        seconds = float(asked)
    except ValueError:
        seconds = _between(answer.headers.get("date", ""), asked)
    return seconds if 0 <= seconds < float("inf") else None


def _between(start: str, end: str) -> float:
    """Seconds between two dates of HTTP, by one and the same clock; below 0 if they are none."""
    try:
        return (parsedate_to_datetime(end) - parsedate_to_datetime(start)).total_seconds()
    except (ValueError, TypeError):
        return -1.0


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def all_of(readings: Iterable[Iterable[Event]]) -> list[Event]:
    """The events of each part of a request. Raises: Unparseable if a part cannot be read, with those of the others."""
    found: list[Event] = []
    wrong: dict[str, None] = {}
    for reading in readings:
        try:
            for event in reading:
                found.append(event)  # noqa: PERF402 - what came before an error counts
        except Unparseable as error:
            wrong[str(error)] = None
    if wrong:
        raise Unparseable("; ".join(wrong)[:_WORDS], found)
    return found


def part(value: Any, name: str) -> dict[str, Any]:
    """The object of that name; empty if there is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def parts(value: Any, name: str) -> list[dict[str, Any]]:
    """The objects in the list of that name."""
    found = value.get(name) if isinstance(value, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def text(value: Any, name: str) -> str:
    """The text (or number, as text) of that name, without what no database takes; else empty."""
    found = value.get(name) if isinstance(value, dict) else None
    if isinstance(found, int | float) and not isinstance(found, bool):
        return str(found) if abs(found) < 1e18 else ""
    return clean(found) if isinstance(found, str) else ""


def number(value: Any, name: str) -> float | None:
    found = value.get(name) if isinstance(value, dict) else None
    usable = isinstance(found, int | float) and not isinstance(found, bool) and abs(found) < 1e18
    return float(found) if usable and found is not None else None


def integer(value: Any, name: str) -> int | None:
    """An id or a count: 64 bits."""
    found = value.get(name) if isinstance(value, dict) else None
    usable = isinstance(found, int) and not isinstance(found, bool) and abs(found) < 1 << 63
    return found if usable else None


def moment(value: Any, name: str, otherwise: datetime) -> datetime:
    """The time of that name: Unix seconds as text or number, or milliseconds."""
    try:
        seconds = float(text(value, name))
        return datetime.fromtimestamp(seconds / 1000 if seconds > _LATEST else seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return otherwise
