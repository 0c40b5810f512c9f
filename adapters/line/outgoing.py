"""A message as LINE's message objects. Source: https://developers.line.biz/en/reference/messaging-api/#message-objects"""

from __future__ import annotations

import re
from typing import Any

from hub.contract import BadAddress, Outgoing, Rejected
from hub.model import Address, Attachment, Button, Location

TOGETHER = 5  # message objects in one call, which counts as one message of the month
CHOICES = 13
_TITLE, _DATA, _NAMES = 20, 300, 100  # characters of a choice's label, of what is behind it, of a place's names
_URL, _PICTURE, _FILM = 2000, 10_000_000, 200_000_000  # characters, and bytes
_PERSON = re.compile(r"[UCR][0-9a-f]{32}")  # a user, a group or a room


def recipient(to: Address) -> str:
    """Raises: BadAddress."""
    if to.scheme != "line" or not _PERSON.fullmatch(to.value):
        raise BadAddress(f"not the id of somebody at LINE: {to.scheme[:20]}:…", code="address")
    return to.value


def messages(out: Outgoing, preview: str) -> list[dict[str, Any]]:
    """``preview``: the address of a picture to show in place of a film. Raises: Rejected."""
    made: list[dict[str, Any]] = []
    if out.text:
        made.append({"type": "text", "text": out.text})
    made += [_file(each, preview) for each in out.attachments]
    if out.location is not None:
        made.append(_place(out.location))
    if not made:
        raise Rejected("LINE has no templates: send the text itself" if out.template else "the message says nothing",
                       code="empty")
    if len(made) > TOGETHER:
        raise Rejected(f"more than {TOGETHER} things in one message", code="files")
    if out.buttons:
        made[-1]["quickReply"] = {"items": [{"type": "action", "action": _action(each)} for each in out.buttons]}
    return made


def _file(file: Attachment, preview: str) -> dict[str, Any]:
    """Pictures and films as such. Of sound LINE wants to know the length, and it knows no documents: a link."""
    url = file.url or ""
    mime = (file.mime or "").partition(";")[0].strip().lower()
    size = file.size or 0
    if url.startswith("https://") and len(url) <= _URL:
        if file.kind in ("image", "sticker") and mime in ("image/jpeg", "image/png", "") and size <= _PICTURE:
            return {"type": "image", "originalContentUrl": url, "previewImageUrl": url}
        if file.kind == "video" and mime == "video/mp4" and size <= _FILM and preview.startswith("https://"):
            return {"type": "video", "originalContentUrl": url, "previewImageUrl": preview}
    if not url:
        raise Rejected("a file has no public address", code="file")
    return {"type": "text", "text": f"{file.name}: {url}" if file.name else url}


def _place(place: Location) -> dict[str, Any]:
    """LINE wants both names."""
    point = f"{round(place.latitude, 5)}, {round(place.longitude, 5)}"
    return {"type": "location", "title": (place.name or place.address or "📍")[:_NAMES],
            "address": (place.address or point)[:_NAMES], "latitude": place.latitude, "longitude": place.longitude}


def _action(button: Button) -> dict[str, str]:
    if not button.title or not button.id:
        raise Rejected("a choice needs a title and an id", code="buttons")
    label = button.title if len(button.title) <= _TITLE else button.title[: _TITLE - 1] + "…"
    return {"type": "postback", "label": label, "data": _data(button), "displayText": button.title[:_DATA]}


def _data(button: Button) -> str:
    """What comes back: LINE tells no titles, so it goes along after a line break."""
    whole = f"{button.id}\n{button.title}"
    if len(button.id) > _DATA or "\n" in button.id:
        raise Rejected(f"the id of a choice is one line of at most {_DATA} characters", code="buttons")
    return whole if len(whole) <= _DATA else button.id


def parse_data(data: str) -> tuple[str, str]:
    """Id and title of a choice; what others put there is both."""
    choice, _, title = data.partition("\n")
    return (choice, title) if choice and title else (data, data)
