"""What the tests of this folder share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adapters.graph import testing
from adapters.graph.testing import Player, World
from adapters.messenger.adapter import Messenger
from adapters.messenger.simulator import Simulator
from hub.contract import Answer, Outgoing, SendError
from hub.model import Address

PAGE, ANN = "1234567890", "5678901234567890"
TO = Address("psid", f"{PAGE}:{ANN}")
FIXTURES = Path(__file__).parent / "fixtures"
Messengers = World[Messenger, Simulator]


def played(*answers: Answer | SendError, **config: Any) -> tuple[Messenger, Player]:
    return testing.played(Messenger, {"page_id": PAGE} | config, *answers)


def out(text: str = "Hello", to: Address = TO, **more: Any) -> Outgoing:
    return testing.out(to, text, **more)
