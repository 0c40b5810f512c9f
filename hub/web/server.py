"""The web application: which path leads where."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from hub.contract import AnyAdapter
from hub.web import api, confirm, files, front, health, local, preferences
from hub.web.hooks import Hooks

if TYPE_CHECKING:
    from hub.app import Hub


HOOKS = web.AppKey("HOOKS", Hooks)


def build(hub: Hub) -> web.Application:
    app = web.Application(client_max_size=max((spec.body_limit for spec in hub.specs.values()), default=1 << 20))
    limits = {name: spec.body_limit for name, spec in hub.specs.items()}
    hooks = Hooks(
        hub.adapters, limits, hub.store, hub.clock, hub.settings.public_url, hub.counters, lambda: hub.overloaded
    )
    app[HOOKS] = hooks
    app.router.add_route("*", "/hooks/{channel}", hooks.handle)
    app.router.add_get("/media/{token}/{name}", files.serve(hub))
    preferences.mount(app, hub)
    confirm.mount(app, hub)
    health.mount(app, hub)
    api.mount(app, hub)
    local.mount(app, hub)
    for name, adapter in hub.adapters.items():
        routes = adapter.routes()
        if routes:
            channel = web.Application()
            channel.add_routes(routes)
            channel.on_shutdown.append(partial(_hang_up, adapter))
            app.add_subapp(f"/channels/{name}/", channel)
    return app


async def serve(app: web.Application) -> web.AppRunner:
    """The application of ``build``, ready for connections."""
    runner = web.AppRunner(
        app, access_log=None, auto_decompress=False, handler_cancellation=False, shutdown_timeout=5.0
    )
    await runner.setup()
    assert runner.server is not None
    front.put_before(runner.server, app[HOOKS])
    return runner


async def _hang_up(adapter: AnyAdapter, _app: web.Application) -> None:
    await adapter.hang_up()
