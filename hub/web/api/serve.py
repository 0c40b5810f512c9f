"""From a request to its handler and back: access, checks, answers, problems."""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

import structlog
from aiohttp import web
from pydantic import BaseModel, ValidationError

from hub.keys import local_token
from hub.settings import master_key
from hub.store.base import StoreFull, is_store_failure
from hub.web.api import campaigns, consent, conversations, credentials, customers, messages, operations, segments
from hub.web.api.access import Access
from hub.web.api.body import read_json
from hub.web.api.once import forget
from hub.web.api.openapi import document
from hub.web.api.problem import PLAIN, Problem, invalid
from hub.web.api.route import Answer, Call, Route

if TYPE_CHECKING:
    from hub.app import Hub

log = structlog.get_logger(__name__)

ROUTES: tuple[Route, ...] = (
    *messages.ROUTES, *customers.ROUTES, *conversations.ROUTES, *consent.ROUTES, *credentials.ROUTES,
    *operations.ROUTES, *campaigns.ROUTES, *segments.ROUTES,
)

_LONGEST_KEY = 200
_FORGET_EVERY = timedelta(hours=1)


def mount(app: web.Application, hub: Hub) -> None:
    api = web.Application(middlewares=[problems])
    served = Served(hub)
    for route in ROUTES:
        api.router.add_route(route.method, f"/v1{route.path}", served.handler(route))
    app.add_subapp("/api/", api)

    async def openapi(_request: web.Request) -> web.Response:
        return web.Response(text=_described(), headers=PLAIN, content_type="application/json")

    app.router.add_get("/openapi.json", openapi, allow_head=False)


@cache
def _described() -> str:
    """Made when it is first asked for: it takes longer than all the rest of a start."""
    return json.dumps(document(ROUTES), ensure_ascii=False)


class Served:
    """The routes of one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._access = Access(hub.store, hub.clock, local_token(master_key(hub.settings)), hub.settings.trusted_proxies)
        self._limit = int(hub.settings.body_limit)
        self._forgot_at: datetime | None = None

    def handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            caller = await self._access.caller(request, route.scope)
            _check_path(request)
            query = _query(route.query, request)
            key = _key(route, request)
            sent = await read_json(request, self._limit) if route.body else b""
            body = _body(route.body, sent) if route.body else None
            fingerprint = hashlib.sha256(f"{request.method} {request.raw_path}\n".encode() + sent).digest()
            if key is not None:
                await self._forget()
            call = Call(self._hub, caller, request.match_info, query, body, fingerprint, key)
            return _response(await route.handler(call))

        return handle

    async def _forget(self) -> None:
        now = self._hub.clock()
        if self._forgot_at is None or now >= self._forgot_at + _FORGET_EVERY:
            self._forgot_at = now
            await self._hub.write(forget)


def _check_path(request: web.Request) -> None:
    if any("\0" in part for part in (*request.match_info.values(), *request.query, *request.query.values())):
        raise Problem(400, "malformed_path", "the path or the query holds a NUL character (%00); leave it out")


def _query(model: type[BaseModel], request: web.Request) -> BaseModel:
    given = dict(request.query)
    if len(given) != len(request.query):
        raise Problem(400, "bad_query", "a query parameter is given twice; give each of them once")
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise invalid(error, model, 400, "bad_query", "query") from None


def _body(model: type[BaseModel], sent: bytes) -> BaseModel:
    try:
        return model.model_validate_json(sent, strict=True)
    except ValidationError as error:
        raise invalid(error, model, 422, "invalid_body", "body") from None


def _key(route: Route, request: web.Request) -> str | None:
    given = request.headers.getall("Idempotency-Key", [])
    if route.key == "none" or (route.key == "optional" and not given):
        return None
    if not given:
        detail = "send the header Idempotency-Key: any text that you use for this message alone, such as a UUID"
        raise Problem(400, "idempotency_key_missing", f"{detail}; sending it again then has no second effect")
    key = given[0]
    if len(given) > 1 or not 0 < len(key) <= _LONGEST_KEY or not (key.isascii() and key.isprintable()):
        detail = f"an Idempotency-Key is 1 to {_LONGEST_KEY} printable ASCII characters, given once"
        raise Problem(400, "bad_idempotency_key", detail)
    return key


def _response(answer: Answer) -> web.Response:
    headers = {**PLAIN, **({"Location": answer.location} if answer.location else {})}
    return web.Response(status=answer.status, text=answer.body, headers=headers, content_type="application/json")


@web.middleware
async def problems(request: web.Request, handler: Callable[..., Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    """Whatever goes wrong is told as a problem; how it went wrong is for the log."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem.response()
    except web.HTTPNotFound:
        detail = "there is nothing at this path; /openapi.json lists what there is"
        return Problem(404, "no_such_path", detail).response()
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        detail = f"this path knows {allowed}, not {error.method}; /openapi.json lists what there is"
        return Problem(405, "method_not_allowed", detail, headers={"Allow": allowed}).response()
    except web.HTTPException:
        raise
    except StoreFull:
        detail = "the hub's disk is full, nothing was stored; make room, then send it again"
        return Problem(503, "store_full", detail, headers={"Retry-After": "60"}).response()
    except Exception as error:
        return _unavailable(error) if is_store_failure(error) else _internal(request, error)


def _unavailable(error: Exception) -> web.Response:
    log.error("the database failed an API request", error=type(error).__name__)
    detail = (
        "the hub's database failed, and it is unknown whether this was stored; send it again with the same "
        "Idempotency-Key"
    )
    return Problem(503, "store_unavailable", detail, headers={"Retry-After": "5"}).response()


def _internal(request: web.Request, error: Exception) -> web.Response:
    # Only where, never the error's text: it may hold what was sent.
    where = [frame.strip() for frame in traceback.format_tb(error.__traceback__)[-4:]]
    resource = request.match_info.route.resource
    path = resource.canonical if resource else ""
    log.error("an API request failed", method=request.method, route=path, error=type(error).__name__, where=where)
    detail = (
        "the hub could not do this, and it is unknown how far it came; send it again with the same Idempotency-Key, "
        "and if that does not help, look into the hub's log"
    )
    return Problem(500, "internal", detail).response()
