"""The demo's page: the customer's devices, the agents' desk and the timeline, side by side."""

from __future__ import annotations

import asyncio
import json
import webbrowser
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from hub import __version__, keys
from hub.demo.report import NOTHING_REAL
from hub.demo.world import World, world
from hub.model import is_public_id, private_id
from hub.registry import Adapters
from hub.testing.device import Device

_LOOK = 0.25  # seconds between two looks at the screens
_FILES = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
_TEXT = 2000  # characters


async def show(
    data: Path, installed: Adapters, port: int, browser: bool, as_json: Callable[[Any], None] | None = None
) -> None:
    """Serve the page until interrupted."""
    async with world(data, installed=installed) as stage:
        runner = web.AppRunner(application(stage), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
            await _announce(stage, url, as_json)
            if browser:
                await asyncio.to_thread(webbrowser.open, url)
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()


async def _announce(stage: World, url: str, as_json: Callable[[Any], None] | None) -> None:
    hub = stage.hub.settings.public_url
    _, key = await stage.hub.write(
        lambda connection, context: keys.create(connection, context.now, "demo", ("read", "send"))
    )
    if as_json is not None:
        as_json({"page": url, "hub": hub, "api_key": key})
        return
    lines = (
        f"open {url}",
        NOTHING_REAL,
        f"for scripts: export HUB_URL={hub} HUB_API_KEY={key}",
        f"the hub itself is at {hub}; Ctrl-C ends the demo",
    )
    print("\n".join(f"demo: {each}" for each in lines), flush=True)  # noqa: T201 - it is what the command says


def application(stage: World) -> web.Application:
    page = Page(stage)
    app = web.Application(middlewares=[_only_this_machine])
    for path in _FILES:
        app.router.add_get(path, _static)
    app.router.add_get("/state", page.watch)
    app.router.add_get("/why/{message}", page.why)
    app.router.add_post("/write", page.write)
    app.router.add_post("/open", page.open)
    app.router.add_post("/choose", page.choose)
    app.router.add_post("/say", page.say)
    app.router.add_post("/press", page.press)
    return app


@web.middleware
async def _only_this_machine(request: web.Request, handler: Any) -> web.StreamResponse:
    """A page elsewhere must not play with the demo: not by another name for this address, not by a form."""
    host = request.host.rpartition(":")[0] or request.host
    if host not in ("127.0.0.1", "localhost"):
        raise web.HTTPForbidden(text="open the demo as http://127.0.0.1\n")
    if request.method == "POST" and request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="send JSON\n")
    response: web.StreamResponse = await handler(request)
    return response


async def _static(request: web.Request) -> web.Response:
    name, mime = _FILES[request.path]
    policy = "default-src 'self'; img-src 'self' data:; frame-src http://127.0.0.1:*; base-uri 'none'"
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
    return web.Response(text=files("hub.demo").joinpath(name).read_text("utf-8"), content_type=mime, headers=headers)


class Page:
    """What the page asks of the running demo."""

    def __init__(self, stage: World) -> None:
        self._stage = stage

    async def watch(self, request: web.Request) -> web.StreamResponse:
        """All screens as server-sent events, whenever something changed."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        last = ""
        while True:
            state = json.dumps(await self._state())
            if state != last:
                await response.write(f"data: {state}\n\n".encode())
                last = state
            await asyncio.sleep(_LOOK)

    async def _state(self) -> dict[str, Any]:
        stage = self._stage
        return {
            "version": __version__,
            "warning": NOTHING_REAL,
            "person": stage.person.name,
            "devices": [
                {"channel": name, "title": each.title, "look": each.look, "page": each.page(), "address": each.address}
                | {"screen": msgspec.to_builtins(each.screen())}
                for name, each in stage.devices.items()
            ],
            "desk": {"title": stage.desk.title, "threads": msgspec.to_builtins(stage.desk.threads())},
            "timeline": [message.model_dump(mode="json", exclude_none=True) for message in await stage.messages()],
        }

    async def why(self, request: web.Request) -> web.Response:
        name = request.match_info["message"]
        detail = await self._stage.explain(private_id("message", name)) if is_public_id("message", name) else None
        if detail is None:
            raise web.HTTPNotFound(text="no such message\n")
        return web.Response(text=detail.model_dump_json(exclude_none=True), content_type="application/json")

    async def write(self, request: web.Request) -> web.Response:
        asked = await _asked(request)
        return await _done(self._device(asked).write(_text(asked), subject=asked.get("subject") or None))

    async def choose(self, request: web.Request) -> web.Response:
        """The customer presses a button below a message."""
        asked = await _asked(request)
        return await _done(self._device(asked).press(asked.get("choice", "")))

    def _device(self, asked: dict[str, str]) -> Device:
        device = self._stage.devices.get(asked.get("channel", ""))
        if device is None:
            raise web.HTTPNotFound(text="no such device\n")
        return device

    async def open(self, request: web.Request) -> web.Response:
        """The customer follows a link that the business sent; the answer names the channel it leads to."""
        link = (await _asked(request)).get("link", "")
        for name, device in self._stage.devices.items():
            try:
                if await device.open(link):
                    return web.json_response({"channel": name})
            except (LookupError, ConnectionError, TimeoutError) as error:
                return web.Response(status=502, text=f"{error}\n")
        raise web.HTTPNotFound(text="this link leads to none of the apps here\n")

    async def say(self, request: web.Request) -> web.Response:
        asked = await _asked(request)
        return await _done(self._stage.desk.say(asked.get("thread", ""), _text(asked)))

    async def press(self, request: web.Request) -> web.Response:
        asked = await _asked(request)
        return await _done(self._stage.desk.press(asked.get("thread", ""), asked.get("action", "")))


async def _asked(request: web.Request) -> dict[str, str]:
    try:
        asked = await request.json()
    except ValueError:
        raise web.HTTPBadRequest(text="not JSON\n") from None
    if not isinstance(asked, dict) or not all(isinstance(value, str) for value in asked.values()):
        raise web.HTTPBadRequest(text="send an object of texts\n")
    return asked


def _text(asked: dict[str, str]) -> str:
    text = asked.get("text", "").strip()
    if not text or len(text) > _TEXT:
        raise web.HTTPBadRequest(text=f"write 1 to {_TEXT} characters\n")
    return text


async def _done(work: Any) -> web.Response:
    try:
        await work
    except (LookupError, ConnectionError, TimeoutError) as error:
        return web.Response(status=502, text=f"{error}\n")
    return web.Response(status=204)
