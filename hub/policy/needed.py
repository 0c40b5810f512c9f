"""Words of which a text must have one before any of some expressions can match it. To look for these is much cheaper.

All of this is about folded ASCII text (``keywords.fold``): small letters and digits, one space between words. There
``\\b`` stands exactly at the edge of a word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from re import _constants as ops  # type: ignore[attr-defined]  # no stubs: what the parser of expressions makes
from re import _parser as parser  # type: ignore[attr-defined]  # as above
from typing import Any

_EDGE = "|"  # in a spelling: an edge of a word that is not seen by a space
_MOST = 64  # spellings of one stretch that are told apart
_LONGEST = 4  # repeats of one part that are spelled out
_COMMON = 2  # letters; words as short are in most texts
_WEIGHT, _WEIGHT_COMMON, _WEIGHT_PIECE, _WEIGHT_AGAIN = 1.0, 30.0, 5.0, 0.1
_UNKNOWN_FLAGS = re.IGNORECASE | re.MULTILINE | re.VERBOSE | re.DOTALL

_Sign = tuple[str, bool]  # a word (True), or a piece that may be a part of one


@dataclass(slots=True)
class Needed:
    """A text with none of these words, and in which none of the pieces occurs, is matched by no expression."""

    words: set[str] = field(default_factory=set)
    pieces: set[str] = field(default_factory=set)


def needed(patterns: Iterable[re.Pattern[str]]) -> Needed | None:
    """For all of these together; None if one of them may match without any certain word."""
    together = Needed()
    for pattern in patterns:
        found = _needed(pattern)
        if found is None:
            return None
        together.words |= found.words
        together.pieces |= found.pieces
    return together


@cache
def _needed(pattern: re.Pattern[str]) -> Needed | None:
    if pattern.flags & _UNKNOWN_FLAGS:
        return None
    found = Needed()
    for entry in _entries(list(parser.parse(pattern.pattern))):
        covers = [cover for stretch in _stretches(entry) for cover in _covers(stretch, found)]
        if not covers:
            return None
        for text, is_word in min(covers, key=lambda cover: sum(_weight(sign, found) for sign in cover)):
            (found.words if is_word else found.pieces).add(text)
    return found


def _entries(items: list[Any]) -> Iterator[list[Any]]:
    """Alternatives of the whole expression. The parser has taken out what they begin with in common."""
    if items and items[-1][0] is ops.BRANCH:
        yield from ([*items[:-1], *branch] for branch in items[-1][1][1])
    else:
        yield items


# --- how an expression may be spelled ---


def _stretches(items: Iterable[Any]) -> Iterator[set[str]]:
    """Parts of an expression that follow each other, each with all its spellings; without those that have too many."""
    spellings = {""}
    for item in items:
        more = _spelled(item)
        if more is not None and len(spellings) * len(more) <= _MOST:
            spellings = {left + right for left in spellings for right in more}
            continue
        if more is None:
            yield spellings
            spellings = {""}
            continue
        yield {left + _EDGE for left in spellings} if _all(more, lambda right: right[0]) else spellings
        spellings = {_EDGE + right for right in more} if _all(spellings, lambda left: left[-1]) else more
    yield spellings


def _all(spellings: set[str], end: Callable[[str], str]) -> bool:
    """Whether a word's edge is at this end of each of them."""
    return all(each and end(each) in (" ", _EDGE) for each in spellings)


def _spelled(item: Any) -> set[str] | None:
    """All that this part can match; None if that is not few."""
    op, value = item
    if op is ops.LITERAL:
        return {chr(value)}
    if op is ops.IN and all(kind is ops.LITERAL for kind, _ in value):
        return {chr(letter) for _, letter in value}
    if op is ops.AT:
        return {_EDGE if value in (ops.AT_BOUNDARY, ops.AT_BEGINNING, ops.AT_END) else ""}
    if op in (ops.ASSERT, ops.ASSERT_NOT):  # they narrow what the rest matches
        return {""}
    if op is ops.SUBPATTERN and not value[1] and not value[2]:
        return _product(map(_spelled, value[3]))
    if op is ops.BRANCH:
        return _either(_product(map(_spelled, branch)) for branch in value[1])
    if op in (ops.MAX_REPEAT, ops.MIN_REPEAT) and value[1] <= _LONGEST:
        once = _product(map(_spelled, value[2]))
        return _either(_product([once] * count) for count in range(value[0], value[1] + 1))
    return None


def _product(parts: Iterable[set[str] | None]) -> set[str] | None:
    spellings = {""}
    for part in parts:
        if part is None or len(spellings) * len(part) > _MOST:
            return None
        spellings = {left + right for left in spellings for right in part}
    return spellings


def _either(parts: Iterable[set[str] | None]) -> set[str] | None:
    found: set[str] = set()
    for part in parts:
        if part is None:
            return None
        found |= part
    return found if len(found) <= _MOST else None


# --- which words cover all spellings ---


def _covers(spellings: set[str], have: Needed) -> Iterator[set[_Sign]]:
    """Sets of signs of which each spelling has one."""
    told = [signs for signs in map(_signs, spellings) if signs is not None]
    if not all(told):
        return
    yield _greedy(told, have)
    for place in (0, 1, -2, -1):  # as "stop" and "quit" before all that may follow
        if all(-len(signs) <= place < len(signs) for signs in told):
            yield {signs[place] for signs in told}


def _signs(spelling: str) -> list[_Sign] | None:
    """What a text with this spelling has, in order. None if there is no such text."""
    if not spelling.isascii():
        return None
    plain = re.sub(r"\|+(?= )|(?<= )\|+", "", spelling)
    if _EDGE in plain.strip(_EDGE) or "  " in plain:
        return None
    *inner, last = plain.replace(_EDGE, " ").split(" ")
    first = inner.pop(0) if inner else ""
    signs = [(first, False), *((word, True) for word in inner), (last, False)]
    return [sign for sign in signs if sign[1] or len(sign[0]) > _COMMON]


def _greedy(told: Sequence[list[_Sign]], have: Needed) -> set[_Sign]:
    chosen: list[_Sign] = []
    left = list(told)
    while left:
        counts: dict[_Sign, int] = {}
        for signs in left:
            for sign in signs:
                counts[sign] = counts.get(sign, 0) + 1
        best = max(sorted(counts), key=lambda sign: counts[sign] / _weight(sign, have))
        chosen.append(best)
        left = [signs for signs in left if best not in signs]
    for each in list(chosen):  # a later choice may have made an earlier one needless
        rest = [other for other in chosen if other != each]
        if all(not set(rest).isdisjoint(signs) for signs in told):
            chosen = rest
    return set(chosen)


def _weight(sign: _Sign, have: Needed) -> float:
    text, is_word = sign
    if text in (have.words if is_word else have.pieces):
        return _WEIGHT_AGAIN
    if not is_word:
        return _WEIGHT_PIECE
    return _WEIGHT_COMMON if len(text) <= _COMMON else _WEIGHT
