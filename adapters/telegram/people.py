"""Who wrote, and where to: ``telegram:<bot>:<chat>``.

Another bot may not write to somebody who only knows this one, so the bot is part of the address.
"""

from __future__ import annotations

import re
from typing import Any

from hub.contract import BadAddress, Rejected
from hub.model import Address, Party, clean
from hub.shape import integer, text

SCHEME = "telegram"
_CHAT = re.compile(r"-?[0-9]{1,19}")
_EXTERNAL = re.compile(r"(-?[0-9]{1,19}):([0-9]{1,19})")


def party(bot: str, user: dict[str, Any]) -> Party | None:
    """Somebody in an update; None if it names nobody."""
    number = integer(user, "id")
    if number is None:
        return None
    names = (text(user, "first_name"), text(user, "last_name"))
    name = " ".join(" ".join(filter(None, names)).split())
    return Party(SCHEME, f"{bot}:{number}", name or text(user, "username") or None)


def chat_of(bot: str, to: Address) -> int:
    """The chat behind an address, with the bot's number in front or without. Raises: BadAddress, Rejected."""
    owner, colon, chat = to.value.rpartition(":")
    if to.scheme != SCHEME or not _CHAT.fullmatch(chat):
        raise BadAddress(f"not the number of a Telegram chat: {clean(to.scheme)}:…", code="address")
    if colon and owner != bot:
        raise Rejected("this person knows another bot: send through that bot's channel", code="bot")
    return int(chat)


def external_id(chat: int, message: int) -> str:
    """Telegram counts messages within each chat."""
    return f"{chat}:{message}"


def message_of(external: str | None) -> tuple[int, int] | None:
    """Chat and message of an external id; None if it is no message's."""
    found = _EXTERNAL.fullmatch(external or "")
    return (int(found[1]), int(found[2])) if found else None
