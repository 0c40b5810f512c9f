"""What a marketing mail must carry, and what the unsubscribe address answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

# Pages of this very machine lead nobody else anywhere: they are for trying out.
_LINK = re.compile(r"<\s*(https://|http://(127\.0\.0\.1|localhost|\[::1\])[:/])[^>\s]+>", re.IGNORECASE)
LACKING: Mapping[str, str] = {
    "EMAIL_NO_ONE_CLICK": "the mail lacks the header that ends advertising with one click",
    "EMAIL_NO_HTTPS_UNSUB": "the page that ends advertising has no https address",
    "EMAIL_DKIM_UNSUB_NOT_COVERED": "the signature leaves out the headers that end advertising",
    "EMAIL_AUTH_UNALIGNED": "the signature is not of the sender's domain",
    "EMAIL_NO_POSTAL_ADDRESS": "advertising by mail must say where the business is, and no postal address is set",
}
_COVERED = {"list-unsubscribe", "list-unsubscribe-post"}
# Second levels under which everybody registers; enough to tell an organisation's domain from its neighbour's.
_SHARED = {"co", "com", "org", "net", "ac", "gov", "edu", "ne", "or", "go", "gob", "nom", "ltd", "plc", "me"}


@dataclass(frozen=True, slots=True)
class Mail:
    """``headers``: as they go out. ``signed``: the DKIM domain; ``covered``: header names in its ``h=``, None where the
    mail server signs and only it knows."""

    purpose: str
    from_domain: str
    headers: Mapping[str, str]
    signed: str | None
    covered: Sequence[str] | None
    postal_address: bool


def check(mail: Mail) -> str:
    """"OK" or the first thing that is wrong (RFC 8058, CAN-SPAM, requirements of mailbox providers)."""
    if mail.purpose != "marketing":
        return "OK"
    headers = {name.casefold(): value for name, value in mail.headers.items()}
    one_click = re.sub(r"\s", "", headers.get("list-unsubscribe-post", "")).casefold()
    if one_click != "list-unsubscribe=one-click":
        return "EMAIL_NO_ONE_CLICK"
    if not _LINK.search(headers.get("list-unsubscribe", "")):
        return "EMAIL_NO_HTTPS_UNSUB"
    if mail.covered is not None:
        if not {name.strip().casefold() for name in mail.covered} >= _COVERED:
            return "EMAIL_DKIM_UNSUB_NOT_COVERED"
        if mail.signed is None or organisation(mail.signed) != organisation(mail.from_domain):
            return "EMAIL_AUTH_UNALIGNED"
    return "OK" if mail.postal_address else "EMAIL_NO_POSTAL_ADDRESS"


def ours(public_url: str, postal_address: str | None) -> Mail:
    """Advertising as the hub sends it. Whether and how it is signed, only the mail server knows."""
    headers = {
        "List-Unsubscribe": f"<{public_url}/preferences/>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    return Mail("marketing", "", headers, None, None, bool(postal_address))


def organisation(domain: str) -> str:
    """``news.example.co.uk`` → ``example.co.uk``: what DMARC's relaxed alignment compares."""
    labels = domain.strip().rstrip(".").casefold().split(".")
    shared = len(labels) >= 3 and labels[-2] in _SHARED and len(labels[-1]) == 2
    return ".".join(labels[-3:] if shared else labels[-2:])


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    effect: Literal["revoke", "none"] = "none"


def unsubscribe(method: str, token_valid: bool, already: bool = False) -> Answer:
    """Link scanners follow links, so only POST changes anything; a second POST finds nothing left to do."""
    if method not in ("GET", "HEAD", "POST"):
        return Answer(405)
    if not token_valid:
        return Answer(404)
    return Answer(200, "revoke" if method == "POST" and not already else "none")
