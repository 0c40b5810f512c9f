"""Reading what the Graph API answers: its error bodies, and how long to wait.

Source: https://developers.facebook.com/docs/graph-api/guides/error-handling
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hub.contract import Ambiguous, Answer, ChannelDown, RateLimited, Rejected, SendError, Transient
from hub.shape import answered, parts, retry_after
from hub.shape import number as numeric


def error_of(answer: Answer) -> dict[str, Any]:
    """What the answer says of an error; empty if nothing."""
    said = (answered(answer) or {}).get("error")
    return said if isinstance(said, dict) else {}


def words(error: Mapping[str, Any]) -> str:
    """What Meta says went wrong: its titles are being dropped, so the details first."""
    data = error.get("error_data")
    details = data.get("details") if isinstance(data, dict) else None
    found = (details, error.get("message"), error.get("title"))
    said = next((each for each in found if isinstance(each, str) and each), "")
    return " ".join(said.replace("\0", "").encode("utf-8", "replace").decode()[:400].split())


def number(error: Mapping[str, Any], name: str = "code") -> int | None:
    found = error.get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def by_status(status: int, *, transient: bool) -> type[SendError]:
    """What an error means whose code is not known. ``transient``: Meta says so."""
    if status == 429:
        return RateLimited
    if transient:
        return Transient
    # Meta has no idempotency key: what may have been accepted is never sent again blindly.
    if status >= 500 or status == 408 or 200 <= status < 300:
        return Ambiguous
    return ChannelDown if status < 400 or status in (401, 403, 404, 405) else Rejected


def pause(answer: Answer) -> float | None:
    """Seconds to wait, where Meta says so."""
    asked = retry_after(answer)
    return max(_until_access(answer), default=None) if asked is None else asked


def _until_access(answer: Answer) -> Iterator[float]:
    """https://developers.facebook.com/docs/graph-api/overview/rate-limiting: minutes, by account and kind of call."""
    usage = _object(answer.headers.get("x-business-use-case-usage", "").encode()) or {}
    for account in usage:
        for each in parts(usage, account):
            minutes = numeric(each, "estimated_time_to_regain_access") or 0.0
            if minutes > 0:
                yield minutes * 60


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
