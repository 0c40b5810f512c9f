"""What the tests of this folder share."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adapters.line.adapter import Line, LineConfig, sign
from adapters.line.simulator import Simulator
from hub.contract import Answer, Outgoing, Request, SendError
from hub.model import Address
from hub.testing.host import LocalHost
from hub.testing.player import Player as Player
from hub.testing.player import said as said
from hub.testing.server import Hook

AT = datetime(2016, 5, 7, 13, 57, 9, 859000, tzinfo=UTC)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
ANN = "U206d25c2ea6bd87c17655609a1c37cb8"
SECRET, TOKEN = "channelsecret", "the-access-token"
PLAIN: dict[str, Any] = {"channel_secret": SECRET, "channel_access_token": TOKEN}
HOOK = "https://hub.example.com/hooks/line"
FIXTURES = Path(__file__).parent / "fixtures"


def played(*answers: Answer | SendError, **config: Any) -> tuple[Line, Player]:
    player = Player(*answers)
    return Line("line", LineConfig(**(PLAIN | config)), LocalHost(http=player, now=AT)), player


def taken(*ids: str, status: int = 200) -> Answer:
    return said(status, {"sentMessages": [{"id": each, "quoteToken": "q"} for each in ids or ("461230966842064897",)]})


def out(text: str = "Hello", to: Address | None = None, **more: Any) -> Outgoing:
    key = more.pop("key", "del_0000000000001.0")
    return Outgoing(key=key, to=to or Address("line", ANN), text=text, **more)


def posted(body: bytes, signature: str | None = None) -> Request:
    signed = sign(SECRET.encode(), body).decode() if signature is None else signature
    return Request("POST", HOOK, {"content-type": "application/json", "x-line-signature": signed}, body, NOON)


class World(Hook):
    """The simulated LINE, an adapter, and a hub that does no more than verify and receive."""

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.line = Simulator()
        self.line.redelivery = ()
        self.config = config
        self._count = 0

    async def __aenter__(self) -> World:
        await self.line.start()
        hook = await self.listen("line")
        self.host = LocalHost(public_url=hook.removesuffix("/hooks/line"))
        self.line.webhook_url = hook
        self.line.user(ANN)
        self.adapter = self.build()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.adapter.close()
        await self.host.close()
        await self.line.stop()
        await self.hang_up()

    def build(self, **config: Any) -> Line:
        return Line("line", LineConfig(**(self.line.config() | self.config | config)), self.host)

    def out(self, text: str = "Hello", **more: Any) -> Outgoing:
        """A message with a key of its own."""
        self._count += 1
        return out(text, **{"key": f"del_{self._count:013d}.0"} | more)

    def ways(self) -> list[str]:
        return [line.data["way"] for line in self.line.ledger.of("accept")]
