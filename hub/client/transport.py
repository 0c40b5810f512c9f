"""Requests that are asked again until they are answered, with one effect however often they are sent."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import date
from datetime import time as clock
from typing import Any
from urllib.parse import urlencode

import tenacity

from hub.client import errors
from hub.client.errors import HubError, Unreachable
from hub.contract import Ambiguous, Answer, Http, SendError

_TIMEOUT = 60.0  # seconds of one exchange
_SHORTEST = 0.1
_LARGEST = 1 << 30  # bytes of an answer: it is our own hub
_AGAIN = (429, 500, 502, 503, 504)
_UNDONE = (429, 503)  # nothing was done
_LONGEST_WAIT = 60.0


class _Again(Exception):
    """Worth another try. ``after``: seconds that the hub asked for."""

    def __init__(self, error: HubError, after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.after = after


class Transport:
    """``patience``: seconds that a request is tried for."""

    def __init__(self, url: str, key: str, http: Http, patience: float) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._http = http
        self._patience = patience

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> Any:
        """The answer's JSON. ``key``: the Idempotency-Key, by default one for this call. Raises: HubError."""
        end = time.monotonic() + self._patience
        given = {name: _plain(value) for name, value in (query or {}).items() if value is not None}
        url = f"{self._url}/api/v1{path}" + (f"?{urlencode(given)}" if given else "")
        headers = {"Authorization": f"Bearer {self._key}", "Accept": "application/json"}
        content = b""
        if method == "POST":
            if key is not None and not (key.isascii() and key.isprintable()):
                raise HubError(f"key: {key!r} is not of printable ASCII characters alone")
            headers["Idempotency-Key"] = key or str(uuid.uuid4())
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = encode(body)
        # A repeated GET has no effect, a repeated POST has its key; a DELETE would be told that nothing is there.
        repeatable = method != "DELETE"
        try:
            async for attempt in tenacity.AsyncRetrying(
                retry=tenacity.retry_if_exception_type(_Again),
                stop=tenacity.stop_before_delay(self._patience),
                wait=_pause,
                reraise=True,
            ):
                with attempt:
                    timeout = min(_TIMEOUT, max(_SHORTEST, end - time.monotonic()))
                    return await self._once(method, url, headers, content, repeatable, timeout)
        except _Again as again:
            raise again.error from None
        raise AssertionError("unreachable")

    async def _once(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes, repeatable: bool, timeout: float
    ) -> Any:
        try:
            answer = await self._http.request(
                method, url, headers=headers, body=content, timeout=timeout, largest=_LARGEST
            )
        except SendError as error:
            words = f"the hub at {self._url} does not answer ({error.detail}); is it running, is HUB_URL right?"
            lost = Unreachable(words)
            if isinstance(error, Ambiguous) and not repeatable:
                raise lost from None
            raise _Again(lost) from None
        found = _read(answer)
        if answer.status < 400 and found is not None:
            return found
        problem = errors.of(answer.status, found) if found is not None else self._foreign(answer.status)
        if answer.status in _AGAIN and (repeatable or answer.status in _UNDONE):
            raise _Again(problem, _seconds(answer.headers.get("retry-after")))
        raise problem

    def _foreign(self, status: int) -> Unreachable:
        """What a proxy before the hub says, or a program that is none."""
        if status in _AGAIN:
            return Unreachable(f"the hub at {self._url} does not answer (HTTP {status})")
        return Unreachable(f"{self._url} is no hub: HTTP {status} and no JSON; is HUB_URL right?")


def _read(answer: Answer) -> Any:
    """The answer's JSON object; None if it is of no hub."""
    try:
        found = json.loads(answer.body)
    except ValueError:
        return None
    return found if isinstance(found, dict) and not 300 <= answer.status < 400 else None


def encode(body: Any) -> bytes:
    """Raises: HubError."""
    try:
        return json.dumps(body, ensure_ascii=False, default=_json).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise HubError(f"this cannot be sent to the hub: {error}") from None


def _json(value: Any) -> Any:
    if isinstance(value, date | clock):
        return value.isoformat()
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    raise TypeError(f"a {type(value).__name__} is no text, number, list or mapping")


def _pause(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _Again) and error.after is not None:
        return error.after
    return _backoff(state)


_backoff: Callable[[tenacity.RetryCallState], float] = tenacity.wait_random_exponential(multiplier=0.2, max=10)


def _seconds(text: str | None) -> float | None:
    return min(float(text), _LONGEST_WAIT) if text is not None and text.isdigit() else None


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
