"""The ledger in a database, whatever is said, recorded, merged and erased in whatever order.

Each rule of the machine is something that happens to the ledger, and checks what has to hold around it. The numbers are
those of the invariants: a no stops what waits (1), adds up (2), is the person's (3), counts from when it was said (4),
is the whole person's while two are one (5), outlives the person's data (9), and is decided alike every time (11).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from sqlalchemy import Connection

from hub import consent, erasure, identity, tombstones
from hub.outbound import judge
from hub.policy import ledger, pack
from hub.policy.ledger import Event, Scope, Target
from hub.policy.verdict import Verdict
from hub.store.schema import metadata
from tests.policy.world import (
    ADDRESSES,
    ANN,
    BOB,
    MEDIUM,
    PURPOSES,
    START,
    World,
    Write,
    in_memory,
    on_postgres,
    only,
    quick,
)

Verdicts = dict[tuple[str, str], Verdict]
addresses = st.sampled_from(list(ADDRESSES))
purposes = st.sampled_from(PURPOSES)
people = st.sampled_from([ANN, BOB])
ALL = Scope()
scopes = st.sampled_from(
    [ALL, ALL, Scope(purpose="marketing"), Scope("sms"), Scope("email", "marketing"), Scope(topic="news")]
)


@dataclass
class Waiting:
    """A message that was claimed, with the ledger as it was then."""

    address: str
    purpose: str
    epoch: int | None


class LedgerMachine(RuleBasedStateMachine):
    """``anew``: makes the database of one run."""

    anew: ClassVar[Callable[[], Write]]

    def __init__(self) -> None:
        super().__init__()
        self.world = World(type(self).anew())
        self.waiting: list[Waiting] = []
        self.merged_at: datetime | None = None
        self.apart: Verdicts | None = None  # before they were merged, if nothing has happened since
        self.erased: set[str] = set()
        self.past: list[tuple[datetime, dict[tuple[str, str], Target], Verdicts]] = []

    # --- what happens ---

    @rule(address=addresses, scope=scopes)
    def says_no(self, address: str, scope: Scope) -> None:
        with self._denial():
            self._append(Event("revoke", self.world.now, address, "subject", scope), "opt_out")
        self._stopped(lambda each: each.address == address, scope)

    @rule(who=people, scope=scopes, kind=st.sampled_from(["revoke", "object"]))
    def objects(self, who: str, scope: Scope, kind: Any) -> None:
        """A person's no, whatever they are written to at."""
        subject = self.world.write(lambda connection: consent.person(self._canonical(connection, who)))
        with self._denial():
            self._append(Event(kind, self.world.now, subject, "subject", scope), "opt_out")
        concerned = self.world.write(
            lambda connection: {each for each, some in self.world.persons(connection).items() if subject in some}
        )
        self._stopped(lambda each: each.address in concerned, scope)

    @rule(address=addresses, reason=st.sampled_from(["hard_bounce", "complaint", "provider_optout", "manual"]))
    def is_blocked(self, address: str, reason: str) -> None:
        with self._denial():
            self._append(Event("suppress", self.world.now, address, "provider", reason=reason), "bounced")
        self._stopped(lambda each: each.address == address, Scope())

    @rule(address=addresses)
    def is_unclear(self, address: str) -> None:
        """Whether they want no more of it; if nobody looks in time, they do not."""
        with self._denial():
            self._append(Event("hold", self.world.now, address, "system"), "hold")

    @rule(address=addresses, scope=scopes, basis=st.sampled_from(["express", "express_written"]))
    def says_yes(self, address: str, scope: Scope, basis: str) -> None:
        self._happens()
        entry = Event(
            "grant", self.world.now, address, "subject", scope, basis=basis, verified=True, source="keyword"
        )
        self._append(entry, "opt_in")
        self.erased.discard(address)

    @rule(
        address=addresses,
        actor=st.sampled_from(["agent", "import", "api", "system"]),
        kind=st.sampled_from(["grant", "grant", "confirm", "lift", "resolve"]),
        scope=scopes,
    )
    def somebody_else_says_yes(self, address: str, actor: Any, kind: Any, scope: Scope) -> None:
        before = self.world.verdicts()
        self._happens()
        now = self.world.now
        entry = Event(kind, now, address, actor, scope, basis="express", reason="manual", verified=True)
        self._append(entry, "opt_in")
        after = self.world.verdicts()
        opened = [key for key, found in before.items() if _refused(found) and after[key].ok]
        assert not opened, f"3: {actor} took back a no of {opened}"

    @rule(address=addresses, scope=scopes, ago=st.integers(1, 50), no=st.booleans())
    def is_told_late(self, address: str, scope: Scope, ago: int, no: bool) -> None:
        """It was said hours before it is recorded."""
        self._happens()
        at = self.world.now - timedelta(hours=ago)
        kind: Any = "revoke" if no else "grant"
        self._append(Event(kind, at, address, "subject", scope, basis=None if no else "express"), "opt_out")

    @rule(pause=st.sampled_from([1, 1, 5, 30]))
    def time_passes(self, pause: int) -> None:
        self.past.append((self.world.now, self.world.write(self.world.targets), self.world.verdicts()))
        self.world.now += timedelta(hours=pause)

    @precondition(lambda self: self.merged_at is None and not self.erased)
    @rule()
    def are_found_to_be_one(self) -> None:
        self.world.now += timedelta(seconds=1)  # what is said at that very moment counts as said by both
        before, keep, drop = self.world.verdicts(), self.world.people[ANN], self.world.people[BOB]
        self.world.write(lambda connection: identity.merge(connection, self.world.context, keep, drop, "the same"))
        after = self.world.verdicts()
        assert not [key for key, found in after.items() if found.ok and not before[key].ok], "5: merging allowed it"
        denied = self.world.write(self._denied_in_person)
        assert not [key for key, found in after.items() if found.ok and key in denied], "5: one person's no got lost"
        self._stopped(lambda each: (each.address, each.purpose) in denied and before[each.address, each.purpose].ok)
        self.merged_at, self.apart = self.world.now, before

    @precondition(lambda self: self.merged_at is not None and not self.erased)
    @rule()
    def are_two_after_all(self) -> None:
        before, keep, drop = self.world.verdicts(), self.world.people[ANN], self.world.people[BOB]

        def part(connection: Connection) -> None:
            consent.part(connection, keep, drop, self.world.now)
            identity.unmerge(connection, self.world.context, drop)

        said = self.world.write(lambda connection: consent.events(connection, [consent.person(keep)]))
        self.world.write(part)
        after = self.world.verdicts()
        if self.apart is not None and self.world.now == self.merged_at:
            assert after == self.apart, "5: merging and parting changed something"
        since = [
            each
            for each in said.get(consent.person(keep), ())
            if each.type in ("object", "revoke", "suppress") and self.merged_at and each.known_at >= self.merged_at
        ]
        targets = self.world.write(self.world.targets)
        for key, target in targets.items():
            if any(_against(each, target) for each in since) and not before[key].ok and _refused(before[key]):
                assert not after[key].ok, f"5: what was said while they were one is forgotten for {key}"
        self.merged_at = self.apart = None

    @precondition(lambda self: self.merged_at is None and not self.erased)
    @rule(who=people)
    def is_erased(self, who: str) -> None:
        """And comes up again as somebody new, in a list perhaps."""
        world, theirs = self.world, [address for address, name in ADDRESSES.items() if name == who]
        self._happens()
        self.waiting = [each for each in self.waiting if each.address not in theirs]  # they are deleted with the rest
        world.write(lambda connection: erasure.erase(connection, world.context, world.people[who]))
        left = world.write(_dump)
        assert not [each for each in theirs if each.partition(":")[2].removeprefix("+") in left], "9: it is still there"
        world.people[who] = world.ids()
        for each in theirs:
            world.identities[each] = world.ids()
        world.write(lambda connection: world.settle(connection, who))
        self.erased |= set(theirs)
        self.past.clear()  # what was said before cannot be told any more

    # --- a message on its way ---

    @rule(address=addresses, purpose=purposes)
    def is_claimed(self, address: str, purpose: str) -> None:
        made = self.world.write(lambda connection: self.world.decide(connection, address, purpose))
        again = self.world.write(lambda connection: self.world.decide(connection, address, purpose))
        assert made == again, "11: the same facts, another decision"
        if address in self.erased:
            assert made.verdict != "allow" or purpose == "reply", "9: an erased person was written to"
        if made.verdict == "allow":
            self.waiting.append(Waiting(address, purpose, made.epoch))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def is_handed_off(self, data: st.DataObject) -> None:
        """Only if nothing was said since."""
        self.waiting.remove(data.draw(st.sampled_from(self.waiting)))

    # --- at any time ---

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        assert not self.world.write(consent.broken_links), "the chain of the ledger is broken"
        if not self.erased:
            for at, targets, found in self.past[-3:]:
                assert self.world.write(partial(self.world.verdicts_of, targets=targets, at=at)) == found, "as-of"
        self._mixed()

    def _mixed(self) -> None:
        """The same entries, ingested in another order."""
        found, targets = self.world.verdicts(), self.world.write(self.world.targets)
        known = self.world.write(partial(self.world.entries, targets=targets))
        mixed = [replace(each, recorded_at=None) for each in random.Random(len(known)).sample(known, len(known))]
        for key, target in targets.items():
            again = ledger.resolve(mixed, target, self.world.now, pack.default())
            assert (again.word, again.reason) == (found[key].word, found[key].reason), "4: the order of arrival counts"

    # --- in short ---

    def _append(self, entry: Event, change: str) -> None:
        def work(connection: Connection) -> None:
            consent.append(connection, entry, change=change, channel=None, source="api", now=self.world.now)
            if not entry.subject.startswith("customer:"):
                consent.digest(connection, entry.subject, self.world.now)

        self.world.write(work)

    def _happens(self) -> None:
        self.apart = None

    @contextmanager
    def _denial(self) -> Iterator[None]:
        self._happens()
        before = self.world.verdicts()
        yield
        after = self.world.verdicts()
        assert not [key for key, found in after.items() if found.ok and not before[key].ok], "2: a no has opened it"

    def _stopped(self, concerns: Callable[[Waiting], bool], scope: Scope = ALL) -> None:
        """Whatever waits and is concerned is not handed off any more."""
        for each in list(self.waiting):
            if not concerns(each) or scope.purpose not in ("*", each.purpose) or scope.topic != "*":
                continue
            if scope.channel not in ("*", MEDIUM[each.address.partition(":")[0]]):
                continue
            epoch = self.world.write(lambda connection: self.world.epoch(connection, each.address))  # noqa: B023 - at once
            assert epoch != each.epoch, f"1: {each} would be handed off after the no"
            self.waiting.remove(each)

    def _canonical(self, connection: Connection, who: str) -> int:
        return self.world.people[ANN] if self.merged_at is not None else self.world.people[who]

    def _denied_in_person(self, connection: Connection) -> set[tuple[str, str]]:
        """What either of the two does not want, by address and purpose."""
        subjects = [consent.person(each) for each in self.world.people.values()]
        said = [each for some in consent.events(connection, subjects).values() for each in some]
        refusals = [each for each in said if each.type in ("object", "revoke", "suppress")]
        granted = consent.events(connection, list(ADDRESSES))
        return {
            key
            for key, target in self.world.targets(connection).items()
            if any(_against(each, target) for each in refusals)
            and not any(each.type == "grant" for each in granted.get(target.address, ()))
            and (key[1] != "reply" or target.channel == "sms")  # a mail may be answered
        }


def _reaches(scope: Scope, target: Target) -> bool:
    return (
        scope.channel in ("*", target.channel) and scope.purpose in ("*", target.purpose) and scope.topic == "*"
    )


def _against(entry: Event, target: Target) -> bool:
    """An objection that says no more is against advertising."""
    if entry.type == "object" and entry.scope.purpose == "*" and target.purpose != "marketing":
        return False
    return _reaches(entry.scope, target)


def _refused(found: Verdict) -> bool:
    return found.reason.startswith("CONSENT_REVOKED")


def _dump(connection: Connection) -> str:
    return repr([[tuple(row) for row in connection.execute(sa.select(table))] for table in metadata.sorted_tables])


# --- right, and wrong on purpose ---


def machine(anew: Callable[[], Write]) -> type[LedgerMachine]:
    return type("LedgerMachine", (LedgerMachine,), {"anew": staticmethod(anew)})


def test_the_ledger_keeps_its_word() -> None:
    with in_memory() as anew:
        run_state_machine_as_test(machine(anew), settings=quick(40, 14))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_ledger_keeps_its_word_for_long() -> None:
    with in_memory() as anew:
        run_state_machine_as_test(machine(anew), settings=settings(quick(1500, 40), derandomize=False))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_ledger_keeps_its_word_on_postgresql(postgres_dsn: str) -> None:
    with on_postgres(postgres_dsn) as anew:
        run_state_machine_as_test(machine(anew), settings=settings(quick(150, 25), derandomize=False))


# --- wrong on purpose ---


def stops_nothing_that_waits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(consent, "_changed", lambda *_: None)


def the_last_no_counts(patch: pytest.MonkeyPatch) -> None:
    def refusals(book: ledger.Book) -> list[Event]:
        return [each for each in book.denials[-1:] if each.type in ("revoke", "object") and book._reaches(each.scope)]

    patch.setattr(ledger.Book, "_refusals", refusals)


def anybody_speaks_for_them(patch: pytest.MonkeyPatch) -> None:
    def reopened(book: ledger.Book, refusal: Event, by: datetime) -> bool:
        return any(refusal.at < each.at <= by and book._covers(each.scope) for each in book.grants)

    patch.setattr(ledger.Book, "_reopened", reopened)


def as_it_came(patch: pytest.MonkeyPatch) -> None:
    """Takes the order of arrival for the order of events."""
    resolve = ledger.resolve

    def resolved(known: Iterable[Event], target: Target, now: datetime, policy: pack.Policy) -> Verdict:
        at = [replace(each, at=START - timedelta(days=9, minutes=-place)) for place, each in enumerate(known)]
        return resolve(at, target, now, policy)

    patch.setattr(ledger, "resolve", resolved)


def each_for_themselves(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(judge, "_families", lambda _, people: {each: (each,) for each in people})


def a_yes_is_for_the_whole_person(patch: pytest.MonkeyPatch) -> None:
    made = ledger.Book.__init__

    def make(book: ledger.Book, known: Iterable[Event], target: Target, *rest: Any) -> None:
        theirs = [
            replace(each, subject=target.address) if each.type == "grant" and len(target.persons) > 1 else each
            for each in known
        ]
        made(book, theirs, target, *rest)

    entries = World.entries
    everything = dict.fromkeys(ADDRESSES)

    def all_entries(world: World, connection: Connection, targets: Any) -> list[Event]:
        known = consent.events(connection, everything)
        grants = [each for some in known.values() for each in some if each.type == "grant"]
        return [*grants, *(each for each in entries(world, connection, targets) if each.type != "grant")]

    patch.setattr(ledger.Book, "__init__", make)
    patch.setattr(World, "entries", all_entries)


def parting_forgets(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(consent, "part", lambda *_: None)


def merging_leaves_a_no_behind(patch: pytest.MonkeyPatch) -> None:
    unmerge = identity.unmerge

    def parted(connection: Connection, context: Any, drop: int) -> int:
        count = unmerge(connection, context, drop)
        for address, name in ADDRESSES.items():
            if name == BOB:
                no = Event("revoke", START - timedelta(days=9), address, "system")
                consent.append(connection, no, change="opt_out", channel=None, source="api", now=context.now)
        return count

    patch.setattr(identity, "unmerge", parted)


def keeps_the_address(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(erasure, "_forget_entries", lambda *_: None)


def keeps_no_hash(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tombstones, "bury", lambda *_: None)


def draws_lots(patch: pytest.MonkeyPatch) -> None:
    right, luck = judge.decide, random.Random(0)

    def decided(facts: Any, *rest: Any) -> Any:
        return right(facts if luck.random() < 0.5 else replace(facts, events=()), *rest)

    patch.setattr(judge, "decide", decided)


def writes_into_the_past(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Event, "known_at", property(lambda event: event.at))


WRONG: list[tuple[Callable[[pytest.MonkeyPatch], None], str, str]] = [  # with the rules that show it
    (stops_nothing_that_waits, "1: ", "says_no is_claimed"),
    (the_last_no_counts, "2: ", "says_no time_passes"),
    (anybody_speaks_for_them, "3: ", "says_no somebody_else_says_yes time_passes"),
    (as_it_came, "4: ", "says_no says_yes"),
    (each_for_themselves, "5: (merging allowed it|one person's no got lost)", "objects are_found_to_be_one"),
    (a_yes_is_for_the_whole_person, "5: merging allowed it", "says_yes are_found_to_be_one"),
    (parting_forgets, "5: what was said while", "objects are_found_to_be_one are_two_after_all"),
    (merging_leaves_a_no_behind, "5: merging and parting", "says_yes are_found_to_be_one are_two_after_all"),
    (keeps_the_address, "9: it is still there", "says_yes is_erased"),
    (keeps_no_hash, "9: an erased person", "is_erased is_claimed"),
    (draws_lots, "11: ", "says_no is_claimed"),
    (writes_into_the_past, "as-of", "is_told_late time_passes"),
]


@pytest.mark.parametrize(("wrong", "words", "rules"), WRONG, ids=[each.__name__ for each, *_ in WRONG])
def test_a_wrong_ledger_is_caught(
    wrong: Callable[[pytest.MonkeyPatch], None], words: str, rules: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong(monkeypatch)
    with in_memory() as anew, pytest.raises(AssertionError, match=words):
        run_state_machine_as_test(only(machine(anew), *rules.split()), settings=quick(500, 12))
