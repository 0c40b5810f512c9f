"""What a message says, by kind. Source: https://core.telegram.org/bots/api#message"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from hub.contract import MessageReceived
from hub.model import Attachment, Location, Selection
from hub.shape import integer, number, part, parts, text

Kind = Literal["image", "audio", "video", "file", "sticker"]
Fill = Callable[[MessageReceived, dict[str, Any]], None]
# An animation comes as a document too, for clients that do not know it: the first that is there counts.
_FILES: Mapping[str, tuple[Kind, str | None]] = {
    "animation": ("video", "video/mp4"), "video": ("video", "video/mp4"), "video_note": ("video", "video/mp4"),
    "voice": ("audio", "audio/ogg"), "audio": ("audio", "audio/mpeg"), "document": ("file", None),
}
# What Telegram itself says in a private chat, and what only describes a message.
_QUIET = {
    "pinned_message", "message_auto_delete_timer_changed", "write_access_allowed", "users_shared", "chat_shared",
    "connected_website", "proximity_alert_triggered", "chat_background_set",
}
_ABOUT = {
    "message_id", "message_thread_id", "from", "sender_chat", "sender_boost_count", "sender_business_bot", "date",
    "business_connection_id", "chat", "forward_origin", "forward_from", "forward_from_chat", "forward_date",
    "forward_sender_name", "forward_from_message_id", "forward_signature", "is_topic_message", "is_automatic_forward",
    "reply_to_message", "external_reply", "quote", "reply_to_story", "via_bot", "edit_date", "has_protected_content",
    "is_from_offline", "media_group_id", "author_signature", "paid_star_count", "entities", "link_preview_options",
    "effect_id", "caption", "caption_entities", "show_caption_above_media", "has_media_spoiler", "reply_markup",
}


def is_quiet(raw: dict[str, Any]) -> bool:
    """Whether nobody said anything."""
    return not _QUIET.isdisjoint(raw)


def words(raw: dict[str, Any]) -> str:
    """The text, or what stands beside a file."""
    return _linked(text(raw, "text"), parts(raw, "entities")) or _linked(
        text(raw, "caption"), parts(raw, "caption_entities")
    )


def fill(message: MessageReceived, raw: dict[str, Any]) -> None:
    """All of it; a kind that nobody knows yet is named."""
    message.text = words(raw)
    message.forwarded = "forward_origin" in raw or "forward_date" in raw
    for kind, fill_in in _FILLS.items():
        if raw.get(kind) is not None:
            fill_in(message, raw)
            return
    for kind, (shown, mime) in _FILES.items():
        if raw.get(kind) is not None:
            _file(message, part(raw, kind), shown, mime)
            return
    if not text(raw, "text"):
        message.unsupported = next((name for name in raw if name not in _ABOUT and name != "text"), "message")[:60]


def _linked(said: str, entities: list[dict[str, Any]]) -> str:
    """The text with the address behind each linked word: ``the shop (https://…)``. Offsets count UTF-16 units."""
    links = [(offset + length, url) for each in entities if text(each, "type") == "text_link"
             if (offset := integer(each, "offset")) is not None and (length := integer(each, "length")) is not None
             if (url := text(each, "url"))]
    raw = said.encode("utf-16-le")
    for end, url in sorted(links, reverse=True):
        if 0 < end * 2 <= len(raw):
            raw = raw[: end * 2] + f" ({url})".encode("utf-16-le") + raw[end * 2 :]
    return raw.decode("utf-16-le", "replace")


def _file(message: MessageReceived, found: dict[str, Any], kind: Kind, mime: str | None) -> None:
    """``ref``: the id under which this bot may download it."""
    title = " – ".join(filter(None, (text(found, "performer"), text(found, "title"))))
    message.attachments = [
        Attachment(
            kind, ref=text(found, "file_id") or None, mime=text(found, "mime_type") or mime,
            name=text(found, "file_name") or title or None, size=integer(found, "file_size"),
            content_id=text(found, "file_unique_id") or None,
        )
    ]


def _photo(message: MessageReceived, raw: dict[str, Any]) -> None:
    """It comes in several sizes."""
    sizes = parts(raw, "photo")
    if not sizes:
        message.unsupported = "photo"
        return
    largest = max(sizes, key=lambda each: (integer(each, "width") or 0) * (integer(each, "height") or 0))
    _file(message, largest, "image", "image/jpeg")


def _sticker(message: MessageReceived, raw: dict[str, Any]) -> None:
    """Animated ones can hardly be shown, so the emoji that a sticker stands for is its text."""
    found = part(raw, "sticker")
    mime = "application/x-tgsticker" if found.get("is_animated") is True else (
        "video/webm" if found.get("is_video") is True else "image/webp")
    _file(message, found, "sticker", mime)
    message.text = text(found, "emoji")


def _location(message: MessageReceived, raw: dict[str, Any]) -> None:
    venue = part(raw, "venue")
    place = part(venue, "location") or part(raw, "location")
    latitude, longitude = number(place, "latitude"), number(place, "longitude")
    if latitude is None or longitude is None:
        message.unsupported = "location"
        return
    message.location = Location(latitude, longitude, text(venue, "title") or None, text(venue, "address") or None)


def _contact(message: MessageReceived, raw: dict[str, Any]) -> None:
    """A line, and a vCard that ``fetch`` writes from the payload."""
    name, phone = contact_name(raw), text(part(raw, "contact"), "phone_number")
    message.text = ": ".join(filter(None, (name, phone)))
    message.attachments = [
        Attachment("contact", ref=f"contact:{message.external_id}", mime="text/vcard", name=f"{name or 'contact'}.vcf")
    ]


def contact_name(raw: dict[str, Any]) -> str:
    contact = part(raw, "contact")
    return " ".join(filter(None, (text(contact, "first_name"), text(contact, "last_name"))))


def vcard(raw: dict[str, Any]) -> bytes:
    """The contact of a message as a vCard: its own, or one of name and number."""
    contact = part(raw, "contact")
    if own := text(contact, "vcard"):
        return own.encode()
    name, phone = _escaped(contact_name(raw)), _escaped(text(contact, "phone_number"))
    return f"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:{name}\r\nTEL;TYPE=CELL:{phone}\r\nEND:VCARD\r\n".encode()


def _escaped(value: str) -> str:
    flat = " ".join(value.split())
    return flat.replace("\\", "\\\\").replace(",", "\\,").replace(";", "\\;")


def _poll(message: MessageReceived, raw: dict[str, Any]) -> None:
    poll = part(raw, "poll")
    message.unsupported = "poll"
    message.text = "\n".join([text(poll, "question"), *(f"- {text(each, 'text')}" for each in parts(poll, "options"))])


def _dice(message: MessageReceived, raw: dict[str, Any]) -> None:
    dice = part(raw, "dice")
    message.unsupported = "dice"
    message.text = f"{text(dice, 'emoji')} {integer(dice, 'value') or ''}".strip()


def _text(message: MessageReceived, raw: dict[str, Any]) -> None:
    """``/start TOKEN`` is what a link https://t.me/<bot>?start=TOKEN says for who follows it."""
    command, _, token = text(raw, "text").partition(" ")
    if command == "/start" and (token := token.strip()):
        message.entry = token[:64]
        message.selection = Selection(message.entry, "/start")


_FILLS: Mapping[str, Fill] = {
    "text": _text, "photo": _photo, "sticker": _sticker, "venue": _location, "location": _location,
    "contact": _contact, "poll": _poll, "dice": _dice,
}
