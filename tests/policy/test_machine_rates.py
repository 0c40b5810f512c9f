"""Several workers of one sender on one database, which take turns, die and are told that they are too fast.

Whatever they do: in no interval is more sent than the rate allows and a burst (7); looking costs nothing (8).
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from sqlalchemy import Connection

from hub.contract import ChannelConfig
from hub.model import Content, Purpose
from hub.outbound import pace
from hub.outbound.pace import Pace
from hub.outbound.scopes import per_second
from hub.policy.rates import Rates
from tests.policy.world import CHANNELS, Write, in_memory, quick

RATE, SHARE = 4.0, 0.5  # messages a second; marketing's part
WORKERS = 3


class Clock:
    """Of the machine: ``time`` and ``monotonic`` are one."""

    now = 1_000_000.0

    def time(self) -> float:
        return self.now

    monotonic = time


class Workers(RuleBasedStateMachine):
    anew: ClassVar[Callable[[], Write]]
    clock: ClassVar[Clock] = Clock()

    def __init__(self) -> None:
        super().__init__()
        self.write = type(self).anew()
        self.clock.now = 1_000_000.0
        self.workers = [self._born() for _ in range(WORKERS)]
        self.sent: list[tuple[float, Purpose]] = []
        self.held_until = 0.0

    @rule(
        who=st.integers(0, WORKERS - 1),
        count=st.integers(1, 5),
        purpose=st.sampled_from([Purpose.marketing, Purpose.transactional]),
        dies=st.booleans(),
    )
    def claims(self, who: int, count: int, purpose: Purpose, dies: bool) -> None:
        """As many as it believes there is room for; all but the first are lost if it dies at once."""
        worker = self.workers[who]
        room = worker.room(marketing=purpose is Purpose.marketing)
        assert room is not None
        jobs = [_job(purpose) for _ in range(min(count, room))]
        asked = self.clock.now
        self.write(lambda connection: worker.take(connection, jobs))
        for job in jobs[: 1 if dies else None]:
            assert job.turn >= asked - 1e-6, "7: its turn was before it asked"
            assert job.turn >= self.held_until - 1e-6, "7: it sends while the provider wants to hear nothing"
            self.sent.append((max(job.turn, self.clock.now), purpose))
        if dies:
            self.workers[who] = self._born()

    @rule(who=st.integers(0, WORKERS - 1), marketing=st.booleans())
    def looks(self, who: int, marketing: bool) -> None:
        before = self.write(_kept)
        self.workers[who].room(marketing=marketing)
        self.workers[who].delay(marketing=marketing)
        self.write(lambda connection: self.workers[who].take(connection, []))
        assert self.write(_kept) == before, "8: looking has cost something"

    @rule(seconds=st.sampled_from([0.05, 0.3, 1.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(who=st.integers(0, WORKERS - 1), after=st.sampled_from([0.5, 3.0]))
    def is_told_to_wait(self, who: int, after: float) -> None:
        self.write(lambda connection: self.workers[who].slow_down(connection, "sender", after))
        self.held_until = max(self.held_until, self.clock.now + after)

    def teardown(self) -> None:
        if not hasattr(self, "sent"):
            return
        _within(sorted(at for at, _ in self.sent), RATE)
        _within(sorted(at for at, purpose in self.sent if purpose is Purpose.marketing), RATE * SHARE)

    def _born(self) -> Pace:
        return Pace(CHANNELS["email"], ChannelConfig(rate=RATE), SHARE)


def _job(purpose: Purpose) -> Any:
    return SimpleNamespace(purpose=purpose, identity_id=None, content=Content("hi"), id=1, rates={}, turn=0.0)


def _within(times: list[float], rate: float) -> None:
    burst = per_second(rate).burst
    for first, start in enumerate(times):
        for last in range(first, len(times)):
            allowed = (times[last] - start) * rate + burst + 1
            assert last - first + 1 <= allowed + 1e-6, "7: more than the rate and a burst"


def _kept(connection: Connection) -> list[Any]:
    return list(connection.exec_driver_sql("SELECT key, arrival FROM rate ORDER BY key"))


def machine(anew: Callable[[], Write]) -> type[Workers]:
    return type("Workers", (Workers,), {"anew": staticmethod(anew)})


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "time", Workers.clock)


def test_workers_keep_to_the_rate() -> None:
    with in_memory() as anew:
        run_state_machine_as_test(machine(anew), settings=quick(80, 25))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_workers_keep_to_the_rate_for_long() -> None:
    with in_memory() as anew:
        run_state_machine_as_test(machine(anew), settings=settings(quick(1500, 60), derandomize=False))


# --- wrong on purpose ---


def remembers_nothing(patch: pytest.MonkeyPatch) -> None:
    """What a worker has taken is known to itself alone."""
    patch.setattr(pace, "_save", lambda *_: None)


def counts_each_second_anew(patch: pytest.MonkeyPatch) -> None:
    def reserve(rates: Rates, wanted: Any, at: float, cost: float = 1.0) -> float:
        for key in wanted:
            rates.arrivals[key] = max(rates.arrivals.get(key, 0.0), float(int(at))) + wanted[key].gap
        return at

    patch.setattr(Rates, "reserve", reserve)


def does_not_wait(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rates, "freeze", lambda *_: None)
    patch.setattr(pace, "_rates", lambda rows, _: Rates({key: row.arrival for key, row in rows.items()}))


def takes_when_it_looks(patch: pytest.MonkeyPatch) -> None:
    take = Pace.take

    def took(worker: Pace, connection: Connection, jobs: Any) -> None:
        take(worker, connection, jobs or [_job(Purpose.marketing)])

    patch.setattr(Pace, "take", took)


WRONG: list[tuple[Callable[[pytest.MonkeyPatch], None], str]] = [
    (remembers_nothing, "7: more than"),
    (counts_each_second_anew, "7: "),
    (does_not_wait, "7: it sends while"),
    (takes_when_it_looks, "8: "),
]


@pytest.mark.parametrize(("wrong", "words"), WRONG, ids=[each.__name__ for each, _ in WRONG])
def test_wrong_workers_are_caught(
    wrong: Callable[[pytest.MonkeyPatch], None], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong(monkeypatch)
    with in_memory() as anew, pytest.raises(AssertionError, match=words):
        run_state_machine_as_test(machine(anew), settings=quick(300, 25))
