"""Files that visitors send: one POST each, which goes into the inbox as a whole and is one message."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import structlog
from aiohttp import BodyPartReader, ClientError, web
from aiohttp.http_exceptions import HttpProcessingError

from adapters.webchat.frames import TEXT_LIMIT, clean
from adapters.webchat.visitors import Refused, Visitor, Visitors
from hub.contract import Host

AT_ONCE, OF_ONE = 16, 4  # uploads under way in this process, and from one address
A_MINUTE = 30  # uploads of one address
PATIENCE = 60.0  # seconds for one upload
FIELD, FIELDS = 16_384, 8  # bytes of a field that is no file, and how many there may be
NAME = 200  # characters

_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_MIME = re.compile(r"[a-z]+/[a-z0-9][a-z0-9.+-]{0,100}")
_HIDDEN = re.compile(r"[\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069/\\]")

# What aiohttp raises at forms that are none; the last is about headers of a part.
_MALFORMED = (ValueError, LookupError, RuntimeError, AssertionError, ClientError, ConnectionError, HttpProcessingError)

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Upload:
    """``id`` is made by the widget, the same on each try. ``mime``: what the browser takes it for."""

    id: str
    name: str
    mime: str
    text: str = ""
    data: bytes = field(default=b"", repr=False)

    @property
    def kind(self) -> Literal["image", "audio", "video", "file"]:
        family = self.mime.partition("/")[0]
        return family if family in ("image", "audio", "video") else "file"  # type: ignore[return-value]  # one of these words


Keep = Callable[[Visitor, Upload], Awaitable[None]]  # returns once durable


class _Answer(Exception):
    """An upload that is not taken. ``after``: seconds until the same may be tried again."""

    def __init__(self, status: int, code: str, detail: str, after: int | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.after = after


class Uploads:
    """``limit``: bytes of one file."""

    def __init__(self, visitors: Visitors, host: Host, keep: Keep, limit: int) -> None:
        self._visitors = visitors
        self._host = host
        self._keep = keep
        self._limit = limit
        self._under_way: Counter[str] = Counter()
        self._minute = 0
        self._lately: Counter[str] = Counter()  # in this minute

    async def take(self, request: web.Request) -> web.Response:
        """200 once the file is durable. Fields of the form: ``ticket``, ``id``, perhaps ``text``, and last ``file``."""
        origin = request.headers.get("Origin")
        headers = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"} if origin else {}
        remote = request.remote or ""
        try:
            self._admit(request, remote)
        except _Answer as refused:
            return _refusal(refused, headers)
        self._under_way[remote] += 1
        try:
            async with asyncio.timeout(PATIENCE):
                visitor, upload = await self._read(request)
            await self._keep(visitor, upload)
        except _Answer as refused:
            return _refusal(refused, headers)
        except TimeoutError:
            return _refusal(_Answer(408, "too_slow", f"an upload may take {PATIENCE:.0f} s"), headers)
        except Exception:
            log.exception("webchat.file_not_kept")
            return _refusal(_Answer(503, "unavailable", "not stored: send the same again", 5), headers)
        finally:
            self._under_way[remote] -= 1
            if not self._under_way[remote]:
                del self._under_way[remote]
        return web.json_response({"id": upload.id}, headers=headers)

    def _admit(self, request: web.Request, remote: str) -> None:
        """Before anything of it is read. Raises: _Answer."""
        if not self._limit:
            raise _Answer(403, "no_files", "this channel takes no files: file_size is 0")
        if (request.content_length or 0) > self._limit + 4 * FIELD:
            raise _Answer(413, "too_large", f"at most {self._limit} bytes")
        if self._under_way.total() >= AT_ONCE or self._under_way[remote] >= OF_ONE:
            raise _Answer(503, "busy", "too many uploads at once", 2)
        minute = int(self._host.now().timestamp() // 60)
        if minute != self._minute:
            self._minute, self._lately = minute, Counter()
        self._lately[remote] += 1
        if self._lately[remote] > A_MINUTE:
            raise _Answer(429, "rate_limited", f"at most {A_MINUTE} files a minute", 60)

    async def _read(self, request: web.Request) -> tuple[Visitor, Upload]:
        """Raises: _Answer."""
        if request.content_type != "multipart/form-data":
            raise _Answer(400, "bad_form", "send multipart/form-data; see the README")
        fields: dict[str, str] = {}
        try:
            form = await request.multipart()
            async for part in form:
                if not isinstance(part, BodyPartReader) or part.name is None:
                    raise ValueError("a part without a name")
                if part.name == "file":
                    found = await self._file(part, fields)
                    if await form.next() is not None:  # a form that was cut off has no end either: ValueError
                        raise ValueError("the file is not the last field")
                    return found
                if len(fields) == FIELDS:
                    raise ValueError("too many fields")
                fields[part.name] = (await _bytes(part, FIELD)).decode()
        except _MALFORMED as error:
            raise _Answer(400, "bad_form", f"not a form with a file: {type(error).__name__}") from error
        raise _Answer(400, "bad_form", "the form has no file")

    async def _file(self, part: BodyPartReader, fields: Mapping[str, str]) -> tuple[Visitor, Upload]:
        """Who sends it is known before it is read. Raises: _Answer."""
        try:
            visitor = self._visitors.redeem(fields.get("ticket", ""))
        except Refused as refused:
            raise _Answer(401, "bad_ticket", refused.reason) from None
        client_id, text = fields.get("id", ""), clean(fields.get("text", ""))
        if not _ID.fullmatch(client_id) or len(text) > TEXT_LIMIT:
            raise _Answer(400, "bad_form", f"id: 8 to 64 of A-Za-z0-9_-; text: at most {TEXT_LIMIT} characters")
        mime = part.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        name = _HIDDEN.sub("", clean(part.filename or ""))[-NAME:] or "file"
        data = await _bytes(part, self._limit)
        if not data:
            raise _Answer(400, "empty", "the file is empty")
        mime = mime if _MIME.fullmatch(mime) else "application/octet-stream"
        return visitor, Upload(client_id, name, mime, text, data)


async def _bytes(part: BodyPartReader, limit: int) -> bytes:
    """Raises: _Answer."""
    data = bytearray()
    while piece := await part.read_chunk():
        data += piece
        if len(data) > limit:
            raise _Answer(413, "too_large", f"at most {limit} bytes")
    return bytes(data)


def _refusal(refused: _Answer, headers: Mapping[str, str]) -> web.Response:
    told: dict[str, Any] = {"code": refused.code, "detail": str(refused)}
    if refused.after is not None:
        told["after"] = refused.after
        headers = {**headers, "Retry-After": str(refused.after)}
    return web.json_response(told, status=refused.status, headers=headers)


def described(upload: Upload) -> str:
    """All but its bytes, as one line of ASCII for a header."""
    return json.dumps({"id": upload.id, "name": upload.name, "mime": upload.mime, "text": upload.text})


def read_described(line: str, data: bytes) -> Upload:
    """Raises: ValueError, KeyError, TypeError."""
    found = json.loads(line)
    name = clean(str(found["name"]))  # bytes that are no UTF-8 came as lone surrogates
    return Upload(str(found["id"]), name, str(found["mime"]), str(found["text"]), data)
