"""The fields of a webhook, read the same way by who checks the signature and by who translates.

Vonage calls by GET, or posts a form or JSON: whichever the account is set to.
Source: https://developer.vonage.com/en/messaging/sms/guides/inbound-sms
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn
from urllib.parse import parse_qsl, urlsplit

from hub.contract import Request

MOST = 200  # fields; Vonage sends fewer than 30


def fields(request: Request) -> dict[str, str]:
    """Names and values. Raises: ValueError if they are not UTF-8, or ambiguous."""
    if request.method == "GET":
        return _unique(_pairs(urlsplit(request.url).query))
    if request.body.lstrip()[:1] == b"{":
        return _of_json(request.body)
    return _unique(_pairs(request.body.decode()))


def _pairs(text: str) -> list[tuple[str, str]]:
    return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MOST)


def _of_json(body: bytes) -> dict[str, str]:
    try:
        found = json.loads(body, object_pairs_hook=_object, parse_int=str, parse_float=str, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, str]:
    return _unique([(name, _plain(value)) for name, value in pairs if value is not None])


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        raise ValueError("JSON with a list or an object in it")
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _unique(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("two values for one name")
    for part in (*found, *found.values()):
        part.encode()  # a lone surrogate is no text
    return found
