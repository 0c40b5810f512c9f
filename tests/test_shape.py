"""What a provider's answer says beside its status."""

from __future__ import annotations

from typing import Any

import pytest

from hub.contract import Answer
from hub.shape import answered, retry_after

NOW = "Sat, 31 Jan 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after": "Sat, 31 Jan 2026 12:00:30 GMT", "date": NOW}, 30),
        ({"retry-after": "Saturday, 31-Jan-26 12:01:00 GMT", "date": NOW}, 60),
        ({"retry-after": "Sat, 31 Jan 2026 11:00:00 GMT", "date": NOW}, None),
        ({"retry-after": "Sat, 31 Jan 2026 12:00:30 GMT"}, None),
        ({"retry-after": "Sat, 31 Jan 2026 12:00:30 -0000", "date": NOW}, None),
        ({"retry-after": "soon", "date": NOW}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_how_long_a_provider_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(Answer(429, headers, b"")) == seconds


@pytest.mark.parametrize(
    ("body", "found"),
    [(b'{"a": 1}', {"a": 1}), (b"[]", None), (b"", None), (b"\xff", None), (b"<html>", None), (b"[" * 99_999, None)],
)
def test_an_answer_is_an_object_or_nothing(body: bytes, found: dict[str, Any] | None) -> None:
    assert answered(Answer(200, {}, body)) == found
