"""The ``hub`` command for tests: in this process, or as one of its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hub.cli import main
from hub.cli.base import State
from hub.keys import local_token

HUB = Path(sys.executable).with_name("hub")
KEY = "a key that only these tests know, and nobody else"


def write_settings(place: Path, channels: Mapping[str, Mapping[str, Any]] | None = None, **top: Any) -> Path:
    """A settings file in ``place`` with everything kept there and any free port."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in top.items()]
    lines += [f"data = {json.dumps(str(place / 'data'))}", f"secret_key = {json.dumps(KEY)}", "[listen]", "port = 0"]
    for name, table in (channels or {}).items():
        lines += [f"[channels.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    path = place / "hub.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def clean_environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("HUB_")} | more


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def run(
    *arguments: str, cwd: Path, stdin: bytes = b"", before: Sequence[str] = (), **environment: str
) -> Done:
    """One command to its end. ``before``: a command that runs it, with its arguments."""
    process = await asyncio.create_subprocess_exec(
        *before, HUB, *arguments, cwd=cwd, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=clean_environment(**environment)
    )
    out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


@dataclass
class Cli:
    """Commands in this process. ``extra``: adapter classes beside the installed ones."""

    config: Path
    capsys: pytest.CaptureFixture[str]
    extra: dict[str, Any] = field(default_factory=dict)

    async def __call__(self, *arguments: str) -> Done:
        self.capsys.readouterr()
        code = await asyncio.to_thread(main, ["--config", str(self.config), *arguments], State(extra=self.extra))
        return Done(code, *self.capsys.readouterr())


@dataclass
class Served:
    """``hub serve`` at work. ``events``: what it logged."""

    process: Process
    session: aiohttp.ClientSession
    events: list[dict[str, Any]] = field(default_factory=list)

    async def event(self, name: str) -> dict[str, Any]:
        """The next line of the log that begins like this."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.events.append(json.loads(line))
            if str(self.events[-1]["event"]).startswith(name):
                return self.events[-1]
        raise AssertionError(f"no {name!r}, but {self.events}")

    @property
    def url(self) -> str:
        return str(next(each["url"] for each in self.events if each["event"] == "ready"))

    async def post(self, path: str, body: Any, key: str = "once") -> Any:
        headers = {"Authorization": f"Bearer {local_token(KEY.encode())}", "Idempotency-Key": key}
        async with self.session.post(self.url + path, json=body, headers=headers) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json()

    async def end(self) -> int:
        """The exit code, once it has ended by itself."""
        out, _ = await self.process.communicate()
        self.events += map(json.loads, out.splitlines())
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def served(place: Path, *arguments: str, **environment: str) -> AsyncIterator[Served]:
    """``hub serve --json`` with the settings in ``place``, once it is ready; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        HUB, "serve", "--json", *arguments, cwd=place, stdout=PIPE, env=clean_environment(**environment)
    )
    try:
        async with aiohttp.ClientSession() as session:
            one = Served(process, session)
            await one.event("ready")
            yield one
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
