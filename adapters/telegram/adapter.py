"""A Telegram bot as a channel: its settings, and what it does with updates and messages."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from adapters.telegram import contents, people
from adapters.telegram.api import Api
from adapters.telegram.events import UPDATES, events, pressed
from adapters.telegram.outgoing import call
from adapters.telegram.pull import Poller, persist
from hub.contract import (
    MADE_HERE,
    Adapter,
    Ambiguous,
    Capabilities,
    ChannelConfig,
    Emit,
    Event,
    Health,
    Host,
    Outgoing,
    Receipt,
    Rejected,
    Request,
    SendError,
    Unparseable,
    Verified,
)
from hub.model import Attachment
from hub.shape import document, integer, part, text

_TAKEN = Verified(True)
_REFUSED = Verified(False, 403, "secret_token is another than the one the webhook was set with: restart the hub\n")
_POLLED = Verified(False, 403, "this channel asks Telegram for updates itself: mode is \"polling\"\n")
_TOKEN = r"[0-9]{1,19}:[A-Za-z0-9_-]{1,200}"  # noqa: S105 - the form of one
_SECRET = r"[A-Za-z0-9_-]{1,256}"  # noqa: S105 - as above


class TelegramConfig(ChannelConfig):
    """One bot."""

    bot_token: SecretStr = Field(description="Token of the bot, from @BotFather: 123456:ABC…")
    mode: Literal["webhook", "polling"] = Field(
        "webhook", description="Telegram posts updates to the hub, or the hub asks for them (needs no public address)."
    )
    secret_token: SecretStr | None = Field(
        None,
        description="Any word of A-Z, a-z, 0-9, _ and -; the hub gives it to Telegram, which shows it each time.",
        json_schema_extra=MADE_HERE,
    )
    register_webhook: bool = Field(True, description="Tell Telegram the webhook's address when the hub starts.")
    username: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_]{4,32}$", description="The bot's user name, without @: for links to it (t.me)."
    )
    poll_wait: int = Field(50, ge=0, le=50, description="Seconds that Telegram waits for news before it answers.")

    @field_validator("bot_token")
    @classmethod
    def _is_token(cls, value: SecretStr) -> SecretStr:
        return _of_form(_TOKEN, value, "not a bot's token, which looks like 123456:ABC-DEF")

    @field_validator("secret_token")
    @classmethod
    def _is_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        return _of_form(_SECRET, value, "1 to 256 characters of A-Z, a-z, 0-9, _ and - are allowed")

    @model_validator(mode="after")
    def _is_guarded(self) -> TelegramConfig:
        if self.mode == "webhook" and self.secret_token is None:
            raise ValueError("set secret_token (any word), or mode = \"polling\"")
        return self


def _of_form(pattern: str, value: SecretStr, otherwise: str) -> SecretStr:
    if not re.fullmatch(pattern, value.get_secret_value()):
        raise ValueError(otherwise)
    return value


class Telegram(Adapter[TelegramConfig]):
    medium = "telegram"
    scheme = people.SCHEME
    Config = TelegramConfig
    webhook_help: ClassVar[str] = (
        "Nothing to paste: the hub tells Telegram this address when it starts (https only). With mode = \"polling\" it "
        "needs none."
    )
    # https://core.telegram.org/bots/api, https://core.telegram.org/bots/faq
    capabilities = Capabilities(
        text_limit=4096,  # characters
        media="both",  # bytes up to 50 MB; from an address 20 MB, pictures 5 MB, documents only .pdf and .zip
        media_max=1,
        media_size=50_000_000,  # bytes
        captions=1024,  # characters
        captioned=frozenset({"image", "audio", "video", "file", "contact"}),
        buttons=100,  # of an inline keyboard (not documented)
        location=True,
        reactions=True,
        # No idempotency key, nothing to ask, no receipts: a lost answer stays unknown.
        idempotency="none",
        codes="telegram",
        concurrency=16,
        rate=30.0,  # messages per second of a bot
        pair=(1.0, 3.0),  # in one chat; a few at once are let pass (how many is not documented)
        shed=503,  # repeated, and kept for 24 hours
        retry_for=timedelta(hours=24),
    )

    def __init__(self, name: str, config: TelegramConfig, host: Host) -> None:
        super().__init__(name, config, host)
        token = config.bot_token.get_secret_value()
        self._bot = token.partition(":")[0]
        self._api = Api(host, config.base_url, token)

    def verify(self, request: Request) -> Verified:
        """The word that the webhook was set with. A pressed button is answered in the same breath."""
        if self.config.mode == "polling" or self.config.secret_token is None:
            return _POLLED
        told = request.headers.get("x-telegram-bot-api-secret-token", "").encode("utf-8", "replace")
        if not hmac.compare_digest(told, self.config.secret_token.get_secret_value().encode()):
            return _REFUSED
        return _answer(request.body) if b'"callback_query"' in request.body else _TAKEN

    def receive(self, request: Request) -> list[Event]:
        """The events of one update. Raises: Unparseable."""
        return events(request, self._bot)

    async def send(self, out: Outgoing) -> Receipt:
        """Call one method. Raises: SendError, as ``errors.refusal`` says."""
        made = call(out, self._bot)
        result = await self._api.call(made.method, made.fields, made.upload)
        if out.reaction is not None:
            return Receipt(f"{out.reply_to}:{out.key}")
        chat, number = integer(part(result, "chat"), "id"), integer(result, "message_id")
        if chat is None or number is None:
            raise Ambiguous("Telegram answered 200 without the id of a message", code="200")
        return Receipt(people.external_id(chat, number))

    async def run(self, emit: Emit) -> None:
        """Ask for updates; or tell Telegram where to post them, and be done."""
        if self.config.mode == "polling":
            await Poller(self._api, self.host, self._bot, self.config.poll_wait).run(emit)
        elif self.config.register_webhook:
            await persist(self.host, "setWebhook", partial(self._api.ask, "setWebhook", self._webhook()))

    def _webhook(self) -> dict[str, Any]:
        secret = self.config.secret_token.get_secret_value() if self.config.secret_token else ""
        return {"url": self._url, "secret_token": secret, "allowed_updates": UPDATES}

    @property
    def _url(self) -> str:
        return f"{self.host.public_url}/hooks/{self.name}"

    async def fetch(self, attachment: Attachment, request: Request | None) -> AsyncIterator[bytes] | None:
        """Raises: SendError."""
        if attachment.ref is None:
            return None
        if attachment.ref.startswith("contact:"):
            return _once(_card(request))
        return _once(await self._api.download(attachment.ref))

    def entry_link(self, token: str) -> str | None:
        """https://core.telegram.org/bots/features#deep-linking"""
        return f"https://t.me/{self.config.username}?start={token}" if self.config.username else None

    async def check(self) -> Health:
        """Who the bot is, and whether its updates come here."""
        try:
            bot = await self._api.ask("getMe")
            hook = await self._api.ask("getWebhookInfo")
        except SendError as error:
            return Health(False, error.detail)
        name = f"@{text(bot, 'username') or self._bot}"
        waiting = integer(hook, "pending_update_count") or 0
        # The last failure stays on record after it was mended.
        failure = text(hook, "last_error_message") if waiting else ""
        wrong = self._misdirected(text(hook, "url"), failure)
        return Health(not wrong, f"{name}: {wrong or f'{self.config.mode}, {waiting} updates wait'}")

    def _misdirected(self, url: str, failure: str) -> str:
        """What keeps updates away from us; empty if nothing does. Telegram does not tell the secret it was given."""
        if self.config.mode == "polling":
            return f"updates are posted to {url}, and polling is refused: start the hub, which ends that" if url else ""
        if not url:
            return f"no webhook is set: start the hub, which sets {self._url}"
        if url != self._url:
            return f"updates are posted to {url}, not to {self._url}: mend public_url, and restart the hub"
        if "401" in failure or "403" in failure:
            return f"the webhook was set with another secret_token ({failure}): restart the hub"
        return f"the last webhook failed: {failure}" if failure else ""


def _answer(body: bytes) -> Verified:
    """A call in the answer to a webhook ends the wheel on a pressed button, which waits for only a few seconds.

    https://core.telegram.org/bots/api#making-requests-when-getting-updates
    """
    try:
        query = pressed(document(body))
    except Unparseable:
        query = None
    if query is None:
        return _TAKEN
    made = json.dumps({"method": "answerCallbackQuery", "callback_query_id": query})
    return Verified(True, 200, made, {"content-type": "application/json"})


def _card(request: Request | None) -> bytes:
    """The vCard of the contact in an update. Raises: Rejected."""
    if request is None:
        raise Rejected("the update with this contact is not kept", code="contact")
    try:
        raw = part(document(request.body), "message")
    except Unparseable:
        raw = {}
    if not part(raw, "contact"):
        raise Rejected("the update holds no contact", code="contact")
    return contents.vcard(raw)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
