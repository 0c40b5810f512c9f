"""A client of the API for tests: a running office, keys of each kind, and answers as values."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from hub import keys
from hub.keys import Scope
from tests.paper import Office, office

_numbers = itertools.count(1)


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def problem(self) -> tuple[int, str]:
        assert self.headers["content-type"].startswith("application/problem+json"), self.text
        return self.status, self.json["code"]


@dataclass
class Api:
    """``token``: sent unless a call names another one (or None for none at all)."""

    office: Office
    token: str
    calls: list[tuple[str, str, Reply]] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.office.hub.port}"

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "",
        key: str | None = None,
        data: bytes | IO[bytes] | None = None,
        headers: dict[str, str] | None = None,
        root: str = "/api/v1",
    ) -> Reply:
        named = dict(headers or {})
        if token is not None:
            named.setdefault("Authorization", f"Bearer {token or self.token}")
        if key is not None:
            named["Idempotency-Key"] = key
        if body is not None or data is not None:
            named.setdefault("Content-Type", "application/json")
            data = json.dumps(body).encode() if data is None else data
        async with self.office.session.request(
            method, self.base + root + path, data=data, headers=named, allow_redirects=False
        ) as answer:
            text = await answer.text()
            reply = Reply(answer.status, {name.lower(): value for name, value in answer.headers.items()}, text)
        self.calls.append((method, path, reply))
        return reply

    async def get(self, path: str, **more: Any) -> Reply:
        return await self.ask("GET", path, **more)

    async def post(self, path: str, body: Any = None, **more: Any) -> Reply:
        return await self.ask("POST", path, body, **more)

    async def send(self, *, key: str | None = None, **draft: Any) -> Reply:
        """Send a message with a key of its own, and wait until it is out."""
        reply = await self.post("/messages", draft, key=key or f"key-{next(_numbers)}")
        await self.office.settled()
        return reply

    async def key(self, *scopes: Scope, name: str = "script") -> str:
        """The token of a new API key."""
        _, token = await self.office.hub.write(
            lambda connection, context: keys.create(connection, context.now, name, scopes)
        )
        return token


@asynccontextmanager
async def api(database_url: str, data: Path, **capabilities: Any) -> AsyncIterator[Api]:
    """A running office and an API key that may do everything."""
    async with office(database_url, data, **capabilities) as running:
        client = Api(running, "")
        client.token = await client.key("admin", name="boss")
        yield client
