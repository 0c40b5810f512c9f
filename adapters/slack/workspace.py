"""The simulated workspace: people, posts and files, and their JSON as Slack writes it."""

from __future__ import annotations

import re
import secrets
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from adapters.slack.text import EMOJI, emoji, escape, unescape

# Pictures that Slack knows under names of its own; the others have Unicode's.
_PICTURES = {"iphone": "📱", "zzz": "💤", "loudspeaker": "📢", "email": "📧", "warning": "⚠️", "green_heart": "💚"}
_NAMES = {drawn: name for name, drawn in EMOJI.items()}
_PICTURE = re.compile("(" + "|".join(map(re.escape, _NAMES)) + ")")
_NAMED = re.compile(r":([a-z0-9_+-]+):")
_URL = re.compile(r"https?://[^\s<>]+")
_BOLD = re.compile(r"\*([^*\n]+)\*")


@dataclass(frozen=True, slots=True)
class Person:
    id: str
    name: str
    team: str


@dataclass(slots=True)
class File:
    """``mime`` as Slack guesses it; ``where``: the address of its bytes, which wants a token."""

    id: str
    name: str
    mime: str
    data: bytes
    where: str
    size: int


@dataclass(slots=True)
class Post:
    """One message in the desk channel. ``thread``: ts of the root post, None for a root.

    ``user``: id of a person or of the app; ``username`` and ``icon``: what the app gave instead of its own.
    ``text``: as on the wire, escaped. ``reactions``: ids of users by name. ``edits``: former texts, oldest first.
    ``only_for``: the one person who sees it (chat.postEphemeral).
    """

    ts: str
    thread: str | None
    user: str
    text: str
    bot: bool = False
    username: str | None = None
    icon: str | None = None
    blocks: list[dict[str, Any]] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    metadata: dict[str, Any] | None = None
    reactions: dict[str, list[str]] = field(default_factory=dict)
    edits: list[str] = field(default_factory=list)
    edited_at: str | None = None
    deleted: bool = False
    only_for: str | None = None

    @property
    def root(self) -> str:
        """Of the thread it is in, or would open."""
        return self.thread or self.ts

    @property
    def key(self) -> str | None:
        """The hub's own reference in the metadata."""
        payload = (self.metadata or {}).get("event_payload") or {}
        return payload.get("key")

    @property
    def words(self) -> str:
        """What a reader sees: the blocks' text if there are any, each on a line, else the text."""
        lines = [line for block in self.blocks for line in _lines(block)]
        return "\n".join(lines) if lines else pictured(unescape(self.text))

    @property
    def buttons(self) -> list[dict[str, Any]]:
        """``{"action", "label", "value", "style"}`` of each button."""
        found = [each for block in self.blocks if block["type"] == "actions" for each in block["elements"]]
        return [
            {"action": each["action_id"], "label": each["text"]["text"], "value": each.get("value"),
             "style": each.get("style")}
            for each in found
        ]

    def shown(self, names: Mapping[str, str]) -> dict[str, Any]:
        """Plain values for a page that draws it. ``names``: people by user id."""
        icon = self.icon or ""
        return {
            "ts": self.ts,
            "thread": self.thread,
            "at": float(self.ts),  # seconds since 1970
            "name": self.username or names.get(self.user, self.user),
            "bot": self.bot,
            "icon": "" if icon.startswith("http") else pictured(icon),
            "avatar": icon if icon.startswith("http") else None,
            "text": self.words,
            "blocks": self.blocks,
            "buttons": self.buttons,
            "reactions": [
                {"name": name, "emoji": picture(name), "by": [names.get(user, user) for user in users]}
                for name, users in self.reactions.items()
            ],
            "files": [
                {"id": file.id, "name": file.name, "mime": file.mime, "size": file.size} for file in self.files
            ],
            "edited": bool(self.edits),
            "deleted": self.deleted,
            "only_for": names.get(self.only_for, self.only_for) if self.only_for else None,
        }

    def json(self, team: str, app: str, bot: str, *, metadata: bool = False) -> dict[str, Any]:
        """As history and events have it."""
        data: dict[str, Any] = {"type": "message", "text": self.text, "ts": self.ts, "team": team}
        if self.thread:
            data["thread_ts"] = self.thread
        if self.bot and not self.files:  # a file that an app shares may come in its user's name only
            data |= {"bot_id": bot, "app_id": app}
        if self.username:  # a message under a name of its own has no user
            data |= {"subtype": "bot_message", "username": self.username, "icons": {"emoji": self.icon or ""}}
        else:
            data["user"] = self.user
        if not self.bot:
            data |= {"client_msg_id": str(uuid.uuid5(uuid.NAMESPACE_OID, self.ts))}
        if self.blocks:
            data["blocks"] = self.blocks
        if self.files:
            data |= {"files": [file_json(file) for file in self.files]}
            data |= {"subtype": "file_share", "upload": False}
        if self.reactions:
            data["reactions"] = [
                {"name": name, "users": list(users), "count": len(users)} for name, users in self.reactions.items()
            ]
        if self.edited_at:
            data["edited"] = {"user": self.user, "ts": self.edited_at}
        if metadata and self.metadata:
            data["metadata"] = self.metadata
        return data


class Stamps:
    """``1610261659.001400``: times that never repeat, which is how Slack names messages."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> str:
        self._last = max(self._last + 1, time.time_ns() // 1000)
        return f"{self._last // 1_000_000}.{self._last % 1_000_000:06d}"


def typed(text: str) -> str:
    """What somebody typed, as Slack sends it: escaped, links in angle brackets, pictures by name."""
    return _PICTURE.sub(lambda found: f":{_NAMES[found[0]]}:", _URL.sub(r"<\g<0>>", escape(text)))


def typed_blocks(text: str) -> list[dict[str, Any]]:
    """The same as rich text, where pictures have a character too."""
    elements: list[dict[str, Any]] = []
    for piece in _PICTURE.split(text):
        if piece in _NAMES:
            code = "-".join(f"{ord(each):x}" for each in piece)
            elements.append({"type": "emoji", "name": _NAMES[piece], "unicode": code})
        elif piece:
            elements.append({"type": "text", "text": piece})
    section = {"type": "rich_text_section", "elements": elements}
    return [{"type": "rich_text", "block_id": secrets.token_hex(3), "elements": [section]}] if text else []


def file_json(file: File) -> dict[str, Any]:
    return {
        "id": file.id,
        "name": file.name,
        "title": file.name,
        "mimetype": file.mime,
        "filetype": file.name.rpartition(".")[2],
        "size": file.size,
        "mode": "hosted",
        "is_external": False,
        "url_private": file.where,
        "url_private_download": file.where + "?download=1",
    }


def member(person: Person) -> dict[str, Any]:
    profile = {"real_name": person.name, "display_name": person.name, "image_72": ""}
    handle = person.name.lower().replace(" ", ".")
    return {
        "id": person.id, "team_id": person.team, "name": handle, "real_name": person.name, "profile": profile,
        "deleted": False, "is_bot": False,
    }  # fmt: skip


def callback(event: Mapping[str, Any], *, team: str, app: str, bot_user: str) -> dict[str, Any]:
    """An event in its envelope.

    Source: https://docs.slack.dev/apis/events-api#callback-field
    """
    installed = {"enterprise_id": None, "team_id": team, "user_id": bot_user, "is_bot": True}
    return {
        "token": "unused",
        "team_id": team,
        "context_team_id": team,
        "api_app_id": app,
        "event": dict(event),
        "type": "event_callback",
        "event_id": "Ev" + secrets.token_hex(5).upper(),
        "event_time": int(time.time()),
        "authorizations": [{**installed, "is_enterprise_install": False}],
        "is_ext_shared_channel": False,
        "event_context": "4-" + secrets.token_hex(8),
    }


def pressed(
    post: Post, message: Mapping[str, Any], button: Mapping[str, Any], person: Person, *, team: str, app: str,
    channel: str, ts: str,
) -> dict[str, Any]:  # fmt: skip
    """A pressed button.

    Source: https://docs.slack.dev/reference/interaction-payloads/block_actions-payload
    """
    container = {"type": "message", "message_ts": post.ts, "channel_id": channel, "is_ephemeral": False}
    if post.thread:
        container["thread_ts"] = post.thread
    action = {"type": "button", "action_id": button["action"], "block_id": "controls", "action_ts": ts}
    action |= {"text": {"type": "plain_text", "text": button["label"], "emoji": True}}
    if button["value"] is not None:
        action["value"] = button["value"]
    handle = person.name.lower().replace(" ", ".")
    return {
        "type": "block_actions",
        "user": {"id": person.id, "username": handle, "name": handle, "team_id": person.team},
        "api_app_id": app,
        "token": "unused",
        "container": container,
        "trigger_id": f"{time.time_ns()}.{secrets.token_hex(8)}",
        "team": {"id": team, "domain": "simulated"},
        "enterprise": None,
        "is_enterprise_install": False,
        "channel": {"id": channel, "name": "desk"},
        "message": dict(message),
        "state": {"values": {}},
        "actions": [action],
    }


def picture(name: str) -> str:
    return _PICTURES.get(name) or emoji(name)


def pictured(text: str) -> str:
    """``:name:`` drawn."""
    return _NAMED.sub(lambda found: picture(found[1]), text)


def _lines(block: Mapping[str, Any]) -> Iterable[str]:
    """The text of one block, as a reader sees it."""
    match block["type"]:
        case "header" | "section":
            yield _plain(block.get("text") or {})
        case "context":
            yield " ".join(_plain(each) for each in block["elements"] if "text" in each)
        case "rich_text":
            for part in block["elements"]:
                yield "".join(_element(each) for each in part["elements"])


def _element(part: Mapping[str, Any]) -> str:
    return str(part.get("text") or part.get("url") or (picture(part["name"]) if part["type"] == "emoji" else ""))


def _plain(text: Mapping[str, Any]) -> str:
    if text.get("type") != "mrkdwn":
        return str(text.get("text", ""))
    return _BOLD.sub(r"\1", pictured(unescape(str(text["text"]))))
