"""The way in as providers' HTTP clients use it, to the byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from hub.store.schema import inbox
from hub.web.answer import Ready
from tests.paper import Office, office

LETTER = b"[                ]"  # an envelope with nothing in it


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(f"sqlite:///{tmp_path}/hub.db", tmp_path) as one:
        yield one


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Wire:
    """One connection to the hub."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, *lines: str, body: bytes = b"") -> Answer:
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body)
        return await self.answer()

    async def answer(self) -> Answer:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:-2])
        assert len(headers) == len(head) - 3, "each header once"
        length = int(headers.get("content-length", 0))
        return Answer(int(head[0].split(" ")[1]), headers, await self.reader.readexactly(length))

    async def is_closed(self) -> bool:
        return await self.reader.read(1) == b""


@asynccontextmanager
async def wire(desk: Office) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", desk.hub.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


async def stored(desk: Office) -> list[tuple[str, bytes]]:
    query = sa.select(inbox.c.url, inbox.c.body).order_by(inbox.c.id)
    return [(row[0], row[1]) for row in await desk.hub.store.read(lambda connection: connection.execute(query).all())]


def head(path: str = "/hooks/paper", *more: str, version: str = "1.1", seal: str = "wax") -> tuple[str, ...]:
    return (f"POST {path} HTTP/{version}", "Host: hub", f"X-Seal: {seal}", f"Content-Length: {len(LETTER)}", *more)


async def test_an_answer_is_whole_and_the_connection_takes_the_next_webhook(desk: Office) -> None:
    async with wire(desk) as line:
        for _ in range(3):
            answer = await line.ask(*head("/hooks/paper?x=1"), body=LETTER)
            assert (answer.status, answer.body) == (200, b"")
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
            assert parsedate_to_datetime(answer.headers["date"])
    public = desk.hub.settings.public_url
    assert await stored(desk) == [(f"{public}/hooks/paper?x=1", LETTER)] * 3


async def test_webhooks_sent_ahead_are_answered_in_turn(desk: Office) -> None:
    request = "\r\n".join(head()).encode() + b"\r\n\r\n" + LETTER
    async with wire(desk) as line:
        line.writer.write(request * 5)
        assert [(await line.answer()).status for _ in range(5)] == [200] * 5
    assert len(await stored(desk)) == 5


@pytest.mark.parametrize(
    "lines", [head("/hooks/paper", "Connection: close"), head(version="1.0")], ids=["told to close", "HTTP/1.0"]
)
async def test_a_connection_that_is_to_end_ends_after_the_answer(desk: Office, lines: tuple[str, ...]) -> None:
    async with wire(desk) as line:
        assert (await line.ask(*lines, body=LETTER)).status == 200
        assert await line.is_closed()
    assert len(await stored(desk)) == 1


async def test_a_body_that_comes_in_parts_is_taken_whole(desk: Office) -> None:
    async with wire(desk) as line:
        line.writer.write("\r\n".join(head()).encode() + b"\r\n\r\n" + LETTER[:9])
        await line.writer.drain()
        line.writer.write(LETTER[9:])
        assert (await line.answer()).status == 200
        chunked = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (LETTER[:7], LETTER[7:], b""))
        lines = ("POST /hooks/paper HTTP/1.1", "Host: hub", "X-Seal: wax", "Transfer-Encoding: chunked")
        assert (await line.ask(*lines, body=chunked)).status == 200
    assert [body for _, body in await stored(desk)] == [LETTER] * 2


async def test_a_webhook_without_a_body_is_one(desk: Office) -> None:
    async with wire(desk) as line:
        for lines in (("Content-Length: 0",), ()):
            answer = await line.ask("POST /hooks/paper HTTP/1.1", "Host: hub", "X-Seal: wax", *lines)
            assert answer.status == 200
    assert [body for _, body in await stored(desk)] == [b"", b""]


async def test_a_client_that_asks_first_is_told_to_go_on(desk: Office) -> None:
    async with wire(desk) as line:
        answer = await line.ask(*head("/hooks/paper", "Expect: 100-continue"))
        assert answer.status == 100
        line.writer.write(LETTER)
        assert (await line.answer()).status == 200
    assert [body for _, body in await stored(desk)] == [LETTER]


@pytest.mark.parametrize(
    ("path", "more", "status"),
    [
        ("/hooks/nobody", (), 404),
        ("/hooks/", (), 404),
        ("/hooks/paper/more", (), 404),
        ("/hooks/p%61per", (), 200),
        ("/hooks/paper", ("Content-Encoding: gzip",), 415),
    ],
)
async def test_other_paths_and_kinds_are_told_apart(
    desk: Office, path: str, more: tuple[str, ...], status: int
) -> None:
    async with wire(desk) as line:
        assert (await line.ask(*head(path, *more), body=LETTER)).status == status
    assert len(await stored(desk)) == (1 if status == 200 else 0)


async def test_a_webhook_that_is_not_authentic_is_refused(desk: Office) -> None:
    async with wire(desk) as line:
        assert (await line.ask(*head(seal="glue"), body=LETTER)).status == 403
        assert (await line.ask(*head(), body=LETTER)).status == 200
    assert len(await stored(desk)) == 1


def test_no_header_of_an_answer_breaks_its_line() -> None:
    with pytest.raises(ValueError, match="line break"):
        Ready(200, "", (("X-Name", "value\r\nSet-Cookie: a=b"),))
