"""What the tests of this folder share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adapters.graph import testing
from adapters.graph.testing import Player, World
from adapters.instagram.adapter import Instagram
from adapters.instagram.simulator import Simulator
from hub.contract import Answer, Outgoing, SendError
from hub.model import Address

ACCOUNT, ANN = "17841400000000000", "5678901234567890"
TO = Address("igsid", f"{ACCOUNT}:{ANN}")
FIXTURES = Path(__file__).parent / "fixtures"
Instagrams = World[Instagram, Simulator]


def played(*answers: Answer | SendError, **config: Any) -> tuple[Instagram, Player]:
    return testing.played(Instagram, {"account_id": ACCOUNT} | config, *answers)


def out(text: str = "Hello", to: Address = TO, **more: Any) -> Outgoing:
    return testing.out(to, text, **more)
