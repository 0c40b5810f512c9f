"""Text that is clean, and text cut into pieces where a reader would cut it."""

from __future__ import annotations

import unicodedata
from typing import Literal

Unit = Literal["utf-16", "utf-8"]
_ZWJ = "\u200d"
_CLOSERS = "\"'”’»)]"
_ENDERS = ".!?…"
_WIDE_ENDERS = "。！？｡"  # no space follows them
_OTHER_EXTENDERS = "\u200c\u0e33\u0eb3\uff9e\uff9f"  # non-joiner, Thai and Lao am, halfwidth voice marks
_CONTROLS = dict.fromkeys({*range(0x20), 0x7F} - {ord("\n"), ord("\t")})  # deleted
_VIRAMA = 9  # canonical combining class: joins two consonants of Indic scripts


class TooLong(ValueError):
    """The channel takes only ``limit`` units, does not split, and the text has ``length``."""

    def __init__(self, limit: int, length: int) -> None:
        super().__init__(f"the text has {length} characters and this channel takes {limit} in one message: shorten it")
        self.limit = limit
        self.length = length


def clean(text: str) -> str:
    """NFC, lines ended by \\n, no control characters but \\n and \\t, no lone surrogates, no space around."""
    if text.isascii() and text.isprintable():
        return text.strip()
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    whole = lines.translate(_CONTROLS).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return unicodedata.normalize("NFC", whole).strip()


def size(text: str, unit: Unit = "utf-16") -> int:
    """Length in UTF-16 code units (the stricter of the two ways of counting characters) or in UTF-8 bytes."""
    return len(text.encode("utf-8")) if unit == "utf-8" else len(text.encode("utf-16-le")) // 2


def split(text: str, limit: int, unit: Unit = "utf-16") -> list[str]:
    """Pieces of at most ``limit`` units (see ``size``; at least 2, or 4 bytes) of a clean text, none of them empty.

    Cut after a paragraph, a line or a sentence if that fills half a piece, else between words, else between
    characters as a reader sees them. Only a single such character that exceeds the limit is cut itself.
    """
    least = 4 if unit == "utf-8" else 2
    if limit < least:
        raise ValueError(f"pieces of {limit} characters: some characters need {least}")
    pieces = []
    start = 0
    while start < len(text):
        end = _reach(text, start, limit, unit)
        cut = end if end == len(text) else _cut(text, start, end)
        if piece := text[start:cut].rstrip():
            pieces.append(piece)
        start = cut
        while start < len(text) and text[start].isspace() and breaks(text, start + 1, cut):
            start += 1
    return pieces


def _reach(text: str, start: int, limit: int, unit: Unit) -> int:
    """The end of the longest piece from ``start``."""
    used = 0
    for place in range(start, min(len(text), start + limit)):
        used += _units(text[place], unit)
        if used > limit:
            return place
    return min(len(text), start + limit)


def _units(letter: str, unit: Unit) -> int:
    if unit == "utf-16":
        return 2 if letter > "\uffff" else 1
    return 1 if letter < "\x80" else 2 if letter < "\u0800" else 3 if letter <= "\uffff" else 4


def _cut(text: str, start: int, end: int) -> int:
    """The best place in (start, end] to end a piece; more text follows ``end``."""
    half = start + (end - start) // 2 + 1
    for mark in ("\n\n", "\n"):
        place = text.rfind(mark, half, end + len(mark))
        if place > start:
            return place
    for fits, lowest in ((_ends_sentence, half), (_ends_word, start + 1), (breaks, start + 1)):
        for place in range(end, lowest - 1, -1):
            if fits(text, place, start) and breaks(text, place, start):
                return place
    return end


def _ends_sentence(text: str, place: int, start: int) -> bool:
    if text[place - 1] in _WIDE_ENDERS:
        return True
    last = place - 1
    while last > start and text[last] in _CLOSERS:
        last -= 1
    return text[last] in _ENDERS and text[place].isspace()


def _ends_word(text: str, place: int, start: int) -> bool:
    return text[place].isspace() or text[place - 1].isspace()


def breaks(text: str, place: int, start: int = 0) -> bool:
    """Whether a reader sees two characters meet at ``place``. ``start``: a place known to be such.

    Extended grapheme clusters of UAX 29 from what ``unicodedata`` knows; where it cannot tell, they hold together.
    """
    if place <= start or place >= len(text):
        return True
    before, after = text[place - 1], text[place]
    if before in "\n\t" or after in "\n\t":
        return True
    if after == _ZWJ or before == _ZWJ or _extends(after):
        return False
    if _is_flag_letter(before) and _is_flag_letter(after):
        first = place - 1
        while first > start and _is_flag_letter(text[first - 1]):
            first -= 1
        return (place - first) % 2 == 0
    return not (_is_conjunct(before, after) or _is_syllable(before, after))


def _extends(letter: str) -> bool:
    """Combining marks, variation selectors, skin tones, tags of subdivision flags."""
    return (
        unicodedata.category(letter)[0] == "M"
        or "\U0001f3fb" <= letter <= "\U0001f3ff"
        or "\U000e0020" <= letter <= "\U000e007f"
        or letter in _OTHER_EXTENDERS
    )


def _is_flag_letter(letter: str) -> bool:
    return "\U0001f1e6" <= letter <= "\U0001f1ff"


def _is_conjunct(before: str, after: str) -> bool:
    return unicodedata.combining(before) == _VIRAMA and unicodedata.category(after) == "Lo"


def _is_syllable(before: str, after: str) -> bool:
    """Hangul jamo: a leading consonant holds what follows, a vowel or a final consonant what precedes it."""
    leading = "\u1100" <= before <= "\u115f" or "\ua960" <= before <= "\ua97c"
    trailing = "\u1160" <= after <= "\u11ff" or "\ud7b0" <= after <= "\ud7fb"
    return trailing or (leading and ("\u1100" <= after <= "\u115f" or "\uac00" <= after <= "\ud7a3"))
