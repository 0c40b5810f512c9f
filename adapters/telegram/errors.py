"""What Telegram's refusals mean for us.

Telegram has no error codes beside HTTP's, so the description decides: https://core.telegram.org/bots/api#making-requests
"""

from __future__ import annotations

from typing import Any

from hub.contract import (
    Ambiguous,
    Answer,
    BadAddress,
    ChannelDown,
    OptedOut,
    RateLimited,
    Rejected,
    SendError,
    Transient,
    WindowClosed,
)
from hub.shape import answered, number, part, retry_after

# The beginning of what follows "Forbidden: " or "Bad Request: ", in lower case; what it means; and the code by which
# the policy knows it, where it does.
_WORDS: tuple[tuple[str, type[SendError], str | None], ...] = (
    ("bot was blocked by the user", OptedOut, "403 blocked"),
    ("user_is_blocked", OptedOut, "403 blocked"),
    ("user is deactivated", BadAddress, "403 deactivated"),
    ("input_user_deactivated", BadAddress, "403 deactivated"),
    ("bot can't initiate conversation", WindowClosed, None),
    ("bot can't send messages to", BadAddress, None),  # bots, or the user
    ("bot was kicked", BadAddress, None),
    ("bot is not a member", BadAddress, None),
    ("the group chat was deleted", BadAddress, None),
    ("chat not found", BadAddress, "400 chat not found"),
    ("user not found", BadAddress, "400 chat not found"),
    ("peer_id_invalid", BadAddress, "400 chat not found"),
)
_ADVICE = {
    401: "check bot_token: Telegram does not know it",
    404: "check bot_token and base_url",
}
_TWO = "another program takes this bot's updates: stop it, or use another bot"


def refusal(answer: Answer) -> SendError:
    """What an answer that is no success means."""
    said = answered(answer) or {}
    code = said.get("error_code")
    status = code if isinstance(code, int) and not isinstance(code, bool) else answer.status
    words = _words(said)
    detail = f"{words or 'no reason given'} (HTTP {answer.status})"
    if status == 429:
        return RateLimited(detail, code="429", after=_after(answer, said), scope="sender")
    # No key makes a second try safe, so what may have been accepted is never sent again blindly.
    if status >= 500 or status == 408 or 200 <= status < 300:
        return Ambiguous(detail, code=str(status))
    if status == 409:
        return Transient(f"{detail}; {_TWO}", code="409")
    if status in _ADVICE or not 400 <= status < 500:
        return ChannelDown(f"{detail}; {_ADVICE.get(status, 'check base_url')}", code=str(status))
    kind, known = _kind(words)
    return kind(detail, code=known or str(status))


def moved_to(answer: Answer) -> int | None:
    """The new number of a group that became a supergroup: nothing was sent to the old one."""
    parameters = (answered(answer) or {}).get("parameters")
    chat = parameters.get("migrate_to_chat_id") if isinstance(parameters, dict) else None
    return chat if isinstance(chat, int) and not isinstance(chat, bool) and answer.status == 400 else None


def _kind(words: str) -> tuple[type[SendError], str | None]:
    reason = words.lower()
    for prefix in ("forbidden: ", "bad request: "):
        reason = reason.removeprefix(prefix)
    return next(((kind, code) for start, kind, code in _WORDS if reason.startswith(start)), (Rejected, None))


def _words(said: dict[str, Any]) -> str:
    found = said.get("description")
    plain = found if isinstance(found, str) else ""
    return " ".join(plain.replace("\0", "").encode("utf-8", "replace").decode()[:400].split())


def _after(answer: Answer, said: dict[str, Any]) -> float | None:
    """Seconds to wait, in the body or the header."""
    told = number(part(said, "parameters"), "retry_after")
    return retry_after(answer) if told is None else told
