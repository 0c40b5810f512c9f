"""Calls of Slack's Web API, and what its errors mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

from hub.contract import (
    Ambiguous,
    Answer,
    ChannelDown,
    Http,
    RateLimited,
    Rejected,
    SendError,
    Transient,
)
from hub.shape import answered, retry_after

DEFAULT_URL = "https://slack.com/api/"

LARGEST = 64 << 20  # bytes of a file that an agent sends; Slack takes 1 GB, but it is held in memory on its way

# Error codes by what they ask of us; every other one concerns this one message.
# Source: https://docs.slack.dev/reference/methods/chat.postMessage#errors
LATER = frozenset({"service_unavailable", "request_timeout", "team_added_to_org", "internal_error", "fatal_error"})
# "It's possible some aspect of the operation succeeded before the error was raised."
PERHAPS_DONE = frozenset({"internal_error", "fatal_error"})
TOO_FAST = frozenset({"ratelimited", "rate_limited"})
DOWN: Mapping[str, str] = {
    "invalid_auth": "check bot_token",
    "not_authed": "check bot_token",
    "token_revoked": "install the app again and set the new bot_token",
    "token_expired": "install the app again and set the new bot_token",
    "account_inactive": "the app was removed from the workspace; install it again",
    "not_allowed_token_type": "bot_token must be the one that begins with xoxb-",
    "missing_scope": "add the scope in the app's settings and install it again",
    "no_permission": "install the app again with the scopes of `hub slack manifest`",
    "channel_not_found": "check channel; if it is private: /invite the app there",
    "not_in_channel": "/invite the app to the desk channel",
    "is_archived": "the desk channel is archived; unarchive it or set another",
    "restricted_action": "a workspace setting forbids the app to post there",
    "restricted_action_read_only_channel": "the desk channel is read-only for the app",
    "restricted_action_thread_locked": "threads are locked in the desk channel",
    "team_access_not_granted": "the app is not allowed in this workspace",
    "access_denied": "ask a workspace admin to allow the app",
    "ekm_access_denied": "ask a workspace admin: posting is suspended",
    "org_login_required": "the workspace is being migrated",
    "enterprise_is_restricted": "the method is not allowed in this organisation",
    "message_limit_exceeded": "members of this workspace have reached its message limit",
}


# Of the former those that are about one channel.
OF_CHANNEL = frozenset({
    "channel_not_found", "not_in_channel", "is_archived", "restricted_action", "restricted_action_read_only_channel",
    "restricted_action_thread_locked",
})  # fmt: skip


class Api:
    """One workspace's Web API with one token. All failures are ``SendError``."""

    def __init__(self, http: Http, base_url: str | None, token: str) -> None:
        self._http = http
        self._base = (base_url or DEFAULT_URL).rstrip("/") + "/"
        self._token = token

    async def write(self, method: str, *, repeatable: bool = False, **body: Any) -> dict[str, Any]:
        """A call that changes something. ``repeatable``: doing it twice is the same as once, so a lost answer
        is no reason to wait."""
        headers = self.bearer | {"content-type": "application/json; charset=utf-8"}
        try:
            answer = await self._http.request(
                "POST", self._base + method, headers=headers, body=json.dumps(body).encode()
            )
            return _data(method, answer)
        except Ambiguous as error:
            if repeatable:
                raise Transient(error.detail, code=error.code) from error
            raise

    async def read(self, method: str, **params: Any) -> dict[str, Any]:
        """A call that asks. Slack takes no JSON here."""
        return _data(method, await self._get(method, params))

    async def scopes(self) -> tuple[dict[str, Any], set[str] | None]:
        """Who we are, and the scopes our token has (None if Slack does not say)."""
        answer = await self._get("auth.test", {})
        listed = answer.headers.get("x-oauth-scopes")
        granted = None if listed is None else {scope.strip() for scope in listed.split(",")}
        return _data("auth.test", answer), granted

    async def download(self, url: str, size: int | None) -> bytes:
        """A file's bytes; ``size`` as Slack says it. Raises: Rejected if ``url`` is not Slack's or the file is too
        large, ChannelDown for its login page."""
        if (size or 0) > LARGEST:
            raise Rejected(f"the file has {size} bytes, more than the {LARGEST} that are fetched", code="too_large")
        answer = await self._http.request("GET", self._own(url), headers=self.bearer, timeout=60, largest=LARGEST)
        if answer.status != 200:
            raise _by_status("file download", answer)
        kind = answer.headers.get("content-type", "")
        # An HTML file that somebody shared comes as a download, the login page does not.
        if kind.startswith("text/html") and "attachment" not in answer.headers.get("content-disposition", ""):
            raise ChannelDown("Slack answered with its login page instead of the file: is the scope files:read there?")
        return answer.body

    async def upload(self, name: str, data: bytes) -> str:
        """Put a file at Slack without showing it yet. Returns its id.

        Source: https://docs.slack.dev/messaging/working-with-files#upload
        """
        ticket = await self.read("files.getUploadURLExternal", filename=name, length=len(data))
        answer = await self._http.request("POST", self._own(str(ticket["upload_url"])), body=data, timeout=60)
        if answer.status != 200:
            raise _by_status("file upload", answer)
        return str(ticket["file_id"])

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token}"}

    async def _get(self, method: str, params: Mapping[str, Any]) -> Answer:
        query = "?" + urlencode(params) if params else ""
        return await self._http.request("GET", self._base + method + query, headers=self.bearer)

    def _own(self, url: str) -> str:
        """Our token goes to Slack only. Raises: Rejected."""
        parts, home = urlsplit(url), urlsplit(self._base)
        host = parts.hostname or ""
        if parts.scheme == "https" and (host == "slack.com" or host.endswith(".slack.com")):
            return url
        if (parts.scheme, parts.netloc) == (home.scheme, home.netloc):
            return url
        raise Rejected(f"not a file of Slack's: it is at {host or 'no host'}", code="foreign_host")


def _data(method: str, answer: Answer) -> dict[str, Any]:
    """The answer's JSON. Raises: SendError."""
    data = answered(answer)
    if data is None or not isinstance(data.get("ok"), bool):
        raise _by_status(method, answer)
    if data["ok"]:
        return data
    raise _by_code(method, answer, data)


def _by_code(method: str, answer: Answer, data: Mapping[str, Any]) -> SendError:
    code = str(data.get("error") or "no_error_code")
    detail = f"{method}: {code}"
    if answer.status == 429 or code in TOO_FAST:
        return RateLimited(detail, code=code, after=retry_after(answer), scope=_scope(method))
    if code in DOWN:
        needed = f" ({data['needed']})" if data.get("needed") else ""
        return ChannelDown(f"{detail}{needed}; {DOWN[code]}", code=code)
    if code in LATER:
        return Transient(detail, code=code, after=retry_after(answer))
    if answer.status >= 500:
        return Ambiguous(f"{detail} (HTTP {answer.status})", code=code)
    reasons = data.get("response_metadata")
    words = reasons.get("messages") if isinstance(reasons, dict) else None
    return Rejected(f"{detail}: {'; '.join(map(str, words))}" if words else detail, code=code)


def _scope(method: str) -> Literal["sender", "pair"]:
    """What is too fast. Reactions have a limit of their own, which is no reason to hold posts."""
    return "pair" if method.startswith("reactions.") else "sender"


def _by_status(method: str, answer: Answer) -> SendError:
    """An answer that is not the Web API's JSON."""
    detail, code = f"{method}: HTTP {answer.status}", str(answer.status)
    if answer.status == 429:
        return RateLimited(detail, code=code, after=retry_after(answer), scope=_scope(method))
    if answer.status >= 500 or answer.status == 200:
        return Ambiguous(detail if answer.status != 200 else f"{method}: an answer that is not JSON", code=code)
    if answer.status == 413:
        return Rejected(detail, code=code)
    return ChannelDown(f"{detail}; is base_url right?", code=code)
