"""A load generator that costs little: prebuilt requests over kept-alive sockets, nothing parsed but the status."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast


@dataclass(slots=True)
class Result:
    """``latencies`` in seconds, one per answer; ``refused``: answers that were not 2xx; ``started``: perf_counter."""

    started: float
    seconds: float
    answers: int
    refused: int
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.answers / self.seconds

    def percentile(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class _Connection(asyncio.Protocol):
    def __init__(self, load: _Load) -> None:
        self._load = load
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its base class
        self._load.ready(self)

    def send(self, request: bytes) -> None:
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = 0
        marker = head.lower().find(b"content-length:")
        if marker >= 0:
            length = int(head[marker + 15 :].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        self._load.answered(head[9:12], time.perf_counter() - self._sent_at)
        self._load.ready(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._load.lost()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class _Load:
    """Closed loop: a connection sends its next request as soon as it is free. ``rate``: not faster than that."""

    def __init__(self, requests: Sequence[bytes], rate: float | None) -> None:
        self._requests = iter(requests)
        self._left = len(requests)
        self._rate = rate
        self._started = 0.0
        self._given = 0
        self.result = Result(0.0, 0.0, 0, 0)
        self.done = asyncio.Event()

    def ready(self, connection: _Connection) -> None:
        if not self._started:
            self._started = self.result.started = time.perf_counter()
        if self._rate is not None:
            wait = self._started + self._given / self._rate - time.perf_counter()
            if wait > 0:
                self._given += 1
                asyncio.get_running_loop().call_later(wait, self._next, connection)
                return
        self._given += 1
        self._next(connection)

    def _next(self, connection: _Connection) -> None:
        request = next(self._requests, None)
        if request is not None:
            connection.send(request)

    def answered(self, status: bytes, latency: float) -> None:
        self.result.answers += 1
        self.result.latencies.append(latency)
        if not status.startswith(b"2"):
            self.result.refused += 1
        self._left -= 1
        if self._left == 0:
            self.result.seconds = time.perf_counter() - self._started
            self.done.set()

    def lost(self) -> None:
        self.done.set()


async def drive(port: int, requests: Sequence[bytes], *, connections: int = 64, rate: float | None = None) -> Result:
    """Send all ``requests`` to 127.0.0.1:``port``. Raises RuntimeError if the server hangs up."""
    loop = asyncio.get_running_loop()
    load = _Load(requests, rate)
    opened = []
    for _ in range(connections):
        _, connection = await loop.create_connection(lambda: _Connection(load), "127.0.0.1", port)
        opened.append(connection)
    await load.done.wait()
    complete = load.result.answers == len(requests)
    for connection in opened:
        connection.close()
    if not complete:
        raise RuntimeError(f"the server hung up after {load.result.answers} of {len(requests)} answers")
    return load.result
