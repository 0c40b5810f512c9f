"""``hub adapter receive`` and ``send``: one JSON line in, one out, through a real adapter, without database or network.

Unknown keys of a line are ignored, so that tools may carry their own beside ours.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

import msgspec
from pydantic import ValidationError

from hub.contract import (
    LARGEST_ANSWER,
    Ambiguous,
    Answer,
    AnyAdapter,
    Event,
    Outgoing,
    Rejected,
    Request,
    SendError,
    Unparseable,
)
from hub.model import Address, Attachment, Button, Content, Location, Template, json_ready
from hub.registry import Adapters, parse_config
from hub.settings import ConfigError, explain, leaves
from hub.testing.host import LocalHost

Play = Callable[[dict[str, Any], Adapters], Awaitable[dict[str, Any]]]

# Parts of an event that are shown even when empty; other empty ones are left out.
_ALWAYS = {"type", "external_id", "sender", "also", "at", "text", "attachments", "state", "change", "emoji", "action"}
_ATTACHMENT = ("kind", "url", "ref", "mime", "name")


class BadInput(Exception):
    """A line that says no request or message; the text tells what is wrong with it."""


class RequestIn(msgspec.Struct):
    url: str
    method: str = "POST"
    headers: dict[str, str] = {}
    body: str | None = None
    body_base64: bytes | None = None


class ReceiveIn(msgspec.Struct):
    adapter: str
    request: RequestIn
    config: dict[str, Any] = {}
    verify: bool = True
    now: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    channel: str | None = None  # its name; else that of the adapter


class AttachmentIn(msgspec.Struct):
    url: str | None = None
    mime: str | None = None
    name: str | None = None
    kind: Literal["image", "audio", "video", "file", "sticker", "contact"] | None = None  # else by mime
    data: bytes | None = None  # base64: the file itself, for channels that want bytes


class MessageIn(msgspec.Struct):
    to: str
    text: str = ""
    subject: str | None = None
    html: str | None = None
    attachments: list[AttachmentIn] = []
    buttons: list[Button] = []
    location: Location | None = None
    template: Template | None = None
    reply_to: str | None = None
    reaction: str | None = None  # on the message that reply_to names; "" takes it back


class AnswerIn(msgspec.Struct):
    status: int
    headers: dict[str, str] = {}
    body: Any = ""  # text, or JSON as such
    body_base64: bytes | None = None


class SendIn(msgspec.Struct):
    adapter: str
    message: MessageIn
    config: dict[str, Any] = {}
    answers: list[AnswerIn] = []
    now: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    channel: str | None = None
    public_url: str = "https://hub.example.com"


class Player:
    """The ``contract.Http`` of a playback: keeps the requests, gives the answers in order."""

    def __init__(self, answers: list[Answer]) -> None:
        self.requests: list[dict[str, Any]] = []
        self._answers = iter(answers)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float = 15.0,
        largest: int = LARGEST_ANSWER,
    ) -> Answer:
        """Raises: Ambiguous when no answer is left, as if it had been lost."""
        self.requests.append({"method": method, "url": url, "headers": dict(headers or {}), **_body(body)})
        answer = next(self._answers, None)
        if answer is None:
            raise Ambiguous(f"no answer is given for request {len(self.requests)}")
        return answer


class PlaybackHost(LocalHost):
    """``relay``: what is no HTTP goes there in place of out."""

    def __init__(self, player: Player, public_url: str, now: datetime | None) -> None:
        super().__init__(http=player, public_url=public_url, now=now)
        self._player = player

    async def relay(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        return await self._player.request(method, url, headers=headers, body=body)


async def play(line: bytes, act: Play, adapters: Adapters) -> str:
    """The output line for an input line, whatever it holds."""
    known: Any = None
    try:
        given = _object(line)
        known = given.get("id")
        return json.dumps({"id": known, **await act(given, adapters)}, allow_nan=False)
    except (BadInput, ConfigError, msgspec.ValidationError) as error:
        failure = {"kind": "bad_input", "detail": str(error)}
    except Exception as error:  # an adapter's bug: the other lines still want their answer
        failure = _bug(error)
    return json.dumps({"id": known, "error": failure})


def _object(line: bytes) -> dict[str, Any]:
    try:
        given = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"not JSON: {error}") from None
    if not isinstance(given, dict):
        raise BadInput('not a JSON object: a line looks like {"id": 1, "adapter": "…", "config": {…}, …}')
    return given


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number in JSON")


def _bug(error: Exception) -> dict[str, Any]:
    return {"kind": "bug", "detail": f"{type(error).__name__}: {error}"}


async def receive(given: dict[str, Any], adapters: Adapters) -> dict[str, Any]:
    """``status``, ``body``, ``events`` and ``error`` of what the hub would make of a request."""
    line = msgspec.convert(given, ReceiveIn)
    now = line.now or datetime.now(UTC)
    host = PlaybackHost(Player([]), _origin(line.request.url), now)
    adapter = _adapter(adapters, line.adapter, line.channel, line.config, host)
    request = Request(
        line.request.method.upper(), line.request.url,
        {name.lower(): value for name, value in line.request.headers.items()},
        _bytes(line.request.body, line.request.body_base64), now,
    )
    try:
        return _translate(adapter, request, verify=line.verify)
    finally:
        await adapter.close()


def _origin(url: str) -> str:
    """The public address of a hub that was called at ``url``."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise BadInput(f"request.url: {error}") from None
    return f"{parts.scheme}://{parts.netloc}"


def _translate(adapter: AnyAdapter, request: Request, *, verify: bool) -> dict[str, Any]:
    status, body = adapter.taken.status, adapter.taken.body
    events: list[dict[str, Any]] = []
    try:
        answer = adapter.verify(request)
        if verify or answer.status < 300:  # else a signature that does not count
            status, body = answer.status, answer.body
            if not answer.accept:
                return {"status": status, "body": body, "events": [], "error": None}
        events = [_event(event) for event in adapter.receive(request)]
        return {"status": status, "body": body, "events": events, "error": None}
    except Unparseable as error:
        failure = {"kind": "unparseable", "detail": str(error)}
        events = [_event(event) for event in error.events]
    except Exception as error:  # an adapter's bug: the other lines still want their answer
        failure = _bug(error)
    return {"status": status, "body": body, "events": events, "error": failure}


async def send(given: dict[str, Any], adapters: Adapters) -> dict[str, Any]:
    """``requests``, ``receipts`` and ``error`` of sending a message, part by part, until one fails."""
    from hub.render import render

    line = msgspec.convert(given, SendIn)
    player = Player([_answer(answer) for answer in line.answers])
    host = PlaybackHost(player, line.public_url.rstrip("/"), line.now)
    adapter = _adapter(adapters, line.adapter, line.channel, line.config, host)
    content, to = _content(line.message), _address(line.message.to, adapter.scheme)
    if line.message.reaction is not None and not adapter.capabilities.reactions:
        refused = Rejected("this channel shows no reactions", code="reaction")
        return {"requests": [], "receipts": [], "error": _failure(refused)}
    receipts: list[dict[str, str]] = []
    failure: dict[str, Any] | None = None
    try:
        for number, part in enumerate(render(content, adapter.capabilities)):
            key = f"{given.get('id')}.{number}"
            receipt = await adapter.send(
                Outgoing(
                    key=key,
                    to=to,
                    text=part.text,
                    subject=part.subject,
                    html=part.html,
                    attachments=part.attachments,
                    buttons=part.buttons,
                    location=part.location,
                    template=part.template,
                    reply_to=line.message.reply_to,
                    reaction=line.message.reaction,
                    callback_url=f"{host.public_url}/hooks/{adapter.name}?key={quote(key, safe='')}",
                )
            )
            receipts.append({"external_id": receipt.external_id})
    except SendError as error:
        failure = _failure(error)
    except Exception as error:  # an adapter's bug: the other lines still want their answer
        failure = _bug(error)
    finally:
        await adapter.close()
    return {"requests": player.requests, "receipts": receipts, "error": failure}


def _adapter(
    adapters: Adapters, name: str, channel: str | None, config: dict[str, Any], host: PlaybackHost
) -> AnyAdapter:
    kind = adapters.named(name)
    try:
        return kind(channel or name, parse_config(kind, config), host)
    except ValidationError as error:
        raise BadInput("; ".join(_mistakes(name, kind, error))) from None


def _mistakes(name: str, kind: type[AnyAdapter], error: ValidationError) -> list[str]:
    """What to change in the line itself, since no file and no variable is read."""
    known = list(leaves(kind.Config))
    return explain(
        error, lambda _: "this line", prefix="config", known=[f"config.{key}" for key in known],
        remedy=lambda key: f'put "{key.removeprefix("config.")}" into the config of this line',
        listed=f"{name} knows {', '.join(known)}",
    )  # fmt: skip


def _content(message: MessageIn) -> Content:
    content = Content(
        text=message.text,
        subject=message.subject,
        html=message.html,
        attachments=[
            Attachment(kind=file.kind or _kind(file.mime), url=file.url, mime=file.mime, name=file.name, data=file.data)
            for file in message.attachments
        ],
        buttons=message.buttons,
        location=message.location,
        template=message.template,
    )
    if content.empty() and message.reaction is None:
        known = "text, html, attachments, a location, a template or a reaction"
        raise BadInput(f"the message says nothing: give it {known}")
    return content


def _kind(mime: str | None) -> Literal["image", "audio", "video", "file"]:
    match (mime or "").partition("/")[0]:
        case "image":
            return "image"
        case "audio":
            return "audio"
        case "video":
            return "video"
    return "file"


def _address(text: str, scheme: str) -> Address:
    """``scheme:value``, or a bare value of the adapter's own scheme."""
    known, colon, _ = text.partition(":")
    bare = not (colon and known.isascii() and known.isalnum() and known.islower())
    try:
        return Address.parse(f"{scheme}:{text}" if bare else text)
    except ValueError as error:
        raise BadInput(f"message.to: {error}") from None


def _answer(answer: AnswerIn) -> Answer:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
    return Answer(answer.status, headers, _bytes(text, answer.body_base64))


def _bytes(text: str | None, encoded: bytes | None) -> bytes:
    return encoded if encoded is not None else (text or "").encode("utf-8", "surrogatepass")


def _body(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


def _event(event: Event) -> dict[str, Any]:
    shown = json_ready(event)
    if "attachments" in shown:
        shown["attachments"] = [
            {name: file[name] for name in _ATTACHMENT if name in file} for file in shown["attachments"]
        ]
    silent = {each.name: each.default for each in fields(event)}  # what has its default says nothing
    kept = {
        name: value
        for name, value in shown.items()
        if name in _ALWAYS or (value not in ("", [], False) and value != silent.get(name))
    }
    return {"type": kept.pop("type"), **kept}


def _failure(error: SendError) -> dict[str, Any]:
    known = {
        "kind": error.kind,
        "code": error.code,
        "retry_after": getattr(error, "after", None),
        "scope": getattr(error, "scope", None),
        "detail": error.detail,
    }
    return {name: value for name, value in known.items() if value is not None}

