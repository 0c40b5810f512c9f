"""What is measured, each in a process of its own: ``python -m bench.server KIND …`` prints its port and serves.

Kinds: ``bare`` (an aiohttp handler that reads the body and answers 200), ``hub``, ``sink`` (a provider that takes
every message).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

import uvloop
from aiohttp import web

from bench.traffic import ACCOUNT, NUMBER, PUBLIC_URL, TOKEN
from hub.app import running
from hub.settings import Settings


async def _until_told() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


def _say(port: int) -> None:
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()


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
    count = 0

    async def handle(request: web.Request) -> web.Response:
        nonlocal count
        await request.read()
        count += 1
        body = {"sid": f"SM{count:032x}", "status": "queued", "num_segments": "1", "error_code": None}
        return web.Response(body=json.dumps(body).encode(), status=201, content_type="application/json")

    app = web.Application()
    app.router.add_post("/2010-04-01/Accounts/{account}/Messages.json", handle)
    await _serve(app)


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
        _say(one.port)
        await _until_told()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["bare", "sink", "hub"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--database")
    parser.add_argument("--roles", default="web,inbound,outbound")
    parser.add_argument("--sink", type=int, default=9)
    given = parser.parse_args()
    match given.kind:
        case "bare":
            uvloop.run(bare())
        case "sink":
            uvloop.run(sink())
        case _:
            uvloop.run(hub(given.data, given.database, given.roles.split(","), given.sink))


if __name__ == "__main__":
    main()
