"""SMS segments: which alphabet a text needs and how many segments it takes. 3GPP TS 23.038 and 23.040."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# The default alphabet without its escape character, and the extension table: two septets a character.
_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = frozenset("\f^{}\\[~]|€")
_ALL = _BASIC | _EXTENSION

# Units in a lone segment, and in one of several (6 bytes go to the header that joins them).
_GSM7 = (160, 153)  # septets
_UCS2 = (70, 67)  # UTF-16 code units

_LOOK_ALIKES = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′ʼ", "'"),
        **dict.fromkeys("“”„‟″«»", '"'),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        **dict.fromkeys("\t\u00a0\u202f\u205f", " "),
        **dict.fromkeys(map(chr, range(0x2000, 0x200B)), " "),  # en quad to hair space
        **dict.fromkeys("\u200b\u2060\ufeff", ""),  # they show nothing
        "…": "...",
    }
)


@dataclass(frozen=True, slots=True)
class Segments:
    """``units``: septets or UTF-16 code units. ``count``: what is billed; an estimate, the provider's number counts."""

    encoding: Literal["GSM-7", "UCS-2"]
    units: int
    count: int


def segments(text: str) -> Segments:
    """How the text goes out as SMS. One character outside GSM-7 makes all of it UCS-2."""
    if is_gsm7(text):
        if len(text) <= _GSM7[0] and _EXTENSION.isdisjoint(text):  # as most are
            return Segments("GSM-7", len(text), 1 if text else 0)
        return _fill("GSM-7", [2 if letter in _EXTENSION else 1 for letter in text], *_GSM7)
    return _fill("UCS-2", [2 if letter > "\uffff" else 1 for letter in text], *_UCS2)


def is_gsm7(text: str) -> bool:
    return _ALL.issuperset(text)


def smart(text: str) -> str:
    """The text with typographic look-alikes replaced, if that makes it GSM-7; else as it is."""
    if is_gsm7(text):
        return text
    simple = text.translate(_LOOK_ALIKES)
    return simple if is_gsm7(simple) else text


def _fill(encoding: Literal["GSM-7", "UCS-2"], sizes: list[int], lone: int, joined: int) -> Segments:
    """A character of two units is never cut, so a segment may stay one unit short."""
    units = sum(sizes)
    if units <= lone:
        return Segments(encoding, units, 1 if units else 0)
    count, used = 1, 0
    for size in sizes:
        if used + size > joined:
            count, used = count + 1, 0
        used += size
    return Segments(encoding, units, count)
