"""What lies between a hub and its PostgreSQL, and may go silent: a router that forgets, an address that moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import make_url


class Wire:
    """``url``: the database, by this way."""

    def __init__(self, url: str) -> None:
        self._there = make_url(url)
        self._clients: list[asyncio.StreamWriter] = []
        self._servers: list[asyncio.StreamWriter] = []
        self._pumps: list[asyncio.Task[None]] = []
        self._dead = False
        self.url = ""

    async def start(self) -> None:
        self._listener = await asyncio.start_server(self._join, "127.0.0.1", 0)
        port = self._listener.sockets[0].getsockname()[1]
        self.url = self._there.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)

    async def close(self) -> None:
        self._listener.close()
        await self.silence()
        await _end(self._clients)

    async def silence(self, *, altogether: bool = False) -> None:
        """No answer comes any more, and no end; the server takes it for one. ``altogether``: to new connections too."""
        self._dead = altogether
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        await _end(self._servers)

    def restore(self) -> None:
        self._dead = False

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.append(writer)
        if self._dead:
            return
        assert self._there.host is not None
        back, forth = await asyncio.open_connection(self._there.host, self._there.port)
        self._servers.append(forth)
        self._pumps += [asyncio.create_task(_pump(reader, forth)), asyncio.create_task(_pump(back, writer))]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
    except ConnectionError:
        pass
    writer.close()


async def _end(writers: list[asyncio.StreamWriter]) -> None:
    for writer in writers:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


@asynccontextmanager
async def wire(url: str) -> AsyncIterator[Wire]:
    one = Wire(url)
    await one.start()
    try:
        yield one
    finally:
        await one.close()
