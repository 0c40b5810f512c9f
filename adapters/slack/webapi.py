"""The simulated Web API over HTTP: tokens, scopes, faults, and the bytes of files."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web

from adapters.slack.methods import Given, Methods, Refusal

if TYPE_CHECKING:
    from adapters.slack.simulator import Simulator

# Methods that take no JSON, only a query or a form.
NO_JSON = frozenset({
    "chat.getPermalink", "conversations.history", "conversations.replies", "files.info",
    "files.getUploadURLExternal", "reactions.get", "users.info", "users.list",
})  # fmt: skip
SCOPE_OF: Mapping[str, tuple[str, ...]] = {  # any of them is enough
    "chat.postMessage": ("chat:write",),
    "chat.update": ("chat:write",),
    "chat.postEphemeral": ("chat:write",),
    "conversations.history": ("channels:history", "groups:history"),
    "conversations.replies": ("channels:history", "groups:history"),
    "files.info": ("files:read",),
    "files.getUploadURLExternal": ("files:write",),
    "files.completeUploadExternal": ("files:write",),
    "reactions.add": ("reactions:write",),
    "reactions.remove": ("reactions:write",),
    "reactions.get": ("reactions:read",),
    "users.info": ("users:read",),
    "users.list": ("users:read",),
}
LOGIN_PAGE = "<!DOCTYPE html><html><head><title>Sign in | Slack</title></head><body>Sign in</body></html>"


class WebApi:
    """Who may call what, and which calls suffer a fault; files come and go beside it."""

    def __init__(self, slack: Simulator) -> None:
        self._slack = slack
        self._methods = Methods(slack)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.route("*", "/api/{method}", self._call),
            web.post("/upload/v1/{ticket}", self._uploaded),
            web.get("/files-pri/{id}/{name}", self._download),
        ]

    async def _call(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        given = await _given(request, method)
        key = _key(given)
        self._slack.ledger.write("request", method=method, key=key)
        try:
            if method == "apps.connections.open":
                return self._answer(self._open(request))
            self._authorize(request, method)
            act = self._methods.table.get(method)
            if act is None:
                raise Refusal("unknown_method", req_method=method)
        except Refusal as refusal:
            return self._answer(refusal.body)
        fault = self._slack.faults.next() if method in self._slack.faulty else None
        work = partial(_result, act, given)
        if fault is None:
            return self._answer(work())
        self._slack.ledger.write("fault", fault=fault.kind, method=method, key=key)
        return await self._suffer(request, work, fault.kind, fault.delay, fault.code)

    async def _suffer(
        self, request: web.Request, work: Callable[[], dict[str, Any]], kind: str, delay: float, code: str | None
    ) -> web.StreamResponse:
        match kind:
            case "throttle":
                wait = {"Retry-After": f"{delay:g}"}
                return self._answer({"ok": False, "error": "ratelimited"}, status=429, headers=wait)
            case "error":
                error = {"ok": False, "error": code or "service_unavailable"}
                return self._answer(error, status=200 if code else 503)
            case "reject":
                return self._answer({"ok": False, "error": code or "invalid_blocks"})
            case "drop_before":
                return _cut(request)
            case "late_accept":
                self._slack.spawn(_late(delay, work))
                return _cut(request)
            case "drop_after":
                work()
                return _cut(request)
            case "error_after":
                work()
                return self._answer({"ok": False, "error": code or "internal_error"})
        await asyncio.sleep(delay)  # slow
        return self._answer(work())

    def _answer(
        self, body: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> web.Response:
        scopes = {"X-OAuth-Scopes": ",".join(sorted(self._slack.scopes)), "X-Slack-Req-Id": secrets.token_hex(8)}
        return web.json_response(body, status=status, headers={**scopes, **(headers or {})})

    def _authorize(self, request: web.Request, method: str) -> None:
        token = _bearer(request)
        if token is None:
            raise Refusal("not_authed")
        if token == self._slack.app_token:
            raise Refusal("not_allowed_token_type")
        if token != self._slack.bot_token:
            raise Refusal("invalid_auth")
        needed = SCOPE_OF.get(method)
        if needed and not set(needed) & self._slack.scopes:
            raise Refusal("missing_scope", needed=needed[0], provided=",".join(sorted(self._slack.scopes)))

    def _open(self, request: web.Request) -> dict[str, Any]:
        token = _bearer(request)
        if token is None:
            raise Refusal("not_authed")
        if token != self._slack.app_token:
            raise Refusal("not_allowed_token_type" if token == self._slack.bot_token else "invalid_auth")
        if not self._slack.socket_mode:
            raise Refusal("forbidden_team")
        url = self._slack.base.replace("http", "ws", 1) + "/link/" + self._slack.sockets.ticket()
        return {"ok": True, "url": url}

    async def _uploaded(self, request: web.Request) -> web.StreamResponse:
        known = self._methods.uploads.pop(request.match_info["ticket"], None)
        data = await request.read()
        if known is None or len(data) != known[1]:
            return web.Response(status=400 if known else 404, text="bad upload")
        file = self._slack.files[known[0]]
        file.data, file.size = data, len(data)
        return web.Response(text=f"OK - {len(data)}")

    async def _download(self, request: web.Request) -> web.StreamResponse:
        """Whoever has no token gets the login page, with 200."""
        if _bearer(request) != self._slack.bot_token or "files:read" not in self._slack.scopes:
            return web.Response(text=LOGIN_PAGE, content_type="text/html")
        file = self._slack.files.get(request.match_info["id"].partition("-")[2])
        if file is None:
            return web.Response(status=404)
        shown = {"Content-Disposition": "attachment"}
        return web.Response(body=file.data, content_type=file.mime, headers=shown)

async def _given(request: web.Request, method: str) -> dict[str, Any]:
    """Arguments of a call, from the query, a form or JSON."""
    given: dict[str, Any] = dict(request.query)
    if request.content_type == "application/json":
        data = json.loads(await request.read() or b"{}")
        return given if method in NO_JSON else given | data
    return given | {name: _loaded(name, str(value)) for name, value in (await request.post()).items()}


def _loaded(name: str, value: str) -> Any:
    return json.loads(value) if name in ("blocks", "metadata", "files") else value


def _result(act: Callable[[Given], dict[str, Any]], given: Given) -> dict[str, Any]:
    try:
        return act(given)
    except Refusal as refusal:
        return refusal.body


async def _late(delay: float, work: Callable[[], dict[str, Any]]) -> None:
    await asyncio.sleep(delay)
    work()


def _bearer(request: web.Request) -> str | None:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if kind == "Bearer" and token else None


def _cut(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def _key(given: Given) -> str | None:
    metadata = given.get("metadata")
    payload = metadata.get("event_payload") if isinstance(metadata, dict) else None
    return payload.get("key") if isinstance(payload, dict) else None
