"""Pages of lists: newest first, continued by an opaque cursor."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from hub.web.api.problem import Problem

Item = TypeVar("Item", bound=BaseModel)
MOST = 200  # items of one page
_LARGEST = (1 << 63) - 1


class PageQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=MOST, description="Items of one page.")] = 50
    cursor: Annotated[str | None, Field(max_length=4000, description="``next`` of the page before.")] = None

    def before(self, name: str) -> int | None:
        """The row id that the page begins below. ``name``: of the list. Raises: Problem 400 for a foreign cursor."""
        return None if self.cursor is None else _read(name, self.cursor)[0]

    def carried(self, name: str) -> Mapping[str, int]:
        """What the pages before counted. Raises: Problem 400 for a foreign cursor."""
        return {} if self.cursor is None else _read(name, self.cursor)[1]


def plus(value: object) -> object:
    """``tel:+44…`` as it was meant: a + that nobody encoded arrives as a space."""
    return value.replace(": ", ":+", 1) if isinstance(value, str) else value


class Page(BaseModel, Generic[Item]):
    items: list[Item]
    next: str | None = Field(description="Cursor of the page that follows; null: this is the last one.")


def page(kind: type[Page[Item]], name: str, found: Sequence[tuple[int, Item]], limit: int) -> Page[Item]:
    """``found``: up to ``limit + 1`` (row id, item) pairs; the one more only tells that there is a next page."""
    shown = found[:limit]
    more = len(found) > limit
    return kind(items=[item for _, item in shown], next=cursor(name, shown[-1][0]) if more else None)


def cursor(name: str, number: int, carried: Mapping[str, int] | None = None) -> str:
    """Of the page after the row with this id. ``carried``: what the pages so far counted."""
    told = f"{name}:{number}" + (f":{json.dumps(dict(carried), separators=(',', ':'))}" if carried else "")
    return base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")


def _read(name: str, cursor: str) -> tuple[int, dict[str, int]]:
    try:
        kind, number, *more = base64.urlsafe_b64decode(cursor.encode() + b"==").decode().split(":", 2)
        value, carried = int(number), json.loads(more[0]) if more else {}
        known = kind == name and 0 <= value <= _LARGEST and isinstance(carried, dict)
        known = known and all(type(each) is int and 0 <= each <= _LARGEST for each in carried.values())
    except (ValueError, RecursionError):
        known = False
    if not known:
        raise Problem(400, "bad_cursor", "this cursor is of no page of this list; begin again without a cursor")
    return value, carried
