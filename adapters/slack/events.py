"""From Slack's payloads to the hub's events."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from adapters.slack.text import clean, drawn, emoji, mentioned, unescape
from hub.contract import (
    AccountChanged,
    ActionTaken,
    Event,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    Reacted,
    Request,
    Unparseable,
)
from hub.model import Attachment, Party

Payload = Mapping[str, Any]
# Messages that people write. Everything else with a subtype is Slack's own, or a machine's.
_WRITTEN = (None, "file_share", "thread_broadcast")


@dataclass(frozen=True, slots=True)
class Desk:
    """Whose words count. ``teams``: workspaces besides the app's own; ``agents``: the only people, if not None;
    ``named``: those in the settings."""

    channel: str
    names: Mapping[str, str]
    teams: frozenset[str] = frozenset()
    agents: frozenset[str] | None = None
    named: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Refused:
    """Somebody wrote in a thread who may not answer customers, or not there. ``channel``: Slack's id of it."""

    user: str
    channel: str
    thread_ts: str
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """``names``: of people, by user id, that the payload tells beside its events."""

    events: list[Event]
    refused: Refused | None = None
    names: Mapping[str, str] = field(default_factory=dict)


NOTHING = Found([])


def parse(request: Request) -> Payload | None:
    """The payload of an event, an interaction or a socket envelope; None for a slash command.

    Raises: Unparseable.
    """
    try:
        if request.body.lstrip()[:1] == b"{":
            data = json.loads(request.body)
        else:
            form = parse_qs(request.body.decode(), strict_parsing=True)
            if "command" in form:
                return None
            data = json.loads(form["payload"][0])
    except (ValueError, KeyError, RecursionError) as error:
        raise Unparseable(f"neither an event nor an interaction of Slack's: {type(error).__name__}") from error
    if not isinstance(data, dict):
        raise Unparseable(f"neither an event nor an interaction of Slack's: {type(data).__name__}")
    return _opened(data)


def _opened(data: Payload) -> Payload | None:
    """What is in an envelope of Socket Mode, if it still is in one."""
    inside = data.get("payload")
    if "envelope_id" not in data or not isinstance(inside, dict):
        return data
    return None if data.get("type") == "slash_commands" else inside


def translate(payload: Payload, desk: Desk) -> Found:
    """Raises: Unparseable."""
    try:
        if payload.get("type") == "event_callback":
            event = payload["event"]
            kind = _KINDS.get(event.get("type"))
            return kind(payload, event, desk) if kind else NOTHING
        if payload.get("type") == "block_actions":
            return _pressed(payload, desk)
        if payload.get("type") == "app_rate_limited":
            return _unheard(payload)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, OSError) as error:
        raise Unparseable(f"a {payload.get('type')} of unknown shape: {type(error).__name__}") from error
    return NOTHING


def when(ts: str) -> datetime:
    """Slack's ``1610261659.001400``; also what orders posts. Never a float: six digits do not survive it."""
    seconds, _, micros = ts.partition(".")
    return datetime.fromtimestamp(int(seconds), UTC) + timedelta(microseconds=int(micros.ljust(6, "0")[:6]))


def _unheard(payload: Payload) -> Found:
    """Source: https://docs.slack.dev/reference/events/app_rate_limited"""
    minute = datetime.fromtimestamp(int(payload["minute_rate_limited"]), UTC)
    news = AccountChanged(
        external_id=f"app_rate_limited:{clean(str(payload.get('team_id')))}:{int(payload['minute_rate_limited'])}",
        at=minute,
        what="events of this app",
        state="app_rate_limited",
        detail=f"there were too many of them at {minute:%Y-%m-%d %H:%M} UTC, and Slack dropped the rest: what agents "
        "wrote then and has no mark has to be written again",
    )
    return Found([news])


# --- messages ---


def _message(payload: Payload, event: Payload, desk: Desk) -> Found:
    if event["channel"] != desk.channel:
        return _in_former_channel(payload, event, desk)
    subtype = event.get("subtype")
    if subtype == "message_changed":
        return _changed(payload, event, desk)
    if subtype == "message_deleted":
        return _deleted(payload, event, event.get("previous_message") or {}, event["deleted_ts"], desk)
    if subtype not in _WRITTEN or _by_machine(payload, event) or not _in_thread(event):
        return NOTHING
    reason = _not_allowed(payload, event, desk)
    if reason:
        return Found([], Refused(event["user"], event["channel"], event["thread_ts"], reason))
    message = MessageReceived(
        external_id=f"{event['channel']}:{event['ts']}",
        sender=_sender(event, desk),
        at=when(event["ts"]),
        text=_text(event, desk),
        attachments=_files(event),
        thread=f"{event['channel']}:{event['thread_ts']}",
        avatar=(event.get("user_profile") or {}).get("image_72"),
        mentions=[clean(name) for name in mentioned(event.get("text") or "", desk.names)],
    )
    return Found([message])


def _in_former_channel(payload: Payload, event: Payload, desk: Desk) -> Found:
    """What is written in a thread of ours outside of the desk channel, which was elsewhere once."""
    ours = event.get("parent_user_id") in _ourselves(payload) - {None}
    if not ours or event.get("subtype") not in _WRITTEN or _by_machine(payload, event) or not _in_thread(event):
        return NOTHING
    channel, thread = event["channel"], event["thread_ts"]
    if reason := _not_allowed(payload, event, desk):
        return Found([], Refused(event["user"], channel, thread, reason))
    return _brought_over(event["ts"], _sender(event, desk), channel, thread, desk)


def _brought_over(ts: str, by: Party, channel: str, thread: str, desk: Desk) -> Found:
    """The conversation shall be in the desk channel, and whoever wants to work on it where it was is told so."""
    show = ActionTaken(clean(f"{ts}:{by.value}:show"), by, when(ts), "show", thread=clean(f"{channel}:{thread}"))
    reason = f"the desk is in <#{desk.channel}> now, and so is this conversation: go on there"
    return Found([show], Refused(by.value, channel, thread, reason))


def _changed(payload: Payload, event: Payload, desk: Desk) -> Found:
    message, before = event["message"], event.get("previous_message") or {}
    if message.get("subtype") == "tombstone":  # deleted, but it has replies
        return _deleted(payload, event, before, message["ts"], desk)
    # Else a link was unfurled, or somebody replied.
    same = message.get("text") == before.get("text") and _files(message) == _files(before)
    if same or message.get("subtype") not in _WRITTEN or _by_machine(payload, message) or not _in_thread(message):
        return NOTHING
    if _not_allowed(payload, message, desk):
        return NOTHING
    edited = MessageEdited(
        external_id=f"{event['channel']}:{message['ts']}",
        sender=_sender(message, desk),
        at=when((message.get("edited") or {}).get("ts") or event["ts"]),
        text=_text(message, desk),
        attachments=_files(message),
    )
    return Found([edited])


def _files(message: Payload) -> list[Attachment]:
    return [_attachment(file) for file in message.get("files") or [] if file.get("mode") != "tombstone"]


def _deleted(payload: Payload, event: Payload, before: Payload, ts: str, desk: Desk) -> Found:
    if _by_machine(payload, before) or not _in_thread(before):
        return NOTHING
    at = when(event.get("event_ts") or event["ts"])
    return Found([MessageDeleted(f"{event['channel']}:{ts}", _sender(before, desk), at)])


def _by_machine(payload: Payload, message: Payload) -> bool:
    """Our own posts come back; so do other apps'. Files that we shared may come without bot_id, in our name."""
    user = message.get("user")
    return bool(message.get("bot_id") or message.get("app_id") or not user or user in _ourselves(payload))


def _ourselves(payload: Payload) -> set[str | None]:
    return {each.get("user_id") for each in payload.get("authorizations") or [] if each.get("is_bot")}


def _in_thread(message: Payload) -> bool:
    return bool(message.get("thread_ts")) and message["thread_ts"] != message.get("ts")


def _not_allowed(payload: Payload, message: Payload, desk: Desk) -> str | None:
    """Why this person's words stay in Slack; None if they may answer. In a channel shared with another company
    whoever is not provably of our own workspace is a stranger."""
    own = desk.teams | _own_teams(payload)
    theirs = {message[name] for name in ("user_team", "source_team", "team") if message.get(name)}
    if theirs - own or (payload.get("is_ext_shared_channel") and not theirs):
        return "only members of this workspace can answer customers"
    return _not_listed(message["user"], desk)


def _not_listed(user: str, desk: Desk) -> str | None:
    if desk.agents is not None and user not in desk.agents:
        return "you are not on the list of agents; ask whoever runs omnihub to add you"
    return None


def _own_teams(payload: Payload) -> set[str]:
    installed = {each.get("team_id") for each in payload.get("authorizations") or []}
    return {team for team in installed or {payload.get("team_id")} if team}


def _sender(message: Payload, desk: Desk) -> Party:
    user = clean(str(message["user"]))
    profile = message.get("user_profile") or {}
    name = desk.names.get(user) or profile.get("display_name") or profile.get("real_name")
    return Party("slack", user, clean(name) if name else None)


def _text(message: Payload, desk: Desk) -> str:
    """What the author saw, pictures as characters: the text has only their names, the blocks have both."""
    words = unescape(message.get("text") or "", desk.names)
    return clean(drawn(words, _pictures(message.get("blocks") or [])))


def _pictures(blocks: Any) -> dict[str, str]:
    """Characters by name, of the pictures in rich text."""
    found: dict[str, str] = {}
    waiting = [blocks]
    while waiting:
        part = waiting.pop()
        waiting += part if isinstance(part, list) else part.values() if isinstance(part, dict) else ()
        if not isinstance(part, dict) or part.get("type") != "emoji" or not part.get("unicode"):
            continue  # one that the workspace made up has no character
        tone = f"::skin-tone-{part['skin_tone']}" if part.get("skin_tone") else ""
        found[f"{part['name']}{tone}"] = "".join(chr(int(code, 16)) for code in part["unicode"].split("-"))
    return found


def _attachment(file: Payload) -> Attachment:
    mime = file.get("mimetype") or None
    family = (mime or "").partition("/")[0]
    url = file.get("url_private_download") or file.get("url_private")
    return Attachment(
        kind=family if family in ("image", "audio", "video") else "file",  # type: ignore[arg-type]  # narrowed above
        ref=url or file["id"],  # without a URL (file_access check_file_info) it must be asked for
        mime=mime,
        name=clean(file.get("name") or file.get("title") or "") or None,
        size=file.get("size"),
    )


# --- people ---


def name_of(user: Payload) -> str | None:
    """How somebody is called in Slack."""
    profile = user.get("profile") or {}
    name = profile.get("display_name") or profile.get("real_name") or user.get("real_name") or user.get("name")
    return clean(str(name)) if name else None


def _newcomer(payload: Payload, event: Payload, desk: Desk) -> Found:
    """A new member of the workspace, told before their first message."""
    user = event["user"]
    name = name_of(user)
    return Found([], names={str(user["id"]): name} if name else {})


# --- reactions and buttons ---


def _reaction(payload: Payload, event: Payload, desk: Desk) -> Found:
    item = event["item"]
    if item.get("type") != "message" or item.get("channel") != desk.channel:
        return NOTHING
    user = event["user"]
    # Slack does not say of which workspace they are: in a shared channel only those count who are known by name.
    if user in _ourselves(payload) or (user not in desk.named and _not_allowed(payload, event, desk)):
        return NOTHING
    reacted = Reacted(
        external_id=f"{item['channel']}:{item['ts']}",
        sender=_sender(event, desk),
        at=when(event["event_ts"]),
        emoji=emoji(str(event["reaction"])),
        removed=event["type"] == "reaction_removed",
    )
    return Found([reacted])


def _pressed(payload: Payload, desk: Desk) -> Found:
    where, message = payload["container"], payload.get("message") or {}
    if where.get("type") != "message":
        return NOTHING
    root = where.get("thread_ts") or message.get("thread_ts") or where["message_ts"]
    user = payload["user"]
    own = desk.teams | {team for team in ((payload.get("team") or {}).get("id"),) if team}
    stranger = user.get("team_id") and own and user["team_id"] not in own
    reason = "only members of this workspace can do that" if stranger else _not_listed(user["id"], desk)
    if reason:
        return Found([], Refused(user["id"], where["channel_id"], root, reason))
    name = desk.names.get(user["id"]) or user.get("name") or user.get("username")
    by = Party("slack", clean(str(user["id"])), clean(str(name)) if name else None)
    if where["channel_id"] != desk.channel:
        return _brought_over(payload["actions"][0]["action_ts"], by, where["channel_id"], root, desk)
    return Found(
        [
            ActionTaken(
                external_id=f"{action['action_ts']}:{user['id']}:{action['action_id']}",
                sender=by,
                at=when(action["action_ts"]),
                action=action["action_id"],
                value=_value(action),
                thread=f"{where['channel_id']}:{root}",
            )
            for action in payload["actions"]
        ]
    )


def _value(action: Payload) -> str | None:
    """What a button carries, or what was chosen in a menu."""
    chosen = (action.get("selected_option") or {}).get("value")
    value = action.get("value") or chosen or action.get("selected_user")
    return None if value is None else clean(str(value))


_KINDS: Mapping[str, Callable[[Payload, Payload, Desk], Found]] = {
    "message": _message,
    "reaction_added": _reaction,
    "reaction_removed": _reaction,
    "team_join": _newcomer,
}
