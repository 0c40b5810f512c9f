"""Reports of mail servers about mail we sent: RFC 3464 (delivery), RFC 5965 (complaints), and those without a form.

They act only on a Message-ID of ours, which nobody can make up.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime

from flufl.bounce import all_failures

from adapters.email.address import one_line
from adapters.email.automatic import is_an_answer, is_mail_server, null_sender
from adapters.email.charsets import header
from adapters.email.parse import Mail, Part, data_of, held, leaves
from adapters.email.tokens import Tokens
from hub.contract import StatusChanged

_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?!\.?\d)")
_REPLY = re.compile(r"\b5\d\d[ -]#?(5\.\d{1,3}\.\d{1,3})(?!\.?\d)")  # as a server said it: 550 5.1.1
DEAD_CODE = re.compile(r"5\.1\.(?:0|1|2|3|6|10)$|5\.2\.1$")  # no such mailbox or domain; moved; switched off
DEAD_WORDS = re.compile(
    r"user unknown|unknown user|no such (?:user|recipient|mailbox)|(?:does not|doesn't) exist"
    r"|mailbox (?:not found|unavailable)|account (?:is )?disabled|address rejected|invalid recipient",
    re.IGNORECASE,
)
_GUESSED = 256 * 1024  # bytes; what is larger is no bounce without a form
_LISTED = 20_000  # characters looked at for the words of a bounce


def reports(mail: Mail, raw: bytes, sender: str, tokens: Tokens, at: datetime) -> list[StatusChanged] | None:
    """What a report says of our mail; [] for one that changes nothing (a delay); None if this is no report of ours."""
    kind = str(mail.root.get_param("report-type", "")).lower()
    is_report = mail.root.get_content_type() == "multipart/report"
    if not is_report and not is_mail_server(sender) and not null_sender(mail):
        return None
    ours = _our_id(mail, raw, tokens)
    if ours is None:
        return None
    message_id, key = ours
    if is_report and kind == "feedback-report":
        return _complaint(mail, message_id, key, at)
    blocks = _recipients(mail)
    if blocks:
        found = [_status(block, message_id, key, at) for block in blocks]
        return [each for each in found if each is not None]
    return _without_form(mail, raw, sender, message_id, key, at)


def _our_id(mail: Mail, raw: bytes, tokens: Tokens) -> tuple[str, str] | None:
    """The returned mail is the last part; servers that return nothing name it in their words."""
    left = 4 * _GUESSED
    for part, _ in leaves(mail.root):
        if part.get_content_type() in ("message/rfc822", "text/rfc822-headers", "message/rfc822-headers"):
            text = data_of(part)[: min(left, _GUESSED)].decode("latin-1")
            if found := tokens.first(text):
                return found
            left -= len(text)
    return tokens.first(raw[:_GUESSED].decode("latin-1")) or tokens.first(mail.text[:_LISTED])


def _recipients(mail: Mail) -> list[Part]:
    """The blocks of the delivery report that are about a recipient."""
    for part, _ in leaves(mail.root):
        if part.get_content_type() == "message/delivery-status":
            return [block for block in held(part) if block.get("action")][:20]
    return []


def _status(block: Part, message_id: str, key: str, at: datetime) -> StatusChanged | None:
    said = {name: one_line(header(str(block.get(name, ""))))[:400] for name in ("action", "status", "diagnostic-code")}
    action = said["action"].split()[0].lower() if said["action"].split() else ""
    detail = said["diagnostic-code"].partition(";")[2].strip() or said["diagnostic-code"]
    code = _code(said["status"], detail)
    if action == "delivered":
        return StatusChanged(message_id, "delivered", at, key=key)
    if action in ("failed", "error"):  # "error" is OpenSMTPD's
        return _failed(message_id, key, at, code, detail)
    return None


def _failed(message_id: str, key: str, at: datetime, code: str | None, detail: str) -> StatusChanged:
    dead = bool(code and DEAD_CODE.match(code)) or (code in (None, "5.0.0") and bool(DEAD_WORDS.search(detail)))
    return StatusChanged(message_id, "failed", at, code, detail or None, key, bad_address=dead)


def _code(status: str, detail: str) -> str | None:
    """The server's own words are more exact than a general 5.0.0."""
    given, told = _STATUS.search(status), _STATUS.search(detail)
    if told and (given is None or given[1].endswith(".0.0")):
        return told[1]
    return given[1] if given else None


def _complaint(mail: Mail, message_id: str, key: str, at: datetime) -> list[StatusChanged]:
    """Somebody pressed "this is spam": it was delivered, and nothing more is wanted."""
    for part, _ in leaves(mail.root):
        if part.get_content_type() == "message/feedback-report":
            said = data_of(part)[:_LISTED].decode("latin-1")
            kind = re.search(r"^feedback-type:\s*([a-z-]+)", said, re.IGNORECASE | re.MULTILINE)
            name = kind[1].lower() if kind else ""
            words = f"complaint: {name}"
            code = "complaint" if name in ("abuse", "fraud") else None
            if code or name in ("opt-out", "opt-out-list"):
                return [StatusChanged(message_id, "delivered", at, code, words, key, opted_out=True)]
    return []


def _without_form(
    mail: Mail, raw: bytes, sender: str, message_id: str, key: str, at: datetime
) -> list[StatusChanged] | None:
    """The forms of servers that keep to no standard, as far as they are known."""
    named = bool(mail.first("x-failed-recipients"))
    # An automatic answer of a person's mailbox also names our mail, and quotes anything. Exim's bounces call
    # themselves "auto-replied" too, but name the recipient in a header.
    if len(raw) > _GUESSED or not (named or (is_mail_server(sender) and not is_an_answer(mail))):
        return None
    temporary: frozenset[bytes] = frozenset()
    permanent: frozenset[bytes] = frozenset()
    with suppress(Exception):  # each of its detectors parses what anybody may have written
        temporary, permanent = all_failures(mail.root)
    words = mail.text[:_LISTED]
    refused = _REPLY.search(words)
    if not (permanent or named or refused):
        return [] if temporary else None
    code = refused[1] if refused else _code("", words)
    detail = one_line(next((line for line in words.split("\n") if code and code in line), ""))[:400]
    status = _failed(message_id, key, at, code, detail)
    status.bad_address = status.bad_address or (code is None and bool(DEAD_WORDS.search(words)))
    return [status]
