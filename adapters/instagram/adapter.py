"""Instagram as a channel: its settings and limits."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, Literal

from pydantic import Field

from adapters.graph import outgoing
from adapters.graph.api import FACEBOOK, INSTAGRAM
from adapters.graph.channel import Messaging, MessagingConfig
from hub.contract import Capabilities, Health, SendError
from hub.model import Attachment
from hub.shape import part, text

# What it shows, by kind: mime types and bytes. Anything else is sent as a link.
# https://developers.facebook.com/documentation/business-messaging/instagram-messaging/features/attachment-upload
_SHOWN: dict[str, tuple[frozenset[str], int]] = {
    "image": (frozenset({"image/png", "image/jpeg", "image/gif"}), 8 << 20),
    "audio": (frozenset({"audio/aac", "audio/m4a", "audio/x-m4a", "audio/mp4", "audio/wav", "audio/x-wav"}), 25 << 20),
    "video": (frozenset({"video/mp4", "video/ogg", "video/x-msvideo", "video/quicktime", "video/webm"}), 25 << 20),
    "file": (frozenset({"application/pdf"}), 25 << 20),
}


class InstagramConfig(MessagingConfig):
    """One professional account of Instagram."""

    account_id: str = Field(pattern=r"^[0-9]+$", description="Id of the professional account (not the page's).")
    login: Literal["facebook", "instagram"] = Field(
        "facebook", description="How access was given: through the account's Facebook page, or at Instagram itself."
    )
    username: str | None = Field(
        None, pattern=r"^[A-Za-z0-9._]+$", description="Name of the account, for links that lead to it."
    )


class Instagram(Messaging[InstagramConfig]):
    medium = "instagram"
    scheme = "igsid"
    object = "instagram"
    profile = "name,username"
    Config = InstagramConfig
    webhook_help: ClassVar[str] = (
        "Paste it at the Meta app, Instagram, Webhooks: Callback URL, with verify_token beside it, while the hub runs. "
        "Then subscribe to the fields that the README names."
    )
    # https://developers.facebook.com/docs/messenger-platform/instagram/features/send-message
    capabilities = Capabilities(
        text_limit=1000,
        text_unit="utf-8",
        media="url",
        media_max=1,
        media_size=25 << 20,  # bytes
        captions=0,  # a text or a file, never both
        buttons=outgoing.QUICK_REPLIES,
        button_title=outgoing.TITLE,
        delivered=False,
        read=True,
        seen=True,
        # After the person's last message; then, for 7 days, people may answer (the policy of the medium).
        window=timedelta(hours=24),
        # No idempotency key: metadata comes back in the echo of a message, and silence proves nothing.
        idempotency="echo",
        codes="messenger",
        settle=timedelta(minutes=10),
        concurrency=16,
        # Parts per second. At Meta 300 of text and 10 of sound or films for an account, which it enforces itself:
        # https://developers.facebook.com/documentation/business-messaging/messenger-platform/overview/rate-limiting
        rate=50.0,
        webhook=3 << 20,  # bytes: up to 1000 updates in one
        shed=503,  # repeated for 36 hours
        retry_for=timedelta(hours=24),
    )

    def account_id(self) -> str:
        return self.config.account_id

    def home(self) -> str:
        return FACEBOOK if self.config.login == "facebook" else INSTAGRAM

    def shown(self, file: Attachment) -> str | None:
        kind = outgoing.kind_of(file)
        mimes, most = _SHOWN[kind]
        mime = (file.mime or "").partition(";")[0].strip().lower()
        fits = (file.size or 0) <= most and (mime in mimes if mime else kind != "file")
        return kind if fits else None

    def entry_link(self, token: str) -> str | None:
        return f"https://ig.me/m/{self.config.username}?ref={token}" if self.config.username else None

    async def check(self) -> Health:
        at_page = self.config.login == "facebook"
        fields = "name,instagram_business_account{id,username}" if at_page else "user_id,username"
        try:
            found = await self.api.get("me", fields=fields)
        except SendError as error:
            return Health(False, error.detail)
        account = part(found, "instagram_business_account") if at_page else found
        number = text(account, "id") if at_page else text(account, "user_id")
        if number != self.config.account_id:
            owner = text(account, "username") or text(found, "name") or "another account"
            return Health(False, f"access_token is of {owner}, not of account_id")
        return Health(True, f"account @{text(account, 'username')}")
