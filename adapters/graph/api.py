"""Calls of the Graph API for one page or account. All failures are ``SendError``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from adapters.graph.refusals import refusal
from adapters.graph.webhook import digest
from hub.contract import Ambiguous, ChannelDown, Host
from hub.shape import answered

FACEBOOK = "https://graph.facebook.com"
INSTAGRAM = "https://graph.instagram.com"
_AGENT = "omnihub"


class Api:
    """Every call proves that it knows the app's secret, so that a stolen token alone is of no use.

    https://developers.facebook.com/docs/graph-api/guides/secure-requests
    """

    def __init__(self, host: Host, base_url: str, version: str, token: str, app_secret: str) -> None:
        self._host = host
        self._root = f"{base_url.rstrip('/')}/{version}"
        self._proof = {"appsecret_proof": digest(app_secret, token.encode())}
        self._headers = {"authorization": f"Bearer {token}", "user-agent": _AGENT}
        self._json = self._headers | {"content-type": "application/json"}

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Raises: SendError; Ambiguous where it may have been done all the same."""
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        answer = await self._host.http.request("POST", self._url(path, {}), headers=self._json, body=content)
        made = answered(answer)
        if answer.status != 200 or (made is not None and "error" in made):
            raise refusal(answer)
        if made is None:
            raise Ambiguous("Meta answered 200 with something else than JSON", code="200")
        return made

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        """Raises: SendError."""
        answer = await self._host.http.request("GET", self._url(path, query), headers=self._headers)
        if answer.status != 200:
            raise refusal(answer)
        found = answered(answer)
        if found is None:
            raise ChannelDown("Meta answered something else than JSON: is base_url right?", code="200")
        return found

    def _url(self, path: str, query: Mapping[str, str]) -> str:
        return f"{self._root}/{path}?{urlencode({**query, **self._proof})}"
