"""An account at Twilio: its settings, its webhooks, and what its REST API says of a message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, SecretStr, model_validator

from adapters.twilio.api import Api
from adapters.twilio.form import fields
from adapters.twilio.signature import Signature
from adapters.twilio.statuses import STATES
from hub.contract import (
    RARE,
    Adapter,
    ChannelConfig,
    Health,
    Host,
    Receipt,
    Request,
    SendError,
    Transient,
    Unparseable,
    Verified,
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


class TwilioConfig(ChannelConfig):
    account_sid: str = Field(pattern=r"^AC[0-9A-Za-z]+$", description="Account SID, from the Twilio console.")
    auth_token: Secret = Field(description="Auth token of the account: signs webhooks, and sends without an API key.")
    auth_token_previous: Secret | None = Field(
        None, description="The other auth token while they are rotated.", json_schema_extra=RARE
    )
    api_key_sid: str | None = Field(
        None, pattern=r"^SK[0-9A-Za-z]+$", description="API key to send with.", json_schema_extra=RARE
    )
    api_key_secret: Secret | None = Field(None, description="Secret of the API key.", json_schema_extra=RARE)
    shared_key: Secret | None = Field(
        None, description="Secret of webhooks that are signed with HMAC_SHA256.", json_schema_extra=RARE
    )

    @model_validator(mode="after")
    def _key_is_whole(self) -> TwilioConfig:
        if (self.api_key_sid is None) is not (self.api_key_secret is None):
            raise ValueError("api_key_sid and api_key_secret belong together: set both or none")
        return self


C = TypeVar("C", bound=TwilioConfig)


class TwilioChannel(Adapter[C]):
    """``_api``: with the API key, if there is one; ``_account``: with the auth token."""

    taken = _TAKEN

    def __init__(self, name: str, config: C, host: Host) -> None:
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

    def verify(self, request: Request) -> Verified:
        return self.taken if self._signature.valid(request) else _REFUSED

    async def fetch(self, attachment: Attachment, request: Request | None) -> AsyncIterator[bytes] | None:
        """Raises: SendError (Rejected for a URL that is not Twilio's)."""
        return None if attachment.url is None else _once(await self._api.download(attachment.url))

    async def check(self) -> Health:
        try:
            account = await self._account.account()  # standard API keys may not read it
            if self._api is not self._account:
                await self._api.probe()
        except SendError as error:
            return Health(False, error.detail)
        status = account.get("status")
        return Health(status == "active", f"account {account.get('friendly_name')} is {status}")


def form_of(request: Request) -> dict[str, str]:
    """Raises: Unparseable."""
    try:
        return fields(request)
    except ValueError as error:
        raise Unparseable(f"not a form of Twilio's: {error}") from error


def _revealed(secret: SecretStr | None) -> list[str]:
    return [secret.get_secret_value()] if secret else []


def receipt(row: Mapping[str, Any]) -> Receipt:
    """What failed since was taken too; its failure comes by status callback."""
    state = STATES.get(str(row.get("status")), "queued")
    detail = {"num_segments": str(row["num_segments"])} if row.get("num_segments") is not None else {}
    if row.get("error_code"):
        detail["error_code"] = str(row["error_code"])
    if state in ("delivered", "read"):
        return Receipt(str(row["sid"]), "delivered", detail)
    return Receipt(str(row["sid"]), "sent" if state == "sent" else "queued", detail)


def created(row: Mapping[str, Any]) -> datetime:
    """RFC 2822. Raises: Transient."""
    try:
        return utc(parsedate_to_datetime(str(row.get("date_created"))))
    except ValueError as error:
        raise Transient("Twilio lists a message without a date") from error


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
