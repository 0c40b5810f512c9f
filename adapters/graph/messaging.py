"""From a webhook of Messenger or Instagram to events: every entry, everything in it.

Source: https://developers.facebook.com/docs/messenger-platform/reference/webhook-events
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from adapters.graph.contents import came_from, fill, refer
from adapters.graph.echoes import echo_of
from hub.contract import (
    AccountChanged,
    ConsentChanged,
    Event,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    Reacted,
    Request,
    StatusChanged,
    Unparseable,
)
from hub.model import Party, Selection, clean
from hub.shape import all_of, document, moment, part, parts, text

_PRECISION = timedelta(microseconds=999)  # Meta's times are whole milliseconds
OUR_KEY = "del_"  # how the metadata of what we sent begins
_BESIDE = {"sender", "recipient", "timestamp", "prior_message", "hop_context", "thread_context"}
# Who else may answer in a thread, and what our own app did: nothing that a person said.
_QUIET = {"pass_thread_control", "take_thread_control", "request_thread_control", "app_roles", "account_linking"}
_EMOJIS = {"smile": "😆", "angry": "😠", "sad": "😢", "wow": "😮", "love": "❤", "like": "👍", "dislike": "👎"}


@dataclass(frozen=True, slots=True)
class Account:
    """What webhooks are about us: ``object`` is Meta's word for the kind, ``id`` that of the page or account."""

    object: str
    scheme: str
    id: str

    def person(self, number: str) -> Party:
        """Meta's ids of people differ from page to page, so ours is part of the address."""
        return Party(self.scheme, f"{self.id}:{number}")


@dataclass(frozen=True, slots=True)
class Happening:
    """One item of a webhook: what kind of thing ``body`` is, its key says."""

    body: dict[str, Any]
    key: str
    sender: Party
    at: datetime

    @property
    def external_id(self) -> str:
        """Unique for what Meta gives no id."""
        return f"{self.key}:{self.sender.value}@{self.at.timestamp() * 1000:.0f}"


def events(request: Request, account: Account) -> list[Event]:
    """The events of this account; an app's webhook may carry those of others. Raises: Unparseable."""
    body = document(request.body)
    if body.get("object") != account.object or not isinstance(body.get("entry"), list):
        raise Unparseable(f"not a webhook with the object {account.object!r}")
    ours = [entry for entry in parts(body, "entry") if text(entry, "id") == account.id]
    times = [moment(entry, "time", request.received_at) for entry in ours]
    return all_of(
        _item(raw, account, moment(raw, "timestamp", at))
        for entry, at in zip(ours, times, strict=True)
        for raw in _items(entry)
    )


def _items(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """What ``standby`` holds another app answers. The dashboard's test button puts items into ``changes``."""
    tried = [part(change, "value") for change in parts(entry, "changes")]
    return parts(entry, "messaging") + [value for value in tried if "sender" in value]


def _item(raw: dict[str, Any], account: Account, at: datetime) -> Iterator[Event]:
    if "policy_enforcement" in raw:
        yield _enforced(part(raw, "policy_enforcement"), account, at)
        return
    key = next((name for name in _READERS if name in raw), None)
    key = key or next((clean(name) for name in raw if name not in _BESIDE | _QUIET), None)
    sender = text(part(raw, "sender"), "id")
    if key is None or (key == "optin" and not sender):
        return  # a box ticked on a website, by nobody who can be written to yet
    if key == "message" and part(raw, key).get("is_echo") is True:
        yield from _echo(raw, account, at)
        return
    if not sender:
        raise Unparseable(f"{key} of nobody: it has no sender")
    happening = Happening(part(raw, key), key, account.person(sender), at)
    if sender != account.id:
        yield from _READERS.get(key, _unknown)(happening)
    elif key in _OURS:  # done in Meta's own app: anything else there, we did ourselves
        for event in _READERS[key](happening):
            yield echo_of(event, account.scheme, account.id)


def _echo(raw: dict[str, Any], account: Account, at: datetime) -> Iterator[Event]:
    """Something we sent was taken, or others wrote from this account, in Meta's inbox or by another app."""
    message, person = part(raw, "message"), text(part(raw, "recipient"), "id")
    mid, key = text(message, "mid"), text(message, "metadata")
    if mid and key.startswith(OUR_KEY):
        yield StatusChanged(mid, "sent", at, key=key)
    elif mid and person:
        for event in _message(Happening(message, "message", account.person(person), at)):
            yield echo_of(event, account.scheme, account.id)


def _message(it: Happening) -> Iterator[Event]:
    mid = _named(it)
    if it.body.get("is_deleted") is True:
        yield MessageDeleted(mid, it.sender, it.at)
        return
    message = MessageReceived(mid, it.sender, it.at)
    fill(message, it.body)
    yield message


def _postback(it: Happening) -> Iterator[Event]:
    """A button was pressed: of a template, "get started", an ice breaker, the menu."""
    title = text(it.body, "title")
    message = MessageReceived(text(it.body, "mid") or it.external_id, it.sender, it.at, title)
    message.selection = Selection(text(it.body, "payload") or title, title)
    refer(message, part(it.body, "referral"))
    yield message


def _reaction(it: Happening) -> Iterator[Event]:
    emoji = text(it.body, "emoji") or _EMOJIS.get(text(it.body, "reaction"), "")
    yield Reacted(_named(it), it.sender, it.at, emoji, removed=text(it.body, "action") == "unreact")


def _edit(it: Happening) -> Iterator[Event]:
    yield MessageEdited(_named(it), it.sender, it.at, text(it.body, "text"))


def _delivery(it: Happening) -> Iterator[Event]:
    mids = it.body.get("mids")
    known = [clean(mid) for mid in mids if isinstance(mid, str) and mid] if isinstance(mids, list) else []
    for mid in known:
        yield StatusChanged(mid, "delivered", it.at)
    if not known:
        yield _watermark(it, "delivered")


def _read(it: Happening) -> Iterator[Event]:
    """Everything up to a message, or up to a time, was seen."""
    if mid := text(it.body, "mid"):
        yield StatusChanged(mid, "read", it.at, to=it.sender.address)
    else:
        yield _watermark(it, "read")


def _watermark(it: Happening, state: Literal["delivered", "read"]) -> StatusChanged:
    until = moment(it.body, "watermark", it.at) + _PRECISION
    return StatusChanged(it.external_id, state, it.at, to=it.sender.address, until=until)


def _optin(it: Happening) -> Iterator[Event]:
    """Consent to recurring marketing, given or taken back; any other is a way into the conversation."""
    if text(it.body, "type") == "notification_messages":
        stopped = text(it.body, "notification_messages_status").replace("_", " ") == "STOP NOTIFICATIONS"
        change: Literal["opt_out", "opt_in"] = "opt_out" if stopped else "opt_in"
        yield ConsentChanged(it.external_id, it.sender, change, it.at, covers="marketing")
        return
    ref = text(it.body, "ref") or text(it.body, "payload")
    said = "Pressed “Send to Messenger”" + (f", ref: {ref}" if ref else "")
    yield MessageReceived(it.external_id, it.sender, it.at, said, automatic=True)


def _referral(it: Happening) -> Iterator[Event]:
    """Somebody who has written before came back by a link or an ad, and said nothing yet."""
    entry = text(it.body, "ref") or None
    yield MessageReceived(it.external_id, it.sender, it.at, came_from(it.body), automatic=True, entry=entry)


def _unknown(it: Happening) -> Iterator[Event]:
    yield MessageReceived(it.external_id, it.sender, it.at, unsupported=it.key, automatic=True)


_READERS: Mapping[str, Callable[[Happening], Iterator[Event]]] = {
    "message": _message, "postback": _postback, "reaction": _reaction, "message_edit": _edit, "delivery": _delivery,
    "read": _read, "optin": _optin, "referral": _referral,
}


_OURS = ("reaction", "message_edit")


def _enforced(action: dict[str, Any], account: Account, at: datetime) -> AccountChanged:
    """Meta warns, blocks or unblocks the page."""
    state = text(action, "action") or "changed"
    external_id = f"policy_enforcement:{account.id}@{at.timestamp():.0f}:{state}"
    holds = {"block": True, "unblock": False}.get(state)
    reason = text(action, "reason") or None
    return AccountChanged(external_id, at, f"account {account.id}", state, reason, holds=holds)


def _named(it: Happening) -> str:
    mid = text(it.body, "mid")
    if not mid:
        raise Unparseable(f"{it.key} without mid: it is not said which message is meant")
    return mid
