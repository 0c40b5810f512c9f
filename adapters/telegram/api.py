"""Calls of Telegram's Bot API. All failures are ``SendError``, and none of them repeats the token."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.telegram.errors import moved_to, refusal
from hub.contract import Ambiguous, Answer, ChannelDown, Host, Rejected, SendError, Transient
from hub.shape import answered

DEFAULT_URL = "https://api.telegram.org"
DOWNLOAD_LIMIT = 20 << 20  # bytes of a file that a bot may download
_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_./-]{0,500}")


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that goes along with a call, as its field ``field``."""

    field: str
    name: str
    mime: str
    data: bytes


class Api:
    def __init__(self, host: Host, base_url: str | None, token: str) -> None:
        self._host = host
        self._base = (base_url or DEFAULT_URL).rstrip("/")
        self._token = token

    async def call(
        self, method: str, fields: Mapping[str, Any], upload: Upload | None = None, timeout: float = 15.0
    ) -> Any:
        """The ``result`` of a method. Raises: SendError; Ambiguous where it may have been done all the same."""
        answer = await self._post(method, fields, upload, timeout)
        if (chat := moved_to(answer)) is not None and "chat_id" in fields:
            answer = await self._post(method, {**fields, "chat_id": chat}, upload, timeout)
        if answer.status != 200:
            raise refusal(answer)
        made = answered(answer)
        if made is None:
            raise Ambiguous("Telegram answered 200 with something else than JSON", code="200")
        if made.get("ok") is not True:
            raise refusal(answer)
        return made.get("result")

    async def ask(self, method: str, fields: Mapping[str, Any] | None = None, timeout: float = 15.0) -> Any:
        """The ``result`` of a method that may be called again. Raises: SendError, never Ambiguous."""
        try:
            return await self.call(method, fields or {}, timeout=timeout)
        except Ambiguous as error:
            raise Transient(f"{method}: {error.detail}", code=error.code) from None

    async def download(self, file_id: str) -> bytes:
        """A file's bytes, by its id. Its path holds for an hour at least, so it is asked for each time."""
        found = await self.ask("getFile", {"file_id": file_id})
        path = found.get("file_path") if isinstance(found, dict) else None
        if not isinstance(path, str) or not _PATH.fullmatch(path) or ".." in path:
            raise Rejected("Telegram names no path for the file", code="file_path")
        try:
            url = f"{self._base}/file/bot{self._token}/{path}"
            answer = await self._request("GET", url, timeout=60, largest=DOWNLOAD_LIMIT)
        except Ambiguous as error:
            raise Transient(error.detail, code=error.code) from None
        if answer.status == 404:
            raise Transient("the file's path has expired", code="404")
        if answer.status != 200:
            refused = refusal(answer)
            raise Transient(refused.detail, code=refused.code) if isinstance(refused, Ambiguous) else refused
        return answer.body

    async def _post(self, method: str, fields: Mapping[str, Any], upload: Upload | None, timeout: float) -> Answer:
        url = f"{self._base}/bot{self._token}/{method}"
        if upload is None:
            kind, body = "application/json", _json(fields).encode()
        else:
            kind, body = _form(fields, upload)
            timeout = max(timeout, 60.0)
        return await self._request("POST", url, headers={"content-type": kind}, body=body, timeout=timeout)

    async def _request(self, method: str, url: str, **more: Any) -> Answer:
        """``more``: as ``contract.Http.request`` takes it."""
        try:
            return await self._host.http.request(method, url, **more)
        except SendError as error:
            # The URL holds the token, and some errors hold the URL.
            detail = error.detail.replace(self._token, "…")
            lost: type[SendError] = type(error) if isinstance(error, Transient | ChannelDown) else Ambiguous
            raise lost(detail, code=error.code) from None


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _form(fields: Mapping[str, Any], upload: Upload) -> tuple[str, bytes]:
    """Content type and body of multipart/form-data; what is not text goes as JSON."""
    boundary = secrets.token_hex(16)
    texts = {name: value if isinstance(value, str) else _json(value) for name, value in fields.items()}
    pieces = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in texts.items()
    ]
    safe = "".join(letter if letter.isalnum() or letter in "._- " else "_" for letter in upload.name) or "file"
    mime = upload.mime if re.fullmatch(r"[\w.+-]+/[\w.+-]+", upload.mime) else "application/octet-stream"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{upload.field}"; filename="{safe}"\r\n'
    pieces += [f"{head}Content-Type: {mime}\r\n\r\n".encode(), upload.data, f"\r\n--{boundary}--\r\n".encode()]
    return f"multipart/form-data; boundary={boundary}", b"".join(pieces)
