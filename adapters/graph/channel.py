"""A page's or an account's conversations as a channel: what Messenger and Instagram have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, TypeVar

from pydantic import Field

from adapters.graph import outgoing, webhook
from adapters.graph.api import Api
from adapters.graph.messaging import Account, events
from adapters.graph.webhook import Secret
from hub.contract import (
    MADE_HERE,
    RARE,
    Adapter,
    Ambiguous,
    ChannelConfig,
    ChannelDown,
    Event,
    Host,
    Outgoing,
    Receipt,
    Request,
    Unparseable,
    Verified,
)
from hub.model import Address, Attachment
from hub.shape import text

# Of a profile: not reviewed for it, not seen by us, or nobody who has written.
_UNSEEN = {"3", "10", "100/33", "200", "230"}


class MessagingConfig(ChannelConfig):
    """An app's access to one page or account."""

    access_token: Secret = Field(description="Token of the page, or of the account.")
    app_secret: Secret = Field(description="App secret: signs webhooks, and proves whose token it is.")
    app_secret_previous: Secret | None = Field(
        None, description="The former app secret while it is rotated.", json_schema_extra=RARE
    )
    verify_token: Secret | None = Field(
        None, description="Any word; entered at Meta too, to register the webhook.", json_schema_extra=MADE_HERE
    )
    api_version: str = Field("v25.0", pattern=r"^v[0-9]+\.[0-9]+$", description="Version of the Graph API.")


C = TypeVar("C", bound=MessagingConfig)


class Messaging(Adapter[C]):
    shared = True  # one webhook an app, which may have many pages or accounts
    object: ClassVar[str]  # of webhooks
    profile: ClassVar[str]  # fields of a person that make a name

    def __init__(self, name: str, config: C, host: Host) -> None:
        super().__init__(name, config, host)
        self._secrets = webhook.plain(config.app_secret, config.app_secret_previous)
        token = config.access_token.get_secret_value()
        self.account = Account(self.object, self.scheme, self.account_id())
        self.api = Api(host, config.base_url or self.home(), config.api_version, token, self._secrets[0])

    @abstractmethod
    def account_id(self) -> str:
        """Meta's id of the page or account: of the entries in webhooks."""

    @abstractmethod
    def home(self) -> str:
        """Where the Graph API is."""

    @abstractmethod
    def shown(self, file: Attachment) -> str | None:
        """As what a file goes out; None: as its address."""

    def verify(self, request: Request) -> Verified:
        """X-Hub-Signature-256 of a POST; a GET is the handshake when the webhook is registered."""
        return webhook.verify(request, self._secrets, self.config.verify_token)

    def receive(self, request: Request) -> list[Event]:
        """What people did, and what became of our messages to them. Raises: Unparseable."""
        try:
            return events(request, self.account)
        except RecursionError as error:
            raise Unparseable("nested too deep") from error

    async def send(self, out: Outgoing) -> Receipt:
        """Post one message. Raises: SendError, as ``refusals`` says."""
        templated = self.capabilities.templates
        body = outgoing.body(out, self._person(out.to), self.shown, templated=templated)
        made = await self.api.post("me/messages", body)
        external_id = text(made, "message_id")
        if not external_id:
            raise Ambiguous("Meta answered 200 without the id of a message", code="200")
        return Receipt(external_id)

    async def seen(self, to: Address, external_id: str, *, typing: bool = False) -> None:
        """All that the person wrote shows as seen; "typing" for 20 seconds or until the answer. Raises: SendError."""
        for action in ("mark_seen", "typing_on") if typing else ("mark_seen",):
            await self.api.post("me/messages", {"recipient": {"id": self._person(to)}, "sender_action": action})

    async def name_of(self, address: Address) -> str | None:
        """Raises: SendError. None for people of other accounts, and where the app may not see who they are."""
        if address.value.rpartition(":")[0] not in ("", self.account.id):
            return None
        try:
            found = await self.api.get(self._person(address), fields=self.profile)
        except ChannelDown as error:
            code = error.code or ""
            if _UNSEEN.isdisjoint((code, code.partition("/")[0])):
                raise
            return None
        parts = " ".join(filter(None, (text(found, "first_name"), text(found, "last_name"))))
        return parts or text(found, "name") or text(found, "username") or None

    def _person(self, to: Address) -> str:
        return outgoing.person_of(to, self.scheme, self.account.id)
