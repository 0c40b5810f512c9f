"""What tests of channels on the Graph API share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from adapters.graph.channel import Messaging
from adapters.graph.records import sign
from adapters.graph.simulator import MessagingSimulator
from hub.contract import Answer, Outgoing, Request, SendError, StatusChanged
from hub.model import Address
from hub.testing.host import LocalHost
from hub.testing.player import Player as Player
from hub.testing.player import said as said
from hub.testing.server import Hook

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
TOKEN, SECRET, WORD = "the-access-token", "the-app-secret", "the-verify-token"
PLAIN: dict[str, Any] = {"access_token": TOKEN, "app_secret": SECRET, "verify_token": WORD}
HOOK = "https://hub.example.com/hooks/meta"
KEY = "del_0000000000001.0"

A = TypeVar("A", bound=Messaging[Any])
S = TypeVar("S", bound=MessagingSimulator)


def played(kind: type[A], config: Mapping[str, Any], *answers: Answer | SendError) -> tuple[A, Player]:
    player = Player(*answers)
    return kind(kind.medium, kind.Config(**(PLAIN | dict(config))), LocalHost(http=player)), player


def taken(external_id: str = "m_1") -> Answer:
    return said(200, {"recipient_id": "7", "message_id": external_id})


def out(to: Address, text: str = "Hello", **more: Any) -> Outgoing:
    return Outgoing(key=more.pop("key", KEY), to=to, text=text, **more)


def posted(body: bytes, signature: str | None = None) -> Request:
    headers = {"content-type": "application/json", "x-hub-signature-256": signature or sign(SECRET, body)}
    return Request("POST", HOOK, headers, body, NOON)


class World(Hook, Generic[A, S]):
    """The simulated Meta, an adapter, and a hub that does no more than verify and receive."""

    def __init__(self, kind: type[A], simulator: S) -> None:
        super().__init__()
        self.kind = kind
        self.meta = simulator
        self.meta.repeats = ()
        self.host = LocalHost()
        self._count = 0

    async def __aenter__(self) -> World[A, S]:
        await self.meta.start()
        self.adapter = self.build()
        self.meta.webhook_url = await self.listen("meta")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.adapter.close()
        await self.host.close()
        await self.meta.stop()
        await self.hang_up()

    def build(self, **config: Any) -> A:
        return self.kind(self.kind.medium, self.kind.Config(**(self.meta.config() | config)), self.host)

    def out(self, person: str, text: str = "Hello", **more: Any) -> Outgoing:
        """A message with a key of its own."""
        self._count += 1
        to = Address(self.kind.scheme, f"{self.meta.account_id}:{person}")
        return out(to, text, **{"key": f"del_{self._count:013d}.0"} | more)

    def states(self) -> list[tuple[str, str]]:
        """Id and state of what was reported."""
        return [(each.external_id, each.state) for each in self.events if isinstance(each, StatusChanged)]
