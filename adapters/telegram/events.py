"""From an update to events. Source: https://core.telegram.org/bots/api#update"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from adapters.telegram import contents, people
from hub.contract import (
    AccountChanged,
    ConsentChanged,
    Event,
    MessageEdited,
    MessageReceived,
    Reacted,
    Request,
    Unparseable,
)
from hub.model import Party, Selection
from hub.shape import document, integer, moment, part, parts, text

UPDATES = ["message", "edited_message", "callback_query", "message_reaction", "my_chat_member"]
_INSIDE = {"creator", "administrator", "member", "restricted"}
_UNHEARD = "what is written there reaches nobody here, and nobody there is answered"
_PAID, _CUSTOM = "⭐", "❔"  # a star that was paid for, and an emoji that only Telegram has


def events(request: Request, bot: str) -> list[Event]:
    """The events of one update; of groups and channels only reactions count. Raises: Unparseable."""
    update = document(request.body)
    if integer(update, "update_id") is None:
        raise Unparseable("not an update of Telegram's: it has no update_id")
    for kind, make in _MAKERS.items():
        if kind in update:
            return make(update, part(update, kind), bot, request.received_at)
    return []


def _message(update: dict[str, Any], raw: dict[str, Any], bot: str, received_at: datetime) -> list[Event]:
    if _is_elsewhere(raw) or _is_machine(raw) or contents.is_quiet(raw):
        return []
    chat, number = _place(raw)
    message = MessageReceived(people.external_id(chat, number), _sender(raw, bot), moment(raw, "date", received_at))
    answered = integer(part(raw, "reply_to_message"), "message_id")
    message.reply_to = None if answered is None else people.external_id(chat, answered)
    message.album = text(raw, "media_group_id") or None
    contents.fill(message, raw)
    return [message]


def _edit(update: dict[str, Any], raw: dict[str, Any], bot: str, received_at: datetime) -> list[Event]:
    """What has neither words nor files is a place that moves. Of some changes bots see nothing: the core compares."""
    if _is_elsewhere(raw) or _is_machine(raw):
        return []
    at = moment(raw, "edit_date", moment(raw, "date", received_at))
    now = MessageReceived(people.external_id(*_place(raw)), _sender(raw, bot), at)
    contents.fill(now, raw)
    if not (now.text or now.attachments):
        return []
    return [MessageEdited(now.external_id, now.sender, at, now.text, now.attachments)]


def _pressed(update: dict[str, Any], query: dict[str, Any], bot: str, received_at: datetime) -> list[Event]:
    """A button under a message of ours; the time of the press is not told."""
    number, data, message = text(query, "id"), text(query, "data"), part(query, "message")
    if not number:
        raise Unparseable("a pressed button without an id")
    if not data or _is_elsewhere(message):
        return []
    chat, answered = integer(part(message, "chat"), "id"), integer(message, "message_id")
    title = _title(message, data)
    reply_to = None if chat is None or answered is None else people.external_id(chat, answered)
    return [
        MessageReceived(f"callback:{number}", _sender(query, bot), received_at, title,
                        selection=Selection(data, title), reply_to=reply_to)
    ]


def pressed(update: dict[str, Any]) -> str | None:
    """The press that an update tells of, and that has to be answered."""
    return text(part(update, "callback_query"), "id") or None


def _title(message: dict[str, Any], data: str) -> str:
    """The label of the button that was pressed."""
    rows = part(message, "reply_markup").get("inline_keyboard")
    for row in rows if isinstance(rows, list) else []:
        for button in row if isinstance(row, list) else []:
            if text(button, "callback_data") == data and (title := text(button, "text")):
                return title
    return data


def _reaction(update: dict[str, Any], raw: dict[str, Any], bot: str, received_at: datetime) -> list[Event]:
    """What was added and what was taken back. Who reacts on behalf of a channel is nobody."""
    chat, number = _place(raw)
    sender = people.party(bot, part(raw, "user"))
    if sender is None:
        return []
    external_id, at = people.external_id(chat, number), moment(raw, "date", received_at)
    old, new = ([_emoji(each) for each in parts(raw, name)] for name in ("old_reaction", "new_reaction"))
    told = str(integer(update, "update_id"))
    gone: list[Event] = [Reacted(external_id, sender, at, each, True, told) for each in old if each not in new]
    return gone + [Reacted(external_id, sender, at, each, event_id=told) for each in new if each not in old]


def _emoji(reaction: dict[str, Any]) -> str:
    return text(reaction, "emoji") or (_PAID if text(reaction, "type") == "paid" else _CUSTOM)


def _member(update: dict[str, Any], raw: dict[str, Any], bot: str, received_at: datetime) -> list[Event]:
    """The person blocked the bot, or lifted the block; or somebody took it into a group."""
    old, new = (text(part(raw, name), "status") for name in ("old_chat_member", "new_chat_member"))
    if _is_elsewhere(raw):
        return _group(update, raw, old in _INSIDE, new in _INSIDE, received_at)
    if "kicked" not in (old, new) or old == new:
        return []
    at = moment(raw, "date", received_at)
    # Numbers of updates may start anew after a quiet week, so the time is part of it.
    external_id = f"my_chat_member:{integer(update, 'update_id')}@{at.timestamp():.0f}"
    return [ConsentChanged(external_id, _sender(raw, bot), "blocked" if new == "kicked" else "unblocked", at)]


def _group(update: dict[str, Any], raw: dict[str, Any], was: bool, now: bool, received_at: datetime) -> list[Event]:
    """News of it, since what is said there is no conversation with one customer."""
    if was == now:
        return []
    chat, at = part(raw, "chat"), moment(raw, "date", received_at)
    where = f"{text(chat, 'type')} {text(chat, 'title') or integer(chat, 'id')}"
    external_id = f"my_chat_member:{integer(update, 'update_id')}@{at.timestamp():.0f}"
    return [AccountChanged(external_id, at, where, "joined" if now else "left", _UNHEARD if now else None)]


_MAKERS: Mapping[str, Callable[[dict[str, Any], dict[str, Any], str, datetime], list[Event]]] = {
    "message": _message, "edited_message": _edit, "callback_query": _pressed, "message_reaction": _reaction,
    "my_chat_member": _member,
}


def _is_elsewhere(raw: dict[str, Any]) -> bool:
    """In a group or a channel, which is no conversation with one customer."""
    return text(part(raw, "chat"), "type") not in ("", "private")


def _is_machine(raw: dict[str, Any]) -> bool:
    return part(raw, "from").get("is_bot") is True


def _place(raw: dict[str, Any]) -> tuple[int, int]:
    chat, number = integer(part(raw, "chat"), "id"), integer(raw, "message_id")
    if chat is None or number is None:
        raise Unparseable("a message without chat.id and message_id")
    return chat, number


def _sender(raw: dict[str, Any], bot: str) -> Party:
    found = people.party(bot, part(raw, "from"))
    if found is None:
        raise Unparseable("it does not say who it is from")
    return found
