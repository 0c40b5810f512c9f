"""Twilio SMS and MMS as a channel: its settings, and what it does with requests and messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from pydantic import AfterValidator, Field, SecretStr, model_validator

from adapters.twilio_sms.api import Api
from adapters.twilio_sms.events import STATES, events
from adapters.twilio_sms.form import fields
from adapters.twilio_sms.signature import Signature
from hub.contract import (
    Adapter,
    BadAddress,
    Capabilities,
    ChannelConfig,
    Event,
    Health,
    Host,
    Outgoing,
    Receipt,
    Rejected,
    Request,
    SendError,
    Transient,
    Unparseable,
    Verified,
    entry_words,
)
from hub.model import Attachment, utc

_TAKEN = Verified(True, 200, "<Response/>", {"content-type": "text/xml"})  # any <Message> in it would be sent
_REFUSED = Verified(
    False, 403, "signature does not match: check auth_token, and that Twilio calls exactly public_url/hooks/<channel>\n"
)


def _usable(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("empty, or with blanks or other characters that no secret of Twilio's has")
    return secret


Secret = Annotated[SecretStr, AfterValidator(_usable)]


class TwilioSmsConfig(ChannelConfig):
    account_sid: str = Field(pattern=r"^AC[0-9A-Za-z]+$", description="Account SID, from the Twilio console.")
    auth_token: Secret = Field(description="Auth token of the account: signs webhooks, and sends without an API key.")
    auth_token_previous: Secret | None = Field(None, description="The other auth token while they are rotated.")
    api_key_sid: str | None = Field(None, pattern=r"^SK[0-9A-Za-z]+$", description="API key to send with.")
    api_key_secret: Secret | None = Field(None, description="Secret of the API key.")
    shared_key: Secret | None = Field(None, description="Secret of webhooks that are signed with HMAC_SHA256.")
    from_number: str | None = Field(
        None,
        pattern=r"^(\+[1-9][0-9]{6,14}|[0-9]{3,8}|[A-Za-z0-9][A-Za-z0-9 ]{0,10})$",
        description="Sender: +12025550100, a short code, or a name.",
    )
    messaging_service_sid: str | None = Field(
        None, pattern=r"^MG[0-9A-Za-z]+$", description="Messaging service that picks the sender, in place of one."
    )
    validity_period: int | None = Field(
        None, ge=1, le=36_000, description="Seconds after which Twilio gives up a message in its queue (else 10 hours)."
    )

    @model_validator(mode="after")
    def _complete(self) -> TwilioSmsConfig:
        if (self.from_number is None) is (self.messaging_service_sid is None):
            raise ValueError("set from_number or messaging_service_sid, one of the two")
        if (self.api_key_sid is None) is not (self.api_key_secret is None):
            raise ValueError("api_key_sid and api_key_secret belong together: set both or none")
        return self


class TwilioSms(Adapter[TwilioSmsConfig]):
    medium = "sms"
    scheme = "tel"
    Config = TwilioSmsConfig
    capabilities = Capabilities(
        text_limit=1600,  # characters, error 21617 above: https://www.twilio.com/docs/api/errors/21617
        sms_segments=True,
        media="url",
        media_max=10,  # https://www.twilio.com/docs/messaging/api/message-resource (MediaUrl)
        media_size=5_000_000,  # bytes; as above. Carriers may take less of other kinds than jpeg, png and gif
        delivered=True,
        idempotency="query",  # the list of messages; a status callback with our key may be quicker
        settle=timedelta(seconds=60),
        concurrency=16,
        rate=1.0,  # segments per second of a US long code: https://www.twilio.com/docs/api/errors/21611
        shed=None,  # repeats only when it could not connect, once: a refused SMS is lost
        retry_for=timedelta(hours=4),
    )

    def __init__(self, name: str, config: TwilioSmsConfig, host: Host) -> None:
        super().__init__(name, config, host)
        token = config.auth_token.get_secret_value()
        tokens = [token, *_revealed(config.auth_token_previous)]
        shared_key = next(iter(_revealed(config.shared_key)), None)
        self._signature = Signature(tokens, shared_key, f"{host.public_url}/hooks/{name}")
        self._account = Api(host, config.base_url, config.account_sid, config.account_sid, token)
        self._api = self._account
        if config.api_key_sid and config.api_key_secret:
            secret = config.api_key_secret.get_secret_value()
            self._api = Api(host, config.base_url, config.account_sid, config.api_key_sid, secret)
        if config.from_number:
            self._sender = {"From": config.from_number}
        else:
            self._sender = {"MessagingServiceSid": config.messaging_service_sid or ""}
        constant: dict[str, str | int] = {**self._sender}
        if config.validity_period:
            constant["ValidityPeriod"] = config.validity_period
        self._constant = urlencode(constant) + "&"

    def verify(self, request: Request) -> Verified:
        return _TAKEN if self._signature.valid(request) else _REFUSED

    def receive(self, request: Request) -> list[Event]:
        """A message (and what it means for consent), or a status. Raises: Unparseable."""
        try:
            return events(fields(request), request)
        except Unparseable:
            raise
        except ValueError as error:
            raise Unparseable(f"not a form of Twilio's: {error}") from error

    async def send(self, out: Outgoing) -> Receipt:
        """Post one SMS or MMS. Raises: SendError, as ``errors.MEANING`` says.

        Source: https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource
        """
        if out.to.scheme != self.scheme:
            raise BadAddress(f"not a phone number: {out.to.scheme}")
        if out.template is not None and not out.text:
            raise Rejected("SMS has no provider templates here: send the text itself")
        form = [("To", out.to.value)]
        if out.text:
            form.append(("Body", out.text))
        for each in out.attachments:
            if each.url is None:
                raise Rejected("Twilio gets files from a public URL, and one has none")
            form.append(("MediaUrl", each.url))
        if out.callback_url:
            form.append(("StatusCallback", out.callback_url))
        return _receipt(await self._api.create((self._constant + urlencode(form)).encode()))

    async def lookup(self, out: Outgoing, since: datetime) -> list[Receipt]:
        """Messages with this recipient, sender, text and number of files, oldest first. Raises: SendError.

        Not asked by DateSent: what still waits in Twilio's queue has none, and would be taken for lost.
        """
        query = {"To": out.to.value, "PageSize": "1000"}
        if self.config.from_number:
            query["From"] = self.config.from_number
        since = since.replace(microsecond=0)  # Twilio tells whole seconds
        found = [(_created(row), row) for row in await self._api.messages(query) if self._like(row, out)]
        taken = sorted((each for each in found if each[0] >= since), key=lambda each: each[0])
        return [_receipt(row) for _, row in taken]

    def _like(self, row: Mapping[str, Any], out: Outgoing) -> bool:
        return (
            (row.get("body") or "") == out.text
            and str(row.get("num_media") or "0") == str(len(out.attachments))
            and self.config.messaging_service_sid in (None, row.get("messaging_service_sid"))
        )

    async def fetch(self, attachment: Attachment, request: Request | None) -> AsyncIterator[bytes] | None:
        """Raises: SendError (Rejected for a URL that is not Twilio's)."""
        return None if attachment.url is None else _once(await self._api.download(attachment.url))

    def entry_link(self, token: str) -> str | None:
        """RFC 5724. A messaging service has no number of its own, and names cannot be written to."""
        number = self.config.from_number or ""
        return f"sms:{number}?body={quote(entry_words(token))}" if number.lstrip("+").isdigit() else None

    async def check(self) -> Health:
        try:
            account = await self._account.account()  # standard API keys may not read it
            if self._api is not self._account:
                await self._api.probe()
        except SendError as error:
            return Health(False, error.detail)
        status = account.get("status")
        return Health(status == "active", f"account {account.get('friendly_name')} is {status}")


def _revealed(secret: SecretStr | None) -> list[str]:
    return [secret.get_secret_value()] if secret else []


def _receipt(row: Mapping[str, Any]) -> Receipt:
    """What failed since was taken too; its failure comes by status callback."""
    state = STATES.get(str(row.get("status")), "queued")
    detail = {"num_segments": str(row["num_segments"])} if row.get("num_segments") is not None else {}
    if row.get("error_code"):
        detail["error_code"] = str(row["error_code"])
    if state in ("delivered", "read"):
        return Receipt(str(row["sid"]), "delivered", detail)
    return Receipt(str(row["sid"]), "sent" if state == "sent" else "queued", detail)


def _created(row: Mapping[str, Any]) -> datetime:
    """RFC 2822. Raises: Transient."""
    try:
        return utc(parsedate_to_datetime(str(row.get("date_created"))))
    except ValueError as error:
        raise Transient("Twilio lists a message without a date") from error


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
