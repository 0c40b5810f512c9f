"""What a check says."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

Word = Literal["allow", "defer", "needs_template", "fallback", "block"]


class Verdict(msgspec.Struct, frozen=True):  # some twenty for each message: a dataclass takes eight times as long
    """``not_before``: with "defer"; None waits for an event. ``detail``: what the check saw, for people."""

    word: Word = "allow"
    reason: str = "OK"
    not_before: datetime | None = None
    detail: str = ""
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.word == "allow"


OK = Verdict()
