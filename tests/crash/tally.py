"""What became of everything, by the providers' ledgers; the hub's own tables are not asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from hub.testing.simulation import Ledger
from tests.crash.load import Load, Sent


@dataclass(frozen=True)
class Tally:
    """``lost``: acknowledged, never shown at the desk. ``twice``: shown more than once, acknowledged or not.

    ``unsent``: taken from a program or an agent, not accepted by Twilio in all its parts. ``duplicates``: hand-offs
    accepted again, at Twilio or at Slack. ``inversions``: neighbours in the wrong order, to a phone or in a thread.
    """

    kills: int
    acknowledged: int
    lost: int
    twice: int
    sent: int
    unsent: int
    duplicates: int
    inversions: int

    @property
    def clean(self) -> bool:
        return not (self.lost or self.twice or self.unsent or self.duplicates or self.inversions)

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(mine + theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)))

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in vars(self).items())


def tally(load: Load) -> Tally:
    desk = [line for line in load.slack.ledger.of("accept") if line.data["thread"]]
    shown = [line.data["text"] for line in desk]
    times = Counter(shown)
    taken = [_name(line.data) for line in load.sms.ledger.of("accept")]
    acknowledged = [text for texts in load.acknowledged.values() for text in texts]
    sent = [each for some in load.sent.values() for each in some]
    written = {line.data["text"] for line in load.sms.ledger.of("deliver")}
    return Tally(
        kills=load.hub.kills,
        acknowledged=len(acknowledged),
        lost=sum(not times[text] for text in acknowledged),
        twice=sum(times[text] > 1 for text in written),
        sent=len(sent),
        unsent=sum(not set(each.names) <= set(taken) for each in sent),
        duplicates=duplicates(load.sms.ledger) + duplicates(load.slack.ledger),
        inversions=sum(inversions(load.acknowledged[phone], shown) for phone in load.phones)
        + sum(inversions(each, taken) for phone in load.phones for each in _by_sender(load.sent[phone])),
    )


def _name(accepted: dict[str, str]) -> str:
    return accepted["text"] if accepted["text"].startswith("agent says ") else accepted["key"]


def _by_sender(sent: Sequence[Sent]) -> tuple[list[str], list[str]]:
    """A program and an agent write at once; the order between the two is the hub's to choose."""
    program = [name for each in sent if each.delivery for name in each.names]
    return program, [name for each in sent if not each.delivery for name in each.names]


def duplicates(ledger: Ledger) -> int:
    """Accepts of a hand-off that had been accepted before."""
    times = Counter(line.data["key"] for line in ledger.of("accept") if line.data.get("key"))
    return sum(count - 1 for count in times.values())


def inversions(wanted: Sequence[str], happened: Sequence[str]) -> int:
    """How often what happened (the first time each) goes back in the wanted order."""
    place = {each: number for number, each in enumerate(wanted)}
    order = [place[each] for each in dict.fromkeys(happened) if each in place]
    return sum(after < before for before, after in pairwise(order))
