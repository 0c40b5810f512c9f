"""A hub in a process of its own, started as users start it, that can be killed at any moment."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from hub import keys

ROOT = Path(__file__).parents[2]
# How long is waited for what must happen, in seconds. Generous: a slow machine is no failure.
DRAINED = 300.0  # everything that was taken has ended
START = 120.0  # a hub that was started is ready, or has died, or has stopped


class HubProcess:
    """``kills``: how often it was killed, or killed itself. Settings, port and token stay over restarts.

    ``beside``: share that hub's address and key, behind which the providers see one hub.
    """

    def __init__(
        self,
        home: Path,
        database_url: str,
        channels: Mapping[str, Mapping[str, Any]],
        beside: HubProcess | None = None,
    ) -> None:
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.home = home
        self.log = home / "hub.log"
        self.config = home / "hub.toml"
        self.kills = 0
        self.public_url = beside.public_url if beside else self.base
        self.secret = beside.secret if beside else secrets.token_urlsafe(32)
        self.token = keys.local_token(self.secret.encode())
        self._process: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None
        top = {
            "data": str(home / "data"), "database_url": database_url, "secret_key": self.secret,
            "public_url": self.public_url,
        }
        tables: dict[str, Mapping[str, Any]] = {
            "listen": {"port": self.port},
            "egress": {"allow": ["127.0.0.1"]},
            **{f"channels.{name}": channel for name, channel in channels.items()},
        }
        self.config.write_text(_toml(top, tables), encoding="utf-8")

    async def start(self, *flaws: str) -> None:
        """Start it, sound or with flaws of ``tests.crash.flaws``; see ``ready``."""
        program = [str(Path(sys.executable).with_name("hub"))]
        if flaws:
            program = [sys.executable, "-m", "tests.crash.runner", *flaws]
        command = [*program, "--config", str(self.config), "serve"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, cwd=ROOT, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )

    async def ready(self) -> None:
        """Wait until it says so. Raises: AssertionError if it ends instead, or takes too long."""
        until = time.monotonic() + START
        while await self.status("/readyz") != 200:
            assert self.alive, f"the hub ended by itself: {self.words()}"
            assert time.monotonic() < until, f"the hub is not ready: {self.words()}"
            await asyncio.sleep(0.02)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        assert self._process is not None
        if self.alive:
            self._process.send_signal(signal.SIGKILL)
        await self.died()

    async def died(self) -> None:
        """Wait until SIGKILL has ended it, ours or its own. Raises: AssertionError if something else did."""
        assert self._process is not None
        async with asyncio.timeout(START):
            code = await self._process.wait()
        assert code == -signal.SIGKILL, f"the hub ended with {code}: {self.words()}"
        self.kills += 1

    async def stop(self, timeout: float = START) -> int:
        """SIGTERM; its exit code. Raises: TimeoutError."""
        assert self._process is not None
        if self.alive:
            self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(timeout):
            return await self._process.wait()

    async def close(self) -> None:
        """End it, if it has not ended."""
        if self.alive:
            await self.kill()
        if self._session is not None:
            await self._session.close()

    async def ask(self, method: str, path: str, body: Any = None, key: str | None = None) -> tuple[int, Any]:
        """Status and JSON of the API's answer; status 0 if there was none."""
        headers = {"Authorization": f"Bearer {self.token}"} | ({"Idempotency-Key": key} if key else {})
        try:
            async with self.session.request(method, self.base + path, json=body, headers=headers) as answer:
                return answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            return 0, None

    async def get(self, path: str) -> Any:
        status, body = await self.ask("GET", path)
        assert status == 200, (path, status, body, self.words())
        return body

    async def waiting(self) -> float:
        """What is still to be done: rows of the inbox, and deliveries that have not ended."""
        async with self.session.get(self.base + "/metrics") as answer:
            lines = (await answer.text()).splitlines()
        names = ("hub_inbox_waiting", "hub_deliveries_")
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(names))

    async def idle(self) -> None:
        """Wait until nothing is to be done. Raises: AssertionError if that takes too long."""
        until = time.monotonic() + DRAINED
        while waiting := await self.waiting():
            assert time.monotonic() < until, f"{waiting} still waiting: {self.words()}"
            await asyncio.sleep(0.05)

    def words(self) -> str:
        """The end of what it said."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-3000:] if self.log.exists() else ""

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        return self._session

    async def status(self, path: str) -> int:
        """Of a GET; 0 without an answer."""
        try:
            async with self.session.get(self.base + path) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            return 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _toml(top: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [f"{name} = {json.dumps(value)}" for name, value in top.items()]
    for title, table in tables.items():
        lines += ["", f"[{title}]", *(f"{name} = {json.dumps(value)}" for name, value in table.items())]
    return "\n".join(lines) + "\n"
