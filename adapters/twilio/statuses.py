"""What webhooks of all of Twilio's messaging channels say in the same way: states, and files.

Source: https://www.twilio.com/docs/messaging/guides/webhook-request
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from adapters.twilio.errors import MEANING
from hub.contract import PASSING, BadAddress, ChannelDown, OptedOut, Request, StatusChanged, Unparseable
from hub.model import Attachment

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
CHANGES: Mapping[str, Literal["opt_out", "opt_in"]] = {"STOP": "opt_out", "START": "opt_in"}  # OptOutType
# What Twilio answers by itself on SMS. Source: https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out
ANSWERED = frozenset({
    "stop", "unsubscribe", "end", "quit", "stopall", "revoke", "optout", "cancel", "start", "yes", "unstop", "help",
    "info",
})  # fmt: skip
_KINDS: Mapping[str, Literal["image", "audio", "video"]] = {"image": "image", "audio": "audio", "video": "video"}


def sid_of(form: Mapping[str, str]) -> str:
    """Raises: Unparseable."""
    told = (clean(form.get(name, "")) for name in ("MessageSid", "SmsMessageSid", "SmsSid"))  # all the same
    sid = next((each for each in told if each), "")
    if not sid:
        raise Unparseable("no MessageSid: this is no message or status of Twilio's")
    return sid


def status(sid: str, form: Mapping[str, str], request: Request) -> list[StatusChanged] | None:
    """[] for a state that says nothing to us; None if the webhook brings a message."""
    told = form.get("MessageStatus") or form.get("SmsStatus", "received")
    if "MessageStatus" not in form and told == "received":
        return None
    state = STATES.get(told)
    if state is None:
        return []
    code = clean(form.get("ErrorCode", "")) or None
    kind, words = MEANING.get(code or "", (None, ""))
    failed = state == "failed"
    detail = clean(form.get("ErrorMessage", "")) or words or (told if failed else "")
    if kind is ChannelDown and detail != words:
        detail += f"; {words}"
    key = parse_qs(urlsplit(request.url).query).get("key")
    return [
        StatusChanged(
            sid,
            state,
            request.received_at,
            code=code,
            detail=detail or None,
            key=clean(key[0]) if key else None,
            bad_address=failed and kind is BadAddress,
            opted_out=failed and kind is OptedOut,
            error=PASSING.get(kind) if failed else None,
        )
    ]


def media(form: Mapping[str, str]) -> list[Attachment]:
    found: list[Attachment] = []
    while (url := form.get(f"MediaUrl{len(found)}")) is not None:
        mime = clean(form.get(f"MediaContentType{len(found)}", "")) or None
        found.append(Attachment(_kind(mime or ""), url=clean(url), mime=mime))
    return found


def _kind(mime: str) -> Literal["image", "audio", "video", "file", "contact"]:
    if mime in ("text/vcard", "text/x-vcard"):
        return "contact"
    return _KINDS.get(mime.partition("/")[0], "file")


def clean(text: str) -> str:
    return text.replace("\0", "")
