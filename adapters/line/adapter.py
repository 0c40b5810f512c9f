"""A LINE official account as a channel: its settings, and what it does with webhooks and messages."""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar
from urllib.parse import quote

from aiohttp import web
from pydantic import AfterValidator, Field, SecretStr

from adapters.line.api import Api
from adapters.line.errors import is_used_up, refusal
from adapters.line.events import SCHEME, events, happenings, person
from adapters.line.outgoing import CHOICES, TOGETHER, messages, recipient
from adapters.line.preview import png
from adapters.line.replies import Replies
from hub.contract import (
    RARE,
    Adapter,
    Ambiguous,
    Answer,
    Capabilities,
    ChannelConfig,
    ChannelDown,
    Event,
    Health,
    Host,
    Outgoing,
    Receipt,
    Request,
    SendError,
    Transient,
    Verified,
    entry_words,
)
from hub.model import Address, Attachment, Purpose
from hub.shape import answered, moment, number, parts, text

_PREVIEW = "/film.png"
_TAKEN = Verified(True)
_REFUSED = Verified(False, 403, "signature does not match: check channel_secret\n")


def _usable(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("empty, or with blanks or other characters that no secret of LINE's has")
    return secret


Secret = Annotated[SecretStr, AfterValidator(_usable)]


class LineConfig(ChannelConfig):
    """One official account with the Messaging API."""

    channel_secret: Secret = Field(description="Channel secret: signs webhooks.")
    channel_access_token: Secret = Field(description="Channel access token (long-lived).")
    basic_id: str | None = Field(
        None, pattern=r"^@[A-Za-z0-9._-]{1,30}$", description="Id of the account, with @: for links to it (line.me)."
    )
    free_replies: bool = Field(
        True, description="Answer with the reply token while it works, which costs nothing of the month's messages."
    )
    data_url: str | None = Field(
        None, description="Where LINE keeps files; base_url if only that is set.", json_schema_extra=RARE
    )


class Line(Adapter[LineConfig]):
    medium = "line"
    scheme = SCHEME
    Config = LineConfig
    webhook_help: ClassVar[str] = (
        "Paste it in the LINE Developers Console, Messaging API: Webhook URL. Press Verify while the hub runs, then "
        "turn on Use webhook and Webhook redelivery."
    )
    # https://developers.line.biz/en/reference/messaging-api/
    capabilities = Capabilities(
        text_limit=5000,  # UTF-16 units
        media="url",  # LINE fetches them, by https
        media_max=TOGETHER - 1,  # beside a text
        media_size=200_000_000,  # bytes; what LINE does not show goes as a link anyway
        buttons=CHOICES,  # quick replies
        location=True,
        # X-Line-Retry-Key: the same key is carried out once, and answered 409 after that.
        idempotency="key",
        codes="line",
        concurrency=16,
        rate=100.0,  # calls per second; 2000 at LINE
        webhook=2 << 20,  # bytes (not documented)
        shed=503,  # delivered again where redelivery is switched on
        retry_for=timedelta(hours=23),  # a retry key is remembered for 24
    )

    def __init__(self, name: str, config: LineConfig, host: Host) -> None:
        super().__init__(name, config, host)
        self._secret = config.channel_secret.get_secret_value().encode()
        self._api = Api(host, config.base_url, config.data_url, config.channel_access_token.get_secret_value())
        self._replies = Replies(host)

    def verify(self, request: Request) -> Verified:
        """X-Line-Signature on the raw bytes."""
        told = request.headers.get("x-line-signature", "").encode("utf-8", "replace")
        return _TAKEN if hmac.compare_digest(told, sign(self._secret, request.body)) else _REFUSED

    def receive(self, request: Request) -> list[Event]:
        """The events of a batch, which may be empty. Raises: Unparseable."""
        raws = list(happenings(request))
        found = events(raws, request.received_at)
        if self.config.free_replies:
            self._note_tokens(raws, request.received_at)
        return found

    def _note_tokens(self, raws: Iterable[dict[str, Any]], received_at: datetime) -> None:
        """Nothing of what ``receive`` gives depends on it: without a token an answer is pushed."""
        for raw in raws:
            sender, token = person(raw), text(raw, "replyToken")
            if sender is not None and token:
                self._replies.note(sender.value, token, moment(raw, "timestamp", received_at))

    async def send(self, out: Outgoing) -> Receipt:
        """Reply for free, or push. Raises: SendError, as ``errors.refusal`` says."""
        to, said = recipient(out.to), messages(out, f"{self.host.public_url}/channels/{self.name}{_PREVIEW}")
        if self.config.free_replies and out.purpose is Purpose.reply:
            if (token := await self._replies.tried(out.key)) is not None:
                return await self._reply_again(token, said)
            if (token := await self._replies.take(out.key, to)) is not None:
                receipt = await self._reply(out.key, token, said)
                if receipt is not None:
                    return receipt
        # The same on every attempt, and another one in another hub whose numbers are the same.
        digest = hmac.new(self.host.secret, out.key.encode(), hashlib.sha256).digest()
        key = str(uuid.UUID(bytes=digest[:16], version=4))
        answer = await self._api.post("/v2/bot/message/push", {"to": to, "messages": said}, key)
        if answer.status >= 500:
            # Taken or not: the same key makes a second try safe.
            refused = refusal(answer)
            raise Transient(refused.detail, code=refused.code)
        if answer.status not in (200, 409):
            raise refusal(answer)
        return _receipt(answer)

    async def _reply(self, key: str, token: str, said: list[dict[str, Any]]) -> Receipt | None:
        """None if the token no longer worked. Raises: SendError."""
        try:
            answer = await self._post_reply(token, said)
        except Ambiguous:
            return await self._reply_again(token, said)
        except SendError:
            await self._replies.forget(key)
            raise
        if answer.status == 200:
            return replace(_receipt(answer), free=True)
        error = refusal(answer)
        if isinstance(error, Ambiguous):
            return await self._reply_again(token, said)
        await self._replies.forget(key)
        if not is_used_up(answer):
            raise error
        return None

    async def _reply_again(self, token: str, said: list[dict[str, Any]]) -> Receipt:
        """The answer was lost: if the token still works, nothing had been taken. Raises: SendError."""
        lost = "the answer to a reply was lost, and its token no longer works: it may have arrived"
        answer = await self._post_reply(token, said)
        if answer.status == 200:
            return replace(_receipt(answer), free=True)
        if is_used_up(answer):
            raise Ambiguous(lost, code="reply", settles=False)
        raise refusal(answer)

    async def _post_reply(self, token: str, said: list[dict[str, Any]]) -> Answer:
        return await self._api.post("/v2/bot/message/reply", {"replyToken": token, "messages": said})

    async def fetch(self, attachment: Attachment, request: Request | None) -> AsyncIterator[bytes] | None:
        """Raises: SendError."""
        return None if attachment.ref is None else _once(await self._api.download(attachment.ref))

    def entry_link(self, token: str) -> str | None:
        """https://developers.line.biz/en/docs/messaging-api/using-line-url-scheme/"""
        if self.config.basic_id is None:
            return None
        return f"https://line.me/R/oaMessage/{quote(self.config.basic_id)}/?{quote(entry_words(token))}"

    async def name_of(self, address: Address) -> str | None:
        """Raises: SendError. Nobody's name is told who blocked the account."""
        try:
            return text(await self._api.get(f"/v2/bot/profile/{recipient(address)}"), "displayName") or None
        except ChannelDown as error:
            if error.code == "404":
                return None
            raise

    def routes(self) -> list[web.RouteDef]:
        return [web.get(_PREVIEW, self._preview)]

    async def _preview(self, request: web.Request) -> web.Response:
        return web.Response(body=png(), content_type="image/png", headers={"Cache-Control": "public, max-age=86400"})

    async def check(self) -> Health:
        """Who the account is, whether its webhooks come here, and what is left of the month."""
        try:
            bot = await self._api.get("/v2/bot/info")
            hook = await self._api.get("/v2/bot/channel/webhook/endpoint")
            quota = await self._api.get("/v2/bot/message/quota")
            used = await self._api.get("/v2/bot/message/quota/consumption")
        except SendError as error:
            return Health(False, error.detail)
        most, spent = number(quota, "value"), int(number(used, "totalUsage") or 0)
        limit = int(most) if most is not None and text(quota, "type") == "limited" else None
        wrong = self._misdirected(text(hook, "endpoint"), active=hook.get("active") is True)
        if not wrong and limit is not None and spent >= limit:
            wrong = f"all {limit} messages of this month are used up: only free replies go out"
        left = f"{spent} of {'any number of' if limit is None else limit} messages used this month"
        return Health(not wrong, f"{text(bot, 'displayName')} {text(bot, 'basicId')}: {wrong or left}")

    def _misdirected(self, endpoint: str, *, active: bool) -> str:
        ours = f"{self.host.public_url}/hooks/{self.name}"
        if endpoint != ours:
            return f"webhooks go to {endpoint or 'nobody'}: enter {ours} in the LINE Developers Console"
        return "" if active else "webhooks are switched off: turn on Use webhook in the LINE Developers Console"


def sign(secret: bytes, body: bytes) -> bytes:
    return base64.b64encode(hmac.new(secret, body, hashlib.sha256).digest())


def _receipt(answer: Answer) -> Receipt:
    """The first of what was sent, or of what an earlier try had sent. Raises: Ambiguous."""
    ids = [found for each in parts(answered(answer), "sentMessages") if (found := text(each, "id"))]
    accepted = answer.headers.get("x-line-accepted-request-id", "") or answer.headers.get("x-line-request-id", "")
    if not ids and not accepted:
        raise Ambiguous(f"LINE answered {answer.status} without the id of a message", code=str(answer.status))
    return Receipt(ids[0] if ids else accepted, "sent", {"ids": " ".join(ids)} if len(ids) > 1 else {})


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
