"""People say no while a large send runs and the hub is killed: after a no is committed nothing more is handed off.

Each message looks at the ledger once more right before the provider is called, and the hubs of these tests write down
when (``flaws.writes_down_each_look``). So what was in flight as a no was committed is measured, not guessed: it looked
before that. People who say no are told apart by nothing else.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adapters.twilio_sms.simulator import Simulator as Twilio
from hub.testing.simulation import Ledger, Line
from tests.crash.hubs import DRAINED, HubProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
MESSAGES = int(os.environ.get("HUB_TEST_RACE", "4000"))
EACH = 4  # messages to everybody, one of each campaign
SHARE = 0.05  # of people who say no
NO = "please take me off your list"  # the hub reads that; the provider does not
BATCH = 500  # customers of one request
LOOKS = "writes down each look"


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for it, without asking a hub that is down too often. Raises: TimeoutError."""
    async with asyncio.timeout(DRAINED):
        while not await holds():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.05)


class Timed(Ledger):
    """``at`` of each line: seconds of the machine's clock, which all processes share."""

    def write(self, kind: str, **data: Any) -> Line:
        return super().write(kind, at=time.monotonic(), **data)


@dataclass
class Race:
    """``flaws``: of the hub. ``no``: by phone, a moment at which that person's no was committed for certain."""

    hub: HubProcess
    sms: Twilio
    looks: Path
    random: random.Random
    phones: list[str]
    flaws: tuple[str, ...]
    no: dict[str, float] = field(default_factory=dict)

    async def start(self) -> None:
        await self.hub.start(*self.flaws, LOOKS)
        await self.hub.ready()

    async def begin(self) -> None:
        """Customers, and the campaigns to all of them."""
        people = [
            {"external_id": phone, "identities": [{"address": f"tel:{phone}", "proof": "verified"}]}
            for phone in self.phones
        ]
        for first in range(0, len(people), BATCH):
            await self._post("/customers/batch", {"customers": people[first : first + BATCH]})
        for name in self.campaigns:
            draft = {
                "name": name, "purpose": "transactional", "audience": {"segment": {"all": []}},
                "channels": ["sms"], "messages": [{"text": name}], "stop": {"errors": 1.0, "opt_outs": 1.0},
            }  # fmt: skip
            await self._post("/campaigns", draft)
            await self._post(f"/campaigns/{name}/start")

    @property
    def campaigns(self) -> list[str]:
        return [f"News {number}" for number in range(EACH)]

    async def kill(self) -> None:
        """Again and again, each time after some more messages and a moment, until all is sent; at least once."""
        total = len(self.phones) * EACH
        while not self.hub.kills or not await self.finished():
            await until(partial(self._is_at, len(self.sms.messages) + self.random.uniform(0.0, 0.1) * total))
            await asyncio.sleep(self.random.uniform(0.0, 0.5))
            await self.hub.kill()
            await self.start()

    async def _is_at(self, count: float) -> bool:
        return len(self.sms.messages) >= count or await self.finished()

    async def finished(self) -> bool:
        return {(await self.hub.get(f"/api/v1/campaigns/{name}"))["state"] for name in self.campaigns} == {"finished"}

    async def leave(self, phones: list[str]) -> None:
        """Each at a moment of their own during the send. Half of them write; of the others a program is told."""
        most = 0.9 * EACH * (len(self.phones) - len(phones))  # so many are sent in any case
        leaving = []
        for number, accepted in enumerate(sorted(self.random.uniform(0.0, most) for _ in phones)):
            await until(partial(self._has_accepted, accepted))
            say = self._write if number % 2 else self._is_told
            leaving.append(asyncio.create_task(say(phones[number])))
        await asyncio.gather(*leaving)

    async def _has_accepted(self, count: float) -> bool:
        return len(self.sms.messages) >= count

    async def _write(self, phone: str) -> None:
        await self.sms.text(phone, NO)
        await until(partial(self._is_suppressed, phone))
        self.no[phone] = time.monotonic()

    async def _is_suppressed(self, phone: str) -> bool:
        status, found = await self.hub.ask("GET", f"/api/v1/consent/tel:%2B{phone[1:]}")
        return status == 200 and bool(found["suppressed"])

    async def _is_told(self, phone: str) -> None:
        await until(partial(self._is_recorded, phone))
        self.no[phone] = time.monotonic()

    async def _is_recorded(self, phone: str) -> bool:
        body = {"address": f"tel:{phone}", "change": "opt_out", "evidence": "said so on the phone"}
        return (await self.hub.ask("POST", "/api/v1/consent", body, f"no {phone}"))[0] in (200, 201)

    async def _post(self, path: str, body: Any = None) -> None:
        status, answer = await self.hub.ask("POST", f"/api/v1{path}", body, os.urandom(8).hex())
        assert status in (200, 201), (path, status, answer)

    # --- what came of it ---

    def accepted(self) -> Counter[tuple[str, str]]:
        """How often the provider took which campaign's words for whom."""
        return Counter((each["to"], each["text"]) for each in self._taken())

    def _taken(self) -> list[dict[str, Any]]:
        return [line.data for line in self.sms.ledger.of("accept") if line.data["text"] in self.campaigns]

    def in_flight(self) -> Counter[str]:
        """By phone: what the provider took after the no."""
        accepts = [(each["to"], each["at"]) for each in self._taken()]
        return Counter(phone for phone, at in accepts if phone in self.no and at > self.no[phone])

    def late(self) -> list[str]:
        """Phones of hand-offs that began after the no was committed. Its one confirmation is none of them."""
        looks = [line.split(maxsplit=2) for line in self.looks.read_text(encoding="utf-8").splitlines()]
        sent = [(to.removeprefix("tel:"), float(at)) for at, to, words in looks if words in self.campaigns]
        return [phone for phone, at in sent if phone in self.no and at > self.no[phone]]


@asynccontextmanager
async def race(
    database_url: str, home: Path, seed: int, people: int, rate: float, *flaws: str
) -> AsyncIterator[Race]:
    sms = Twilio(ledger=Timed())
    sms.insists = 300.0
    sms.deliver = False  # what becomes of the messages afterwards is no part of this
    sms.faults.seed, sms.faults.rates, sms.faults.delay = seed, {"slow": 0.2}, 0.1  # so that something is in flight
    await sms.start()
    channel = {"adapter": "twilio_sms", "rate": rate, "settle": 0.5, **sms.config()}
    hub = HubProcess(home, database_url, {"sms": channel})
    sms.public_url, sms.webhook_url = hub.base, f"{hub.base}/hooks/sms"
    phones = [f"+1202{number:07}" for number in range(3_000_000, 3_000_000 + people)]
    try:
        yield Race(hub, sms, home / "looks", random.Random(seed), phones, flaws)
    finally:
        await hub.close()
        await sms.stop()


@pytest.fixture
def looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the hub writes down when it looked."""
    path = tmp_path / "looks"
    monkeypatch.setenv("CRASH_LOOKS", str(path))
    return path


@pytest.mark.usefixtures("looks")
async def test_no_hand_off_begins_after_a_no(
    database_url: str, tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    print(f"HUB_TEST_SEED={seed}")
    async with race(database_url, tmp_path, seed, MESSAGES // EACH, 2000.0) as one:
        await one.start()
        await one.begin()
        leaving = one.random.sample(one.phones, int(len(one.phones) * SHARE))
        no = asyncio.create_task(one.leave(leaving))
        await one.kill()
        await no
        await one.hub.idle()

        accepted, in_flight, late = one.accepted(), one.in_flight(), one.late()
        staying = {(phone, words) for phone in set(one.phones) - set(leaving) for words in one.campaigns}
        spared = len(leaving) * EACH - sum(phone in one.no for phone, _ in accepted)
        with capsys.disabled():
            print(
                f"\nrace: messages {len(one.phones) * EACH}, kills {one.hub.kills}, no {len(one.no)}, spared {spared}, "
                f"in flight {in_flight.total()}, late {len(late)}, missing {len(staying - accepted.keys())}, "
                f"twice {sum(count > 1 for count in accepted.values())}"
            )
        assert late == []
        assert all(count == 1 for count in in_flight.values())
        assert staying <= accepted.keys()
        assert set(accepted.values()) == {1}
        assert spared > 0  # somebody's no came in time
        states = Counter[str]()
        for name in one.campaigns:
            states.update((await one.hub.get(f"/api/v1/campaigns/{name}/stats"))["states"])
        # Those which the provider was asked about after a kill are known to have arrived.
        assert states["sent"] + states["delivered"] == len(accepted)
        assert states["denied"] == spared
        assert states.keys() <= {"sent", "delivered", "denied"}


async def test_a_hub_that_does_not_look_once_more_is_found_out(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    print(f"HUB_TEST_SEED={seed}")
    for number in range(5):  # whether a no comes just between is chance
        place = tmp_path / str(number)
        place.mkdir()
        monkeypatch.setenv("CRASH_LOOKS", str(place / "looks"))
        async with race(f"sqlite:///{place}/hub.db", place, seed + number, 100, 50.0, "does not look once more") as one:
            await one.start()
            await one.begin()
            await one.leave(one.phones[::2])
            await one.hub.idle()
            if one.late():
                return
    pytest.fail("it was not found out")
