"""One form for one address, so that a refusal meets it however it was typed, and a keyed hash that outlives it."""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from functools import lru_cache

import phonenumbers

_PHONES = ("tel", "sms", "mms", "rcs", "whatsapp", "phone")
_MAILS = ("mailto", "email")


def canonical(kind: str, value: str) -> str:
    """The value as it is compared. ``kind``: scheme or medium; ids of other providers stay as they are."""
    text = unicodedata.normalize("NFKC", value).strip()
    if kind in _MAILS:
        return _mail(text)
    if kind in _PHONES:
        return _phone(text)
    return text


def same(kind: str, one: str, other: str) -> bool:
    return canonical(kind, one) == canonical(kind, other)


def canonical_address(address: str) -> str:
    """The same for ``scheme:value``; phone numbers and mail addresses get the schemes ``tel`` and ``mailto``."""
    scheme, colon, value = address.partition(":")
    if not colon:
        return address.strip()
    name = "tel" if scheme in _PHONES else "mailto" if scheme in _MAILS else scheme
    return f"{name}:{canonical(scheme, value)}"


@lru_cache(maxsize=4096)
def spellings(address: str) -> tuple[str, ...]:
    """All ways to write ``scheme:value`` under which the ledger may know it; first the one that entries are filed
    under."""
    if address.startswith(("tel:+55", "tel:+52")):
        value = address.removeprefix("tel:")
        return tuple(dict.fromkeys((address, f"tel:{_variants(value)}", f"tel:{_old_variant(value)}")))
    plain = address.isascii() and address.islower() and "xn--" not in address
    if address.startswith("mailto:") and "@" in address and not plain:
        local, _, domain = unicodedata.normalize("NFKC", address.removeprefix("mailto:")).rpartition("@")
        filed = f"{local.casefold()}@{domain.lower()}"
        others = (_mail(filed), _readable(filed))
        return tuple(dict.fromkeys((f"mailto:{filed}", address, *(f"mailto:{each}" for each in others))))
    return (address,)


def keyed_hash(address: str, key: bytes) -> str:
    """What is kept of an erased address: without the key nobody can enumerate numbers to find it."""
    return hmac.new(key, canonical_address(address).encode(), hashlib.sha256).hexdigest()


def _mail(text: str) -> str:
    local, at, domain = text.casefold().rpartition("@")
    if not at:
        return text.casefold()
    try:
        domain = domain.rstrip(".").encode("idna").decode("ascii")
    except UnicodeError:
        domain = domain.rstrip(".")
    return f"{local}@{domain}"


def _readable(mail: str) -> str:
    """With its domain in the letters that people read."""
    local, _, domain = mail.rpartition("@")
    try:
        return f"{local}@{domain.encode('ascii').decode('idna')}"
    except UnicodeError:
        return mail


def _phone(text: str) -> str:
    digits = re.sub(r"\D", "", re.sub(r"\(0\)", "", text))
    if not digits:
        return text.casefold()
    if not text.lstrip(" (").startswith("+") and digits.startswith("00"):
        digits = digits[2:]
    try:
        parsed = phonenumbers.parse(f"+{digits}", None)
    except phonenumbers.NumberParseException:
        return f"+{digits}"
    return _variants(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))


def _variants(number: str) -> str:
    """Numbers that WhatsApp and carriers write in two ways."""
    if re.fullmatch(r"\+55\d{2}[6-9]\d{7}", number):  # Brazil: mobiles got a ninth digit
        return f"{number[:5]}9{number[5:]}"
    if re.fullmatch(r"\+521\d{10}", number):  # Mexico: the 1 of mobiles is gone since 2019
        return f"+52{number[4:]}"
    return number


def _old_variant(number: str) -> str:
    """The other way round: as they were written before, and still are in ids of WhatsApp."""
    if re.fullmatch(r"\+55\d{2}9[6-9]\d{7}", number):
        return f"{number[:5]}{number[6:]}"
    if re.fullmatch(r"\+52[^1]\d{9}|\+521\d{9}", number):
        return f"+521{number[3:]}"
    return number
