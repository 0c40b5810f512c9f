"""WhatsApp through Twilio as a channel: its settings, and what it does with requests and messages."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar
from urllib.parse import quote, urlencode

from pydantic import Field, StringConstraints

from adapters.twilio.channel import TwilioChannel, TwilioConfig, form_of, receipt
from adapters.twilio_whatsapp import contents, people
from adapters.twilio_whatsapp.events import events
from hub.contract import (
    Ambiguous,
    Capabilities,
    Event,
    Host,
    Outgoing,
    Receipt,
    Rejected,
    Request,
    Transient,
    entry_words,
)
from hub.model import Address, Button, Location

ContentSid = Annotated[str, StringConstraints(pattern=r"^HX[0-9A-Za-z]+$")]


class TwilioWhatsAppConfig(TwilioConfig):
    from_number: str = Field(pattern=r"^\+[1-9][0-9]{6,14}$", description="The WhatsApp sender: +12025550100.")
    messaging_service_sid: str | None = Field(
        None, pattern=r"^MG[0-9A-Za-z]+$", description="Messaging service of the sender, if it has one."
    )
    templates: dict[str, ContentSid] = Field(
        {}, description='Content SIDs of templates, by name or name/language: {"order_update/de" = "HX…"}.'
    )


class TwilioWhatsApp(TwilioChannel[TwilioWhatsAppConfig]):
    medium = "whatsapp"
    scheme = people.SCHEME
    reaches = ("tel",)
    Config = TwilioWhatsAppConfig
    webhook_help: ClassVar[str] = (
        "Paste it in the Twilio Console at the WhatsApp sender, \"Webhook URL for incoming messages\": HTTP POST, with "
        "#rc=5&rp=all behind it. The hub asks for status reports by itself."
    )
    # https://www.twilio.com/docs/whatsapp/api and https://www.twilio.com/docs/content
    capabilities = Capabilities(
        text_limit=1600,  # characters, error 21617
        media="url",
        media_max=1,
        media_size=16_000_000,  # bytes (from memory)
        captions=1024,  # characters
        captioned=frozenset({"image", "video", "file"}),
        buttons=contents.ROWS,  # three as buttons, more as a list
        button_title=contents.TITLE,
        buttons_text=1024,  # characters
        location=True,
        templates=True,
        delivered=True,
        read=True,
        seen=True,
        window=timedelta(hours=24),  # after the customer's last message; later only templates
        # The list of messages does not show which content one was made of, so only a status callback proves it.
        idempotency="echo",
        codes="twilio",
        settle=timedelta(minutes=2),
        concurrency=16,
        rate=10.0,  # messages per second of a sender, before Twilio raises it
        shed=None,  # repeats only when it could not connect, once: a refused message is lost
        retry_for=timedelta(hours=24),
    )

    def __init__(self, name: str, config: TwilioWhatsAppConfig, host: Host) -> None:
        super().__init__(name, config, host)
        self._contents: dict[str, str] = {}  # SIDs of what was made, by name

    def receive(self, request: Request) -> list[Event]:
        """A message (and what it means for consent), or a status. Raises: Unparseable."""
        return events(form_of(request), request)

    async def send(self, out: Outgoing) -> Receipt:
        """Post one message. Raises: SendError, as ``twilio.errors.MEANING`` says.

        Source: https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource
        """
        form = {"To": people.recipient(out.to), "From": f"whatsapp:{self.config.from_number}"}
        if self.config.messaging_service_sid:
            form["MessagingServiceSid"] = self.config.messaging_service_sid
        if out.reaction is not None:
            raise Rejected("Twilio sends no reactions", code="reaction")
        if out.template is not None:
            if out.attachments or out.buttons:
                raise Rejected("files and buttons are in the template itself, and none go beside it", code="template")
            form |= contents.template(out.template, self.config.templates)
        elif out.buttons:
            form |= contents.fields(await self._content(out.buttons), {"1": out.text or "↓"})
        else:
            form |= _free(out)
        if out.callback_url:
            form["StatusCallback"] = out.callback_url
        return receipt(await self._api.create(urlencode(form).encode()))

    async def _content(self, buttons: list[Button]) -> str:
        """The SID of these choices, made at their first use. Nothing is sent by that, so it may be tried again."""
        wanted = contents.choices(buttons)
        name = wanted["friendly_name"]
        if name not in self._contents:
            try:
                self._contents[name] = await self._api.make_content(wanted)
            except Ambiguous as error:
                raise Transient(error.detail, code=error.code) from error
        return self._contents[name]

    async def seen(self, to: Address, external_id: str, *, typing: bool = False) -> None:
        """Two blue ticks; Twilio has them only together with "typing", for 25 seconds or until the answer comes.

        Raises: SendError.
        """
        await self._api.show_typing(external_id)

    def entry_link(self, token: str) -> str | None:
        """https://faq.whatsapp.com/5913398998672934"""
        return f"https://wa.me/{self.config.from_number.lstrip('+')}?text={quote(entry_words(token))}"


def _free(out: Outgoing) -> dict[str, str]:
    """Text, a file or a place. Raises: Rejected."""
    form: dict[str, str] = {}
    if out.location is not None:
        form["PersistentAction"] = _geo(out.location)
    if text := out.text or (_label(out.location) if out.location else ""):
        form["Body"] = text
    for each in out.attachments:
        if each.url is None:
            raise Rejected("Twilio gets files from a public URL, and one has none")
        form["MediaUrl"] = each.url
    if not form:
        raise Rejected("the message says nothing", code="21602")  # as Twilio would
    return form


def _geo(place: Location) -> str:
    """``geo:51.500000,-0.120000|Harbour``"""
    label = _label(place).replace("|", " ")
    return f"geo:{place.latitude:.6f},{place.longitude:.6f}|{label}"


def _label(place: Location) -> str:
    """A place needs a text."""
    words = ", ".join(each for each in (place.name, place.address) if each)
    return words or f"{place.latitude:.6f}, {place.longitude:.6f}"
