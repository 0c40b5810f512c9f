"""A hub, its simulated providers and the people around it, on one database."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.slack.simulator import Simulator as Slack
from adapters.twilio_sms.simulator import Simulator as Twilio
from tests.crash.hubs import HubProcess
from tests.crash.load import Load
from tests.crash.tally import Tally, tally

INSISTS = 300.0  # seconds for which providers repeat what was not taken
PHONES = [f"+4477009001{number:02}" for number in range(8)]


@dataclass
class Ordeal:
    sms: Twilio
    slack: Slack
    channels: dict[str, dict[str, Any]]
    hub: HubProcess
    load: Load
    random: random.Random

    async def settled(self) -> None:
        """Wait until nothing is under way any more, neither at the hub nor at the providers."""
        while True:
            await self.sms.settle()
            await self.slack.settle()
            await self.hub.idle()
            if not self.sms.server.busy:
                return

    async def outcome(self) -> Tally:
        await self.settled()
        return tally(self.load)


@asynccontextmanager
async def ordeal(
    database_url: str, home: Path, seed: int, *, phones: int = len(PHONES), settle: float = 0.5
) -> AsyncIterator[Ordeal]:
    """Providers that insist, and a hub that is not started yet. Settings only make waiting shorter."""
    sms, slack = Twilio(), Slack()
    sms.insists = INSISTS
    slack.repeats = (0.1,) * int(INSISTS / 0.1)
    await sms.start()
    await slack.start()
    channels = {
        "sms": {"adapter": "twilio_sms", "rate": 500.0, "settle": settle, **sms.config()},
        "slack": {"adapter": "slack", "rate": 500.0, "settle": settle, **slack.config()},
    }
    hub = HubProcess(home, database_url, channels)
    sms.public_url = hub.base
    sms.webhook_url, slack.webhook_url = f"{hub.base}/hooks/sms", f"{hub.base}/hooks/slack"
    chance = random.Random(seed)
    try:
        yield Ordeal(sms, slack, channels, hub, Load(sms, slack, hub, PHONES[:phones], chance), chance)
    finally:
        await hub.close()
        await sms.stop()
        await slack.stop()
        for name, each in (("sms", sms), ("slack", slack)):  # to look at after a failure, beside the hub's log
            lines = [json.dumps({"number": line.number, "kind": line.kind, **line.data}) for line in each.ledger]
            (home / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
