"""What a person's message says, on Messenger and Instagram alike.

Source: https://developers.facebook.com/docs/messenger-platform/reference/webhook-events/messages
"""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urljoin, urlsplit

from hub.contract import MessageReceived
from hub.model import Attachment, Location, Selection
from hub.shape import number, part, parts, text

Kind = Literal["image", "audio", "video", "file", "sticker"]
_FILES: dict[str, Kind] = {"image": "image", "video": "video", "audio": "audio", "file": "file"}
# Posts and stories of others: a file where Meta keeps the content itself, else a link.
_SHARED: dict[str, Kind] = {"share": "file", "post": "file", "ig_post": "file", "story_mention": "file",
                            "ig_story": "file", "reel": "video", "ig_reel": "video"}
_ABOUT = {"story_mention": "Mentioned you in a story"}
_LIKES = {"369239263222822", "369239343222814", "369239383222810"}  # the thumb in three sizes
_STORES = (".fbcdn.net", ".fbsbx.com", ".cdninstagram.com")
_SOURCES = {"ADS": "an ad", "SHORTLINK": "a link", "IGME-SOURCE-LINK": "a link", "MESSENGER_CODE": "a scanned code",
            "CUSTOMER_CHAT_PLUGIN": "the chat on a website", "DISCOVER_TAB": "Discover"}
_HOME = "https://www.facebook.com/"
_WORDS = 300  # characters of what is said beside a message
_POINT = re.compile(r"(-?[0-9]{1,2}(?:\.[0-9]+)?), ?\+?(-?[0-9]{1,3}(?:\.[0-9]+)?)")


def fill(message: MessageReceived, raw: dict[str, Any]) -> None:
    """A message that says nothing we know of is named by its kinds."""
    message.text = text(raw, "text")
    answered = part(raw, "reply_to")
    message.reply_to = text(answered, "mid") or None
    if payload := text(part(raw, "quick_reply"), "payload"):
        message.selection = Selection(payload, message.text)
    if link := text(part(answered, "story"), "url"):
        message.subject = "Answer to your story"
        _share(message, link, "", "file")
    for attachment in parts(raw, "attachments"):
        _attachment(message, attachment)
    refer(message, part(raw, "referral"))
    said = message.text or message.attachments or message.location
    if not said and message.unsupported is None:
        message.unsupported = "message"


def refer(message: MessageReceived, referral: dict[str, Any]) -> None:
    """Where somebody came from stands above what they say."""
    if referral:
        message.subject = came_from(referral)
        message.entry = text(referral, "ref") or None


def came_from(referral: dict[str, Any]) -> str:
    """``Came from an ad “Summer sale”, 6045246247433 (spring)``."""
    source = text(referral, "source")
    words = f"Came from {_SOURCES.get(source) or source.lower().replace('_', ' ') or 'a link'}"
    if title := text(part(referral, "ads_context_data"), "ad_title"):
        words += f" “{title}”"
    if ad := text(referral, "ad_id"):
        words += f", {ad}"
    if product := text(part(referral, "product"), "id"):
        words += f", about product {product}"
    if ref := text(referral, "ref"):
        words += f" ({ref})"
    return " ".join(words.split())[:_WORDS]


def _attachment(message: MessageReceived, attachment: dict[str, Any]) -> None:
    kind, payload = text(attachment, "type"), part(attachment, "payload")
    url = text(payload, "url") or text(attachment, "url")
    title = text(payload, "title") or text(attachment, "title")
    if kind in _FILES:
        _file(message, _FILES[kind], url, text(payload, "sticker_id"))
    elif kind == "location":
        _location(message, part(payload, "coordinates"), title)
    elif kind == "like_heart":
        _add(message, "❤️")
    elif kind == "fallback":
        _link(message, url, title)
    elif kind in _SHARED or _is_stored(url):
        message.subject = _ABOUT.get(kind, message.subject)
        _share(message, url, title, _SHARED.get(kind, "file"))
    else:
        message.unsupported = kind or "attachment"
        _add(message, title)


def _file(message: MessageReceived, kind: Kind, url: str, sticker: str) -> None:
    if sticker in _LIKES:
        _add(message, "👍")
    elif _is_web(url):
        name = unquote(urlsplit(url).path.rpartition("/")[2]) if kind == "file" else ""
        named = name if "." in name and name.isprintable() else None
        message.attachments.append(Attachment("sticker" if sticker else kind, url=url, name=named))
    else:
        _add(message, url or f"[{kind} without an address]")


def _location(message: MessageReceived, point: dict[str, Any], title: str) -> None:
    latitude, longitude = number(point, "lat"), number(point, "long")
    if latitude is None or longitude is None:
        message.unsupported = "location"
    else:
        message.location = Location(latitude, longitude, title or None)


def _link(message: MessageReceived, url: str, title: str) -> None:
    """Something shared that has no kind of its own: a link, or a place as a link to a map."""
    place = _on_map(url)
    if place is not None:
        message.location = Location(*place, title or None)
    elif url and url in message.text:
        return
    else:
        _add(message, f"{title}: {url}" if title and url else title or url or "[shared something]")


def _on_map(url: str) -> tuple[float, float] | None:
    """The point that a link to a map shows, behind Facebook's own link."""
    if (target := _query(url, "u")) and "maps" in target:
        found = _POINT.fullmatch(_query(target, "where1"))
        return (float(found[1]), float(found[2])) if found else None
    return None


def _query(url: str, name: str) -> str:
    try:
        return parse_qs(urlsplit(url).query).get(name, [""])[0].strip()
    except ValueError:
        return ""


def _share(message: MessageReceived, url: str, title: str, kind: Kind) -> None:
    if _is_stored(url):
        message.attachments.append(Attachment(kind, url=url))
        _add(message, title)
    else:
        # Some addresses come without their host: "/reel/123/".
        _link(message, urljoin(_HOME, url) if url.startswith("/") and not url.startswith("//") else url, title)


def _add(message: MessageReceived, line: str) -> None:
    message.text = "\n".join(filter(None, (message.text, line)))


def _is_web(url: str) -> bool:
    return url.startswith(("https://", "http://"))


def _is_stored(url: str) -> bool:
    """Whether Meta keeps the content there, and not a page about it."""
    try:
        parted = urlsplit(url)
    except ValueError:
        return False
    return parted.scheme == "https" and (parted.hostname or "").endswith(_STORES)
