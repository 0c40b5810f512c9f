"""``/confirm/<token>``: the button behind the link of a double opt-in. GET and HEAD only show it; POST confirms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from html import escape
from typing import TYPE_CHECKING, Any

from aiohttp import web
from sqlalchemy import Connection

from hub import confirmations
from hub.confirmations import Outcome, Request
from hub.web import preferences
from hub.web.peer import client

if TYPE_CHECKING:
    from hub.app import Hub

_LONGEST = 300  # characters of a user agent that are kept
_GONE = 410


def mount(app: web.Application, hub: Hub) -> None:
    app.router.add_route("*", "/confirm/{token}", _handler(hub))


def _handler(hub: Hub) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        number = hub.confirmations.read(request.match_info["token"])
        asked = None if number is None else await hub.store.read(lambda connection: _asked(connection, hub, number))
        language = preferences.chosen(asked[0].locale if asked else None, request.headers.get("Accept-Language", ""))
        if number is None or asked is None:
            return preferences.broken(404, language)
        if request.method not in ("GET", "HEAD", "POST"):
            return preferences.broken(405, language)
        found, outcome = asked
        if request.method == "POST":
            agent = request.headers.get("User-Agent", "")[:_LONGEST]
            said: dict[str, Any] = {"ip": client(request, hub.settings.trusted_proxies), "user_agent": agent}
            outcome = await hub.write(
                lambda connection, context: confirmations.confirm(connection, context, number, said)
            )
        return _page(hub, found, outcome, language)

    return handle


def _asked(connection: Connection, hub: Hub, number: int) -> tuple[Request, Outcome | None] | None:
    found = confirmations.request(connection, number)
    return None if found is None else (found, confirmations.outcome(connection, hub.context(), found))


def _page(hub: Hub, found: Request, outcome: Outcome | None, language: str) -> web.Response:
    words = {name: escape(text) for name, text in confirmations.texts()[language].items()}
    shown = {
        "business": f"<strong>{escape(hub.confirmations.business)}</strong>",
        "address": f"<strong>{escape(found.address.partition(':')[2])}</strong>",
    }
    title = words["title"].format(business=escape(hub.confirmations.business))
    if outcome is not None:
        status = 200 if outcome == "confirmed" else _GONE
        return preferences.page(status, title, f'<p role="status">{words[outcome]}</p>', language)
    button = f'<form method="post"><button>{words["button"]}</button></form>'
    return preferences.page(200, title, f"<p>{words['question'].format(**shown)}</p>{button}", language)
