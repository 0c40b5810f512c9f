"""Calls of LINE's Messaging API. All failures are ``SendError``."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from adapters.line.errors import refusal
from hub.contract import Ambiguous, Answer, ChannelDown, Host, Rejected, SendError, Transient
from hub.shape import answered

DEFAULT_URL, DATA_URL = "https://api.line.me", "https://api-data.line.me"
DOWNLOAD_LIMIT = 300 << 20  # bytes


class Api:
    """``data_url``: the host that keeps files; that of ``base_url`` where only that is given."""

    def __init__(self, host: Host, base_url: str | None, data_url: str | None, token: str) -> None:
        self._host = host
        self._base = (base_url or DEFAULT_URL).rstrip("/")
        self._data = (data_url or base_url or DATA_URL).rstrip("/")
        self._headers = {"authorization": f"Bearer {token}"}

    async def post(self, path: str, body: dict[str, Any], key: str | None = None) -> Answer:
        """Raises: Transient, Ambiguous, where there is no answer."""
        headers = self._headers | {"content-type": "application/json"}
        if key is not None:
            headers["x-line-retry-key"] = key
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        return await self._host.http.request("POST", f"{self._base}{path}", headers=headers, body=content)

    async def get(self, path: str) -> dict[str, Any]:
        """Raises: SendError, never Ambiguous."""
        answer = await self._answer(f"{self._base}{path}")
        if answer.status != 200:
            raise _again(refusal(answer))
        found = answered(answer)
        if not found:
            raise ChannelDown("LINE answered something else than JSON: is base_url right?", code="200")
        return found

    async def download(self, message_id: str) -> bytes:
        """The bytes of what somebody sent. Raises: SendError; Rejected where LINE no longer has them."""
        path = f"{self._data}/v2/bot/message/{quote(message_id, safe='')}/content"
        answer = await self._answer(path, timeout=60, largest=DOWNLOAD_LIMIT)
        if answer.status == 202:
            raise Transient("LINE still prepares the file", code="202")
        if answer.status in (404, 410):
            raise Rejected("the file is no longer at LINE", code=str(answer.status))
        if answer.status != 200:
            raise _again(refusal(answer))
        return answer.body

    async def _answer(self, url: str, **more: Any) -> Answer:
        """``more``: as ``contract.Http.request`` takes it."""
        try:
            return await self._host.http.request("GET", url, headers=self._headers, **more)
        except Ambiguous as error:
            raise _again(error) from None


def _again(error: SendError) -> SendError:
    """To have asked twice does no harm."""
    return Transient(error.detail, code=error.code) if isinstance(error, Ambiguous) else error
