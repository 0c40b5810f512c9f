"""Who may ask: API keys, and commands on the same machine."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from ipaddress import ip_address

import structlog
from aiohttp import web

from hub import keys
from hub.clock import Clock
from hub.keys import LOCAL_CALLER, Caller, Scope
from hub.store.base import Store
from hub.web.api.problem import Problem
from hub.web.peer import Networks, client

log = structlog.get_logger(__name__)

_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")
_HOW = "send the header Authorization: Bearer hub_…; a key is made with: hub key create NAME --scope read"
_FAILURES = 20  # of one address in a minute; more are answered 429
_MINUTE = timedelta(minutes=1)


class Access:
    """``local``: the token that the operator's own commands carry. ``proxies``: those whose word is believed."""

    def __init__(self, store: Store, clock: Clock, local: str, proxies: Networks) -> None:
        self._store = store
        self._clock = clock
        self._local = local
        self._proxies = proxies
        self._failures: dict[str, int] = {}  # by address, in the minute that began then
        self._since = clock()

    async def caller(self, request: web.Request, scope: Scope) -> Caller:
        """Raises: Problem 401 for no or a wrong key, 429 for too many of them, 403 for one that may not do this."""
        found = await self._known(_token(request), request)
        if found is None:
            self._count_failure(request, self._clock())
            raise _unauthorized(f"this API key is not known, or it was revoked; {_HOW}")
        if not found.may(scope):
            detail = f"this API key lacks the scope {scope}; use one that has it (hub key create NAME --scope {scope})"
            raise Problem(403, "forbidden", detail)
        return found

    async def _known(self, token: str, request: web.Request) -> Caller | None:
        if keys.same(token, self._local):
            return LOCAL_CALLER if _from_here(request) else None
        return await self._store.read(partial(keys.identify, token=token))

    def _count_failure(self, request: web.Request, now: datetime) -> None:
        # A right key is let in at all times: guessing 256 bits is hopeless, and many programs share one address
        # behind a proxy. The limit stops programs that go on and on with a key that was revoked.
        if not self._since <= now < self._since + _MINUTE:
            self._failures.clear()
            self._since = now
        address = client(request, self._proxies)
        count = self._failures[address] = self._failures.get(address, 0) + 1
        if count > _FAILURES:
            wait = (self._since + _MINUTE - now).seconds + 1
            detail = f"too many wrong API keys from this address; wait {wait} seconds, and send one that is valid"
            raise Problem(429, "too_many_failures", detail, headers={"Retry-After": str(wait)})
        log.warning("an API key was refused", address=address, failures=count)


def _token(request: web.Request) -> str:
    headers = request.headers.getall("Authorization", [])
    if not headers:
        raise _unauthorized(f"an API key is needed; {_HOW}")
    kind, _, token = headers[0].partition(" ")
    if len(headers) > 1 or kind.lower() != "bearer":
        raise _unauthorized(f"one Authorization header of the kind Bearer is expected; {_HOW}")
    return token.strip()


def _unauthorized(detail: str) -> Problem:
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="omnihub"'})


def _from_here(request: web.Request) -> bool:
    """From this machine and not passed on by a proxy that runs on it."""
    peer = request.transport.get_extra_info("peername") if request.transport else None
    if not isinstance(peer, tuple) or any(name in request.headers for name in _FORWARDED):
        return False
    address = ip_address(str(peer[0]).partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
