"""Logins by OAuth 2: access tokens from the provider's token endpoint (RFC 6749), kept until they expire."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlencode

import structlog

from adapters.email.address import one_line
from hub.contract import Ambiguous, Answer, ChannelDown, Host, SendError, Transient
from hub.shape import answered, number, retry_after, text

T = TypeVar("T")

log = structlog.get_logger(__name__)

_CURSOR = "oauth"
_LIFE = 300.0  # seconds that a token is used if nobody says how long it is good for
_MARGIN = 60.0  # seconds before its end in which a token is not used any more


@dataclass(frozen=True, slots=True)
class Client:
    """``refresh_token`` None: the application logs in for itself, without a person's consent."""

    token_url: str
    id: str
    secret: str | None
    refresh_token: str | None
    scope: str | None


class AccessTokens:
    def __init__(self, client: Client, host: Host) -> None:
        self._client = client
        self._host = host
        self._one_at_a_time = asyncio.Lock()
        self._token: str | None = None
        self._until = 0.0  # monotonic seconds

    async def use(self, login: Callable[[str], Awaitable[T]], refused: type[Exception]) -> T:
        """``login`` with a token, and once more with a new one where one that was kept is ``refused``: revoked, say.

        Raises: ChannelDown if there is no token to be had, Transient if there is none now; and what ``login`` raises.
        """
        kept = self._kept()
        if kept is not None:
            try:
                return await login(kept)
            except refused:
                if kept == self._token:
                    self._token = None
        return await login(await self._get())

    def _kept(self) -> str | None:
        return self._token if time.monotonic() < self._until else None

    async def _get(self) -> str:
        async with self._one_at_a_time:
            kept = self._kept()
            if kept is None:
                asked_at = time.monotonic()
                kept, life = await self._ask()
                self._token, self._until = kept, asked_at + max(life - _MARGIN, life / 2)
            return kept

    async def _ask(self) -> tuple[str, float]:
        """A new token, and for how many seconds it is good."""
        client = self._client
        form = {"client_id": client.id, "client_secret": client.secret, "scope": client.scope}
        refresh = await self._refresh_token()
        form |= {"grant_type": "refresh_token", "refresh_token": refresh} if refresh else {
            "grant_type": "client_credentials"
        }
        body = urlencode({name: value for name, value in form.items() if value}).encode()
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        try:
            answer = await self._host.http.request("POST", client.token_url, headers=headers, body=body)
        except (Ambiguous, Transient) as error:
            raise Transient(f"no answer from {client.token_url}: {error.detail}") from error
        said = answered(answer) or {}
        token = text(said, "access_token")
        if answer.status != 200 or not token or not token.isascii() or not token.isprintable():
            raise _refusal(client, answer, said)
        following = text(said, "refresh_token")
        if following and following != refresh:
            await self._keep(following)
        life = number(said, "expires_in")
        return token, _LIFE if life is None else life

    # Some providers give a new refresh token with each access token, and end the old one's life some time later.

    async def _refresh_token(self) -> str | None:
        given = self._client.refresh_token
        if given is None:
            return None
        kept = await self._host.cursor(_CURSOR)
        if kept is None:
            return given
        saved = json.loads(kept)
        return str(saved["token"]) if saved["follows"] == _mark(given) else given

    async def _keep(self, following: str) -> None:
        if self._client.refresh_token is None:
            return
        value = {"follows": _mark(self._client.refresh_token), "token": following}
        await self._host.save_cursor(_CURSOR, json.dumps(value))


def _mark(token: str) -> str:
    """Tells configured refresh tokens apart: with another one, what followed the old one is of no use."""
    return hashlib.sha256(token.encode()).hexdigest()


def _refusal(client: Client, answer: Answer, said: dict[str, object]) -> SendError:
    words = one_line(": ".join(filter(None, (text(said, "error"), text(said, "error_description")))))[:300]
    detail = f"{client.token_url} gives no access token: {words or 'no reason given'} (HTTP {answer.status})"
    if answer.status >= 500 or answer.status in (408, 429):
        return Transient(detail, after=retry_after(answer))
    if text(said, "error") == "invalid_grant":
        return ChannelDown(f"{detail}; the refresh token is no longer good: make a new one", code="invalid_grant")
    return ChannelDown(f"{detail}; check the oauth_… settings", code=text(said, "error") or str(answer.status))
