"""From a webhook's fields to events.

Source: https://www.twilio.com/docs/messaging/guides/webhook-request
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import datetime

from adapters.twilio.statuses import CHANGES, clean, media, sid_of, status
from hub.contract import ConsentChanged, Event, MessageReceived, Request, Unparseable
from hub.model import Party

_BASE64_LENGTH = 60  # characters; what comes as base64 was too long for one SMS
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def events(form: Mapping[str, str], request: Request) -> list[Event]:
    """Raises: Unparseable."""
    sid = sid_of(form)
    told = status(sid, form, request)
    if told is not None:
        return [*told]
    sender = clean(form.get("From", ""))
    if not sender:
        raise Unparseable(f"message {sid} has no From")
    if ":" in sender:
        raise Unparseable(f"message {sid} did not come by SMS: give {sender.partition(':')[0]} a channel of its own")
    return _message(sid, sender, form, request.received_at)


def _message(sid: str, sender: str, form: Mapping[str, str], at: datetime) -> list[Event]:
    party = Party("tel", sender)
    message = MessageReceived(sid, party, at, _text(form.get("Body", "")), attachments=media(form))
    change = CHANGES.get(form.get("OptOutType", ""))
    return [message, ConsentChanged(sid, party, change, at)] if change else [message]


def _text(body: str) -> str:
    body = clean(body)
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
