"""Calls of Twilio's REST API. All failures are ``SendError``."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from adapters.twilio.errors import refusal
from hub.contract import Ambiguous, Answer, ChannelDown, Host, Rejected, Transient
from hub.shape import answered

DEFAULT_URL = "https://api.twilio.com"
CONTENT_URL = "https://content.twilio.com"
MESSAGING_URL = "https://messaging.twilio.com"
MEDIA_LIMIT = 16 << 20  # bytes; Twilio takes in 5 MB, this is for what it may one day
_REDIRECTS = 3
_PAGES = 20


class Api:
    """One account. ``user`` and ``password``: its own, or those of an API key."""

    def __init__(self, host: Host, base_url: str | None, account: str, user: str, password: str) -> None:
        self._host = host
        self._base = (base_url or DEFAULT_URL).rstrip("/")
        self._account = f"{self._base}/2010-04-01/Accounts/{account}"
        self._messages = f"{self._account}/Messages.json"
        self._contents = f"{base_url.rstrip('/') if base_url else CONTENT_URL}/v1/Content"
        self._typing = f"{base_url.rstrip('/') if base_url else MESSAGING_URL}/v3/Indicators/Typing.json"
        basic = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"authorization": f"Basic {basic}", "accept": "application/json"}
        self._form_headers = self._headers | {"content-type": "application/x-www-form-urlencoded"}

    async def create(self, form: bytes) -> dict[str, Any]:
        """Make a message. Raises: SendError; Ambiguous where it may have been made all the same."""
        answer = await self._host.http.request("POST", self._messages, headers=self._form_headers, body=form)
        if answer.status not in (200, 201):
            raise refusal(answer)
        made = answered(answer)
        if made is None or not _is_message(made):
            raise Ambiguous(f"Twilio answered {answer.status} without a message sid", code=str(answer.status))
        return made

    async def make_content(self, content: Mapping[str, Any]) -> str:
        """Keep a piece of content at Twilio; its sid. Nothing is sent. Raises: SendError."""
        headers = self._headers | {"content-type": "application/json"}
        body = json.dumps(content).encode()
        answer = await self._host.http.request("POST", self._contents, headers=headers, body=body)
        if answer.status not in (200, 201):
            raise refusal(answer)
        made = answered(answer)
        if made is None or not _is_message(made):
            raise Transient(f"Twilio answered {answer.status} without a content sid", code=str(answer.status))
        return str(made["sid"])

    async def show_typing(self, sid: str) -> None:
        """Below a message that somebody sent by WhatsApp, which also shows it as read. Raises: SendError."""
        headers = self._headers | {"content-type": "application/json"}
        body = json.dumps({"channel": "WHATSAPP", "messageId": sid}).encode()
        answer = await self._host.http.request("POST", self._typing, headers=headers, body=body)
        if answer.status not in (200, 201, 202):
            raise refusal(answer)

    async def messages(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """All that match. Raises: Transient if they are too many to be sure of having seen all."""
        found: list[dict[str, Any]] = []
        url = f"{self._messages}?{urlencode(query)}"
        for _ in range(_PAGES):
            page = await self._get(url)
            rows = page.get("messages")
            if not isinstance(rows, list) or not all(_is_message(row) for row in rows):
                raise Transient("Twilio answered with no list of messages")
            found += rows
            following = page.get("next_page_uri")
            if not following:
                return found
            url = self._base + "/" + str(following).lstrip("/")
        raise Transient(f"more than {_PAGES} pages of messages to look through")

    async def account(self) -> dict[str, Any]:
        return await self._get(f"{self._account}.json")

    async def probe(self) -> None:
        """Read something that any API key may read."""
        await self._get(f"{self._messages}?PageSize=1")

    async def download(self, url: str) -> bytes:
        """A file's bytes, through redirects to where Twilio stores it. Raises: Rejected if ``url`` is not Twilio's."""
        home = _origin(self._base)
        if _origin(url) != home:
            raise Rejected("not a file of Twilio's: its URL is not below base_url", code="foreign_host")
        for _ in range(_REDIRECTS + 1):
            # Our credentials are for Twilio, not for the store behind it.
            headers = {"authorization": self._headers["authorization"]} if _origin(url) == home else {}
            answer = await self._host.http.request("GET", url, headers=headers, timeout=60, largest=MEDIA_LIMIT)
            if answer.status not in (301, 302, 303, 307, 308):
                return _file(answer)
            url = self._redirected(url, answer.headers.get("location", ""))
        raise Rejected(f"more than {_REDIRECTS} redirects", code="redirects")

    def _redirected(self, url: str, location: str) -> str:
        try:
            url = urljoin(url, location)
            safe = urlsplit(url).scheme in ("https", urlsplit(self._base).scheme)
        except ValueError:
            safe = False
        if not safe:
            raise Rejected("Twilio redirects the file to no https address", code="foreign_host")
        return url

    async def _get(self, url: str) -> dict[str, Any]:
        answer = await self._host.http.request("GET", url, headers=self._headers)
        if answer.status != 200:
            raise refusal(answer)
        found = answered(answer)
        if found is None:
            raise ChannelDown("Twilio answered something else than JSON: is base_url right?", code="200")
        return found


def _is_message(row: object) -> bool:
    return isinstance(row, dict) and isinstance(row.get("sid"), str) and bool(row["sid"])


def _file(answer: Answer) -> bytes:
    if answer.status in (404, 410):
        raise Rejected("the file is no longer at Twilio", code=str(answer.status))
    if answer.status != 200:
        raise refusal(answer)
    return answer.body


def _origin(url: str) -> tuple[str, str] | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts.scheme, parts.netloc
