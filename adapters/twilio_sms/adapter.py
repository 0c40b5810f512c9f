"""Twilio SMS and MMS as a channel: its settings, and what it does with requests and messages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import Field, model_validator

from adapters.twilio.channel import TwilioChannel, TwilioConfig, created, form_of, receipt
from adapters.twilio.form import encode
from adapters.twilio.statuses import ANSWERED
from adapters.twilio_sms.events import events
from hub.contract import (
    RARE,
    BadAddress,
    Capabilities,
    Event,
    Host,
    Outgoing,
    Receipt,
    Rejected,
    Request,
    entry_words,
)

_LONGEST_VALIDITY = 36_000  # seconds; https://www.twilio.com/docs/messaging/api/message-resource (ValidityPeriod)


class TwilioSmsConfig(TwilioConfig):
    from_number: str | None = Field(
        None,
        pattern=r"^(\+[1-9][0-9]{6,14}|[0-9]{3,8}|[A-Za-z0-9][A-Za-z0-9 ]{0,10})$",
        description="Sender: +12025550100, a short code, or a name.",
    )
    messaging_service_sid: str | None = Field(
        None, pattern=r"^MG[0-9A-Za-z]+$", description="Messaging service that picks the sender, in place of one."
    )
    validity_period: int | None = Field(
        None, ge=1, le=36_000, json_schema_extra=RARE,
        description="Seconds after which Twilio gives up a message in its queue (else 10 hours).",
    )

    @model_validator(mode="after")
    def _complete(self) -> TwilioSmsConfig:
        if (self.from_number is None) is (self.messaging_service_sid is None):
            raise ValueError("set from_number or messaging_service_sid, one of the two")
        return self


class TwilioSms(TwilioChannel[TwilioSmsConfig]):
    medium = "sms"
    scheme = "tel"
    Config = TwilioSmsConfig
    webhook_help: ClassVar[str] = (
        "Paste it in the Twilio Console at the number, \"A message comes in\" (or at the messaging service): Webhook, "
        "HTTP POST, with #rc=5&rp=all behind it. The hub asks for status reports by itself."
    )
    capabilities = Capabilities(
        text_limit=1600,  # characters, error 21617 above: https://www.twilio.com/docs/api/errors/21617
        sms_segments=True,
        media="url",
        media_max=10,  # https://www.twilio.com/docs/messaging/api/message-resource (MediaUrl)
        media_size=5_000_000,  # bytes; as above. Carriers may take less of other kinds than jpeg, png and gif
        answers=ANSWERED,
        delivered=True,
        idempotency="query",  # the list of messages; a status callback with our key may be quicker
        codes="twilio",
        settle=timedelta(seconds=60),
        concurrency=16,
        rate=1.0,  # segments per second of a US long code: https://www.twilio.com/docs/api/errors/21611
        shed=None,  # repeats only when it could not connect, once: a refused SMS is lost
        retry_for=timedelta(hours=4),
    )

    def __init__(self, name: str, config: TwilioSmsConfig, host: Host) -> None:
        super().__init__(name, config, host)
        if config.from_number:
            self._sender = {"From": config.from_number}
        else:
            self._sender = {"MessagingServiceSid": config.messaging_service_sid or ""}
        self.answerable = not config.from_number or config.from_number.lstrip("+").isdigit()
        self._constant = list(self._sender.items())

    def receive(self, request: Request) -> list[Event]:
        """A message (and what it means for consent), or a status. Raises: Unparseable."""
        return events(form_of(request), request)

    async def send(self, out: Outgoing) -> Receipt:
        """Post one SMS or MMS. Raises: SendError, as ``twilio.errors.MEANING`` says.

        Source: https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource
        """
        if out.to.scheme != self.scheme:
            raise BadAddress(f"not a phone number: {out.to.scheme}")
        if out.reaction is not None:
            raise Rejected("SMS knows no reactions", code="reaction")
        if out.template is not None and not out.text:
            raise Rejected("SMS has no provider templates here: send the text itself", code="template")
        if not out.text and not out.attachments:
            raise Rejected("the message says nothing", code="21602")  # as Twilio would
        form = [*self._constant, ("To", out.to.value)]
        if out.text:
            form.append(("Body", out.text))
        for each in out.attachments:
            if each.url is None:
                raise Rejected("Twilio gets files from a public URL, and one has none")
            form.append(("MediaUrl", each.url))
        if out.callback_url:
            form.append(("StatusCallback", out.callback_url))
        valid_for = [each for each in (self.config.validity_period, out.valid_for) if each]
        if valid_for:
            form.append(("ValidityPeriod", str(min(*valid_for, _LONGEST_VALIDITY))))
        return receipt(await self._api.create(encode(form)))

    async def lookup(self, out: Outgoing, since: datetime) -> list[Receipt]:
        """Messages with this recipient, sender, text and number of files, oldest first. Raises: SendError.

        Not asked by DateSent: what still waits in Twilio's queue has none, and would be taken for lost.
        """
        query = {"To": out.to.value, "PageSize": "1000"}
        if self.config.from_number:
            query["From"] = self.config.from_number
        since = since.replace(microsecond=0)  # Twilio tells whole seconds
        found = [(created(row), row) for row in await self._api.messages(query) if self._like(row, out)]
        taken = sorted((each for each in found if each[0] >= since), key=lambda each: each[0])
        return [receipt(row) for _, row in taken]

    def _like(self, row: Mapping[str, Any], out: Outgoing) -> bool:
        return (
            (row.get("body") or "") == out.text
            and str(row.get("num_media") or "0") == str(len(out.attachments))
            and self.config.messaging_service_sid in (None, row.get("messaging_service_sid"))
        )

    def entry_link(self, token: str) -> str | None:
        """RFC 5724. A messaging service has no number of its own, and names cannot be written to."""
        number = self.config.from_number or ""
        return f"sms:{number}?body={quote(entry_words(token))}" if number.lstrip("+").isdigit() else None
