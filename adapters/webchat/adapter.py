"""Web chat as a channel: its settings, its routes, and the translation between the inbox and events."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import msgspec
import structlog
from aiohttp import WSMsgType, web
from pydantic import Field, SecretStr, field_validator

from adapters.webchat.connection import Connection
from adapters.webchat.frames import TEXT_LIMIT, Hello, Kept, Login, Message, Status, clean, read_frame, read_kept, write
from adapters.webchat.uploads import Upload, Uploads, described, read_described
from adapters.webchat.visitors import Refused, Visitor, Visitors
from hub.contract import (
    Adapter,
    BadAddress,
    Capabilities,
    ChannelConfig,
    Event,
    Health,
    Host,
    MessageReceived,
    Outgoing,
    Receipt,
    Rejected,
    Request,
    StatusChanged,
    Typing,
    Unparseable,
    Verified,
)
from hub.model import Address, Attachment, Selection

VISITOR_HEADER = "x-webchat-visitor"  # on requests in our own inbox: the visitor, as proven when the socket opened
FILE_HEADER = "x-webchat-file"  # on such requests that are a file: what it is
FRAME_SIZE = 64 << 10  # bytes: TEXT_LIMIT characters with room to spare
CONNECTIONS = 10_000  # of one process, about 14 kB each

_WIDGET = (Path(__file__).parent / "widget.js").read_bytes()
_FORMS = {"": _WIDGET, "gzip": gzip.compress(_WIDGET, mtime=0)}  # by content coding
_TAGS = {coding: hashlib.sha256(body).hexdigest()[:32] for coding, body in _FORMS.items()}
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-f:.]+\](:\d{1,5})?")

log = structlog.get_logger(__name__)


class WebChatConfig(ChannelConfig):
    allowed_origins: tuple[str, ...] = Field(
        min_length=1, description='Sites that embed the widget: ["https://www.example.com"]. ["*"]: any site.'
    )
    identity_secret: SecretStr | None = Field(
        None, description="At least 32 bytes, shared with the website, which signs its users' tokens with it."
    )
    page: str | None = Field(
        None, pattern=r"^https?://[^\s#]+$", description="Page with the chat, for links that continue a conversation."
    )
    allow_missing_origin: bool = Field(False, description="Let programs connect that are no browsers (tests, apps).")
    file_size: int = Field(10_000_000, ge=0, le=100_000_000, description="Bytes of a visitor's file; 0: none.")
    connections_per_ip: int = Field(50, ge=1, description="Open sockets of one address (of one office).")

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if value != "*" and not _ORIGIN.fullmatch(value):
                raise ValueError(f"{value!r} is no origin: it looks like https://www.example.com, without a path")
        return values

    @field_validator("identity_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().encode()) < 32:
            raise ValueError("too short: make one of 32 bytes or more with `openssl rand -hex 32`")
        return value


class WebChat(Adapter[WebChatConfig]):
    medium = "webchat"
    scheme = "webchat"
    Config = WebChatConfig
    capabilities = Capabilities(
        # The widget shows whole messages of the history, so a message is one part, and confirmed as one.
        text_limit=100_000,  # characters; our own, like the other numbers
        media="url",
        media_max=100,
        media_size=25 << 20,  # the hub's own default for a file
        buttons=100,
        delivered=True,  # the widget confirms each entry
        read=True,
        idempotency="key",  # an entry is shown once by its id, however often we say "look"
        settle=timedelta(0),
        concurrency=64,
        retry_for=timedelta(hours=72),
    )
    paste: ClassVar[str] = (
        'Put this into every page that should have the chat: <script async src="{channel}/widget.js"></script>'
    )
    webhook_help: ClassVar[str | None] = None  # visitors connect to the socket of the channel
    patience: ClassVar[float] = 10.0  # seconds for a visitor to say hello, or to take what we send

    def __init__(self, name: str, config: WebChatConfig, host: Host) -> None:
        super().__init__(name, config, host)
        secret = config.identity_secret.get_secret_value().encode() if config.identity_secret else None
        self._visitors = Visitors(name, host, secret)
        self._uploads = Uploads(self._visitors, host, self._keep_file, config.file_size)
        self._sockets: set[web.WebSocketResponse] = set()
        self._per_ip: Counter[str] = Counter()

    def verify(self, request: Request) -> Verified:
        return Verified(False, 403, "web chat has no webhook: visitors connect to the socket of this channel")

    def receive(self, request: Request) -> list[Event]:
        """Translate what ``_keep`` wrote. Raises: Unparseable."""
        try:
            visitor = msgspec.json.decode(request.headers[VISITOR_HEADER], type=Visitor)
            if FILE_HEADER in request.headers:
                return [self._sent(visitor, read_described(request.headers[FILE_HEADER], request.body), request)]
            kept = read_kept(request.body)
        except (KeyError, ValueError, TypeError, RecursionError) as error:
            raise Unparseable(f"not a frame of the web chat: {error}") from error
        match kept:
            case Message():
                return [self._said(visitor, kept, request)]
            case Status():
                return [StatusChanged(name, kept.state, request.received_at) for name in kept.ids]
            case Login():
                return [self._logged_in(visitor, kept, request)]
        return [Typing(visitor.sender, request.received_at)]

    def _said(self, visitor: Visitor, message: Message, request: Request) -> MessageReceived:
        choice = message.selection
        selection = Selection(clean(choice.id), clean(choice.title)) if choice else None
        return MessageReceived(
            external_id=f"{visitor.id}/{message.id}",
            sender=visitor.sender,
            also=visitor.also,
            at=request.received_at,
            text=clean(message.text) or (selection.title if selection else ""),
            selection=selection,
        )

    def _logged_in(self, visitor: Visitor, login: Login, request: Request) -> MessageReceived:
        """No words, but whose the anonymous chat is. It counts once, by its id: for the first who logs in there."""
        return MessageReceived(
            external_id=f"{login.former}/login", sender=visitor.sender, also=visitor.also, at=request.received_at,
            former=[Address(self.scheme, login.former)], automatic=True,
        )

    def _sent(self, visitor: Visitor, upload: Upload, request: Request) -> MessageReceived:
        file = Attachment(upload.kind, ref="body", mime=upload.mime, name=upload.name, size=len(upload.data))
        return MessageReceived(
            external_id=f"{visitor.id}/{upload.id}", sender=visitor.sender, also=visitor.also, at=request.received_at,
            text=clean(upload.text), attachments=[file],
        )

    async def fetch(self, attachment: Attachment, request: Request | None) -> AsyncIterator[bytes] | None:
        """A visitor's file is the request that it came in. Raises: Rejected."""
        if attachment.ref is None:
            return None
        if request is None:
            raise Rejected("what this file came in is no longer kept")
        return _once(request.body)

    async def send(self, out: Outgoing) -> Receipt:
        """Wake the visitor's sockets: they show what the history holds. Whoever is away sees it on coming back.

        Raises: BadAddress, Rejected.
        """
        if out.to.scheme != self.scheme:
            raise BadAddress(f"not a web chat visitor: {out.to.scheme}")
        if out.template is not None and not out.text:
            raise Rejected("web chat has no provider templates: send the text itself")
        self.host.publish(self._topic(out.to.value))
        return Receipt(external_id=out.key)

    def entry_link(self, token: str) -> str | None:
        """What is behind # reaches no server and no other site."""
        return f"{self.config.page}#chat={token}" if self.config.page else None

    async def check(self) -> Health:
        origins = ", ".join(self.config.allowed_origins)
        return Health(True, f"{len(self._sockets)} sockets open here; embedded by {origins}")

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/widget.js", self._widget),
            web.get("/socket", self._socket),
            web.post("/files", self._file),
        ]

    async def hang_up(self) -> None:
        """Send everybody away; widgets come back by themselves, after a random pause."""
        await asyncio.gather(*(socket.close(code=1001, message=b"restarting") for socket in list(self._sockets)))

    def _topic(self, visitor: str) -> str:
        return f"webchat:{self.name}:{visitor}"

    # --- http -----------------------------------------------------------------------------------------------------

    async def _widget(self, request: web.Request) -> web.Response:
        coding = "gzip" if "gzip" in request.headers.get("Accept-Encoding", "") else ""
        tag = _TAGS[coding]
        headers = {
            "Cache-Control": "public, max-age=300",
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "cross-origin",  # for sites with COEP
            "Access-Control-Allow-Origin": "*",  # for sites that pin it with integrity="…"
        }
        if any(known.value in (tag, "*") for known in request.if_none_match or ()):
            answer = web.Response(status=304, headers=headers)
        else:
            headers |= {"Content-Encoding": coding} if coding else {}
            answer = web.Response(
                body=_FORMS[coding], content_type="text/javascript", charset="utf-8", headers=headers
            )
        answer.etag = tag
        return answer

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        self._admit(request)
        self._make_room(request)
        remote = request.remote or ""
        socket = web.WebSocketResponse(heartbeat=25, max_msg_size=FRAME_SIZE, compress=False, timeout=2)
        self._per_ip[remote] += 1
        self._sockets.add(socket)
        try:
            await socket.prepare(request)
            await self._converse(socket)
        finally:
            self._sockets.discard(socket)
            self._per_ip[remote] -= 1
            if not self._per_ip[remote]:
                del self._per_ip[remote]
            if request.transport is not None:
                request.transport.abort()  # the close handshake is over, or the visitor reads nothing
        return socket

    def _admit(self, request: web.Request) -> None:
        """Refuse before the upgrade: a browser tells the true origin, and any site can try to open a socket."""
        origins = request.headers.getall("Origin", [])
        if not origins:
            known = self.config.allow_missing_origin
        else:
            allowed = self.config.allowed_origins
            known = len(origins) == 1 and origins[0] != "null" and (origins[0] in allowed or "*" in allowed)
        if not known:
            raise web.HTTPForbidden(text="this site is not in allowed_origins of the channel\n")

    def _make_room(self, request: web.Request) -> None:
        if self._per_ip[request.remote or ""] >= self.config.connections_per_ip:
            raise web.HTTPTooManyRequests(text="too many connections from this address\n")
        if len(self._sockets) >= CONNECTIONS:
            raise web.HTTPServiceUnavailable(text="too many connections\n")

    async def _file(self, request: web.Request) -> web.Response:
        self._admit(request)
        return await self._uploads.take(request)

    async def _converse(self, socket: web.WebSocketResponse) -> None:
        try:
            hello = await self._hello(socket)
            visitor = self._visitors.who(session=hello.session, token=hello.token)
            former = self._visitors.before_login(visitor, hello.session)
            if former is not None:
                await self._keep(visitor, Login(former))
            connection = Connection(
                socket, visitor, int(hello.after), host=self.host, keep=self._keep, topic=self._topic(visitor.id),
                patience=self.patience, joins=former is not None,
            )
            await connection.put(
                "welcome", visitor=visitor.id, session=self._visitors.session(visitor), limit=TEXT_LIMIT,
                ticket=self._visitors.ticket(visitor), file_size=self.config.file_size,
            )
            await connection.serve()
        except Refused as refused:
            log.info("webchat.refused", channel=self.name, code=refused.code, reason=refused.reason)
            await socket.close(code=refused.code, message=refused.reason.encode())
        except ConnectionError:
            return
        except Exception:
            log.exception("webchat.broken", channel=self.name)
            await socket.close(code=1011, message=b"try again")

    async def _hello(self, socket: web.WebSocketResponse) -> Hello:
        try:
            async with asyncio.timeout(self.patience):
                message = await socket.receive()
            if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                raise ConnectionResetError("left before hello")
            frame = read_frame(message.data)
        except (TimeoutError, ValueError, RecursionError):
            frame = None
        if not isinstance(frame, Hello):
            raise Refused(1008, "say hello first")
        return frame

    async def _keep(self, visitor: Visitor, kept: Kept) -> None:
        """Put what a visitor did into the inbox, under the identity that this socket proved."""
        headers = {"content-type": "application/json", VISITOR_HEADER: _ascii(visitor)}
        url = f"{self.host.public_url}/channels/{self.name}/socket"
        await self.host.emit(Request("WS", url, headers, write(kept), self.host.now()))

    async def _keep_file(self, visitor: Visitor, upload: Upload) -> None:
        headers = {"content-type": upload.mime, VISITOR_HEADER: _ascii(visitor), FILE_HEADER: described(upload)}
        url = f"{self.host.public_url}/channels/{self.name}/files"
        await self.host.emit(Request("POST", url, headers, upload.data, self.host.now()))
        self.host.publish(self._topic(visitor.id))  # all tabs show it


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


def _ascii(visitor: Visitor) -> str:
    """One line of ASCII, whatever is in the name: fit for a header."""
    return json.dumps(msgspec.to_builtins(visitor))
