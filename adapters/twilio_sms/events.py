"""From a webhook's fields to events.

Source: https://www.twilio.com/docs/messaging/guides/webhook-request
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from adapters.twilio_sms.errors import MEANING
from hub.contract import (
    BadAddress,
    ConsentChanged,
    Event,
    MessageReceived,
    OptedOut,
    Request,
    StatusChanged,
    Unparseable,
)
from hub.model import Attachment, Party

State = Literal["queued", "sent", "delivered", "read", "failed"]
STATES: Mapping[str, State] = {
    "accepted": "queued",
    "scheduled": "queued",
    "queued": "queued",
    "sending": "queued",
    "sent": "sent",
    "delivered": "delivered",
    "partially_delivered": "delivered",
    "read": "read",
    "undelivered": "failed",
    "failed": "failed",
    "canceled": "failed",
}
_CHANGES: Mapping[str, Literal["opt_out", "opt_in"]] = {"STOP": "opt_out", "START": "opt_in"}
_KINDS: Mapping[str, Literal["image", "audio", "video"]] = {"image": "image", "audio": "audio", "video": "video"}

_BASE64_LENGTH = 60  # characters; what comes as base64 was too long for one SMS
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def events(form: Mapping[str, str], request: Request) -> list[Event]:
    """Raises: Unparseable."""
    sid = _clean(form.get("MessageSid", ""))
    if not sid:
        raise Unparseable("no MessageSid: this is no message or status of Twilio's")
    status = form.get("MessageStatus") or form.get("SmsStatus", "received")
    if "MessageStatus" in form or status != "received":
        return _status(sid, status, form, request)
    sender = _clean(form.get("From", ""))
    if not sender:
        raise Unparseable(f"message {sid} has no From")
    return _message(sid, sender, form, request.received_at)


def _message(sid: str, sender: str, form: Mapping[str, str], at: datetime) -> list[Event]:
    party = Party("tel", sender)
    message = MessageReceived(sid, party, at, _text(form.get("Body", "")))
    if "MediaUrl0" in form:
        message.attachments = _media(form)
    change = _CHANGES.get(form.get("OptOutType", ""))
    return [message, ConsentChanged(sid, party, change, at)] if change else [message]


def _media(form: Mapping[str, str]) -> list[Attachment]:
    found: list[Attachment] = []
    while (url := form.get(f"MediaUrl{len(found)}")) is not None:
        mime = _clean(form.get(f"MediaContentType{len(found)}", "")) or None
        found.append(Attachment(_kind(mime or ""), url=_clean(url), mime=mime))
    return found


def _kind(mime: str) -> Literal["image", "audio", "video", "file", "contact"]:
    if mime in ("text/vcard", "text/x-vcard"):
        return "contact"
    return _KINDS.get(mime.partition("/")[0], "file")


def _status(sid: str, status: str, form: Mapping[str, str], request: Request) -> list[Event]:
    state = STATES.get(status)
    if state is None:
        return []
    code = _clean(form.get("ErrorCode", "")) or None
    kind, words = MEANING.get(code or "", (None, ""))
    detail = _clean(form.get("ErrorMessage", "")) or words or (status if state == "failed" else "")
    failed = state == "failed"
    key = parse_qs(urlsplit(request.url).query).get("key")
    return [
        StatusChanged(
            sid,
            state,
            request.received_at,
            code=code,
            detail=detail or None,
            key=_clean(key[0]) if key else None,
            bad_address=failed and kind is BadAddress,
            opted_out=failed and kind is OptedOut,
        )
    ]


def _text(body: str) -> str:
    body = _clean(body)
    if len(body) < _BASE64_LENGTH or " " in body:
        return body
    return _decoded(body) or body


def _decoded(body: str) -> str | None:
    """The text in a long SMS that Twilio passed on as base64; None if it is no such thing.

    Source: nyaruka/courier, which has met these.
    """
    packed = body.replace("\r", "").replace("\n", "").strip()
    if not _BASE64.fullmatch(packed):
        return None
    try:
        text = base64.b64decode(packed).decode()
    except ValueError:
        return None
    # A key or token that somebody sent decodes to noise.
    return None if _CONTROL.search(text) else text


def _clean(text: str) -> str:
    return text.replace("\0", "")
