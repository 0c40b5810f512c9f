"""An outgoing part as a mail."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, formataddr

from email_validator import EmailNotValidError, validate_email

from adapters.email.address import domain_of, one_line
from adapters.email.mail_in import message_id_of
from adapters.email.tokens import Tokens
from hub.contract import BadAddress, Outgoing, Rejected
from hub.model import Attachment, Purpose

_RE = re.compile(r"\s*(re|aw|antw|sv|vs|rv|odp|r[eé]f)\s*(\[\d+\])?\s*[:：]", re.IGNORECASE)
_MIME = re.compile(r"(?:application|audio|font|image|text|video|model)/[a-zA-Z0-9][a-zA-Z0-9.+_-]{0,100}")
_ID = re.compile(r"[!-;=?-~]{1,490}")  # printable ASCII without blanks and brackets
_REFERENCES = 20
_SUBJECT = 500  # characters


@dataclass(frozen=True, slots=True)
class Letter:
    """What is handed to a mail server. ``message_id`` without brackets; ``content`` in ASCII, lines end in CRLF."""

    message_id: str
    sender: str
    recipient: str
    content: bytes


class MailOut:
    """``address``, ``name``: of From. ``reply_address``: where answers go; with ``tokens`` it carries one."""

    def __init__(self, address: str, name: str | None, reply_address: str, tokens: Tokens, *, with_token: bool) -> None:
        self._address = address
        self._name = one_line(name or "")[:60]
        self._reply_address = reply_address
        self._tokens = tokens
        self._with_token = with_token

    def letter(self, out: Outgoing, now: datetime) -> Letter:
        """The same Message-ID on every attempt. Raises: BadAddress, Rejected."""
        recipient = wire_address(out.to.value)
        message_id = self._tokens.message_id(out.key, domain_of(self._address))
        lines = [
            f"From: {formataddr((self._name, self._address), 'utf-8')}",
            f"To: {recipient}",
            f"Subject: {_encoded('Subject', self._subject(out))}",
            f"Date: {format_datetime(now)}",
            f"Message-ID: <{message_id}>",
            *_thread(out),
            *self._reply_to(out, now),
            *_marks(out),
            f"X-Loop: {self._address}",
        ]
        head = "\r\n".join(lines).encode("ascii" if recipient.isascii() else "utf-8")
        return Letter(message_id, self._address, recipient, head + b"\r\n" + _body(out).as_bytes(policy=SMTP))

    def _subject(self, out: Outgoing) -> str:
        subject = one_line(out.subject or "")[:_SUBJECT]
        if not subject:
            return f"Message from {self._name or self._address}"
        is_answer = bool(out.reply_to or out.references)
        return f"Re: {subject}" if is_answer and not _RE.match(subject) else subject

    def _reply_to(self, out: Outgoing, now: datetime) -> list[str]:
        address = self._reply_address
        if self._with_token and out.thread:
            local, _, domain = address.rpartition("@")
            address = f"{local}+{self._tokens.issue(out.thread, out.to.value, now)}@{domain}"
        elif address == self._address:
            return []
        return [f"Reply-To: {formataddr((self._name, address), 'utf-8')}"]


def wire_address(value: str) -> str:
    """As mail servers take it: the domain in ASCII. Raises: BadAddress."""
    try:
        found = validate_email(value, check_deliverability=False, test_environment=True, globally_deliverable=False)
    except (EmailNotValidError, ValueError) as error:
        raise BadAddress(f"not a mail address: {error}", code="5.1.3") from None
    return f"{found.local_part}@{found.ascii_domain}"


def _thread(out: Outgoing) -> list[str]:
    ids = [message_id_of(each) for each in [*out.references, *([out.reply_to] if out.reply_to else [])]]
    known = [each for each in dict.fromkeys(ids) if _ID.fullmatch(each)]
    if not known:
        return []
    parent = message_id_of(out.reply_to) if out.reply_to else known[-1]
    if parent in known:
        known = [each for each in known if each != parent] + [parent]  # the parent stands last
    some = known if len(known) <= _REFERENCES else known[:1] + known[1 - _REFERENCES :]
    return [f"In-Reply-To: <{known[-1]}>", "References: " + "\r\n ".join(f"<{each}>" for each in some)]


def _marks(out: Outgoing) -> list[str]:
    """What keeps machines from answering (RFC 3834)."""
    lines = []
    if out.automatic:
        answered = "auto-replied" if out.reply_to else "auto-generated"
        lines += [f"Auto-Submitted: {answered}", "X-Auto-Response-Suppress: All"]
    if out.purpose is Purpose.marketing:
        lines.append("Precedence: bulk")
    if out.unsubscribe is not None:
        one_click = "List-Unsubscribe-Post: List-Unsubscribe=One-Click"
        lines += [f"List-Unsubscribe: <{out.unsubscribe}>", one_click]
    return lines


def _encoded(name: str, text: str) -> str:
    if text.isascii():
        return Header(text, "us-ascii", maxlinelen=76, header_name=name).encode(linesep="\r\n")
    return Header(text, "utf-8", maxlinelen=76, header_name=name).encode(linesep="\r\n")


def _body(out: Outgoing) -> EmailMessage:
    body = EmailMessage(policy=SMTP)
    body.set_content(out.text.replace("\0", ""), cte="quoted-printable")
    if out.html:
        body.add_alternative(out.html.replace("\0", ""), subtype="html", cte="quoted-printable")
    for each in out.attachments:
        _attach(body, each)
    return body


def _attach(body: EmailMessage, file: Attachment) -> None:
    if file.data is None:
        raise Rejected("a file is attached without its bytes")
    mime = file.mime if file.mime and _MIME.fullmatch(file.mime) else "application/octet-stream"
    kind, _, subtype = mime.partition("/")
    name = one_line(file.name or file.kind).replace("/", "_").replace("\\", "_")[:150]
    body.add_attachment(file.data, maintype=kind, subtype=subtype, filename=name)
