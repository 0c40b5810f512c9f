"""Reading what was sent: JSON of bounded size that means the same to everybody who reads it."""

from __future__ import annotations

import asyncio
import json
import math
import re
from typing import Any, NoReturn

from aiohttp import web

from hub.web.api.problem import Problem

_PATIENCE = 20.0  # seconds for a whole body
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


async def read_json(request: web.Request, limit: int) -> bytes:
    """The body in canonical form: sorted keys, no spaces, UTF-8. ``limit``: bytes. Raises: Problem."""
    if request.content_type != "application/json":
        raise Problem(415, "not_json", "send the body as JSON, with the header Content-Type: application/json")
    if "Content-Encoding" in request.headers:
        raise Problem(415, "compressed", "send the body as it is: compressed ones are not taken")
    return canonical(await _read(request, limit))


async def _read(request: web.Request, limit: int) -> bytes:
    if (request.content_length or 0) > limit:
        _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(_PATIENCE):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > limit:
                    _too_large(limit)
    except TimeoutError:
        detail = f"the body was not here after {_PATIENCE:g} seconds; send it again"
        raise Problem(408, "too_slow", detail, headers={"Connection": "close"}) from None
    return bytes(body)


def _too_large(limit: int) -> NoReturn:
    detail = f"a body has at most {limit} bytes; send less at a time, and files by their URL"
    raise Problem(413, "too_large", detail, headers={"Connection": "close"})


def canonical(body: bytes) -> bytes:
    """Refuses what parsers disagree about: keys given twice, NaN, numbers beyond a float, halves of characters."""
    try:
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite
        )
        text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        found = text.encode("utf-8")
    except RecursionError:
        raise _malformed("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise _malformed("it holds half of a surrogate pair") from None
    except UnicodeDecodeError:
        raise _malformed("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _malformed(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except ValueError as error:
        raise _malformed(str(error)) from None
    if _NUL.search(found):
        raise _malformed("it holds a NUL character")
    return found


def _malformed(what: str) -> Problem:
    return Problem(400, "malformed_json", f"the body cannot be read as JSON: {what}; mend it and send it again")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value
