"""What Vonage's answers and error codes mean for us.

Sources: https://developer.vonage.com/en/messaging/sms/guides/troubleshooting-sms (answers) and
https://developer.vonage.com/en/messaging/sms/guides/delivery-receipts (receipts)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hub.contract import (
    Ambiguous,
    Answer,
    BadAddress,
    ChannelDown,
    RateLimited,
    Rejected,
    SendError,
    Transient,
)
from hub.shape import retry_after, text

# ``status`` of a message in the answer to a send, with words where Vonage gives none.
MEANING: Mapping[str, tuple[type[SendError], str]] = {
    "1": (RateLimited, "too many messages at once"),
    "2": (Rejected, "a parameter is missing"),
    "3": (Rejected, "a parameter is not valid"),
    "4": (ChannelDown, "check api_key and api_secret"),
    "5": (Transient, "internal failure at Vonage"),
    "6": (Rejected, "Vonage could not process the message"),
    "7": (BadAddress, "the number is barred and may receive nothing"),
    "8": (ChannelDown, "the account is barred: ask Vonage"),
    "9": (ChannelDown, "the account has no credit left: top it up at Vonage"),
    "10": (Transient, "too many connections at once"),
    "12": (Rejected, "the message is too long"),
    "14": (ChannelDown, "the signature is not valid: check the account's settings at Vonage"),
    "15": (Rejected, "the sender may not write to this number: check from_number (North America wants a number)"),
    "22": (Rejected, "the recipient's network is not valid"),
    "29": (Rejected, "a trial account writes only to numbers on its list at Vonage"),
    "32": (ChannelDown, "the account takes only signed calls, without api_secret: change that at Vonage"),
    "33": (BadAddress, "the number is no longer in use"),
}

# ``err-code`` of a receipt. A handset that is off, or a full one, fails the message and not the address.
FAILURES: Mapping[str, str] = {
    "1": "unknown failure at the carrier",
    "2": "the handset cannot be reached now: off or out of range",
    "3": "the number is no longer in use",
    "4": "the recipient bars messages like this",
    "5": "the number's carrier could not be found now",
    "6": "filtered as spam by the carrier",
    "7": "the handset is busy",
    "8": "failure in the carrier's network",
    "9": "the recipient opted out",
    "10": "the carrier does not take the message",
    "11": "no route leads to the number",
    "12": "the number cannot be reached",
    "13": "not for the recipient's age",
    "14": "blocked by the carrier",
    "15": "the recipient's prepaid account is empty",
    "16": "the quota is used up",
    "50": "against the country's rules: the sender's entity",
    "51": "against the country's rules: the sender's name",
    "52": "against the country's rules: the content",
    "53": "against the country's rules: no consent is registered",
    "54": "against the country's rules",
    "99": "general failure",
}
DEAD = frozenset({"3", "11", "12"})
OPTED_OUT = "9"

_PAUSE = re.compile(r"\[\s*([0-9]{1,7})\s*\]")  # milliseconds: "please wait [ 250 ] and retry"


def refusal(answer: Answer, message: Mapping[str, Any]) -> SendError:
    """What it means that a message was refused: by its ``status``, else by the answer's. Most come with HTTP 200."""
    code = text(message, "status")
    kind, advice = MEANING.get(code, (None, ""))
    words = text(message, "error-text")
    if kind is None:
        kind = Rejected if code and answer.status < 400 else _by_status(answer.status)
        advice = "check api_key, api_secret and base_url" if kind is ChannelDown else ""
    code = code or str(answer.status)
    told = f"{words}; {advice}" if words and kind is ChannelDown else words or advice or "no reason given"
    detail = " ".join(f"{told} (HTTP {answer.status})"[:400].split())
    if kind is RateLimited:
        return RateLimited(detail, code=code, after=_after(answer, words), scope="account")
    return kind(detail, code=code)


def _by_status(status: int) -> type[SendError]:
    if status == 429:
        return RateLimited
    # There is no idempotency key.
    if status >= 500 or status == 408 or 200 <= status < 300:
        return Ambiguous
    return ChannelDown if status < 400 or status in (401, 402, 403, 404, 405) else Rejected


def _after(answer: Answer, words: str) -> float | None:
    """Seconds to wait, as Vonage asks."""
    if found := _PAUSE.search(words):
        return int(found[1]) / 1000
    return retry_after(answer)
