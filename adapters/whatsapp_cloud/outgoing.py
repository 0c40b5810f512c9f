"""A part of a message as the body of Meta's call.

Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/send-messages
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.graph import templates
from adapters.whatsapp_cloud import cards, people
from hub.contract import BadAddress, Outgoing, Rejected
from hub.model import Address, Attachment, Button

REPLY_BUTTONS = 3  # more become rows of a list
ROWS = 10
BUTTON_TITLE = 20  # characters
ROW_TITLE = 24
_ROW_DETAIL = 72
_BUTTON_ID = 256
_ROW_ID = 200
_LIST_LABEL = "☰"  # on the button that opens a list: a sign, since we do not know the reader's language
_KEY = 512

# What WhatsApp shows as such: mime types and bytes. Anything else goes as a document.
# https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/media
_SHOWN: Mapping[str, tuple[frozenset[str], int]] = {
    "image": (frozenset({"image/jpeg", "image/png"}), 5 << 20),
    "video": (frozenset({"video/mp4", "video/3gpp"}), 16 << 20),
    "audio": (frozenset({"audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"}), 16 << 20),
    "sticker": (frozenset({"image/webp"}), 500 << 10),
}


def body(out: Outgoing, media_id: str | None = None) -> dict[str, Any]:
    """``media_id``: of the part's file, where it was uploaded. Raises: BadAddress, Rejected."""
    made: dict[str, Any] = {"messaging_product": "whatsapp", "recipient_type": "individual", **recipient(out.to)}
    made |= _content(out, media_id)
    if out.reply_to and out.reaction is None:
        made["context"] = {"message_id": out.reply_to}
    return made | {"biz_opaque_callback_data": out.key[:_KEY]}


def recipient(to: Address) -> dict[str, str]:
    """``to`` with digits, or ``recipient`` with a user id. Raises: BadAddress."""
    if to.scheme == people.SCHEME and people.USER_ID.fullmatch(to.value):
        return {"recipient": to.value}
    digits = to.value.removeprefix("+")
    if to.scheme not in (people.SCHEME, "tel") or not people.NUMBER.fullmatch(digits):
        raise BadAddress(f"neither a phone number nor a WhatsApp user id: {to.scheme}:…", code="address")
    return {"to": digits}


def _content(out: Outgoing, media_id: str | None) -> dict[str, Any]:
    if out.reaction is not None:
        if not out.reply_to:
            raise Rejected("a reaction to no message", code="reaction")
        return {"type": "reaction", "reaction": {"message_id": out.reply_to, "emoji": out.reaction}}
    if len(out.attachments) > 1:
        raise Rejected("one file a message, and this has more", code="files")
    file = out.attachments[0] if out.attachments else None
    if out.template is not None:
        header = None if file is None else _file(file, media_id)
        made = templates.body(out.template, header, out.buttons)
        made["language"] = {"policy": "deterministic", **made["language"]}
        return {"type": "template", "template": made}
    if out.buttons:
        return {"type": "interactive", "interactive": _choice(out.text, out.buttons, file, media_id)}
    if file is not None:
        return _media(file, media_id, out.text)
    if out.location is not None:
        place = {"latitude": out.location.latitude, "longitude": out.location.longitude,
                 "name": out.location.name, "address": out.location.address}
        return {"type": "location", "location": {name: value for name, value in place.items() if value is not None}}
    if not out.text:
        raise Rejected("the message says nothing", code="empty")
    linked = {"preview_url": True} if "https://" in out.text or "http://" in out.text else {}
    return {"type": "text", "text": {"body": out.text, **linked}}


def _media(file: Attachment, media_id: str | None, caption: str) -> dict[str, Any]:
    if file.kind == "contact" and file.data is not None and (card := cards.read(file.data)) is not None:
        return {"type": "contacts", "contacts": [card]}
    made = _file(file, media_id)
    [kind] = made
    if caption and kind in ("image", "video", "document"):
        made[kind]["caption"] = caption
    elif caption:
        raise Rejected(f"WhatsApp shows no text beside a file of kind {kind}", code="caption")
    return {"type": kind, **made}


def _file(file: Attachment, media_id: str | None) -> dict[str, dict[str, Any]]:
    """``{"image": {"link": …}}``. Raises: Rejected."""
    kind = shown_as(file)
    where = {"id": media_id} if media_id else {"link": file.url}
    if not any(where.values()):
        raise Rejected("a file has neither a public address nor bytes", code="file")
    named = {"filename": file.name} if kind == "document" and file.name else {}
    return {kind: {**where, **named}}


def shown_as(file: Attachment) -> str:
    """How it goes out: "image", "video", "audio", "sticker", or "document" for what WhatsApp would not show."""
    mimes, most = _SHOWN.get(file.kind, (frozenset(), 0))
    mime = (file.mime or "").partition(";")[0].strip().lower()
    size = file.size or len(file.data or b"")
    fits = size <= most and (not mime or mime in mimes)
    return file.kind if mimes and fits else "document"


def _choice(text: str, buttons: list[Button], file: Attachment | None, media_id: str | None) -> dict[str, Any]:
    """Up to three reply buttons; more, or longer titles, as rows of a list. Raises: Rejected."""
    text = text or "↓"  # buttons need one above them
    short = len(buttons) <= REPLY_BUTTONS and all(len(button.title) <= BUTTON_TITLE for button in buttons)
    made: dict[str, Any] = {"type": "button" if short else "list", "body": {"text": text}}
    if file is not None:
        header = _file(file, media_id)
        [kind] = header
        if not short or kind not in ("image", "video", "document"):
            raise Rejected(f"WhatsApp shows no file of kind {kind} above these choices", code="header")
        made["header"] = {"type": kind, **header}
    if short:
        replies = [{"id": button.id[:_BUTTON_ID], "title": button.title} for button in buttons]
        return made | {"action": {"buttons": [{"type": "reply", "reply": reply} for reply in replies]}}
    if len(buttons) > ROWS:
        raise Rejected(f"more than {ROWS} choices", code="buttons")
    rows = [_row(button) for button in buttons]
    return made | {"action": {"button": _LIST_LABEL, "sections": [{"rows": rows}]}}


def _row(button: Button) -> dict[str, str]:
    row = {"id": button.id[:_ROW_ID], "title": button.title}
    if len(button.title) > ROW_TITLE:
        row |= {"title": button.title[: ROW_TITLE - 1] + "…", "description": button.title[:_ROW_DETAIL]}
    return row
