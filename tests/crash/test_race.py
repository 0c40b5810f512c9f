"""People say no while a large send runs and the hub is killed: after a no is committed nothing more is handed off."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.twilio_sms.simulator import Simulator as Twilio
from tests.crash.hubs import HubProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PHONES = [f"+4477009{number:05}" for number in range(100)]
EACH = 8  # messages to everybody
SHARE = 0.05  # of people who say no
NO = "please take me off your list"  # the hub reads that; the provider does not


async def test_no_hand_off_begins_after_a_no(database_url: str, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    sms = Twilio()
    sms.insists = 300.0
    await sms.start()
    hub = HubProcess(
        tmp_path, database_url, {"sms": {"adapter": "twilio_sms", "rate": 60.0, "settle": 0.5, **sms.config()}}
    )
    sms.public_url, sms.webhook_url = hub.base, f"{hub.base}/hooks/sms"
    try:
        await hub.start()
        await hub.ready()
        gate = asyncio.Semaphore(8)
        await asyncio.gather(*(_send(hub, gate, phone, number) for number in range(EACH) for phone in PHONES))
        leaving = chance.sample(PHONES, int(len(PHONES) * SHARE))
        known = asyncio.gather(*(_leave(hub, sms, phone, chance.uniform(0, 6)) for phone in leaving))
        for _ in range(3):
            await asyncio.sleep(chance.uniform(0.5, 2.0))
            await hub.kill()
            await hub.start()
            await hub.ready()
        at = dict(zip(leaving, await known, strict=True))
        await hub.idle()
        await sms.settle()
        got = {phone: [each.created for each in sms.messages if each.to == phone] for phone in PHONES}
        late = {phone: sum(each > at[phone] for each in got[phone]) for phone in leaving}
        assert max(late.values()) <= 1, late  # what was in flight
        assert sum(len(got[phone]) for phone in leaving) < len(leaving) * EACH  # somebody's no came in time
        assert {len(got[phone]) for phone in PHONES if phone not in leaving} == {EACH}
    finally:
        await hub.close()
        await sms.stop()


async def _send(hub: HubProcess, gate: asyncio.Semaphore, phone: str, number: int) -> None:
    body = {"customer": f"tel:{phone}", "text": f"News {number}", "purpose": "transactional", "channel": "sms"}
    async with gate:
        status, answer = await hub.ask("POST", "/api/v1/messages", body, key=f"{phone}-{number}")
    assert status in (200, 201, 202), answer


async def _leave(hub: HubProcess, sms: Twilio, phone: str, after: float) -> datetime:
    """Says no. Returns a moment at which that was committed for certain."""
    await asyncio.sleep(after)
    await sms.text(phone, NO)
    while True:
        status, found = await hub.ask("GET", f"/api/v1/consent/tel:%2B{phone[1:]}")
        if status == 200 and found["suppressed"]:
            return datetime.now(UTC)
        await asyncio.sleep(0.02)
