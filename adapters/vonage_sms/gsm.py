"""The alphabet of plain SMS: GSM 03.38, with its extension."""

from __future__ import annotations

_ALPHABET = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà\f^{}\\[~]|€"
)


def is_plain(text: str) -> bool:
    """Whether a text needs no Unicode."""
    return _ALPHABET.issuperset(text)
