"""Contact cards: vCards (RFC 6350) here, objects at WhatsApp."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hub.shape import part, parts, text

MIME = "text/vcard"
_REF = "contact:"  # of an attachment whose bytes are in the webhook itself
_PHONES = 10


def ref(message: str, place: int) -> str:
    return f"{_REF}{place}:{message}"


def parse_ref(found: str | None) -> tuple[str, int] | None:
    """The message and the place of a card in it; None if the attachment is none."""
    place, colon, message = (found or "").removeprefix(_REF).partition(":")
    return (message, int(place)) if (found or "").startswith(_REF) and colon and place.isdecimal() else None


def name_of(contact: dict[str, Any]) -> str:
    name = part(contact, "name")
    parted = " ".join(filter(None, (text(name, "first_name"), text(name, "last_name"))))
    return " ".join((text(name, "formatted_name") or parted or "Contact").split())


def file_name(contact: dict[str, Any]) -> str:
    return f"{name_of(contact)[:60]}.vcf"


def line(contact: dict[str, Any]) -> str:
    """``Ann Fielding: +44 7700 900123, ann@example.com``."""
    ways = [*_phones(contact), *(text(each, "email") for each in parts(contact, "emails"))]
    shown = ", ".join(filter(None, ways))
    return f"{name_of(contact)}: {shown}" if shown else name_of(contact)


def write(contact: dict[str, Any]) -> bytes:
    """The vCard of a contact in a webhook."""
    lines = ["BEGIN:VCARD", "VERSION:3.0", f"FN:{_escape(name_of(contact))}"]
    name = part(contact, "name")
    lines.append(f"N:{_escape(text(name, 'last_name'))};{_escape(text(name, 'first_name'))};;;")
    if company := text(part(contact, "org"), "company"):
        lines.append(f"ORG:{_escape(company)}")
    lines += [f"TEL:{_escape(phone)}" for phone in _phones(contact)]
    lines += [f"EMAIL:{_escape(text(each, 'email'))}" for each in parts(contact, "emails") if text(each, "email")]
    lines += [f"URL:{_escape(text(each, 'url'))}" for each in parts(contact, "urls") if text(each, "url")]
    return "\r\n".join([*lines, "END:VCARD", ""]).encode()


def read(card: bytes) -> dict[str, Any] | None:
    """A vCard as WhatsApp wants contacts: a name, phones, mail addresses. None if it names nobody."""
    fields = list(_fields(card.decode("utf-8", "replace")))
    name = next((value for field, value in fields if field == "FN" and value), None)
    if name is None:
        return None
    contact: dict[str, Any] = {"name": {"formatted_name": name, "first_name": name}}
    phones = [{"phone": value, "type": "CELL"} for field, value in fields if field == "TEL" and value]
    emails = [{"email": value, "type": "WORK"} for field, value in fields if field == "EMAIL" and value]
    if phones:
        contact["phones"] = phones[:_PHONES]
    if emails:
        contact["emails"] = emails[:_PHONES]
    return contact


def _phones(contact: dict[str, Any]) -> list[str]:
    found = [text(each, "phone") or text(each, "wa_id") for each in parts(contact, "phones")]
    return [each for each in found if each]


def _escape(value: str) -> str:
    return re.sub(r"([\\,;])", r"\\\1", " ".join(value.split()))


def _fields(card: str) -> Iterator[tuple[str, str]]:
    """Names and values, long lines joined, parameters and groups left out."""
    for each in re.sub(r"\r?\n[ \t]", "", card).splitlines():
        head, colon, value = each.partition(":")
        if colon:
            name = head.partition(";")[0].rpartition(".")[2].strip().upper()
            yield name, re.sub(r"\\(.)", r"\1", value).strip().removeprefix("tel:")
