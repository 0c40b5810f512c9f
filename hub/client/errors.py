"""What can go wrong when the hub is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class HubError(Exception):
    """The text says what is wrong and what to do.

    ``status`` and ``code`` are the hub's (0 and "" if it was not reached); ``errors``: (field, what is wrong with it).
    """

    def __init__(self, detail: str, status: int = 0, code: str = "", errors: Sequence[tuple[str, str]] = ()) -> None:
        parts = [f"{field}: {words}" for field, words in errors if field and words not in detail]
        super().__init__(f"{detail} ({'; '.join(parts)})" if parts else detail)
        self.detail = detail
        self.status = status
        self.code = code
        self.errors = list(errors)


class Unreachable(HubError):
    """No answer, or none that the hub gives."""


class NotFound(HubError):
    """There is nothing of this name."""


class Refused(HubError):
    """The hub will not do it: the key may not, or what was asked cannot work."""


def of(status: int, problem: Mapping[str, Any]) -> HubError:
    """The error of an answer with this status."""
    kind = NotFound if status == 404 else Refused if status < 500 and status != 429 else HubError
    errors = [(str(each.get("field", "")), str(each.get("detail", ""))) for each in problem.get("errors", ())]
    return kind(str(problem.get("detail", f"HTTP {status}")), status, str(problem.get("code", "")), errors)
