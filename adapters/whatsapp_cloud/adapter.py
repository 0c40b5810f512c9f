"""WhatsApp as a channel: its settings, and what it does with requests and messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import Field

from adapters.graph import webhook
from adapters.graph.webhook import Secret
from adapters.whatsapp_cloud import cards, outgoing, people
from adapters.whatsapp_cloud.api import Api
from adapters.whatsapp_cloud.events import events
from hub.contract import (
    MADE_HERE,
    RARE,
    Adapter,
    Ambiguous,
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
from hub.model import Address, Attachment, Party
from hub.shape import document, part, parts, text


class WhatsAppConfig(ChannelConfig):
    """One phone number of a WhatsApp Business account."""

    phone_number_id: str = Field(pattern=r"^[0-9]+$", description="Id of the number at Meta (not the number itself).")
    access_token: Secret = Field(description="Token of a system user with whatsapp_business_messaging.")
    app_secret: Secret = Field(description="App secret: signs webhooks.")
    app_secret_previous: Secret | None = Field(
        None, description="The former app secret while it is rotated.", json_schema_extra=RARE
    )
    verify_token: Secret | None = Field(
        None, description="Any word; entered at Meta too, to register the webhook.", json_schema_extra=MADE_HERE
    )
    business_account_id: str | None = Field(
        None, pattern=r"^[0-9]+$", description="Id of the WhatsApp Business account: news of others is left out."
    )
    phone_number: str | None = Field(
        None, pattern=r"^\+[1-9][0-9]{6,14}$", description="The number itself, +12025550100: for links to it (wa.me)."
    )
    api_version: str = Field("v25.0", pattern=r"^v[0-9]+\.[0-9]+$", description="Version of the Graph API.")


class WhatsApp(Adapter[WhatsAppConfig]):
    medium = "whatsapp"
    scheme = people.SCHEME
    reaches = ("tel",)
    shared = True  # one webhook an app, which may have many numbers
    Config = WhatsAppConfig
    webhook_help: ClassVar[str] = (
        "Paste it at the Meta app, WhatsApp, Configuration: Callback URL, with verify_token beside it, while the hub "
        "runs. Subscribe to messages and to the others that the README names."
    )
    # https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/send-messages
    capabilities = Capabilities(
        text_limit=4096,  # characters
        media="either",
        media_max=1,
        media_size=100 << 20,  # bytes of a document; pictures, sound and films above their own limit go as documents
        captions=1024,  # characters
        captioned=frozenset({"image", "video", "file"}),
        buttons=outgoing.ROWS,  # three as buttons, more as a list
        buttons_text=1024,  # characters
        location=True,
        templates=True,
        template_files=1,
        template_buttons=True,
        delivered=True,
        read=True,
        edits=False,
        reactions=True,
        seen=True,
        window=timedelta(hours=24),  # after the customer's last message; later only templates
        # No idempotency key: biz_opaque_callback_data comes back in statuses, and silence proves nothing.
        idempotency="echo",
        codes="whatsapp",
        settle=timedelta(minutes=10),
        concurrency=16,
        rate=20.0,  # messages per second; 80 at Meta, in and out together, and 20 where the phone app is used too
        pair=(6.0, 45.0),  # seconds from one message to the next to one person; so many at once after a rest
        webhook=3 << 20,  # bytes: https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks
        shed=503,  # repeated for up to 7 days
        retry_for=timedelta(hours=24),
    )

    def __init__(self, name: str, config: WhatsAppConfig, host: Host) -> None:
        super().__init__(name, config, host)
        self._secrets = webhook.plain(config.app_secret, config.app_secret_previous)
        token = config.access_token.get_secret_value()
        self._api = Api(host, config.base_url, config.api_version, config.phone_number_id, token)

    def verify(self, request: Request) -> Verified:
        """X-Hub-Signature-256 of a POST; a GET is the handshake when the webhook is registered."""
        return webhook.verify(request, self._secrets, self.config.verify_token)

    def receive(self, request: Request) -> list[Event]:
        """Messages, statuses and news of this number. Raises: Unparseable."""
        try:
            known = self.config
            return events(request, known.phone_number_id, known.business_account_id, known.phone_number)
        except RecursionError as error:
            raise Unparseable("nested too deep") from error

    async def send(self, out: Outgoing) -> Receipt:
        """Post one message. Raises: SendError, as ``errors.MEANING`` says."""
        outgoing.recipient(out.to)
        media_id = None
        file = out.attachments[0] if out.attachments else None
        if file is not None and file.url is None and file.data is not None and file.kind != "contact":
            media_id = await self._api.upload(file.data, file.mime or "application/octet-stream", file.name or "file")
        return _receipt(await self._api.post(outgoing.body(out, media_id)), out.to)

    async def seen(self, to: Address, external_id: str, *, typing: bool = False) -> None:
        """Two blue ticks, and "typing" for 25 seconds or until the answer comes. Raises: SendError."""
        body: dict[str, Any] = {"messaging_product": "whatsapp", "status": "read", "message_id": external_id}
        await self._api.post(body | ({"typing_indicator": {"type": "text"}} if typing else {}))

    async def fetch(self, attachment: Attachment, request: Request | None) -> AsyncIterator[bytes] | None:
        """Raises: SendError."""
        if attachment.ref is None:
            return None
        card = cards.parse_ref(attachment.ref)
        if card is not None:
            return _once(_card(*card, request))
        return _once(await self._api.download(attachment.ref))

    def entry_link(self, token: str) -> str | None:
        """https://faq.whatsapp.com/5913398998672934"""
        if self.config.phone_number is None:
            return None
        return f"https://wa.me/{self.config.phone_number.lstrip('+')}?text={quote(entry_words(token))}"

    async def check(self) -> Health:
        try:
            found = await self._api.number()
        except SendError as error:
            return Health(False, error.detail)
        quality = str(found.get("quality_rating", "UNKNOWN")).lower()
        name = f"{found.get('verified_name')} {found.get('display_phone_number')}"
        return Health(quality != "red", f"{name}, quality {quality}")


def _receipt(made: Mapping[str, Any], to: Address) -> Receipt:
    """What was accepted is on its way at best: that it was sent comes as a status. Raises: Ambiguous.

    WhatsApp may know a number otherwise than it is dialled (Brazil's ninth digit), and names it so when they write.
    """
    message = next(iter(parts(made, "messages")), {})
    external_id = text(message, "id")
    if not external_id:
        raise Ambiguous("Meta answered 200 without the id of a message", code="200")
    contact = next(iter(parts(made, "contacts")), {})
    found = {"wa_id": text(contact, "wa_id"), "user_id": text(contact, "user_id"),
             "message_status": text(message, "message_status")}
    dialled, wa_id = to.value.removeprefix("+"), found["wa_id"]
    both = people.NUMBER.fullmatch(dialled) and people.NUMBER.fullmatch(wa_id)
    also = (Party("tel", f"+{wa_id}"),) if both and dialled != wa_id else ()
    return Receipt(external_id, "queued", {name: value for name, value in found.items() if value}, also=also)


def _card(message: str, place: int, request: Request | None) -> bytes:
    """The vCard of a contact in the webhook. Raises: Rejected."""
    if request is None:
        raise Rejected("the webhook with this contact is not kept", code="card")
    for entry in parts(document(request.body), "entry"):
        for change in parts(entry, "changes"):
            for raw in parts(part(change, "value"), "messages"):
                contacts = parts(raw, "contacts")
                if text(raw, "id") == message and place < len(contacts):
                    return cards.write(contacts[place])
    raise Rejected("the webhook holds no such contact", code="card")


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
