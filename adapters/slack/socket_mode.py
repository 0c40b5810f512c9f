"""Socket Mode: Slack's events over a connection that we open, so no public address is needed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

import aiohttp
from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_bolt.middleware.async_middleware import AsyncMiddleware
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse
from slack_sdk.errors import SlackApiError
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.web.async_client import AsyncWebClient

from adapters.slack.calls import DEFAULT_URL
from hub.contract import ChannelDown, Emit, Host, Request, Transient

PATIENCE = 60.0  # seconds without a connection before starting over: the SDK may cling to a URL that expired
_CHECK = 5.0
_log = logging.getLogger(__name__)
_log.setLevel(logging.INFO)  # at DEBUG the SDK logs whole messages


class Keep(AsyncMiddleware):
    """Bolt's first and last step: make the envelope durable, then let bolt acknowledge it.

    If ``emit`` fails, bolt answers nothing and Slack sends the envelope again.
    """

    def __init__(self, emit: Emit, now: Callable[[], datetime]) -> None:
        self._emit = emit
        self._now = now

    async def async_process(
        self, *, req: AsyncBoltRequest, resp: BoltResponse, next: Callable[[], Awaitable[BoltResponse]]
    ) -> BoltResponse:
        await self._emit(request(req, self._now()))
        return BoltResponse(status=200)


def request(envelope: AsyncBoltRequest, now: datetime) -> Request:
    """An envelope as the inbox keeps it: ``SOCKET slack://socket/events_api``, the payload as JSON."""
    payload = envelope.body
    if payload.get("type") == "event_callback":
        kind = "events_api"
    else:
        kind = "slash_commands" if "command" in payload else "interactive"
    headers = {name.lower(): values[0] for name, values in envelope.headers.items() if values}
    body = json.dumps(payload, separators=(",", ":")).encode()
    return Request("SOCKET", f"slack://socket/{kind}", headers, body, now)


async def listen(bot_token: str, app_token: str, base_url: str | None, emit: Emit, host: Host) -> None:
    """Until cancelled. Bolt reconnects by itself.

    Raises: ChannelDown if Slack refuses ``app_token``, Transient if there is no connection for ``PATIENCE``.
    """
    web = AsyncWebClient(bot_token, base_url=(base_url or DEFAULT_URL).rstrip("/") + "/", logger=_log)
    app = AsyncApp(
        client=web,
        logger=_log,
        before_authorize=Keep(emit, host.now),
        process_before_response=True,
        request_verification_enabled=False,  # the connection itself is authenticated
        ssl_check_enabled=False,
    )
    handler = AsyncSocketModeHandler(app, app_token, logger=_log, web_client=web)
    try:
        await _connect(handler.client)
        host.pulled()
        await _watch(handler.client)
    finally:
        await _close(handler)


async def _connect(client: SocketModeClient) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            client.wss_uri = await client.issue_new_wss_url()
            await client.connect()  # type: ignore[no-untyped-call]  # the SDK has no types here
    except SlackApiError as error:
        code = str(error.response.get("error"))
        raise ChannelDown(f"apps.connections.open: {code}; check app_token", code=code) from None
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise Transient(f"Socket Mode: no connection: {type(error).__name__}") from error


async def _watch(client: SocketModeClient) -> None:
    down = 0.0
    while down < PATIENCE:
        await asyncio.sleep(_CHECK)
        down = 0.0 if await client.is_connected() else down + _CHECK
    raise Transient(f"Socket Mode: no connection for {PATIENCE:.0f} s")


async def _close(handler: AsyncSocketModeHandler) -> None:
    client = handler.client
    tasks = [client.message_processor, client.message_receiver, client.current_session_monitor]
    await handler.close_async()  # type: ignore[no-untyped-call]  # as above
    for task in tasks:
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
