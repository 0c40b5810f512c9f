"""What is measured, each in a process of its own: ``python -m bench.server KIND …`` prints its port and serves.

Kinds: ``bare`` (an aiohttp handler that reads the body and answers 200), ``hub``, ``sink`` (a provider that takes
every message), ``client`` (sends to it without a hub, prints messages per second and ends).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from array import array
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import uvloop
from aiohttp import web

from bench.traffic import ACCOUNT, FIRST_PHONE, FORM, NUMBER, PUBLIC_URL, SENDS, TEXT, TOKEN
from hub.app import collect_seldom, running
from hub.settings import Settings


async def _until_told() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


def _say(port: int) -> None:
    print(port, flush=True)


async def bare() -> None:
    """The bound of webhooks: the same server settings as the hub's, and nothing to do."""

    async def handle(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=b"<Response/>", headers={"Content-Type": "text/xml"})

    app = web.Application(client_max_size=1 << 20)
    app.router.add_route("*", "/hooks/{channel}", handle)
    await _serve(app)


async def sink() -> None:
    """A provider that accepts at once: the local end of outbound benchmarks."""
    count, first = 0, 0.0
    taken = array("d")  # when each message came

    async def handle(request: web.Request) -> web.Response:
        nonlocal count, first
        await request.read()
        first = first or time.perf_counter()
        count += 1
        taken.append(time.perf_counter())
        body = {"sid": f"SM{count:032x}", "status": "queued", "num_segments": "1", "error_code": None}
        return web.Response(body=json.dumps(body).encode(), status=201, content_type="application/json")

    async def respond(value: object) -> web.Response:
        return web.json_response(value)

    async def tell(_request: web.Request) -> web.Response:
        """When the first message came since this was asked last, and how many have come at all."""
        nonlocal first
        told, first = first, 0.0
        return web.json_response({"first": told, "count": count})

    app = web.Application()
    app.router.add_post(SENDS, handle)
    app.router.add_get("/seen", tell)
    app.router.add_get("/taken", lambda _: respond(taken.tolist()))
    await _serve(app)


async def client(port: int, count: int, workers: int) -> None:
    """The bound of sends: as many at a time as the channel allows, nothing decided, nothing kept."""
    url = f"http://127.0.0.1:{port}{SENDS.format(account=ACCOUNT)}"
    headers = {"authorization": "Basic " + "x" * 90, "accept": "application/json", "content-type": FORM}
    left = iter(range(count))

    async def work(session: aiohttp.ClientSession) -> None:
        for number in left:
            form = {"From": NUMBER, "To": f"+1202{FIRST_PHONE + number}", "Body": TEXT, "StatusCallback": PUBLIC_URL}
            async with session.post(url, headers=headers, data=urlencode(form).encode()) as response:
                json.loads(await response.read())

    connector = aiohttp.TCPConnector(limit=256, keepalive_timeout=60)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        started = time.perf_counter()
        await asyncio.gather(*(work(session) for _ in range(workers)))
        print(count / (time.perf_counter() - started), flush=True)


async def _serve(app: web.Application) -> None:
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, handler_cancellation=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    _say(runner.addresses[0][1])
    await _until_told()
    await runner.cleanup()


async def hub(data: Path, database: str | None, roles: list[str], sink_port: int) -> None:
    settings = Settings.model_validate(
        {
            "public_url": PUBLIC_URL,
            "listen": {"port": 0},
            "data": data,
            "database_url": database,
            "secret_key": "benchmark secret key of 32 letters",
            "roles": roles,
            "log_level": "warning",
            "channels": {
                "sms": {
                    "adapter": "twilio_sms",
                    "account_sid": ACCOUNT,
                    "auth_token": TOKEN,
                    "from_number": NUMBER,
                    "base_url": f"http://127.0.0.1:{sink_port}",
                    "rate": 1_000_000,
                }
            },
        }
    )
    async with running(settings) as one:
        collect_seldom()  # as ``hub serve`` does
        _say(one.port)
        await _until_told()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["bare", "sink", "client", "hub"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--database")
    parser.add_argument("--roles", default="web,inbound,outbound")
    parser.add_argument("--sink", type=int, default=9)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=16)
    given = parser.parse_args()
    match given.kind:
        case "bare":
            uvloop.run(bare())
        case "sink":
            uvloop.run(sink())
        case "client":
            uvloop.run(client(given.sink, given.count, given.workers))
        case _:
            uvloop.run(hub(given.data, given.database, given.roles.split(","), given.sink))


if __name__ == "__main__":
    main()
