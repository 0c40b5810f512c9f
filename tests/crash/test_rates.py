"""Two hubs send through two numbers of one account for a minute: never too fast, and hardly slower than allowed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from adapters.twilio_sms.simulator import Simulator as Twilio
from tests.crash.hubs import HubProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
RATE = 10.0  # messages per second of both numbers together
BURST = RATE / 2
SPAN = float(os.environ.get("HUB_TEST_SPAN", "60"))  # seconds
WINDOWS = (1.0, 5.0, 20.0)  # seconds
JITTER = 0.15  # seconds between a turn and the request: the machine's, not the rate's


async def test_two_hubs_keep_the_rate_of_an_account_together(postgres_dsn: str, tmp_path: Path) -> None:
    numbers = [Twilio(), Twilio()]
    hubs: list[HubProcess] = []
    try:
        for place, sms in enumerate(numbers):
            await sms.start()
            home = tmp_path / str(place)
            home.mkdir()
            shared = {"rate": 100.0, "shares": "account", "shared_rate": RATE, "settle": 0.5}
            channels: dict[str, dict[str, Any]] = {f"sms{place}": {"adapter": "twilio_sms", **shared, **sms.config()}}
            hub = HubProcess(home, postgres_dsn, channels, beside=hubs[0] if hubs else None)
            sms.public_url, sms.webhook_url = hub.base, f"{hub.base}/hooks/sms{place}"
            hubs.append(hub)
            await hub.start()
            await hub.ready()
        count = int(RATE * SPAN / 2)
        gate = asyncio.Semaphore(4)
        filling = [_send(hub, gate, f"sms{place}", number) for number in range(count) for place, hub in enumerate(hubs)]
        await asyncio.gather(*filling)
        for hub in hubs:
            await hub.idle()
        at = sorted(each.created.timestamp() for sms in numbers for each in sms.messages if each.to != sms.number)
        assert len(at) == 2 * count
        for window in WINDOWS:
            most = max(_within(at, start, window) for start in at)
            assert most <= (window + JITTER) * RATE + BURST, (window, most)
        # In the best half of the time: what else the machine has to do is not the hub's doing.
        half = SPAN / 2
        assert max(_within(at, start, half) for start in at) >= 0.95 * RATE * half
    finally:
        for hub in hubs:
            await hub.close()
        for sms in numbers:
            await sms.stop()


def _within(at: list[float], start: float, window: float) -> int:
    return sum(start <= each < start + window for each in at)


async def _send(hub: HubProcess, gate: asyncio.Semaphore, channel: str, number: int) -> None:
    body = {"customer": f"tel:+4477009{number:05}", "text": f"News {number}", "channel": channel, "purpose": "reply"}
    async with gate:
        status, answer = await hub.ask("POST", "/api/v1/messages", body, key=f"{channel}-{number}")
    assert status in (200, 201, 202), answer
