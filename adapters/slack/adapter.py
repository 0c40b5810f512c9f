"""The desk in Slack: one root post per conversation, the conversation in its thread."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import ClassVar, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator
from slack_sdk.signature import Clock, SignatureVerifier

from adapters.slack import events, socket_mode
from adapters.slack.calls import Api
from adapters.slack.later import Later
from adapters.slack.manifest import SCOPES
from adapters.slack.posts import Posts
from hub.contract import (
    Adapter,
    Capabilities,
    ChannelConfig,
    ChannelDown,
    Emit,
    Event,
    Health,
    Host,
    Outgoing,
    Receipt,
    Request,
    SendError,
    Verified,
)
from hub.model import Attachment, Medium

_PLAIN = {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"}


class SlackConfig(ChannelConfig):
    """One Slack app in one workspace, one desk channel."""

    model_config = ConfigDict(hide_input_in_errors=True)

    bot_token: SecretStr = Field(description="Bot User OAuth Token, begins with xoxb-.")
    signing_secret: SecretStr | None = Field(None, description="Of the app; for events over HTTP.")
    app_token: SecretStr | None = Field(None, description="App-level token, begins with xapp-; for Socket Mode.")
    channel: str = Field(description="Id of the desk channel, like C0123ABCDEF.")
    agents: dict[str, str] = Field(default_factory=dict, description="Name that customers see, by Slack user id.")
    only_agents: bool = Field(False, description="Nobody but the people in `agents` may answer.")
    teams: list[str] = Field(
        default_factory=list, description="Ids of further workspaces whose members may answer (Enterprise Grid)."
    )

    @field_validator("channel")
    @classmethod
    def _an_id(cls, value: str) -> str:
        if not re.fullmatch(r"[CG][A-Z0-9]+", value):
            raise ValueError("must be the channel's id (like C0123ABCDEF, at the end of Slack's channel details)")
        return value

    @model_validator(mode="after")
    def _can_listen(self) -> SlackConfig:
        given = [token for token in (self.signing_secret, self.app_token) if token and token.get_secret_value().strip()]
        if not given:
            raise ValueError("set app_token (Socket Mode) or signing_secret (events over HTTP)")
        if not self.bot_token.get_secret_value().strip() or self.bot_token.get_secret_value().startswith("xapp-"):
            raise ValueError("bot_token must be the Bot User OAuth Token, which begins with xoxb-")
        if self.app_token and self.app_token.get_secret_value().startswith("xoxb-"):
            raise ValueError("app_token must be the app-level token, which begins with xapp-")
        return self


class _At(Clock):
    """The time a request came in, for the SDK's verifier."""

    def __init__(self, moment: datetime) -> None:
        self._moment = moment.timestamp()

    def now(self) -> float:
        return self._moment


class Slack(Adapter[SlackConfig]):
    medium: ClassVar[Medium] = "slack"
    scheme: ClassVar[str] = "slack"
    role: ClassVar[Literal["contact", "desk"]] = "desk"
    Config = SlackConfig
    # Source: https://docs.slack.dev/apis/web-api/rate-limits and https://docs.slack.dev/reference/block-kit/blocks
    capabilities: ClassVar[Capabilities] = Capabilities(
        text_limit=12_000,  # characters: five blocks; a message holds 50, but nobody reads that in a thread
        media="bytes",  # Slack takes no URLs
        media_max=10,  # files of one message
        media_size=25 << 20,  # bytes; Slack takes 1 GB, but the hub holds a file in memory
        edits=True,
        reactions=True,
        idempotency="query",  # our key is in each post's metadata, and history shows it
        settle=timedelta(seconds=5),
        concurrency=1,  # order
        rate=1.0,  # posts per second in a channel
        shed=503,  # Slack tries again at once, after 1 and after 5 minutes
        retry_for=timedelta(hours=24),
    )
    webhook_help: ClassVar[str] = (
        'Paste it as Request URL under "Event Subscriptions" and under "Interactivity & Shortcuts" of the Slack app '
        "(`hub slack manifest` has it filled in). With app_token set, Socket Mode needs no URL."
    )

    def __init__(self, name: str, config: SlackConfig, host: Host) -> None:
        super().__init__(name, config, host)
        self._api = Api(host.http, config.base_url, config.bot_token.get_secret_value())
        self._names = dict(config.agents)
        self._desk = events.Desk(
            config.channel,
            self._names,
            frozenset(config.teams),
            frozenset(config.agents) if config.only_agents else None,
            frozenset(config.agents),
        )
        self._posts = Posts(name, config.channel, self._api, host)
        self._later: Later | None = None

    # --- in ---

    def verify(self, request: Request) -> Verified:
        """Source: https://docs.slack.dev/authentication/verifying-requests-from-slack"""
        if _is_ssl_check(request):
            return Verified(False, 200)
        if not self._signed(request):
            return Verified(False, 401, "bad signature")
        challenge = _challenge(request.body)
        return Verified(True) if challenge is None else Verified(False, 200, challenge, _PLAIN)

    def _signed(self, request: Request) -> bool:
        secret = self.config.signing_secret
        if secret is None or not secret.get_secret_value().strip():
            return False
        verifier = SignatureVerifier(secret.get_secret_value(), _At(request.received_at))
        try:
            return verifier.is_valid_request(request.body, request.headers)
        except (ValueError, TypeError, OverflowError):
            return False  # a timestamp that is no number, a body that is not UTF-8, a signature that is not ASCII

    def receive(self, request: Request) -> list[Event]:
        payload = events.parse(request)
        if payload is None:
            return []
        found = events.translate(payload, self._desk)
        for user, name in found.names.items():
            self._names.setdefault(user, name)
        if self._later is not None:
            self._later.note(found)
        return found.events

    async def run(self, emit: Emit) -> None:
        """Socket Mode if there is an ``app_token``; and what ``receive`` may not do itself.

        Raises: ChannelDown, Transient (see ``socket_mode.listen``).
        """
        self._later = Later(self._api, self._names)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._later.work())
                if self.config.app_token is not None:
                    await socket_mode.listen(
                        self.config.bot_token.get_secret_value(),
                        self.config.app_token.get_secret_value(),
                        self.config.base_url,
                        emit,
                        self.host,
                    )
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            self._later = None

    async def fetch(self, attachment: Attachment, request: Request | None) -> AsyncIterator[bytes] | None:
        """Raises: SendError."""
        if attachment.ref is None:
            return None
        url, size = attachment.ref, attachment.size
        if "/" not in url:
            file = (await self._api.read("files.info", file=url)).get("file") or {}
            url, size = str(file.get("url_private_download") or file.get("url_private") or ""), file.get("size")
        return _once(await self._api.download(url, size))

    # --- out ---

    async def send(self, out: Outgoing) -> Receipt:
        """Raises: SendError."""
        return await self._posts.send(out)

    async def lookup(self, out: Outgoing, since: datetime) -> list[Receipt]:
        """Raises: SendError."""
        return await self._posts.lookup(out, since)

    async def check(self) -> Health:
        """The tokens, the scopes, and whether the app is in the desk channel."""
        try:
            who, granted = await self._api.scopes()
            missing = sorted(set(SCOPES) - granted) if granted is not None else []
            if missing:
                return Health(False, f"missing scopes: {', '.join(missing)}; add them and install the app again")
            await self._api.read("conversations.history", channel=self.config.channel, limit=1)
            if self.config.app_token is not None:
                app = Api(self.host.http, self.config.base_url, self.config.app_token.get_secret_value())
                await app.write("apps.connections.open")
        except ChannelDown as error:
            return Health(False, error.detail)
        except SendError as error:
            return Health(False, f"Slack cannot be asked: {error.detail}")
        return Health(True, f"{who.get('user')} in {who.get('team')}")


def _is_ssl_check(request: Request) -> bool:
    """Slack tests the certificate of a command's URL, unsigned, and wants a 200. Nothing is kept."""
    query = urlsplit(request.url).query
    form = request.body[:200].decode("ascii", "replace") if request.body[:1] != b"{" else ""
    return any(parse_qs(text).get("ssl_check") == ["1"] for text in (query, form))


def _challenge(body: bytes) -> str | None:
    """The word of a URL handshake, which must be sent back."""
    if b"url_verification" not in body:
        return None
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or data.get("type") != "url_verification":
        return None
    return str(data.get("challenge", ""))


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
