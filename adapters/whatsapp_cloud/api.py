"""Calls of Meta's Graph API for one phone number. All failures are ``SendError``."""

from __future__ import annotations

import json
import secrets
from typing import Any
from urllib.parse import urlsplit

from adapters.whatsapp_cloud.errors import refusal
from hub.contract import Ambiguous, Answer, ChannelDown, Host, Rejected, SendError, Transient
from hub.shape import answered

DEFAULT_URL = "https://graph.facebook.com"
MEDIA_LIMIT = 100 << 20  # bytes; the largest file WhatsApp takes, a document
# Where Meta keeps files; our token goes nowhere else.
_STORES = (".fbsbx.com", ".facebook.com", ".fbcdn.net", ".whatsapp.net")
_AGENT = "omnihub"  # some of Meta's stores answer 404 to clients without a name


class Api:
    def __init__(self, host: Host, base_url: str | None, version: str, number: str, token: str) -> None:
        self._host = host
        self._number = number
        self._base = (base_url or DEFAULT_URL).rstrip("/")
        self._root = f"{self._base}/{version}"
        self._headers = {"authorization": f"Bearer {token}", "user-agent": _AGENT}
        self._json = self._headers | {"content-type": "application/json"}

    async def post(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send, mark as read. Raises: SendError; Ambiguous where it may have been done all the same."""
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        url = f"{self._root}/{self._number}/messages"
        answer = await self._host.http.request("POST", url, headers=self._json, body=content)
        if answer.status != 200:
            raise refusal(answer)
        made = answered(answer)
        if made is None or "error" in made:
            raise refusal(answer) if made else Ambiguous("Meta answered 200 with something else than JSON", code="200")
        return made

    async def upload(self, data: bytes, mime: str, name: str) -> str:
        """The id of a file that is now at Meta, for 30 days. Raises: SendError, never Ambiguous: nobody has seen it."""
        boundary = secrets.token_hex(16)
        fields = [_field(boundary, "messaging_product", "whatsapp"), _field(boundary, "type", mime)]
        safe = "".join(letter if letter.isalnum() or letter in "._- " else "_" for letter in name) or "file"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{safe}"\r\nContent-Type: {mime}'
        body = b"".join([*fields, head.encode(), b"\r\n\r\n", data, f"\r\n--{boundary}--\r\n".encode()])
        headers = self._headers | {"content-type": f"multipart/form-data; boundary={boundary}"}
        url = f"{self._root}/{self._number}/media"
        try:
            answer = await self._host.http.request("POST", url, headers=headers, body=body, timeout=60)
            if answer.status != 200:
                raise refusal(answer)
        except Ambiguous as error:
            raise Transient(f"upload: {error.detail}", code=error.code) from error
        made = (answered(answer) or {}).get("id")
        if not isinstance(made, str) or not made:
            raise Transient("Meta took a file without giving it an id")
        return made

    async def number(self) -> dict[str, Any]:
        """What Meta knows of our number."""
        query = "fields=display_phone_number,verified_name,quality_rating,name_status,throughput"
        return await self._get(f"{self._root}/{self._number}?{query}")

    async def download(self, media_id: str) -> bytes:
        """A file's bytes, by its id. Its address holds for five minutes, so it is asked for each time."""
        if not media_id.isalnum():
            raise Rejected("not the id of a file at Meta", code="media_id")
        found = await self._get(f"{self._root}/{media_id}?phone_number_id={self._number}", gone="the file")
        url = found.get("url")
        if not isinstance(url, str) or not self._stores(url):
            raise Rejected("Meta names no address of its own for the file", code="foreign_host")
        answer = await self._host.http.request("GET", url, headers=self._headers, timeout=60, largest=MEDIA_LIMIT)
        if answer.status in (404, 410):
            raise Transient("the file's address has expired", code=str(answer.status))
        if answer.status != 200:
            raise refusal(answer)
        return answer.body

    def _stores(self, url: str) -> bool:
        try:
            found, home = urlsplit(url), urlsplit(self._base)
            port = found.port
        except ValueError:
            return False
        if (found.scheme, found.netloc) == (home.scheme, home.netloc):
            return True
        name = found.hostname or ""
        return found.scheme == "https" and port in (None, 443) and not found.username and name.endswith(_STORES)

    async def _get(self, url: str, gone: str | None = None) -> dict[str, Any]:
        answer = await self._host.http.request("GET", url, headers=self._headers)
        if answer.status != 200:
            raise _missing(answer, gone) or refusal(answer)
        found = answered(answer)
        if found is None:
            raise ChannelDown("Meta answered something else than JSON: is base_url right?", code="200")
        return found


def _missing(answer: Answer, what: str | None) -> SendError | None:
    """Of a file, "does not exist" means just that."""
    error = (answered(answer) or {}).get("error")
    missing = answer.status == 404 or (isinstance(error, dict) and error.get("code") == 100)
    return Rejected(f"{what} is no longer at Meta", code=str(answer.status)) if what and missing else None


def _field(boundary: str, name: str, value: str) -> bytes:
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
