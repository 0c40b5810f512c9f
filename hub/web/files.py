"""Files by signed link. A browser never runs one: sniffed types, downloads unless an image, a sandbox around it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from hub import media

if TYPE_CHECKING:
    from hub.app import Hub


def serve(hub: Hub) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        file_id = hub.links.read(request.match_info["token"])
        file = await hub.store.read(partial(media.by_id, file_id=file_id)) if file_id is not None else None
        if file is None or file.sha256 is None:
            return web.Response(status=404, text="no such file, or the link has expired\n")
        mime = file.mime or "application/octet-stream"
        place = "inline" if media.shown_inline(mime) else "attachment"
        headers = {
            "Content-Type": mime,
            "Content-Disposition": f'{place}; filename="{media.safe_name(file.name)}"',
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Cross-Origin-Resource-Policy": "cross-origin",
            "Cache-Control": "private, max-age=3600",
        }
        return web.FileResponse(hub.shelf.path(file.sha256), headers=headers)

    return handle
