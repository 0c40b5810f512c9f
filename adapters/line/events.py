"""From a webhook to events: all of its batch. Source: https://developers.line.biz/en/reference/messaging-api/#webhooks"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Literal

from adapters.line.outgoing import parse_data
from hub.contract import (
    AccountChanged,
    ConsentChanged,
    Event,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    Request,
    Unparseable,
)
from hub.model import Attachment, Location, Party, Selection, clean
from hub.shape import document, moment, number, part, parts, text

SCHEME = "line"
_KINDS: Mapping[str, Literal["image", "audio", "video", "file"]] = {
    "image": "image", "audio": "audio", "video": "video", "file": "file",
}
_MIMES = {"image": "image/jpeg", "audio": "audio/mp4", "video": "video/mp4"}
_STICKERS = "https://stickershop.line-scdn.net/stickershop/v1/sticker/{}/android/sticker.png"
_ACCOUNT = {"botSuspended": "suspended", "botResumed": "resumed"}
_GROUPS = {"join": "joined", "leave": "left"}
_UNHEARD = "what is written there reaches nobody here, and nobody there is answered"
Read = Callable[[dict[str, Any], Party, datetime], Iterator[Event]]


def happenings(request: Request) -> Iterator[dict[str, Any]]:
    """The raw events that are for us to act on. Raises: Unparseable."""
    body = document(request.body)
    if not isinstance(body.get("events"), list):
        raise Unparseable("not a webhook of LINE's: it has no events")
    for raw in parts(body, "events"):
        # In standby another module of the account answers.
        if text(raw, "mode") != "standby":
            yield raw


def events(raws: Iterable[dict[str, Any]], received_at: datetime) -> list[Event]:
    """What people did in their own chats, and what became of the account. Raises: Unparseable."""
    return [event for raw in raws for event in _events(raw, received_at)]


def person(raw: dict[str, Any]) -> Party | None:
    """Who did it, in the chat with us alone; None in groups, which are no conversation with one customer."""
    source = part(raw, "source")
    user = text(source, "userId")
    return Party(SCHEME, user) if user and text(source, "type") == "user" else None


def _events(raw: dict[str, Any], received_at: datetime) -> Iterator[Event]:
    kind, at = text(raw, "type"), moment(raw, "timestamp", received_at)
    if kind in _ACCOUNT:
        yield AccountChanged(_id(raw), at, "official account", _ACCOUNT[kind])
        return
    if kind in _GROUPS:
        source = part(raw, "source")
        where = f"{text(source, 'type') or 'group'} {text(source, 'groupId') or text(source, 'roomId')}".strip()
        yield AccountChanged(_id(raw), at, where, _GROUPS[kind], _UNHEARD if kind == "join" else None)
        return
    sender = person(raw)
    if kind in _READERS and sender is not None:
        yield from _READERS[kind](raw, sender, at)


def _id(raw: dict[str, Any]) -> str:
    """The same when an event is delivered again."""
    found = text(raw, "webhookEventId")
    if not found:
        raise Unparseable("an event without webhookEventId")
    return found


def _target(value: dict[str, Any], name: str) -> str:
    found = text(value, name)
    if not found:
        raise Unparseable(f"no {name}: it is not said which message is meant")
    return found


# --- by kind of event ---


def _message(raw: dict[str, Any], sender: Party, at: datetime) -> Iterator[Event]:
    said = part(raw, "message")
    message = MessageReceived(_target(said, "id"), sender, at, text(said, "text"))
    message.reply_to = text(said, "quotedMessageId") or None
    kind = text(said, "type")
    if kind in _KINDS:
        message.attachments = [_file(said, kind)]
        message.album = text(part(said, "imageSet"), "id") or None
    elif kind == "sticker":
        message.attachments = [_sticker(said)]
    elif kind == "location":
        _place(message, said)
    elif kind != "text":
        message.unsupported = kind[:60] or "message"
    yield message


def _file(said: dict[str, Any], kind: str) -> Attachment:
    """At LINE by the message's id, or where the sender's own program keeps it."""
    provider = part(said, "contentProvider")
    url = text(provider, "originalContentUrl") if text(provider, "type") == "external" else ""
    size = number(said, "fileSize")
    return Attachment(
        _KINDS[kind], url=url or None, ref=None if url else text(said, "id"), mime=_MIMES.get(kind),
        name=text(said, "fileName") or None, size=None if size is None else int(size),
    )


def _sticker(said: dict[str, Any]) -> Attachment:
    """Its keywords are LINE's, not what the person said, so they only name the picture."""
    sticker, keywords = text(said, "stickerId"), said.get("keywords")
    words = [clean(each) for each in keywords if isinstance(each, str)] if isinstance(keywords, list) else []
    known = sticker.isascii() and sticker.isdigit()
    name = " ".join(", ".join(words[:3]).split()) or "sticker"
    return Attachment("sticker", url=_STICKERS.format(sticker) if known else None, mime="image/png", name=name)


def _place(message: MessageReceived, said: dict[str, Any]) -> None:
    latitude, longitude = number(said, "latitude"), number(said, "longitude")
    if latitude is None or longitude is None:
        message.unsupported = "location"
        return
    message.location = Location(latitude, longitude, text(said, "title") or None, text(said, "address") or None)


def _edited(raw: dict[str, Any], sender: Party, at: datetime) -> Iterator[Event]:
    said = part(raw, "message")
    yield MessageEdited(_target(said, "id"), sender, at, text(said, "text"))


def _unsent(raw: dict[str, Any], sender: Party, at: datetime) -> Iterator[Event]:
    yield MessageDeleted(_target(part(raw, "unsend"), "messageId"), sender, at)


def _followed(raw: dict[str, Any], sender: Party, at: datetime) -> Iterator[Event]:
    """Added the account as a friend, or lifted the block."""
    yield ConsentChanged(_id(raw), sender, "unblocked", at)


def _unfollowed(raw: dict[str, Any], sender: Party, at: datetime) -> Iterator[Event]:
    """Blocked the account. LINE goes on to answer 200 to what is sent there, and delivers nothing."""
    yield ConsentChanged(_id(raw), sender, "blocked", at)


def _pressed(raw: dict[str, Any], sender: Party, at: datetime) -> Iterator[Event]:
    """A choice of ours, or of a menu; a date that was picked with it is its title. To turn a menu's page is none."""
    postback = part(raw, "postback")
    data, params = text(postback, "data"), part(postback, "params")
    if not data or "newRichMenuAliasId" in params:
        return
    choice, title = parse_data(data)
    picked = next((found for name in ("date", "time", "datetime") if (found := text(params, name))), "")
    title = picked or title
    yield MessageReceived(_id(raw), sender, at, title, selection=Selection(choice, title))


def _linked(raw: dict[str, Any], sender: Party, at: datetime) -> Iterator[Event]:
    """An account of ours was linked; whose it is only who made the nonce knows."""
    link = part(raw, "link")
    result, nonce = text(link, "result"), text(link, "nonce")
    if not result:
        return
    chosen = Selection(nonce or result, f"account link: {result}")
    yield MessageReceived(_id(raw), sender, at, chosen.title, selection=chosen, automatic=True)


_READERS: Mapping[str, Read] = {
    "message": _message, "messageEdited": _edited, "unsend": _unsent, "follow": _followed, "unfollow": _unfollowed,
    "postback": _pressed, "accountLink": _linked,
}
