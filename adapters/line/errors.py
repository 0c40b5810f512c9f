"""What LINE's answers mean for us. Source: https://developers.line.biz/en/reference/messaging-api/#error-responses"""

from __future__ import annotations

from typing import Any

from hub.contract import (
    Ambiguous,
    Answer,
    BadAddress,
    ChannelDown,
    RateLimited,
    Rejected,
    SendError,
)
from hub.shape import answered, retry_after

_QUOTA_PAUSE = 3600.0  # seconds; a larger plan counts at once
_RATE_PAUSE = 1.0
_ADVICE = {
    401: "check channel_access_token: it is wrong or has expired",
    403: "the account may not do that: check its plan, and that the Messaging API is on",
    404: "check base_url",
}


def refusal(answer: Answer) -> SendError:
    """What an answer that is no success means."""
    said = answered(answer) or {}
    words = _words(said)
    detail = f"{words or 'no reason given'} (HTTP {answer.status})"
    code = str(answer.status)
    if answer.status == 429:
        return _limited(answer, words, detail)
    if answer.status >= 500 or answer.status == 408 or 200 <= answer.status < 300:
        return Ambiguous(detail, code=code)
    if answer.status in _ADVICE or not 400 <= answer.status < 500:
        return ChannelDown(f"{detail}; {_ADVICE.get(answer.status, 'check base_url')}", code=code)
    return (BadAddress if _is_nobody(said, words) else Rejected)(detail, code=code)


def is_used_up(answer: Answer) -> bool:
    """A reply token that is too old, or was used: nothing was sent now."""
    return answer.status == 400 and "invalid reply token" in _words(answered(answer) or {}).lower()


def _limited(answer: Answer, words: str, detail: str) -> RateLimited:
    """Too fast, or all messages of the month are used up; replies with a token cost nothing and go on."""
    if "monthly limit" in words.lower():
        advice = "; take a larger plan, or wait until the month is over"
        return RateLimited(detail + advice, code="429 monthly", after=_QUOTA_PAUSE, scope="account")
    asked = retry_after(answer)
    return RateLimited(detail, code="429 rate", after=_RATE_PAUSE if asked is None else asked, scope="sender")


def _is_nobody(said: dict[str, Any], words: str) -> bool:
    """Nobody has that id, or nobody who may be written to."""
    details = said.get("details")
    fields = [each.get("property") for each in details if isinstance(each, dict)] if isinstance(details, list) else []
    return "to" in fields or "'to'" in words or words.lower().startswith("failed to send messages")


def _words(said: dict[str, Any]) -> str:
    """``The request body has 1 error(s): May not be empty (messages[0].text)``."""
    details = said.get("details")
    found = [each for each in details[:3] if isinstance(each, dict)] if isinstance(details, list) else []
    told = [said.get("message"), *(f"{each.get('message')} ({each.get('property')})" for each in found)]
    plain = ": ".join(each for each in told if isinstance(each, str))
    return " ".join(plain.replace("\0", "").encode("utf-8", "replace").decode()[:400].split())
