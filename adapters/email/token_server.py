"""Where the simulated mail provider gives out access tokens: a token endpoint as RFC 6749 has it."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from hub.testing.server import Server
from hub.testing.simulation import Fault, Ledger

CLIENT = {"client_id": "a simulated application", "client_secret": "its secret"}


class TokenServer:
    """``life``: seconds that an access token is said to be good for; it is until it is revoked. Each refresh token can
    be used once, as strict providers have it."""

    def __init__(self, ledger: Ledger) -> None:
        self.life = 3600
        self.refresh_token = "refresh-0"  # noqa: S105 - the first of a simulated provider's
        self.answers: list[Fault] = []  # what happens to the next calls
        self.gate: asyncio.Event | None = None  # calls wait for it
        self._ledger = ledger
        self._server = Server()
        self._tokens: set[str] = set()
        self._count = 0

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/token", self._token)
        self.url = f"{await self._server.listen(app)}/token"

    async def stop(self) -> None:
        await self._server.close()

    def config(self) -> dict[str, Any]:
        return {
            "oauth_token_url": self.url,
            "oauth_refresh_token": self.refresh_token,
            "oauth_scope": "https://mail.example.com/",
            **{f"oauth_{name}": value for name, value in CLIENT.items()},
        }

    def knows(self, token: str) -> bool:
        return token in self._tokens

    def revoke(self) -> None:
        """No access token is good any more."""
        self._tokens.clear()

    async def _token(self, request: web.Request) -> web.Response:
        form = dict((await request.post()).items())
        self._ledger.write("token", grant=form.get("grant_type"), scope=form.get("scope"))
        if self.gate is not None:
            await self.gate.wait()
        if self.answers:
            fault = self.answers.pop(0)
            if fault.kind == "throttle":
                return web.Response(status=429, headers={"Retry-After": "7"})
            return web.Response(status=503, text="<html>Down for maintenance</html>")
        if not form.items() >= CLIENT.items():
            return _refused(401, "invalid_client", "The client is not known, or its secret is wrong.")
        said: dict[str, Any] = {"token_type": "Bearer", "expires_in": self.life}
        if form.get("grant_type") == "refresh_token":
            if form.get("refresh_token") != self.refresh_token:
                return _refused(400, "invalid_grant", "Token has been expired or revoked.")
            self.refresh_token = said["refresh_token"] = f"refresh-{self._count + 1}"
        elif form.get("grant_type") != "client_credentials":
            return _refused(400, "unsupported_grant_type", "")
        self._count += 1
        token = said["access_token"] = f"access-{self._count}"
        self._tokens.add(token)
        return web.json_response(said)


def _refused(status: int, error: str, description: str) -> web.Response:
    return web.json_response({"error": error, "error_description": description}, status=status)
