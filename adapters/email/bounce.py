"""Reports of mail servers about mail we sent: RFC 3464 (delivery), RFC 5965 (complaints), and those without a form.

They act only on a Message-ID of ours, which nobody can make up.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from flufl.bounce import all_failures

from adapters.email.address import addresses, mailbox, normal, one_line
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
    r"|mailbox not found|account (?:is )?disabled|invalid recipient",
    re.IGNORECASE,
)
_NO_COMPLAINT = {"not-spam", "auth-failure", "dkim", "miscategorized"}  # of RFC 5965 and its registry
_GUESSED = 256 * 1024  # bytes; what is larger is no bounce without a form
_LISTED = 20_000  # characters looked at for the words of a bounce


@dataclass(frozen=True, slots=True)
class _Ours:
    """The mail of ours that a report is about. ``recipient``: in its normal form; None where it was not returned."""

    message_id: str
    key: str
    recipient: str | None = None


def reports(mail: Mail, raw: bytes, sender: str, tokens: Tokens, at: datetime) -> list[StatusChanged] | None:
    """What a report says of our mail; [] for one that changes nothing (a delay); None if this is no report of ours."""
    kind = str(mail.root.get_param("report-type", "")).lower()
    is_report = mail.root.get_content_type() == "multipart/report"
    if not is_report and not is_mail_server(sender) and not null_sender(mail):
        return None
    ours = _ours(mail, raw, tokens)
    if ours is None:
        return None
    if is_report and kind == "feedback-report":
        return _complaint(mail, ours, at)
    blocks = _recipients(mail)
    if blocks:
        # Who forwards mail sends reports about others too. Where none is about our recipient, it has not arrived, but
        # that address may well be good.
        about = [block for block in blocks if ours.recipient in _about(block)] or blocks
        found = [_status(block, ours, at) for block in about]
        return [each for each in found if each is not None]
    return _without_form(mail, raw, sender, ours, at)


def _ours(mail: Mail, raw: bytes, tokens: Tokens) -> _Ours | None:
    """The returned mail is the last part; servers that return nothing name it in their words."""
    left = 4 * _GUESSED
    for part, _ in leaves(mail.root):
        if part.get_content_type() in ("message/rfc822", "text/rfc822-headers", "message/rfc822-headers"):
            text = data_of(part)[: min(left, _GUESSED)].decode("latin-1")
            if found := tokens.first(text):
                return _Ours(*found, _recipient(text))
            left -= len(text)
    found = tokens.first(raw[:_GUESSED].decode("latin-1")) or tokens.first(mail.text[:_LISTED])
    return _Ours(*found) if found else None


def _recipient(returned: str) -> str | None:
    """Our mails go to one."""
    head = re.split(r"\r?\n\r?\n", returned, maxsplit=1)[0]
    to = re.search(r"^to:\s*(.*)$", head, re.IGNORECASE | re.MULTILINE)
    found = mailbox(to[1].strip().encode("latin-1").decode("utf-8", "replace")) if to else None
    return found.address if found else None


def _about(block: Part) -> set[str]:
    """The recipient, as it is now and as we named it."""
    names = ("final-recipient", "original-recipient")
    return {normal(each) for name in names for each in addresses(header(str(block.get(name, "")))[:1000])}


def _recipients(mail: Mail) -> list[Part]:
    """The blocks of the delivery report that are about a recipient."""
    for part, _ in leaves(mail.root):
        if part.get_content_type() == "message/delivery-status":
            return [block for block in held(part) if block.get("action")][:20]
    return []


def _status(block: Part, ours: _Ours, at: datetime) -> StatusChanged | None:
    said = {name: one_line(header(str(block.get(name, ""))))[:400] for name in ("action", "status", "diagnostic-code")}
    action = said["action"].split()[0].lower() if said["action"].split() else ""
    detail = said["diagnostic-code"].partition(";")[2].strip() or said["diagnostic-code"]
    code = _code(said["status"], detail)
    if action == "delivered":
        return StatusChanged(ours.message_id, "delivered", at, key=ours.key)
    if action in ("failed", "error"):  # "error" is OpenSMTPD's
        status = _failed(ours, at, code, detail)
        status.bad_address = status.bad_address and (ours.recipient is None or ours.recipient in _about(block))
        return status
    return None


def _failed(ours: _Ours, at: datetime, code: str | None, detail: str) -> StatusChanged:
    dead = bool(code and DEAD_CODE.match(code)) or (code in (None, "5.0.0") and bool(DEAD_WORDS.search(detail)))
    return StatusChanged(ours.message_id, "failed", at, code, detail or None, ours.key, bad_address=dead)


def _code(status: str, detail: str) -> str | None:
    """The server's own words are more exact than a general 5.0.0."""
    given, told = _STATUS.search(status), _STATUS.search(detail)
    if told and (given is None or given[1].endswith(".0.0")):
        return told[1]
    return given[1] if given else None


def _complaint(mail: Mail, ours: _Ours, at: datetime) -> list[StatusChanged]:
    """Somebody pressed "this is spam": it was delivered, and nothing more is wanted."""
    for part, _ in leaves(mail.root):
        if part.get_content_type() == "message/feedback-report":
            said = data_of(part)[:_LISTED].decode("latin-1")
            kind = re.search(r"^feedback-type:\s*([a-z-]+)", said, re.IGNORECASE | re.MULTILINE)
            name = kind[1].lower() if kind else "other"
            if name in _NO_COMPLAINT:
                return []
            words = f"complaint: {name}"
            code = None if name in ("opt-out", "opt-out-list") else "complaint"
            return [StatusChanged(ours.message_id, "delivered", at, code, words, ours.key, opted_out=True)]
    return []


def _without_form(mail: Mail, raw: bytes, sender: str, ours: _Ours, at: datetime) -> list[StatusChanged] | None:
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
    status = _failed(ours, at, code, detail)
    status.bad_address = status.bad_address or (code is None and bool(DEAD_WORDS.search(words)))
    return [status]
