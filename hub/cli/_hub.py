"""How commands reach the hub's data: the hub that runs here answers, else one is opened for the command alone.

Either way they speak HTTP with the API on this machine, so there is one way to do each thing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import typer
from aiohttp import web

from hub.app import address_file, opened
from hub.cli._logging import only_warnings
from hub.cli.base import Failure, State
from hub.contract import SendError
from hub.http import Client
from hub.keys import local_token
from hub.settings import Settings, master_key
from hub.store.sqlite import DirectoryInUse
from hub.web import api, local

_PATIENCE = 10.0  # seconds that another command may take
_LARGEST = 1 << 30  # bytes of an answer: it is our own hub
API = "/api/v1"
LOCAL = "/local/v1"


@dataclass
class Api:
    """``works``: whether a hub runs that sends and receives; None if that cannot be known (PostgreSQL)."""

    url: str
    token: str
    http: Client
    works: bool | None

    async def get(self, path: str, **query: Any) -> Any:
        given = {name: _plain(value) for name, value in query.items() if value is not None}
        return await self._ask("GET", path + (f"?{urlencode(given)}" if given else ""), None, None)

    async def post(self, path: str, body: Any, key: str | None = None) -> Any:
        return await self._ask("POST", path, body, key)

    async def delete(self, path: str) -> Any:
        return await self._ask("DELETE", path, None, None)

    async def pages(self, path: str, limit: int | None, **query: Any) -> list[Any]:
        """Items of a list, newest first, up to ``limit``."""
        items: list[Any] = []
        cursor = None
        while limit is None or len(items) < limit:
            most = 200 if limit is None else min(200, limit - len(items))
            page = await self.get(path, limit=most, cursor=cursor, **query)
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                break
        return items

    async def _ask(self, method: str, path: str, body: Any, key: str | None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        content = b""
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body).encode()
        try:
            answer = await self.http.request(
                method, self.url + path, headers=headers, body=content, timeout=60.0, largest=_LARGEST
            )
        except SendError as error:
            raise Failure(f"the hub at {self.url} does not answer ({error.detail}); see its log") from error
        try:
            found = json.loads(answer.body)
        except ValueError:
            found = {"detail": f"no JSON but HTTP {answer.status}; is this another program?"}
        if answer.status >= 400:
            raise Failure(_refusal(self.url, answer.status, found))
        return found


@asynccontextmanager
async def reached(state: State) -> AsyncIterator[Api]:
    """Raises: Failure, ConfigError, CannotStart."""
    settings = state.settings()
    only_warnings()
    http = Client()
    token = local_token(master_key(settings))
    deadline = asyncio.get_running_loop().time() + _PATIENCE
    try:
        while True:
            try:
                async with _own(settings, state) as (url, works):
                    yield Api(url, token, http, works)
                    return
            except DirectoryInUse as error:
                busy = error
            if found := await _running(settings, http):
                yield Api(found, token, http, True)
                return
            if asyncio.get_running_loop().time() > deadline:
                raise Failure(f"{busy} (it does not answer on this machine, so it cannot be asked)") from busy
            await asyncio.sleep(0.1)  # another command, which is about to end
    finally:
        await http.close()


@asynccontextmanager
async def _own(settings: Settings, state: State) -> AsyncIterator[tuple[str, bool | None]]:
    """A hub that only answers this command. Raises: DirectoryInUse before anything is yielded."""
    new = _new(settings)
    async with opened(settings, adapters=state.adapters()) as hub:
        if new is not None:
            made = f"there was no hub in {new.parent}: this command made a new and empty one"
            words = "if yours is elsewhere, say so by --config or HUB_DATA (a full path works in any directory)"
            typer.echo(f"hub: {made}; {words}", err=True)
        app = web.Application()
        api.mount(app, hub)
        local.mount(app, hub)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}", None if hub.store.dialect == "postgresql" else False
        finally:
            await runner.cleanup()
            for adapter in hub.adapters.values():
                await adapter.close()


def _new(settings: Settings) -> Path | None:
    """The database of SQLite, if there is none yet: where a wrong HUB_DATA leads."""
    scheme, _, path = settings.database.partition(":///")
    return Path(path) if scheme == "sqlite" and not Path(path).exists() else None


async def _running(settings: Settings, http: Client) -> str | None:
    """Where the hub that holds the data directory answers."""
    try:
        url = address_file(settings).read_text(encoding="ascii").strip()
        answer = await http.request("GET", f"{url}/healthz", timeout=5.0)
    except (OSError, UnicodeDecodeError, SendError):
        return None
    return url if answer.status == 200 else None


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def segment(text: str) -> str:
    """One segment of a path."""
    return quote(text, safe="")


def _refusal(url: str, status: int, problem: Any) -> str:
    if status == 401:
        return (
            f"the hub at {url} does not know this command's key: run it as the user of the hub, with the same settings "
            "(secret_key, data), and let the hub listen on 127.0.0.1 or on all addresses"
        )
    detail = str(problem.get("detail", f"HTTP {status}"))
    fields = [each for each in problem.get("errors", []) if each.get("field") and str(each["detail"]) not in detail]
    more = "; ".join(f"{each['field']}: {each['detail']}" for each in fields)
    return f"{detail} ({more})" if more else detail
