"""What has to hold whatever happens, each with a wrong implementation that the test must catch."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hub.policy import ledger, order, pack, quiet
from hub.policy.decide import Facts, Intent, decide
from hub.policy.ledger import Event, Scope, Target
from hub.policy.pack import Policy, QuietRule
from hub.policy.quiet import Place
from hub.policy.rates import Bucket, Rates
from hub.policy.verdict import Verdict

POLICY = pack.default()
START = datetime(2026, 3, 1, tzinfo=UTC)
NOW = START + timedelta(hours=40)
MINE, OTHER, ME, TWIN = "tel:+13055550100", "tel:+13055550199", "customer:me", "customer:twin"
TARGET = Target(MINE, "sms", "marketing", "news", "brand", "GB", (ME,))
quick = settings(
    max_examples=200,
    phases=[Phase.explicit, Phase.generate],  # shrinking takes longer than the rest together
    report_multiple_bugs=False,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
Resolver = Callable[[Sequence[Event], Target, datetime, Policy], Verdict]

scopes = st.builds(
    Scope,
    channel=st.sampled_from(["*", "sms", "sms", "email"]),
    purpose=st.sampled_from(["*", "marketing", "marketing", "transactional"]),
    topic=st.sampled_from(["*", "*", "news", "promo"]),
    sender=st.sampled_from(["*", "*", "brand"]),
)
hours = st.integers(0, 40).map(lambda each: START + timedelta(hours=each))


def entries(**fixed: Any) -> st.SearchStrategy[Event]:
    shape: dict[str, Any] = {
        "type": st.sampled_from(["grant", "grant", "grant", "revoke", "suppress", "lift", "erase", "reassign", "hold"]),
        "at": hours,
        "subject": st.sampled_from([MINE, MINE, MINE, ME, OTHER]),
        "actor": st.sampled_from(["subject", "subject", "agent", "import", "provider"]),
        "scope": scopes,
        "basis": st.sampled_from(["express", "express_written", "implied_inquiry"]),
        "reason": st.sampled_from(["manual", "complaint", "provider_optout", "hard_bounce"]),
        "verified": st.booleans(),
        "source": st.sampled_from([None, "keyword", "import"]),
    }
    return st.builds(Event, **(shape | fixed))


ledgers = st.lists(entries(), max_size=7)
denials = entries(type=st.sampled_from(["revoke", "object", "suppress", "erase", "hold"]))


def ok(events: Sequence[Event], resolve: Resolver, target: Target = TARGET) -> bool:
    return resolve(events, target, NOW, POLICY).ok


# --- the invariants ---


def a_no_never_opens(resolve: Resolver) -> None:
    @quick
    @given(ledgers, denials)
    def holds(events: list[Event], denial: Event) -> None:
        assert not ok([*events, denial], resolve) or ok(events, resolve)

    holds()


def only_the_person_takes_back_a_no(resolve: Resolver) -> None:
    others = entries(actor=st.sampled_from(["agent", "import", "api", "provider", "system", "legal"]))

    @quick
    @given(ledgers, entries(type=st.just("revoke"), actor=st.just("subject"), scope=st.just(Scope())), others)
    def holds(events: list[Event], refusal: Event, other: Event) -> None:
        before = [*events, refusal]
        if resolve(before, TARGET, NOW, POLICY).reason.startswith("CONSENT_REVOKED"):
            assert not ok([*before, other], resolve)

    holds()


def the_order_of_arrival_does_not_matter(resolve: Resolver) -> None:
    @quick
    @given(ledgers, st.randoms(use_true_random=False))
    def holds(events: list[Event], chance: random.Random) -> None:
        mixed = list(events)
        chance.shuffle(mixed)
        one, other = resolve(events, TARGET, NOW, POLICY), resolve(mixed, TARGET, NOW, POLICY)
        assert (one.word, one.reason) == (other.word, other.reason)

    holds()


def merging_allows_nothing_new(resolve: Resolver) -> None:
    @quick
    @given(st.lists(entries(subject=st.sampled_from([MINE, OTHER, ME, TWIN])), max_size=7))
    def holds(events: list[Event]) -> None:
        merged = replace(TARGET, persons=(ME, TWIN))
        assert not ok(events, resolve, merged) or ok(events, resolve)

    holds()


def the_past_stays_as_it_was(resolve: Resolver) -> None:
    later = entries(at=st.integers(41, 60).map(lambda each: START + timedelta(hours=each)))

    @quick
    @given(ledgers, later)
    def holds(events: list[Event], news: Event) -> None:
        assert resolve(events, TARGET, NOW, POLICY) == resolve([*events, news], TARGET, NOW, POLICY)

    holds()


def _last_denial_only(events: Sequence[Event], target: Target, now: datetime, policy: Policy) -> Verdict:
    """Keeps a state that each refusal overwrites."""
    said = [each for each in events if each.type in ("revoke", "object", "suppress", "erase", "hold")]
    rest = [each for each in events if each not in said]
    return ledger.resolve([*rest, *said[-1:]], target, now, policy)


def _anybody_speaks_for_them(events: Sequence[Event], target: Target, now: datetime, policy: Policy) -> Verdict:
    return ledger.resolve([replace(each, actor="subject") for each in events], target, now, policy)


def _as_it_came(events: Sequence[Event], target: Target, now: datetime, policy: Policy) -> Verdict:
    """Takes the order of arrival for the order of events."""
    at = [replace(each, at=START + timedelta(minutes=place)) for place, each in enumerate(events)]
    return ledger.resolve(at, target, now, policy)


def _merging_moves_permissions(events: Sequence[Event], target: Target, now: datetime, policy: Policy) -> Verdict:
    mine = {OTHER} if len(target.persons) > 1 else set()
    moved = [replace(each, subject=MINE) if each.subject in mine else each for each in events]
    return ledger.resolve(moved, target, now, policy)


def _knows_the_future(events: Sequence[Event], target: Target, now: datetime, policy: Policy) -> Verdict:
    return ledger.resolve(events, target, now + timedelta(days=9), policy)


LEDGER: list[tuple[Callable[[Resolver], None], Resolver]] = [
    (a_no_never_opens, _last_denial_only),
    (only_the_person_takes_back_a_no, _anybody_speaks_for_them),
    (the_order_of_arrival_does_not_matter, _as_it_came),
    (merging_allows_nothing_new, _merging_moves_permissions),
    (the_past_stays_as_it_was, _knows_the_future),
]
NAMES = [invariant.__name__ for invariant, _ in LEDGER]


@pytest.mark.parametrize("invariant", [invariant for invariant, _ in LEDGER], ids=NAMES)
def test_the_ledger_keeps(invariant: Callable[[Resolver], None]) -> None:
    invariant(ledger.resolve)


@pytest.mark.parametrize(("invariant", "wrong"), LEDGER, ids=NAMES)
def test_a_wrong_ledger_is_caught(invariant: Callable[[Resolver], None], wrong: Resolver) -> None:
    with pytest.raises(AssertionError):
        invariant(wrong)


# --- time ---

ZONES = ["America/New_York", "America/Chicago", "Europe/Paris", "Australia/Lord_Howe", "Asia/Kathmandu"]
RULES = ["US", "US-TX", "US-AL", "FR", "BR"]
CHANGES = [datetime(2026, *day, tzinfo=UTC) for day in ((3, 8), (11, 1), (3, 29), (10, 25), (4, 5))]  # of the clocks
some_time = st.integers(0, 366 * 24 * 4).map(lambda quarter: datetime(2026, 1, 1, tzinfo=UTC) + quarter * _QUARTER)
around_a_change = st.builds(
    lambda day, quarter: day + quarter * _QUARTER, st.sampled_from(CHANGES), st.integers(-80, 80)
)
moments = st.one_of(some_time, around_a_change)
_QUARTER = timedelta(minutes=15)
places = st.lists(
    st.builds(Place, st.sampled_from(ZONES), st.lists(st.sampled_from(RULES), min_size=1, max_size=2).map(tuple)),
    min_size=1,
    max_size=2,
)
Quiet = Callable[[Sequence[Place], datetime, Policy], Verdict]


def waiting_ends_where_it_is_open(check: Quiet) -> None:
    @quick
    @given(places, moments)
    def holds(where: list[Place], now: datetime) -> None:
        found = check(where, now, POLICY)
        if found.word == "defer":
            assert found.not_before is not None
            assert now < found.not_before <= now + timedelta(days=4)
            assert quiet.check(where, found.not_before, POLICY).ok
        if found.ok:
            for place in where:
                local = now.astimezone(quiet.zone_of(place.zone))
                for name in place.rules:
                    hours = POLICY.quiet_rules[name].of(local.date())
                    assert hours is not None
                    assert hours[0] <= f"{local:%H:%M}" < hours[1]

    holds()


def _adds_hours(where: Sequence[Place], now: datetime, policy: Policy) -> Verdict:
    """Waits so many hours as the clock shows now, whatever it shows then."""
    found = quiet.check(where, now, policy)
    if found.not_before is None:
        return found
    zone = quiet.zone_of(where[0].zone)
    change = (now.astimezone(zone).utcoffset() or timedelta()) - (
        found.not_before.astimezone(zone).utcoffset() or timedelta()
    )
    return msgspec.structs.replace(found, not_before=found.not_before - change)


def _first_place_only(where: Sequence[Place], now: datetime, policy: Policy) -> Verdict:
    return quiet.check(where[:1], now, policy)


def test_a_deferred_message_goes_out_where_everybody_is_awake() -> None:
    waiting_ends_where_it_is_open(quiet.check)
    waiting_ends_where_it_is_open(lambda *given: quiet.check(*given, spread=timedelta(minutes=10), who="x"))


@pytest.mark.parametrize("wrong", [_adds_hours, _first_place_only])
def test_a_wrong_clock_is_caught(wrong: Quiet) -> None:
    with pytest.raises(AssertionError):
        waiting_ends_where_it_is_open(wrong)


def test_rules_that_changed_meanwhile_are_read_again() -> None:
    night = datetime(2026, 6, 10, 3, tzinfo=UTC)
    intent = Intent("marketing", "sms", night + timedelta(days=9))
    grant = Event("grant", night - timedelta(days=1), MINE, basis="express_written")
    facts = Facts(MINE, (grant,), places=(Place("America/New_York", ("US",)),), jurisdiction="US")
    first = decide(facts, intent, night, POLICY)
    assert (first.verdict, first.reason) == ("defer", "QUIET_HOURS")
    assert first.not_before is not None
    later = POLICY.model_copy(update={"quiet_rules": {"US": QuietRule(windows={"*": ("12:00", "21:00")})}})
    again = decide(facts, intent, first.not_before, later)
    assert (again.verdict, again.reason) == ("defer", "QUIET_HOURS")
    assert decide(facts, intent, first.not_before, POLICY).verdict == "allow"


# --- rates ---

Admit = Callable[[Rates, str, Bucket, float, float], bool]
tries = st.lists(st.tuples(st.integers(0, 40).map(lambda each: each / 8), st.integers(1, 4)), min_size=1, max_size=25)
buckets = st.builds(Bucket, st.integers(1, 5), st.just(1.0), st.integers(1, 4))


def no_interval_gets_more_than_the_rate(admit: Admit) -> None:
    @quick
    @given(buckets, tries)
    def holds(bucket: Bucket, asked: list[tuple[float, int]]) -> None:
        rates, sent = Rates(), []
        for at, cost in sorted(asked):
            if admit(rates, "key", bucket, at, cost):
                sent.append((at, cost))
        largest = max([bucket.burst, *(cost for _, cost in sent)])
        for first, _ in sent:
            for last in (at for at, _ in sent if at >= first):
                spent = sum(cost for at, cost in sent if first <= at <= last)
                assert spent <= (last - first) / bucket.gap + bucket.burst + largest + 1e-6

    holds()


def what_is_refused_costs_nothing(admit: Admit) -> None:
    @quick
    @given(buckets, tries)
    def holds(bucket: Bucket, asked: list[tuple[float, int]]) -> None:
        rates = Rates()
        for at, cost in sorted(asked):
            before = dict(rates.arrivals)
            if not admit(rates, "key", bucket, at, cost):
                assert rates.arrivals == before

    holds()


def _admit(rates: Rates, key: str, bucket: Bucket, at: float, cost: float) -> bool:
    return rates.admit({key: bucket}, at, cost)[0]


def _each_second_anew(rates: Rates, key: str, bucket: Bucket, at: float, cost: float) -> bool:
    """Counts per calendar second, and forgets what a large one cost."""
    second = f"{int(at * 4)}"
    used = rates.arrivals.get(second, 0.0)
    if used >= bucket.count:
        return False
    rates.arrivals[second] = used + cost
    return True


def _counts_refusals(rates: Rates, key: str, bucket: Bucket, at: float, cost: float) -> bool:
    return rates.reserve({key: bucket}, at, cost) <= at


RATES: list[tuple[Callable[[Admit], None], Admit]] = [
    (no_interval_gets_more_than_the_rate, _each_second_anew),
    (what_is_refused_costs_nothing, _counts_refusals),
]


@pytest.mark.parametrize("invariant", [invariant for invariant, _ in RATES])
def test_rates_keep(invariant: Callable[[Admit], None]) -> None:
    invariant(_admit)


@pytest.mark.parametrize(("invariant", "wrong"), RATES)
def test_a_wrong_rate_is_caught(invariant: Callable[[Admit], None], wrong: Admit) -> None:
    with pytest.raises(AssertionError):
        invariant(wrong)


def test_several_keys_are_taken_together_or_not_at_all() -> None:
    rates, pair, number = Rates(), Bucket(1, 6), Bucket(80, 1, 80)
    assert rates.admit({"pair": pair, "number": number}, 0.0) == (True, 0.0)
    before = dict(rates.arrivals)
    assert rates.admit({"pair": pair, "number": number}, 1.0) == (False, 6.0)
    assert rates.arrivals == before


# --- other ways, and the same answer twice ---

CODES = [
    "CONSENT_REVOKED", "CONSENT_REVOKED_ALL", "SUPP_COMPLAINT", "SUPP_ERASED", "CAP_CUSTOMER_WEEK", "QUIET_HOURS",
    "EMAIL_NO_ONE_CLICK", "WINDOW_CLOSED", "SUPP_HARD_BOUNCE", "ADDRESS_INVALID", "SESSION_CLOSED",
]  # fmt: skip
Act = Callable[[Verdict, bool, Policy], Verdict]


def another_way_only_from_the_list(act: Act) -> None:
    @quick
    @given(st.sampled_from(CODES), st.sampled_from(["block", "fallback", "defer"]), st.booleans())
    def holds(code: str, word: Any, available: bool) -> None:
        found = act(Verdict(word, code), available, POLICY)
        if found.word == "fallback":
            assert available
            assert code in POLICY.fallback_reasons

    holds()


def test_no_other_channel_goes_around_a_no() -> None:
    another_way_only_from_the_list(order.act)
    with pytest.raises(AssertionError):
        another_way_only_from_the_list(lambda verdict, *_: verdict)


@quick
@given(ledgers, moments, places)
def test_the_same_facts_give_the_same_decision(events: list[Event], now: datetime, where: list[Place]) -> None:
    facts = Facts(MINE, tuple(events), (ME,), tuple(where), "GB")
    intent = Intent("marketing", "sms", now + timedelta(days=2), key="x")
    first, second = decide(facts, intent, now, POLICY), decide(facts, intent, now, POLICY)
    assert first == second
    assert first.version == POLICY.version
    if first.verdict == "defer":
        assert first.not_before is not None
        assert now < first.not_before <= intent.expires_at


def test_a_changed_ledger_starts_the_decision_again() -> None:
    facts = Facts(MINE, epoch=1, epoch_now=2)
    made = decide(facts, Intent("reply", "sms", NOW + timedelta(hours=1)), NOW, POLICY)
    assert (made.verdict, made.reason) == ("defer", "CONSENT_CHANGED")
