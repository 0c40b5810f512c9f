"""Mail addresses: who wrote, and what is the same address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import getaddresses

from email_validator import EmailNotValidError, validate_email

from adapters.email.charsets import clean

_NEVER = r"<>@\s\"(),;:\\\x00-\x1f\x7f\ud800-\udfff"  # in an address, outside of quotes
_ADDR = rf"[^{_NEVER}\[\]]{{1,64}}@[^{_NEVER}]{{1,255}}"
# One mailbox, as nearly all mail has it. What looks otherwise is read too, but proves nothing.
_MAILBOX = re.compile(
    rf'\s*(?:(?P<name>"(?:[^"\\]|\\.)*"|[^<>@"]*?)\s*<\s*(?P<addr>{_ADDR})\s*>|(?P<bare>{_ADDR})(?:\s*\([^()]*\))?)\s*',
    re.DOTALL,
)
_IN_BRACKETS = re.compile(rf"<\s*({_ADDR})\s*>")
_ANY = re.compile(_ADDR)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]+")
_TURNS = re.compile(r"[\u200e\u200f\u202a-\u202e\u2066-\u2069]")  # what is right to left: "exe.gpj" reads "jpg.exe"
_MOST = 100  # recipients looked at


@dataclass(frozen=True, slots=True)
class Mailbox:
    """``strict``: the header holds exactly this one address, and could not be read otherwise."""

    address: str
    name: str | None
    strict: bool


def normal(address: str) -> str:
    """The form in which two spellings of an address are equal: lower case, domain in Unicode."""
    address = address.strip()
    try:
        checked = validate_email(
            address, check_deliverability=False, test_environment=True, globally_deliverable=False
        )
    except (EmailNotValidError, ValueError):
        return address.lower()
    return checked.normalized.lower()


def mailbox(value: str) -> Mailbox | None:
    """The first address of a From or Reply-To header (unfolded, encoded words still encoded); None if there is none.

    ``"victim" <attacker>`` is the attacker's; ``<victim> <attacker>`` and ``victim@x<attacker>`` are not strict.
    """
    whole = _MAILBOX.fullmatch(value) if len(value) < 2000 else None
    if whole is not None:
        address = whole["addr"] or whole["bare"]
        name = (whole["name"] or "").strip()
        if name.startswith('"'):
            name = re.sub(r"\\(.)", r"\1", name[1:-1])
        agrees = [normal(each) for _, each in getaddresses([value])] == [normal(address)]
        return Mailbox(normal(address), name or None, agrees)
    found = _IN_BRACKETS.findall(value[:64_000]) or _ANY.findall(value[:64_000])
    return Mailbox(normal(found[-1]), None, False) if found else None


def addresses(value: str) -> list[str]:
    """All that look like addresses in a recipient header, at most a hundred."""
    found = _ANY.finditer(value)
    return [each[0] for each, _ in zip(found, range(_MOST), strict=False)]


def one_line(text: str) -> str:
    """Fit for a header or a label: no line breaks of any kind, nothing that hides, no lone surrogates."""
    return " ".join(clean(_TURNS.sub("", _CONTROLS.sub(" ", text))).split())


def domain_of(address: str) -> str:
    return address.rpartition("@")[2]
