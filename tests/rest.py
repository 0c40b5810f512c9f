"""A client of the API for tests: a running office, keys of each kind, and answers as values."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from hub import keys
from hub.keys import Scope
from hub.web.api import ROUTES
from hub.web.api.openapi import document
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
        data: bytes | None = None,
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
        if (found := operation(method, root + path)) is not None:
            _described_answer(*found, reply)
        return reply

    async def get(self, path: str, **more: Any) -> Reply:
        return await self.ask("GET", path, **more)

    async def post(self, path: str, body: Any = None, **more: Any) -> Reply:
        return await self.ask("POST", path, body, **more)

    async def send(self, *, key: str | None = None, **draft: Any) -> Reply:
        """Send a message with a key of its own, a reply if nothing else is said, and wait until it is out."""
        reply = await self.post("/messages", {"purpose": "reply"} | draft, key=key or f"key-{next(_numbers)}")
        await self.office.settled()
        return reply

    async def key(self, *scopes: Scope, name: str = "script") -> str:
        """The token of a new API key."""
        _, token = await self.office.hub.write(
            lambda connection, context: keys.create(connection, context.now, name, scopes)
        )
        return token


def operation(method: str, path: str) -> tuple[str, str] | None:
    """The operation of the API's description that a request is for, as (method, path with names in braces)."""
    bare = path.partition("?")[0]
    for template, known in _described()["paths"].items():
        if method.lower() in known and re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), bare):
            return method, template
    return None


def _described_answer(method: str, template: str, reply: Reply) -> None:
    """Raises: ValidationError, KeyError if the answer is not what the API's description says."""
    answers = _described()["paths"][template][method.lower()]["responses"]
    status = str(reply.status) if str(reply.status) in answers else "default"
    assert {name.lower() for name in answers[status].get("headers", {})} <= reply.headers.keys()
    kind = reply.headers["content-type"].partition(";")[0]
    _validator(method, template, status, kind).validate(reply.json)


@cache
def _described() -> dict[str, Any]:
    return document(ROUTES)


@cache
def _validator(method: str, template: str, status: str, kind: str) -> Draft202012Validator:
    content = _described()["paths"][template][method.lower()]["responses"][status]["content"]
    schema = {**content[kind]["schema"], "components": _described()["components"]}
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


@asynccontextmanager
async def api(database_url: str, data: Path, **capabilities: Any) -> AsyncIterator[Api]:
    """A running office and an API key that may do everything."""
    async with office(database_url, data, **capabilities) as running:
        client = Api(running, "")
        client.token = await client.key("admin", name="boss")
        yield client
