"""Mails as people and their servers write them, and as people see them: for the simulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP, default
from email.utils import format_datetime, formataddr, make_msgid, parseaddr

File = tuple[str, str, bytes]  # name, mime type, content


@dataclass(slots=True)
class Seen:
    """A mail in a person's mailbox. Ids have no brackets."""

    mine: bool  # written by this person
    raw: bytes
    id: str
    sender: str
    reply_to: str  # where an answer goes
    subject: str
    text: str
    html: str | None
    files: list[str]
    references: list[str]
    headers: Mapping[str, str]  # lower-case names, the first value of each
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


def seen(raw: bytes, *, mine: bool = False) -> Seen:
    """Read by the strict parser of the standard library, as a mail program would."""
    mail = message_from_bytes(raw, policy=default)
    assert isinstance(mail, EmailMessage)
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    headers = {name.lower(): str(value) for name, value in reversed(mail.items())}
    sender = parseaddr(headers.get("from", ""))[1]
    return Seen(
        mine,
        raw,
        headers.get("message-id", "").strip(" <>"),
        sender,
        parseaddr(headers.get("reply-to", ""))[1] or sender,
        headers.get("subject", ""),
        plain.get_content().replace("\r\n", "\n").rstrip("\n") if plain else "",
        html.get_content() if html else None,
        [part.get_filename() or part.get_content_type() for part in mail.iter_attachments()],
        [each.strip("<>") for each in headers.get("references", "").split()],
        headers,
    )


def letter(
    sender: str,
    to: str,
    text: str,
    *,
    name: str = "",
    subject: str = "",
    answers: Seen | None = None,
    html: str | None = None,
    files: Sequence[File] = (),
    headers: Mapping[str, str] | None = None,
) -> EmailMessage:
    """What a mail program hands to its server; an answer quotes below what it answers."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = formataddr((name, sender))
    mail["To"] = to
    mail["Date"] = format_datetime(datetime.now(UTC))
    mail["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2])
    if answers is not None:
        subject = subject or answers.subject
        subject = subject if subject.lower().startswith("re:") else f"Re: {subject}"
        mail["In-Reply-To"] = f"<{answers.id}>"
        mail["References"] = " ".join(f"<{each}>" for each in [*answers.references, answers.id])
        text = f"{text}\n\n{_quoted(answers)}"
    mail["Subject"] = subject
    for key, value in (headers or {}).items():
        del mail[key]
        mail[key] = value
    mail.set_content(text)
    if html is not None:
        mail.add_alternative(html, subtype="html")
    for filename, mime, content in files:
        kind, _, subtype = mime.partition("/")
        mail.add_attachment(content, maintype=kind, subtype=subtype, filename=filename)
    return mail


def _quoted(mail: Seen) -> str:
    head = f"On {mail.at:%a, %d %b %Y at %H:%M}, {mail.sender} wrote:"
    return "\n".join([head, "", *(f"> {line}".rstrip() for line in mail.text.split("\n"))])


def received(raw: bytes, *, by: str, sender: str, recipient: str, passed: bool, machine: bool = False) -> bytes:
    """The mail with what the receiving server ``by`` writes above it. ``passed``: whether DMARC did; ``machine``:
    whether one wrote it, which wants no answer (RFC 3834)."""
    verdict, domain = "pass" if passed else "fail", sender.rpartition("@")[2]
    lines = [
        f"Return-Path: <{'' if machine else sender}>",
        f"Delivered-To: {recipient}",
        f"Authentication-Results: {by};",
        f"\tspf={verdict} smtp.mailfrom={domain};",
        f"\tdmarc={verdict} (p=REJECT dis=NONE) header.from={domain}",
        f"Received: from mail.{domain or 'localhost'} by {by} with ESMTPS; {format_datetime(datetime.now(UTC))}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n" + raw


def report(server: str, to: str, original: bytes, recipient: str, status: str, words: str) -> bytes:
    """A delivery report (RFC 3464) as Postfix writes it: ``original`` could not be delivered to ``recipient``."""
    boundary = f"report/{server}"
    head = original.partition(b"\r\n\r\n")[0]
    lines = [
        f"From: Mail Delivery System <MAILER-DAEMON@{server}>",
        f"To: {to}",
        "Subject: Undelivered Mail Returned to Sender",
        f"Date: {format_datetime(datetime.now(UTC))}",
        f"Message-ID: {make_msgid(domain=server)}",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status; boundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Description: Notification",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        f"This is the mail system at host {server}.",
        "",
        f"<{recipient}>: {words}",
        "",
        f"--{boundary}",
        "Content-Description: Delivery report",
        "Content-Type: message/delivery-status",
        "",
        f"Reporting-MTA: dns; {server}",
        "",
        f"Final-Recipient: rfc822; {recipient}",
        "Action: failed",
        f"Status: {status}",
        f"Diagnostic-Code: smtp; {words}",
        "",
        f"--{boundary}",
        "Content-Description: Undelivered Message Headers",
        "Content-Type: text/rfc822-headers",
        "",
    ]
    return "\r\n".join(lines).encode() + b"\r\n" + head + f"\r\n\r\n--{boundary}--\r\n".encode()
