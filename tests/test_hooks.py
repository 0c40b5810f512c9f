"""The way in as providers' HTTP clients use it, to the byte."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from aiohttp import web

from hub.contract import Request, Verified
from hub.store.schema import inbox
from hub.store.sqlite import SqliteStore
from hub.web import front, hooks
from hub.web.answer import wire as bytes_of
from hub.web.hooks import Hooks
from hub.web.server import HOOKS
from tests.paper import Office, office, until

LETTER = b"[                ]"  # an envelope with nothing in it


@pytest.fixture(params=["quick", "aiohttp"])
async def desk(
    request: pytest.FixtureRequest, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Office]:
    """Each test twice: as webhooks are taken, and as they are where aiohttp is of another version."""
    if request.param == "aiohttp":
        monkeypatch.setattr(front, "_KNOWN", "of another year")
    async with office(sqlite_url, tmp_path) as one:
        yield one


@asynccontextmanager
async def busy(desk: Office) -> AsyncIterator[None]:
    """The database commits nothing until this ends."""
    begun, go_on = threading.Event(), threading.Event()

    def work(_: sa.Connection) -> None:
        begun.set()
        go_on.wait(20)

    waiting = asyncio.create_task(desk.hub.store.write(work))
    await asyncio.to_thread(begun.wait)
    try:
        yield
    finally:
        go_on.set()
    await waiting


async def until_taken(desk: Office) -> None:
    """A webhook waits for the database."""
    store = desk.hub.store
    assert isinstance(store, SqliteStore)

    async def taken() -> bool:
        return len(store._appends) == 1

    await until(taken)


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


async def test_what_comes_while_a_webhook_is_stored_is_answered_after_it(desk: Office) -> None:
    request = "\r\n".join(head()).encode() + b"\r\n\r\n" + LETTER
    async with wire(desk) as line:
        async with busy(desk):
            line.writer.write(request)
            await until_taken(desk)
            line.writer.write(b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n" + request[:30])
            await asyncio.sleep(0.05)
            line.writer.write(request[30:] + b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await line.reader.read(1)
        answers = [await line.answer() for _ in range(4)]
        assert [answer.status for answer in answers] == [200] * 4
        assert [bool(answer.body) for answer in answers] == [False, True, False, True]
        assert (await line.ask(*head(), body=LETTER)).status == 200
    assert len(await stored(desk)) == 3


async def test_other_requests_and_webhooks_share_a_connection(desk: Office) -> None:
    async with wire(desk) as line:
        for _ in range(3):
            assert (await line.ask(*head(), body=LETTER)).body == b""
            assert (await line.ask("GET /healthz HTTP/1.1", "Host: hub")).body != b""
            assert (await line.ask(*head("/hooks/nobody"), body=LETTER)).status == 404


async def test_a_header_that_is_not_utf_8_refuses_nothing(desk: Office) -> None:
    async with wire(desk) as line:
        request = "\r\n".join(head()).encode() + b"\r\nCF-IPCity: S\xe3o Paulo\r\n\r\n" + LETTER
        line.writer.write(request)
        assert (await line.answer()).status == 200
    [row] = await desk.rows("inbox")
    assert json.loads(row.headers)["cf-ipcity"] == "S?o Paulo"


async def test_a_stopping_hub_answers_what_it_has_taken(desk: Office) -> None:
    async with wire(desk) as line:
        async with busy(desk):
            line.writer.write("\r\n".join(head()).encode() + b"\r\n\r\n" + LETTER)
            await until_taken(desk)
            assert desk.hub._runner is not None
            stopping = asyncio.create_task(desk.hub._runner.cleanup())
            await asyncio.sleep(0.1)
            assert not stopping.done()
        assert (await line.answer()).status == 200
        assert await line.is_closed()
        await stopping


async def test_who_hangs_up_before_the_answer_has_been_heard_all_the_same(
    desk: Office, caplog: pytest.LogCaptureFixture
) -> None:
    async with busy(desk):
        async with wire(desk) as line:
            line.writer.write("\r\n".join(head()).encode() + b"\r\n\r\n" + LETTER)
            await until_taken(desk)
        await asyncio.sleep(0.05)

    async def kept() -> bool:
        return len(await stored(desk)) == 1

    await until(kept)
    assert not caplog.records


async def test_a_large_body_is_taken_whole_and_one_too_large_is_not(desk: Office) -> None:
    limit = desk.hub.specs["paper"].body_limit
    async with wire(desk) as line:
        for size, status in ((limit // 2, 200), (limit, 200), (limit + 1, 413)):
            body = b"[" + b" " * (size - 2) + b"]"
            lines = ("POST /hooks/paper HTTP/1.1", "Host: hub", "X-Seal: wax", f"Content-Length: {size}")
            assert (await line.ask(*lines, body=body)).status == status, size
    assert [len(body) for _, body in await stored(desk)] == [limit // 2, limit]


async def test_a_small_body_that_is_too_large_is_refused_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hub.db"
    async with office(url, tmp_path, configured={"body_limit": len(LETTER) - 1}) as desk, wire(desk) as line:
        assert (await line.ask(*head(), body=LETTER)).status == 413
        assert await stored(desk) == []


async def test_an_adapter_that_fails_refuses_one_webhook(desk: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(request: Request) -> Verified:
        raise RuntimeError("a fault of ours")

    async with wire(desk) as line:
        with monkeypatch.context() as patch:
            patch.setattr(desk.hub.adapters["paper"], "verify", fails)
            assert (await line.ask(*head(), body=LETTER)).status == 500
        assert (await line.ask(*head(), body=LETTER)).status == 200
    assert len(await stored(desk)) == 1


async def test_nonsense_is_refused_and_ends_the_connection(desk: Office) -> None:
    async with wire(desk) as line:
        assert (await line.ask(*head(), body=LETTER)).status == 200
        assert (await line.ask("POST /hooks/paper HTTP/1.1", "Host: hub", "Content-Length: many")).status == 400
        assert await line.is_closed()
    assert len(await stored(desk)) == 1


HALVES = {
    "nothing": b"",
    "half a head": b"POST /hooks/paper HTTP/1.1\r\nHost:",
    "half a body": "\r\n".join(head()).encode() + b"\r\n\r\n" + LETTER[:3],
    "half a long body": b"POST /hooks/paper HTTP/1.1\r\nHost: hub\r\nContent-Length: 100000\r\n\r\n" + b" " * 50_000,
    "half a body in chunks": b"POST /hooks/paper HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
}


@pytest.mark.parametrize("half", HALVES)
async def test_half_a_request_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: str) -> None:
    for module in (hooks, front):
        monkeypatch.setattr(module, "PATIENCE", 1.0)
    monkeypatch.setattr(front, "_SWEEP", 0.1)
    async with office(f"sqlite:///{tmp_path}/hub.db", tmp_path) as desk, wire(desk) as line, wire(desk) as other:
        assert (await other.ask(*head(), body=LETTER)).status == 200
        line.writer.write(HALVES[half])
        async with asyncio.timeout(20):
            if "body" in half:
                assert (await line.answer()).status == 408
            if half != "half a long body":  # aiohttp reads on for ten seconds and forgets it
                assert await line.is_closed()
        assert (await other.ask(*head(), body=LETTER)).status == 200  # who has been answered may stay
        assert len(await stored(desk)) == 2


async def test_a_request_that_comes_slowly_but_in_time_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "PATIENCE", 5.0)
    monkeypatch.setattr(front, "_SWEEP", 0.01)
    whole = "\r\n".join(head()).encode() + b"\r\n\r\n" + LETTER
    async with office(f"sqlite:///{tmp_path}/hub.db", tmp_path) as desk, wire(desk) as line:
        for number in range(0, len(whole), 20):
            line.writer.write(whole[number : number + 20])
            await asyncio.sleep(0.05)
        assert (await line.answer()).status == 200


async def test_bodies_that_do_not_come_whole_are_held_to_a_limit(desk: Office) -> None:
    way: Hooks = desk.hub._runner.app[HOOKS]  # type: ignore[union-attr]  # it serves
    way._most = 150_000
    lines = ("POST /hooks/paper HTTP/1.1", "Host: hub", "X-Seal: wax", "Content-Length: 90001")
    async with wire(desk) as first, wire(desk) as second, wire(desk) as third:
        first.writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode() + b" " * 90_000)

        async def held() -> bool:
            return way._held == 90_000

        await until(held)
        assert (await second.ask(*lines, body=b" " * 90_000)).status == 503
        await until(held)
        assert (await third.ask(*head(), body=LETTER)).status == 200
        first.writer.write(b" ")
        assert (await first.answer()).status == 200
        assert way._held == 0


async def test_the_oldest_idle_connection_makes_room(tmp_path: Path) -> None:
    async with office(f"sqlite:///{tmp_path}/hub.db", tmp_path) as desk:
        assert desk.hub._runner is not None
        server = desk.hub._runner.server
        assert isinstance(server, front._Server)
        server.most = 2
        async with busy(desk), wire(desk) as first, wire(desk) as second:
            first.writer.write("\r\n".join(head()).encode() + b"\r\n\r\n" + LETTER)
            await until_taken(desk)
            async with wire(desk) as third:
                assert await second.is_closed()  # the first one waits for its answer
                assert (await third.ask(*head("/hooks/nobody"), body=LETTER)).status == 404


BROKEN = {
    "no HTTP": b"\x16\x03\x01\x00\r\n\r\n",
    "a header too long": b"GET / HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
    "a body of no chunks": b"POST /hooks/paper HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a body that breaks off": b"POST /hooks/p%61per HTTP/1.1\r\nHost: hub\r\nContent-Length: 10\r\n\r\nx",
}


@pytest.mark.parametrize("request_", BROKEN)
async def test_what_is_no_request_is_no_error_of_ours(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, request_: str
) -> None:
    async with office(f"sqlite:///{tmp_path}/hub.db", tmp_path) as desk, wire(desk) as line:
        line.writer.write(BROKEN[request_])
        if request_ == "a body that breaks off":
            await line.writer.drain()
            await asyncio.sleep(0.05)
            line.writer.close()
            await asyncio.sleep(0.05)
        else:
            assert (await line.answer()).status == 400
        async with wire(desk) as other:
            assert (await other.ask(*head(), body=LETTER)).status == 200
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_who_reads_no_answers_gets_no_further_ones(desk: Office) -> None:
    request = "\r\n".join(head(seal="glue")).encode() + b"\r\n\r\n" + LETTER
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", desk.hub.port))
        await loop.sock_sendall(client, request)
        await loop.sock_recv(client, 4096)
        assert desk.hub._runner is not None and desk.hub._runner.server is not None
        [connection] = desk.hub._runner.server.connections
        assert connection.transport is not None
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        connection.transport.set_write_buffer_limits(2000)
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                for _ in range(1000):
                    await loop.sock_sendall(client, request)
                    await asyncio.sleep(0.0005)
        assert connection.transport.get_write_buffer_size() < 5000


async def test_the_quick_way_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ways: list[str] = []

    take, handle = front.Front._take, Hooks.handle

    def quick(*args: Any) -> None:
        ways.append("quick")
        take(*args)

    async def other(*args: Any) -> web.StreamResponse:
        ways.append("aiohttp")
        return await handle(*args)

    monkeypatch.setattr(front.Front, "_take", quick)
    monkeypatch.setattr(Hooks, "handle", other)
    async with office(f"sqlite:///{tmp_path}/hub.db", tmp_path) as one, wire(one) as line:
        for _ in range(2):
            assert (await line.ask(*head(), body=LETTER)).status == 200
        line.writer.write("\r\n".join(head()).encode() + b"\r\n\r\n")
        await asyncio.sleep(0.05)
        line.writer.write(LETTER)
        assert (await line.answer()).status == 200
        assert (await line.ask(*head("/hooks/p%61per"), body=LETTER)).status == 200
        assert (await line.ask(*head(), body=LETTER)).status == 200
    assert ways == ["quick"] * 3 + ["aiohttp", "quick"]


def test_no_header_of_an_answer_breaks_its_line() -> None:
    with pytest.raises(ValueError, match="line break"):
        bytes_of(Verified(True, headers={"X-Name": "value\r\nSet-Cookie: a=b"}))
