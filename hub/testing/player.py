"""A provider that is a list of answers: for tests of single calls. Stories have simulators."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hub.contract import LARGEST_ANSWER, Ambiguous, Answer, SendError


class Player:
    """``contract.Http`` that plays answers back and keeps what was asked."""

    def __init__(self, *answers: Answer | SendError) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float = 15,
        largest: int = LARGEST_ANSWER,
    ) -> Answer:
        self.asked.append((method, url, dict(headers or {}), body))
        answer = self.answers.pop(0)
        if isinstance(answer, SendError):
            raise answer
        if len(answer.body) > largest:
            raise Ambiguous(f"the answer is too large: more than {largest} bytes")
        return answer


def said(status: int, body: Any = b"", **headers: str) -> Answer:
    """What a provider says: ``body`` is bytes, or a value that becomes JSON; ``retry_after`` is a header's name."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)
