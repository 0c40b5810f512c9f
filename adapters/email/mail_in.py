"""Raw mail to events: who wrote, what is new, what it answers; or what became of a mail of ours."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from datetime import datetime
from email.utils import parsedate_to_datetime

from adapters.email import address, proof
from adapters.email.automatic import is_automatic, is_machine
from adapters.email.bounce import reports
from adapters.email.charsets import header
from adapters.email.introductions import forwards, is_device
from adapters.email.parse import Mail, is_sealed, parse, whole_text
from adapters.email.quote import new_text
from adapters.email.tokens import Tokens
from hub.contract import Event, MessageReceived, Unparseable
from hub.model import Party, Proof, utc

_ID = re.compile(r"<([^<>]{1,998})>")
_BARE_ID = re.compile(r"[^<>\s()]+@[^<>\s()]+")
_MOST = 50  # ids of ancestors
_RECIPIENTS = ("delivered-to", "x-original-to", "envelope-to", "x-forwarded-to", "to", "cc")
_WRITERS = ("reply-to", "x-original-from", "x-original-sender")
_VIA = re.compile(r" via ")  # "'Ann' via Sales" <sales@…>: how a group names who wrote
_OLDEST = 2000  # year


class MailIn:
    """``own``: addresses that are ours (normal form); ``authserv``: names of servers whose verdicts count."""

    def __init__(self, own: Collection[str], authserv: Collection[str], tokens: Tokens) -> None:
        self._own = set(own)
        self._authserv = {name.lower() for name in authserv}
        self._tokens = tokens

    def events(self, raw: bytes, received_at: datetime) -> list[Event]:
        """[] for mail of our own that came back, and for reports that change nothing. Raises: Unparseable."""
        mail = parse(raw)
        origin = _origin(mail)
        sender = self._writer(mail, origin)
        at = _date(mail, received_at)
        if self._is_ours(mail, sender):
            return []
        told = reports(mail, raw, origin.address, self._tokens, at)
        if told is not None:
            return list(told)
        automatic = is_automatic(mail, origin.address)
        return [self._message(mail, raw, sender, at, received_at, automatic=automatic)]

    def _writer(self, mail: Mail, origin: address.Mailbox) -> address.Mailbox:
        """Who is in From; who else is named, where that is a machine or ourselves (a form, a group's rewriting)."""
        if origin.address in self._own or is_machine(origin.address) or _VIA.search(origin.name or ""):
            for name in _WRITERS:
                other = address.mailbox(mail.first(name))
                if other is not None and not self._mine(other.address):
                    return address.Mailbox(other.address, other.name, False)
        return origin

    def _is_ours(self, mail: Mail, sender: address.Mailbox) -> bool:
        """What we sent and somebody sent back, or a copy of it from a mail program."""
        if self._mine(sender.address):
            return True
        if any(self._tokens.key(each) is not None for each in _ids(mail.first("message-id"))):
            return True
        return any(address.normal(each) in self._own for each in mail.headers.get("x-loop", ())[:5])

    def _mine(self, given: str) -> bool:
        """Also with a token: ``support+…@example.com``."""
        local, _, domain = given.rpartition("@")
        return given in self._own or f"{local.partition('+')[0]}@{domain}" in self._own

    def _message(
        self, mail: Mail, raw: bytes, sender: address.Mailbox, at: datetime, received_at: datetime, *, automatic: bool
    ) -> MessageReceived:
        thread = self._thread(mail, sender.address, received_at)
        shown = self._proof(mail, sender, thread is not None)
        whole = whole_text(mail)
        subject = mail.words("subject")[:1000] or None
        text = new_text(mail.text, forwarded=forwards(subject or ""))
        if subject and all(is_device(line) for line in text.split("\n") if line.strip()):
            text = ""  # all that was written is the subject
        parents = _ids(mail.first("in-reply-to"))
        references = _some(_ids(mail.first("references")) + parents)
        return MessageReceived(
            external_id=self._external_id(mail, raw, sender.address, shown),
            sender=Party("mailto", sender.address, _name(sender), shown),
            at=at,
            text=text,
            subject=subject,
            html=mail.html,
            full_text=whole if whole != text else None,
            attachments=mail.attachments,
            reply_to=parents[0] if parents else references[-1] if references else None,
            references=references,
            thread=thread,
            automatic=automatic,
            unsupported="encrypted mail" if is_sealed(mail) else None,
        )

    def _thread(self, mail: Mail, sender: str, now: datetime) -> str | None:
        """The conversation whose token stands in the recipient's address, if the sender is who it was given to."""
        for name in _RECIPIENTS:
            for value in mail.headers.get(name, ())[:5]:
                for recipient in address.addresses(value):
                    local, _, _ = recipient.rpartition("@")
                    token = local.rpartition("+")[2]
                    if token != local and (thread := self._tokens.read(token, sender, now)) is not None:
                        return thread
        return None

    def _proof(self, mail: Mail, sender: address.Mailbox, token: bool) -> Proof:
        if sender.strict and proof.dmarc(
            mail.headers.get("authentication-results", []), self._authserv, sender.address
        ):
            return Proof.provider
        return Proof.verified if token and sender.strict else Proof.claimed

    def _external_id(self, mail: Mail, raw: bytes, sender: str, shown: Proof) -> str:
        """The Message-ID. Whoever could have taken it from another's mail gets a mark behind it (``id#mark``), so that
        nobody's mail is taken for a copy of a stranger's."""
        ids = _ids(mail.first("message-id"))
        body = hashlib.sha256(b"\0".join([sender.encode(), mail.first("date").encode("utf-8", "replace"), _body(raw)]))
        if not ids:
            return f"{body.hexdigest()[:40]}@missing.invalid"
        theirs, domain = address.domain_of(ids[0]).lower(), address.domain_of(sender)
        aligned = _related(theirs, domain)
        if aligned and (shown is not Proof.claimed or not self._authserv):
            return ids[0]
        return f"{ids[0]}#{body.hexdigest()[:12]}"


def _origin(mail: Mail) -> address.Mailbox:
    """Raises: Unparseable."""
    senders = mail.headers.get("from", [])
    if len(senders) > 1:
        raise Unparseable("more than one From: programs would disagree who wrote")
    origin = address.mailbox(senders[0]) if senders else None
    if origin is None:
        raise Unparseable("no address in From")
    return origin


def message_id_of(external_id: str) -> str:
    """The Message-ID in one of our external ids."""
    return external_id.strip().strip("<>").rpartition("#")[0] or external_id.strip().strip("<>")


def _body(raw: bytes) -> bytes:
    _, gap, body = raw.partition(b"\r\n\r\n")
    return body if gap else raw.partition(b"\n\n")[2]


def _related(one: str, other: str) -> bool:
    return one == other or one.endswith("." + other) or other.endswith("." + one)


def _ids(value: str) -> list[str]:
    """Message-IDs without brackets; folding leaves blanks in them, some programs leave the brackets out."""
    found = ["".join(each.split()) for each in _ID.findall(value)] or _BARE_ID.findall(value[:2000])
    return [each[:500] for each in (address.one_line(one) for one in found) if each]


def _some(ids: Iterable[str]) -> list[str]:
    """Each once, oldest first; of very many the first and the last ones."""
    once = list(dict.fromkeys(ids))
    return once if len(once) <= _MOST else once[:1] + once[1 - _MOST :]


def _name(sender: address.Mailbox) -> str | None:
    """The display name, but not one that looks like somebody else's address."""
    name = address.one_line(header(sender.name))[:200] if sender.name else ""
    return None if "@" in name or not name else name


def _date(mail: Mail, received_at: datetime) -> datetime:
    """When it was written, as its author's machine says; never later than it came."""
    try:
        at = parsedate_to_datetime(mail.first("date"))
        at = utc(at if at.tzinfo else at.replace(tzinfo=received_at.tzinfo))
    except (ValueError, TypeError, OverflowError, IndexError):
        return received_at
    return at if at.year >= _OLDEST and at <= received_at else received_at
