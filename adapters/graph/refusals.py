"""What Meta's refusals on Messenger and Instagram mean for us.

Source: https://developers.facebook.com/docs/messenger-platform/reference/send-api/error-codes
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from adapters.graph.answers import by_status, error_of, number, pause, words
from hub.contract import (
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

Meaning = tuple[type[SendError], str]
_WINDOW = "24 hours have passed since the person last wrote; for 7 days a person may still answer, with HUMAN_AGENT"
_UNAVAILABLE = "the person has blocked us, or left"
_ACCESS = "check access_token: it has expired or was revoked"
_PERMISSION = "check access_token and its permissions"

# By subcode, which says more than the code; the codes they come with vary.
SUBCODES: Mapping[int, Meaning] = {
    2018001: (BadAddress, "no such person for this account"),
    2018028: (Rejected, "the app is not live yet: it reaches only those who have a role in it"),
    2018034: (Rejected, "the message says nothing"),
    2018047: (Rejected, "the file could not be taken: wrong kind, or not to be fetched"),
    2018065: (WindowClosed, _WINDOW),
    2018108: (Rejected, "this person takes no messages from us; while the app is not live, only its testers do"),
    2018109: (Rejected, "the file is too large"),
    2018278: (WindowClosed, _WINDOW),
    2018354: (RateLimited, "too many calls"),
    2534014: (BadAddress, "no such person for this account"),
    2534022: (WindowClosed, _WINDOW),
    1545041: (OptedOut, _UNAVAILABLE),
}
CODES: Mapping[int, Meaning] = {
    0: (ChannelDown, _ACCESS),
    1: (Transient, "unknown error at Meta"),
    2: (Transient, "Meta's service is not available now"),
    3: (ChannelDown, _PERMISSION),
    4: (RateLimited, "too many calls of this app"),
    10: (ChannelDown, _PERMISSION),
    17: (RateLimited, "too many calls"),
    32: (RateLimited, "too many calls for this page"),
    33: (ChannelDown, "check the account's id: there is no such account at Meta"),
    100: (Rejected, "a parameter is wrong"),
    102: (ChannelDown, _ACCESS),
    190: (ChannelDown, _ACCESS),
    368: (Rejected, "Meta holds it to be against its policy"),
    467: (ChannelDown, _ACCESS),
    551: (OptedOut, _UNAVAILABLE),
    613: (RateLimited, "too many calls"),
    1200: (Transient, "could not be sent now"),
    80006: (RateLimited, "too many calls for this page"),
}
_OF_ACCOUNT = {4, 17}
# Seconds to wait where Meta says nothing.
_PAUSES: Mapping[int, float] = {4: 60.0, 17: 60.0, 32: 60.0, 613: 5.0, 80006: 60.0}


def refusal(answer: Answer) -> SendError:
    """What an answer that is no success means: by subcode, then by code, else by its status."""
    error = error_of(answer)
    code, subcode = number(error), number(error, "error_subcode")
    kind, advice = _meaning(code, subcode, words(error))
    if kind is None:
        kind = by_status(answer.status, transient=error.get("is_transient") is True)
    detail = f"{words(error) or advice or 'no reason given'} (HTTP {answer.status})"
    if advice and kind in (ChannelDown, WindowClosed, OptedOut):
        detail += f"; {advice}"
    elif kind is ChannelDown:
        detail += "; check access_token and base_url"
    shown = str(answer.status) if code is None else f"{code}/{subcode}" if subcode else str(code)
    after = pause(answer)
    if kind is RateLimited:
        after = _PAUSES.get(-1 if code is None else code) if after is None else after
        scope: Literal["account", "sender"] = "account" if code is None or code in _OF_ACCOUNT else "sender"
        return RateLimited(detail, code=shown, after=after, scope=scope)
    return Transient(detail, code=shown, after=after) if kind is Transient else kind(detail, code=shown)


def _meaning(code: int | None, subcode: int | None, said: str) -> tuple[type[SendError] | None, str]:
    if code is None:
        return None, ""
    if "appsecret_proof" in said:
        return ChannelDown, "check app_secret: it is not of the app that access_token was made for"
    if code == 100 and subcode == 33:
        return CODES[33]
    if subcode is not None and subcode in SUBCODES:
        return SUBCODES[subcode]
    if 200 <= code <= 299:
        return ChannelDown, _PERMISSION
    return CODES.get(code, (None, ""))
