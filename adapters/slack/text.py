"""Slack's own way to write text: escapes, tokens in angle brackets, emoji by name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

_TOKEN = re.compile(r"<([^<>]+)>")
_ENTITY = re.compile(r"&(amp|lt|gt);")
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">"}
_SKIN = re.compile(r"::skin-tone-\d")
_NAMED = re.compile(r":([^:\s]+(?:::skin-tone-\d)?):")
# What may turn the rest of a line around, or hide in a name: controls and bidirectional overrides.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]+")

# Names that Unicode does not know under this name; the others are looked up there.
EMOJI = {
    "+1": "👍", "thumbsup": "👍", "-1": "👎", "thumbsdown": "👎", "heart": "❤️", "tada": "🎉", "joy": "😂",
    "smile": "😄", "grin": "😁", "laughing": "😆", "slightly_smiling_face": "🙂", "wink": "😉", "cry": "😢",
    "sob": "😭", "rage": "😡",
    "thinking_face": "🤔", "pray": "🙏", "clap": "👏", "raised_hands": "🙌", "wave": "👋", "ok_hand": "👌",
    "muscle": "💪", "point_up": "☝️", "white_check_mark": "✅", "heavy_check_mark": "✔️",
    "ballot_box_with_check": "☑️", "x": "❌",
    "warning": "⚠️", "exclamation": "❗", "question": "❓", "100": "💯", "sunglasses": "😎", "open_mouth": "😮",
    "hourglass": "⌛", "hourglass_flowing_sand": "⏳", "star": "⭐", "phone": "☎️", "email": "✉️",
}  # fmt: skip


def escape(text: str) -> str:
    """``&``, ``<`` and ``>`` once, so that nothing in it is a mention, a link or a broadcast.

    Source: https://docs.slack.dev/messaging/formatting-message-text#escaping
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def unescape(text: str, names: Mapping[str, str] | None = None) -> str:
    """What the author saw: tokens as words, entities once. ``names``: people by user id."""
    pieces: list[str] = []
    end = 0
    for token in _TOKEN.finditer(text):
        pieces += (_entities(text[end : token.start()]), _words(token[1], names or {}))
        end = token.end()
    return "".join([*pieces, _entities(text[end:])])


def mentioned(text: str, names: Mapping[str, str]) -> list[str]:
    """The people whom ``unescape`` writes with an @, as it writes them."""
    return [_words(token[1], names)[1:] for token in _TOKEN.finditer(text) if token[1].startswith("@")]


def _entities(text: str) -> str:
    return _ENTITY.sub(lambda found: _ENTITIES[found[1]], text)


def _words(token: str, names: Mapping[str, str]) -> str:
    target, _, label = token.partition("|")
    target, label = _entities(target), _entities(label)
    match target[:1]:
        case "@":
            return "@" + (names.get(target[1:]) or label or target[1:]).removeprefix("@")
        case "#":
            return "#" + (label or target[1:]).removeprefix("#")
        case "!":
            # !channel, !subteam^S1|@team, !date^1700000000^{date}|fallback
            kind, _, value = target[1:].partition("^")
            return label if label and kind != "subteam" else "@" + (label or value or kind).removeprefix("@")
        case _:
            return _link(target, label)


def _link(target: str, label: str) -> str:
    """Slack links bare words by itself: those stay what was typed."""
    bare = target.removeprefix("mailto:").removeprefix("tel:")
    if not label or label == target:
        return bare
    if label in (bare, re.sub(r"^https?://", "", bare)):
        return label
    return f"{label} ({bare})"


def drawn(text: str, pictures: Mapping[str, str]) -> str:
    """``:name:`` as a character, for the names that are known to be pictures in this text."""
    return _NAMED.sub(lambda found: pictures.get(found[1]) or pictures.get(_SKIN.sub("", found[1])) or found[0], text)


def emoji(name: str) -> str:
    """The character of a reaction; ``:name:`` where the workspace made it up."""
    name = _SKIN.sub("", name)
    if name in EMOJI:
        return EMOJI[name]
    try:
        found = unicodedata.lookup(name.replace("_", " ").replace("-", " "))
    except KeyError:
        return f":{name}:"
    return found if unicodedata.category(found) == "So" else f":{name}:"


def shortcode(character: str) -> str | None:
    """What Slack calls an emoji; None if that is not known."""
    bare = character.replace("\ufe0f", "")
    known = next((name for name, drawn in EMOJI.items() if drawn.replace("\ufe0f", "") == bare), None)
    if known is not None or len(bare) != 1:
        return known
    name = unicodedata.name(bare, "").lower().replace(" ", "_").replace("-", "_")
    return name or None


def clean(text: str) -> str:
    """Without NUL and half characters, which no database takes."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def one_line(text: str, limit: int) -> str:
    """A name or a label: one line, nothing invisible, at most ``limit`` characters."""
    return clip(" ".join(_UNSEEN.sub(" ", text).split()), limit)


def clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
