"""Buttons where a channel has none: a numbered list, and the answer to it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hub.model import Button
from hub.policy.keywords import plain

_NUMBER = re.compile(r"[0-9]{1,3}")


def numbered(buttons: Sequence[Button]) -> str:
    """``1. Yes`` and so on, one line each."""
    return "\n".join(f"{number}. {' '.join(button.title.split())}" for number, button in enumerate(buttons, 1))


def choose(text: str, buttons: Sequence[Button]) -> Button | None:
    """The button that an answer to the list means: its number ("2", "2.", "2️⃣") or its title, in any case.

    None if it means none of them, or more than one (a title that is another's number).
    """
    answer = plain(text)
    meant = {place for place, button in enumerate(buttons) if _same(text, answer, button.title)}
    if _NUMBER.fullmatch(answer) and 1 <= int(answer) <= len(buttons):
        meant.add(int(answer) - 1)
    return buttons[meant.pop()] if len(meant) == 1 else None


def _same(text: str, answer: str, title: str) -> bool:
    """Titles of symbols alone ("👍") have no words to compare."""
    return answer == plain(title) if answer else text.strip("\ufe0f \n") == title.strip("\ufe0f \n") != ""
