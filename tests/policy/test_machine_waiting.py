"""Messages that wait for their hour, through opt-outs, changed rules and changed clocks.

A message has a plan of channels, and is decided about anew whenever it is due. By the clock on the recipient's wall:
waiting ends where it is open and never after expiry (6), another channel is tried for the listed reasons alone and by
its own leave (10), and what was decided by rules that have changed since is not taken for granted (12).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from hub.policy import decide, order, pack, quiet
from hub.policy.ledger import Event, Scope
from hub.policy.limits import Sent
from hub.policy.pack import DAYS, Policy, QuietRule
from hub.policy.quiet import Place
from tests.policy.world import only, quick

ADDRESS = "tel:+12125550100"
ZONES = ["America/New_York", "Europe/London", "Australia/Lord_Howe"]
CHANGES = [datetime(2026, *day, 12, tzinfo=UTC) for day in ((3, 7), (10, 24), (10, 31), (4, 4), (6, 10))]
WINDOWS = [{"*": ("08:00", "21:00")}, {"*": ("09:00", "12:30")}, {"mon": ("10:00", "20:00"), "thu": ("00:00", "24:00")}]
PLANS = st.sampled_from([["sms"], ["whatsapp", "sms"], ["messenger", "whatsapp", "email"], ["sms", "email"]])
OFTEN = 30  # deferrals of one message: more than its life has hours of opening and caps


@dataclass
class Message:
    number: int
    plan: list[str]
    expires_at: datetime
    due_at: datetime
    deferred: int = 0
    opens_at: datetime | None = None  # it waits for an opening by the rules as they are


@dataclass
class Person:
    """``no``: media on which they opted out."""

    zone: str
    no: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)
    entries: list[Event] = field(default_factory=list)
    history: list[Sent] = field(default_factory=list)


class Waiting(RuleBasedStateMachine):
    @initialize(
        zone=st.sampled_from(ZONES),
        day=st.sampled_from(CHANGES),
        hour=st.integers(0, 23),
        windows=st.sampled_from(WINDOWS),
    )
    def begin(self, zone: str, day: datetime, hour: int, windows: Any) -> None:
        self.now = start = day + timedelta(hours=hour)
        self.paused = False
        self.person = Person(zone)
        self.person.entries.append(Event("grant", start, ADDRESS, scope=Scope(), basis="express_written"))
        self.messages: list[Message] = []
        self.count = 0
        self.policy = pack.default()
        self._follow(windows)

    @rule(plan=PLANS, hours=st.sampled_from([2, 30, 72]))
    def is_written(self, plan: list[str], hours: int) -> None:
        self.count += 1
        self.messages.append(Message(self.count, list(plan), self.now + timedelta(hours=hours), self.now))
        self._work()

    @rule(minutes=st.sampled_from([1, 59, 180, 475, 1440]))
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)
        self._work()

    @precondition(lambda self: any(each.due_at > self.now for each in self.messages))
    @rule()
    def the_next_is_due(self) -> None:
        self.now = min(each.due_at for each in self.messages if each.due_at > self.now)
        self._work()

    @rule(medium=st.sampled_from(["sms", "whatsapp", "email", "*"]))
    def says_no(self, medium: str) -> None:
        self.now += timedelta(seconds=1)
        self.person.entries.append(Event("revoke", self.now, ADDRESS, scope=Scope(medium)))
        self.person.no |= {"sms", "whatsapp", "email", "messenger"} if medium == "*" else {medium}

    @rule(medium=st.sampled_from(["sms", "whatsapp"]))
    def is_unreachable(self, medium: str) -> None:
        self.person.entries.append(
            Event("suppress", self.now, ADDRESS, "provider", Scope(medium), reason="hard_bounce")
        )
        self.person.dead.add(medium)

    @rule(windows=st.sampled_from(WINDOWS))
    def rules_change(self, windows: Any) -> None:
        """Of the place; as good as other rules of its time zone."""
        self._follow(windows)

    def _follow(self, windows: Any) -> None:
        self.policy = self.policy.model_copy(update={"quiet_rules": {"HERE": QuietRule(windows=windows)}})
        for each in self.messages:
            each.opens_at = None

    @rule()
    def all_sending_is_paused_or_resumed(self) -> None:
        self.paused = not self.paused

    # --- the queue ---

    def _work(self) -> None:
        for each in [message for message in self.messages if message.due_at <= self.now]:
            self._decide(each)

    def _decide(self, message: Message) -> None:
        for place, medium in enumerate(message.plan):
            made = self._ask(message, medium, last=place + 1 == len(message.plan))
            if made.verdict == "fallback":
                assert made.reason in self.policy.fallback_reasons, f"10: another way around {made.reason}"
                assert medium not in self.person.no or medium in self.person.dead, "10: another way around a no"
                continue
            if made.verdict == "defer":
                self._wait(message, made)
                return
            if made.verdict == "allow":
                self._send(message, medium)
            self.messages.remove(message)
            return
        raise AssertionError("10: the last channel of a plan has nothing to fall back to")

    def _ask(self, message: Message, medium: str, last: bool) -> decide.Decision:
        person, policy = self.person, self.policy
        facts = decide.Facts(
            ADDRESS, tuple(person.entries), places=(Place(person.zone, ("HERE",)),), jurisdiction="GB",
            history=tuple(person.history), last_inbound=self.now - timedelta(hours=3 * message.number),
            rules=policy.channel(medium).model_copy(update={"quiet": medium == "sms"}),
            outbound="off" if self.paused else "on",
        )  # fmt: skip
        intent = decide.Intent(
            "marketing", medium, message.expires_at, key=str(message.number), fallback_available=not last
        )
        made = decide.decide(facts, intent, self.now, policy)
        assert made == decide.decide(facts, intent, self.now, policy), "11: the same facts, another decision"
        return made

    def _wait(self, message: Message, made: decide.Decision) -> None:
        assert made.not_before is not None, "6: nobody will ask again"
        assert self.now < made.not_before <= message.expires_at, "6: waits for the past, or beyond its end"
        nightly = made.reason in ("QUIET_HOURS", "NO_SEND_DAY")
        assert not nightly or message.opens_at != self.now, "6: it was to be open now"
        message.deferred += made.reason != "TENANT_PAUSED"
        assert message.deferred <= OFTEN, "6: it waits for ever"
        message.due_at, message.opens_at = made.not_before, made.not_before if nightly else None

    def _send(self, message: Message, medium: str) -> None:
        assert self.now < message.expires_at, "6: sent after its end"
        assert medium not in self.person.no, "10: sent in spite of a no"
        assert medium not in self.person.dead, "10: sent to a dead address"
        if medium == "sms":
            local = self.now.astimezone(ZoneInfo(self.person.zone))
            windows = self.policy.quiet_rules["HERE"].windows
            opens, closes = windows.get(DAYS[local.weekday()], windows.get("*", ("24:00", "24:00")))
            assert opens <= f"{local:%H:%M}" < closes, "12: they sleep, by the rules as they are now"
        self.person.history.append(Sent(self.now, medium))


def test_what_waits_goes_out_in_its_hour_or_not_at_all() -> None:
    run_state_machine_as_test(Waiting, settings=quick(80, 20))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_what_waits_goes_out_in_its_hour_for_long() -> None:
    run_state_machine_as_test(Waiting, settings=settings(quick(5000, 50), derandomize=False))


# --- wrong on purpose ---


def adds_hours(patch: pytest.MonkeyPatch) -> None:
    """Waits so many hours as the clock shows now, whatever it shows then."""
    check = quiet.check

    def checked(places: Any, now: datetime, *rest: Any, **more: Any) -> Any:
        found = check(places, now, *rest, **more)
        if found.not_before is None:
            return found
        zone = ZoneInfo(places[0].zone)
        change = now.astimezone(zone).utcoffset() - found.not_before.astimezone(zone).utcoffset()  # type: ignore[operator]  # aware
        return msgspec.structs.replace(found, not_before=found.not_before - change)

    patch.setattr(quiet, "check", checked)


def asks_again_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decide, "_bounded", lambda chosen, intent, now: (chosen.word, now))


def waits_beyond_its_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decide, "_bounded", lambda chosen, *_: (chosen.word, chosen.not_before))


def has_no_end(patch: pytest.MonkeyPatch) -> None:
    ends = ("MSG_EXPIRED", lambda _: decide.Verdict())
    patch.setattr(decide, "_CHECKS", (ends, *list(decide._CHECKS)[1:]))


def finds_another_way(patch: pytest.MonkeyPatch) -> None:
    def act(verdict: Any, available: bool, _: Policy) -> Any:
        return decide.Verdict("fallback", verdict.reason) if available and verdict.word == "block" else verdict

    patch.setattr(order, "act", act)


def has_one_consent_for_all_ways(patch: pytest.MonkeyPatch) -> None:
    book = decide._book

    def first(facts: Any, intent: Any, now: datetime, policy: Policy) -> Any:
        return book(facts, replace(intent, medium="whatsapp"), now, policy)

    patch.setattr(decide, "_book", first)


def keeps_its_promise(patch: pytest.MonkeyPatch) -> None:
    """Sends at the time that was found once, whatever the rules are by then."""
    right, promised = decide.decide, {}

    def decided(facts: Any, intent: Any, now: datetime, policy: Policy) -> Any:
        made = right(facts, intent, now, policy)
        if promised.get(intent.key, now) < now:
            return replace(made, verdict="allow", not_before=None)
        if made.reason == "QUIET_HOURS":
            promised[intent.key] = now
        return made

    patch.setattr(decide, "decide", decided)


WRONG: list[tuple[Callable[[pytest.MonkeyPatch], None], str, str]] = [  # with the rules that show it; none: all of them
    (adds_hours, "6: it was to be open|12: they sleep", "begin is_written the_next_is_due"),
    (asks_again_at_once, "6: waits for the past", ""),
    (waits_beyond_its_end, "6: ", ""),
    (has_no_end, "6: ", "begin is_written time_passes all_sending_is_paused_or_resumed"),
    (finds_another_way, "10: another way", ""),
    (has_one_consent_for_all_ways, "10: ", "begin is_written says_no is_unreachable"),
    (keeps_its_promise, "12: |6: sent after|10: ", ""),
]


@pytest.mark.parametrize(("wrong", "words", "rules"), WRONG, ids=[each.__name__ for each, *_ in WRONG])
def test_a_wrong_queue_is_caught(
    wrong: Callable[[pytest.MonkeyPatch], None], words: str, rules: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong(monkeypatch)
    with pytest.raises(AssertionError, match=words):
        run_state_machine_as_test(only(Waiting, *rules.split()), settings=quick(300, 20))
