"""What Telegram refuses in a message, whoever it goes to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.telegram import records

FILES: Mapping[str, str] = {
    "sendPhoto": "photo", "sendVideo": "video", "sendAnimation": "animation", "sendAudio": "audio",
    "sendVoice": "voice", "sendDocument": "document", "sendSticker": "sticker",
}
# https://core.telegram.org/bots/api#reactiontypeemoji, in part
REACTIONS = {"👍", "👎", "❤", "🔥", "🥰", "👏", "😁", "🤔", "🤯", "😱", "😢", "🎉", "🤩", "🙏", "👌", "💯", "🤝"}
_POINTS = ("sendLocation", "sendVenue")


def units(text: str) -> int:
    """UTF-16 code units, as Telegram counts."""
    return len(text.encode("utf-16-le")) // 2


def objection(method: str, fields: Mapping[str, Any], file: tuple[str, bytes] | None) -> str | None:
    """What is wrong with a call."""
    if method == "sendMessage":
        wrong = _text(fields)
    elif method in FILES:
        wrong = _file(fields, FILES[method], file)
    elif method in _POINTS:
        known = all(isinstance(fields.get(name), int | float) for name in ("latitude", "longitude"))
        titled = method == "sendLocation" or bool(fields.get("title"))
        wrong = None if known and titled else "Bad Request: can't parse venue"
    else:
        return "Not Found"
    return wrong or _buttons(fields)


def _text(fields: Mapping[str, Any]) -> str | None:
    said = fields.get("text")
    if not isinstance(said, str) or not said.strip():
        return records.EMPTY
    if fields.get("parse_mode") == "Markdown" and said.count("_") % 2:
        return records.BAD_MARKUP
    return records.TOO_LONG if units(said) > 4096 else None


def _file(fields: Mapping[str, Any], name: str, file: tuple[str, bytes] | None) -> str | None:
    where = fields.get(name)
    if file is None and not where:
        return f"Bad Request: there is no {name} in the request"
    if file is None and not str(where).startswith(("http://", "https://")):
        return records.BAD_URL if ":" in str(where) else records.BAD_FILE
    if file is not None and len(file[1]) > (10 << 20 if name == "photo" else 50 << 20):
        return records.BIG_FILE
    return records.LONG_CAPTION if units(str(fields.get("caption", ""))) > 1024 else None


def _buttons(fields: Mapping[str, Any]) -> str | None:
    for row in fields.get("reply_markup", {}).get("inline_keyboard", []):
        for button in row:
            if not 1 <= len(button.get("callback_data", "").encode()) <= 64:
                return records.BAD_DATA
    return None
