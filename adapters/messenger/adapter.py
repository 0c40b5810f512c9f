"""Messenger as a channel: its settings and limits."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from pydantic import Field

from adapters.graph import outgoing
from adapters.graph.api import FACEBOOK
from adapters.graph.channel import Messaging, MessagingConfig
from hub.contract import Capabilities, Health, SendError
from hub.model import Attachment
from hub.shape import text


class MessengerConfig(MessagingConfig):
    """One Facebook page."""

    page_id: str = Field(pattern=r"^[0-9]+$", description="Id of the page at Meta.")


class Messenger(Messaging[MessengerConfig]):
    medium = "messenger"
    scheme = "psid"
    object = "page"
    profile = "first_name,last_name"
    Config = MessengerConfig
    webhook_help: ClassVar[str] = (
        "Paste it at the Meta app, Messenger, API settings, Webhooks: Callback URL, with verify_token beside it, while "
        "the hub runs. Then subscribe the page to the fields that the README names."
    )
    # https://developers.facebook.com/docs/messenger-platform/reference/send-api
    capabilities = Capabilities(
        text_limit=2000,  # characters
        media="url",
        media_max=1,
        media_size=25 << 20,  # bytes
        captions=0,  # a text or a file, never both
        buttons=outgoing.QUICK_REPLIES,
        button_title=outgoing.TITLE,
        templates=True,  # of kind utility; these need no window
        template_files=1,
        template_buttons=True,
        delivered=True,
        read=True,
        seen=True,
        # After the person's last message; then, for 7 days, people may answer (the policy of the medium).
        # https://developers.facebook.com/documentation/business-messaging/messenger-platform/policy
        window=timedelta(hours=24),
        # No idempotency key: metadata comes back in the echo of a message, and silence proves nothing.
        idempotency="echo",
        codes="messenger",
        settle=timedelta(minutes=10),
        concurrency=16,
        # Parts per second. At Meta 300 of text and 10 of sound or films for a page, which it enforces itself:
        # https://developers.facebook.com/documentation/business-messaging/messenger-platform/overview/rate-limiting
        rate=50.0,
        webhook=3 << 20,  # bytes: up to 1000 updates in one
        shed=503,  # repeated for 36 hours
        retry_for=timedelta(hours=24),
    )

    def account_id(self) -> str:
        return self.config.page_id

    def home(self) -> str:
        return FACEBOOK

    def shown(self, file: Attachment) -> str:
        return outgoing.kind_of(file)

    def entry_link(self, token: str) -> str:
        return f"https://m.me/{self.config.page_id}?ref={token}"

    async def check(self) -> Health:
        try:
            found = await self.api.get("me", fields="id,name")
        except SendError as error:
            return Health(False, error.detail)
        if text(found, "id") != self.config.page_id:
            return Health(False, f"access_token is of {text(found, 'name') or text(found, 'id')}, not of page_id")
        return Health(True, f"page {text(found, 'name')}")
