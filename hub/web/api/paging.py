"""Pages of lists: newest first, continued by an opaque cursor."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from hub.web.api.problem import Problem

Item = TypeVar("Item", bound=BaseModel)
MOST = 200  # items of one page
_LARGEST = (1 << 63) - 1


class PageQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=MOST, description="Items of one page.")] = 50
    cursor: Annotated[str | None, Field(max_length=200, description="``next`` of the page before.")] = None

    def before(self, name: str) -> int | None:
        """The row id that the page begins below. ``name``: of the list. Raises: Problem 400 for a foreign cursor."""
        if self.cursor is None:
            return None
        try:
            kind, _, number = base64.urlsafe_b64decode(self.cursor.encode() + b"==").decode().partition(":")
            value = int(number)
        except (ValueError, binascii.Error):
            kind, value = "", 0
        if kind != name or not 0 <= value <= _LARGEST:
            raise Problem(400, "bad_cursor", "this cursor is of no page of this list; begin again without a cursor")
        return value


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
    return kind(items=[item for _, item in shown], next=_cursor(name, shown[-1][0]) if more else None)


def _cursor(name: str, number: int) -> str:
    return base64.urlsafe_b64encode(f"{name}:{number}".encode()).decode().rstrip("=")
