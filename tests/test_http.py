"""The client for providers' APIs, against servers that mean no good."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest

from hub.contract import LARGEST_ANSWER, Ambiguous
from hub.http import Client

MORE = 50 * LARGEST_ANSWER


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    client = Client()
    yield client
    await client.close()


async def _served(client: Client, headers: bytes, body: bytes, times: int, **limits: int) -> tuple[int, int]:
    """Length of the answer, and how much of it left the server. Raises: SendError."""
    left = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + headers + b"\r\n")
        try:
            for _ in range(times):
                writer.write(body)
                await writer.drain()
                left += len(body)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        try:
            answer = await client.request("GET", f"http://127.0.0.1:{port}/", **limits)  # type: ignore[arg-type]  # by name
        except Ambiguous as error:
            assert left < MORE // 2
            raise error
        return len(answer.body), left


async def test_an_answer_without_an_end_is_not_kept(client: Client) -> None:
    with pytest.raises(Ambiguous, match="too large"):
        await _served(client, b"", b" " * (1 << 20), MORE >> 20)


async def test_an_answer_that_unpacks_to_far_more_is_not_kept(client: Client) -> None:
    bomb = gzip.compress(bytes(MORE))
    with pytest.raises(Ambiguous, match="too large"):
        await _served(client, b"Content-Encoding: gzip\r\n", bomb, 1)


async def test_an_answer_is_read_up_to_its_limit(client: Client) -> None:
    assert await _served(client, b"", b" " * 1000, 3, largest=3000) == (3000, 3000)
    with pytest.raises(Ambiguous, match="more than 2999 bytes"):
        await _served(client, b"", b" " * 1000, 3, largest=2999)
