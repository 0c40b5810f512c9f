"""A message as one call of the Bot API. Source: https://core.telegram.org/bots/api#available-methods"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adapters.telegram import people
from adapters.telegram.api import Upload
from hub.contract import Outgoing, Rejected
from hub.model import Attachment, Button

DATA = 64  # bytes behind a button
PHOTO_SIZE = 10 << 20  # bytes of what is shown as a picture
# By kind of file: what is shown in place, by which method; anything else goes as a document.
_METHODS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "image": {
        "": ("sendPhoto", "photo"), "image/jpeg": ("sendPhoto", "photo"), "image/png": ("sendPhoto", "photo"),
        "image/webp": ("sendPhoto", "photo"), "image/gif": ("sendAnimation", "animation"),
    },
    "video": {"": ("sendVideo", "video"), "video/mp4": ("sendVideo", "video")},
    "audio": {
        "audio/ogg": ("sendVoice", "voice"), "audio/opus": ("sendVoice", "voice"),
        "audio/mpeg": ("sendAudio", "audio"), "audio/mp3": ("sendAudio", "audio"), "audio/mp4": ("sendAudio", "audio"),
        "audio/x-m4a": ("sendAudio", "audio"), "audio/m4a": ("sendAudio", "audio"),
    },
    "sticker": {"": ("sendSticker", "sticker"), "image/webp": ("sendSticker", "sticker")},
}
_DOCUMENT = ("sendDocument", "document")


@dataclass(slots=True)
class Call:
    method: str
    fields: dict[str, Any] = field(default_factory=dict)
    upload: Upload | None = None


def call(out: Outgoing, bot: str) -> Call:
    """Raises: BadAddress, Rejected."""
    chat = people.chat_of(bot, out.to)
    if out.reaction is not None:
        return _reaction(out, out.reaction)
    made = _content(out)
    made.fields = {"chat_id": chat, **made.fields}
    answered = people.message_of(out.reply_to)
    if answered is not None and answered[0] == chat:
        # What was deleted meanwhile cannot be quoted, and is answered all the same.
        made.fields["reply_parameters"] = {"message_id": answered[1], "allow_sending_without_reply": True}
    if out.buttons:
        made.fields["reply_markup"] = {"inline_keyboard": [[_button(button)] for button in out.buttons]}
    return made


def _reaction(out: Outgoing, emoji: str) -> Call:
    target = people.message_of(out.reply_to)
    if target is None:
        raise Rejected("a reaction to no message", code="reaction")
    shown = [{"type": "emoji", "emoji": emoji}] if emoji else []
    return Call("setMessageReaction", {"chat_id": target[0], "message_id": target[1], "reaction": shown})


def _content(out: Outgoing) -> Call:
    if len(out.attachments) > 1:
        raise Rejected("one file a message, and this has more", code="files")
    if out.attachments:
        return _file(out.attachments[0], out.text)
    if out.location is not None:
        point = {"latitude": out.location.latitude, "longitude": out.location.longitude}
        if out.location.name or out.location.address:
            named = {"title": out.location.name or out.location.address, "address": out.location.address or ""}
            return Call("sendVenue", {**point, **named})
        return Call("sendLocation", point)
    if not out.text:
        known = "Telegram has no templates: send the text itself" if out.template else "the message says nothing"
        raise Rejected(known, code="empty")
    return Call("sendMessage", {"text": out.text})  # no parse_mode: what a person writes is no markup


def _file(file: Attachment, caption: str) -> Call:
    """Its bytes where we have them: Telegram takes more of them than from an address, and need not reach us."""
    method, name = shown_as(file)
    made = Call(method, {"caption": caption} if caption else {})
    if caption and method == "sendSticker":
        raise Rejected("Telegram shows no text beside a sticker", code="caption")
    if file.data is not None:
        made.upload = Upload(name, file.name or "file", file.mime or "application/octet-stream", file.data)
    elif file.url:
        made.fields[name] = file.url
    else:
        raise Rejected("a file has neither a public address nor bytes", code="file")
    return made


def shown_as(file: Attachment) -> tuple[str, str]:
    """Method and field: ``("sendPhoto", "photo")``."""
    mime = (file.mime or "").partition(";")[0].strip().lower()
    size = file.size or len(file.data or b"")
    if file.kind in ("image", "sticker") and size > PHOTO_SIZE:
        return _DOCUMENT
    return _METHODS.get(file.kind, {}).get(mime, _DOCUMENT)


def _button(button: Button) -> dict[str, str]:
    if not button.title or not 0 < len(button.id.encode()) <= DATA:
        raise Rejected(f"a button needs a title, and an id of 1 to {DATA} bytes", code="buttons")
    return {"text": button.title, "callback_data": button.id}
