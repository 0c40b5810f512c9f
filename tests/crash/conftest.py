"""The seed of a run, and a summary of what happened at its end."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import reduce
from operator import add

import pytest

from tests.crash.tally import Tally

_notes = pytest.StashKey[dict[str, list[tuple[int, Tally]]]]()
Note = Callable[[Tally], None]


@pytest.fixture
def seed() -> int:
    """Of the moments and of the load: HUB_TEST_SEED, else another one each time."""
    return int(os.environ.get("HUB_TEST_SEED") or random.SystemRandom().randrange(1 << 32))


@pytest.fixture
def note(request: pytest.FixtureRequest, seed: int) -> Note:
    """Put an outcome into the summary."""
    notes = request.config.stash.setdefault(_notes, {})
    print(f"HUB_TEST_SEED={seed}")  # shown with a failure
    name = request.node.originalname if "point" in request.fixturenames else request.node.name
    return lambda outcome: notes.setdefault(name, []).append((seed, outcome))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    notes = config.stash.get(_notes, {})
    if notes:
        terminalreporter.section("what the providers saw")
    for name, outcomes in sorted(notes.items()):
        seeds = f"seed {outcomes[0][0]}" if len(outcomes) == 1 else f"{len(outcomes)} runs"
        terminalreporter.line(f"{name} ({seeds}): {reduce(add, (outcome for _, outcome in outcomes))}")
