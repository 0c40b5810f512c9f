"""Vonage's SMS API as a channel: its settings, and what it does with requests and messages."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, ClassVar
from urllib.parse import quote, urlencode

from aiohttp import encode_basic_auth
from pydantic import AfterValidator, Field, SecretStr

from adapters.vonage_sms.errors import refusal
from adapters.vonage_sms.events import events
from adapters.vonage_sms.form import fields
from adapters.vonage_sms.gsm import is_plain
from adapters.vonage_sms.signature import Method, valid
from hub.contract import (
    RARE,
    Adapter,
    Ambiguous,
    Answer,
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
    Unparseable,
    Verified,
    entry_words,
)
from hub.shape import answered, number, parts, text

DEFAULT_URL = "https://rest.nexmo.com"
LONGEST_CALLBACK = 100  # characters
_TAKEN = Verified(True)
_REFUSED = Verified(
    False, 403, "sig does not match, or is too old: check signature_secret, signature_method and the clock\n"
)


def _usable(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("empty, or with blanks or other characters that no secret of Vonage's has")
    return secret


Secret = Annotated[SecretStr, AfterValidator(_usable)]


class VonageSmsConfig(ChannelConfig):
    """One sender of one account."""

    api_key: Secret = Field(description="API key, from the dashboard's first page.")
    api_secret: Secret = Field(description="API secret: sends messages.")
    signature_secret: Secret = Field(description="Signature secret, from the dashboard's settings: signs webhooks.")
    signature_method: Method = Field(
        "md5hash", description="How the account signs: md5hash (its first setting), or the HMAC of another method."
    )
    from_number: str = Field(
        pattern=r"^(\+[1-9][0-9]{6,14}|[0-9]{3,15}|[A-Za-z0-9][A-Za-z0-9 ]{0,10})$",
        description="Sender: +447700900000, a short code, or a name.",
    )
    validity_period: int | None = Field(
        None,
        ge=20,
        le=604_800,
        json_schema_extra=RARE,
        description="Seconds after which carriers give up a message that they could not deliver.",
    )


class VonageSms(Adapter[VonageSmsConfig]):
    medium = "sms"
    scheme = "tel"
    Config = VonageSmsConfig
    webhook_help: ClassVar[str] = (
        "Paste it in the Vonage dashboard, API settings, SMS settings: inbound SMS webhook and delivery receipts, "
        "HTTP method POST-JSON (or POST, or GET). Webhooks must be signed: ask Vonage's support to switch that on."
    )
    capabilities = Capabilities(
        text_limit=3200,  # characters: https://developer.vonage.com/en/messaging/sms/overview
        sms_segments=True,
        delivered=True,
        idempotency="echo",  # receipts carry client-ref; there is no key, and no list of messages
        settle=timedelta(minutes=5),  # receipts come when the carrier sends them, mostly within a minute or two
        concurrency=16,
        rate=30.0,  # calls per second of an API key (from memory); US long numbers 1, so set `rate` for them
        shed=503,  # what was not taken is sent again for 24 h
        retry_for=timedelta(hours=4),
    )

    def __init__(self, name: str, config: VonageSmsConfig, host: Host) -> None:
        super().__init__(name, config, host)
        self._base = (config.base_url or DEFAULT_URL).rstrip("/")
        # Basic, as Vonage's own library does: no secret is in a body.
        basic = encode_basic_auth(config.api_key.get_secret_value(), config.api_secret.get_secret_value())
        self._headers = {"authorization": basic, "accept": "application/json"}
        self.answerable = config.from_number.removeprefix("+").isdigit()
        self._secret = config.signature_secret.get_secret_value()
        self._constant = {"from": config.from_number.removeprefix("+"), "status-report-req": "1"}
        if config.validity_period:
            self._constant["ttl"] = str(config.validity_period * 1000)

    def verify(self, request: Request) -> Verified:
        """``sig``, over the fields of the query, the form or the JSON object."""
        try:
            told = fields(request)
        except ValueError:
            return _REFUSED
        return _TAKEN if valid(self._secret, self.config.signature_method, told, self.host.now()) else _REFUSED

    def receive(self, request: Request) -> list[Event]:
        """A message (or a part of one), or a receipt. Raises: Unparseable."""
        try:
            told = fields(request)
        except ValueError as error:
            raise Unparseable(f"neither a form nor a JSON object of Vonage's: {error}"[:400]) from error
        return events(told, request.received_at)

    async def send(self, out: Outgoing) -> Receipt:
        """Post one SMS. Raises: SendError, as ``errors.MEANING`` says.

        Source: https://developer.vonage.com/en/api/sms
        """
        form = self._constant | _said(out)
        callback = (out.callback_url or "").partition("?")[0]  # client-ref carries the key
        if 0 < len(callback) <= LONGEST_CALLBACK:
            form["callback"] = callback
        headers = self._headers | {"content-type": "application/x-www-form-urlencoded"}
        body = urlencode(form).encode()
        return _receipt(await self.host.http.request("POST", f"{self._base}/sms/json", headers=headers, body=body))

    def entry_link(self, token: str) -> str | None:
        """RFC 5724. Names cannot be written to."""
        sender = self.config.from_number
        return f"sms:{sender}?body={quote(entry_words(token))}" if sender.lstrip("+").isdigit() else None

    async def check(self) -> Health:
        """What is left of the account's money.

        Source: https://developer.vonage.com/en/api/account#getAccountBalance
        """
        try:
            answer = await self.host.http.request("GET", f"{self._base}/account/get-balance", headers=self._headers)
            balance = number(answered(answer), "value") if answer.status == 200 else None
            if balance is None:
                raise refusal(answer, {})
        except SendError as error:
            return Health(False, error.detail)
        left = f"the account has {balance:.2f} EUR left"
        return Health(balance > 0, left if balance > 0 else f"{left}: top it up at Vonage")


def _said(out: Outgoing) -> dict[str, str]:
    """Raises: BadAddress, Rejected for what cannot be an SMS."""
    recipient = out.to.value.removeprefix("+")
    if out.to.scheme != VonageSms.scheme or not (recipient.isascii() and recipient.isdigit()):
        raise BadAddress(f"not a phone number: {out.to}")
    if out.reaction is not None:
        raise Rejected("SMS knows no reactions", code="reaction")
    if out.template is not None and not out.text:
        raise Rejected("SMS has no provider templates: send the text itself", code="template")
    if out.attachments:
        raise Rejected("this channel takes no files", code="attachments")
    if not out.text:
        raise Rejected("the message says nothing", code="2")  # as Vonage would
    kind = "text" if is_plain(out.text) else "unicode"  # as "text", what is not plain would arrive as "?"
    return {"to": recipient, "text": out.text, "type": kind, "client-ref": out.key}


def _receipt(answer: Answer) -> Receipt:
    """A long message is several SMS, each with an id of its own; a receipt names one. Raises: SendError."""
    messages = parts(answered(answer), "messages")
    taken = [each for each in messages if text(each, "status") == "0"]
    refused = [each for each in messages if text(each, "status") != "0"]
    if refused and taken:
        error = refusal(answer, refused[0])
        raise Ambiguous(
            f"{len(taken)} of {len(messages)} parts were taken, then: {error.detail}", code=error.code, settles=False
        )
    if refused or not 200 <= answer.status < 300:
        raise refusal(answer, refused[0] if refused else {})
    ids = [found for each in taken if (found := text(each, "message-id"))]
    if not ids:
        raise Ambiguous(f"Vonage answered {answer.status} without the id of a message", code=str(answer.status))
    return Receipt(ids[0], "sent", _detail(taken), pieces=ids[1:])


def _detail(taken: list[dict[str, Any]]) -> dict[str, str]:
    detail = {"num_segments": str(len(taken))}
    prices = [price for each in taken if (price := text(each, "message-price"))]
    try:
        total = sum(map(Decimal, prices), Decimal(0))
    except InvalidOperation:
        return detail
    return detail | {"price": f"{total} EUR"} if prices and total.is_finite() else detail
