"""The seed of a run, and a summary of what happened at its end."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from functools import reduce
from operator import add

import pytest

from tests.crash.tally import Tally

Note = Callable[[Tally], None]


@pytest.fixture
def seed() -> int:
    """Of the moments and of the load: HUB_TEST_SEED, else another one each time."""
    return int(os.environ.get("HUB_TEST_SEED") or random.SystemRandom().randrange(1 << 32))


@pytest.fixture
def note(request: pytest.FixtureRequest, seed: int) -> Note:
    """Put an outcome into the summary."""
    print(f"HUB_TEST_SEED={seed}")  # shown with a failure
    name = request.node.name
    properties = request.node.user_properties  # they reach the summary from a worker process too
    return lambda outcome: properties.append(("outcome", (name, seed, asdict(outcome))))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    runs: defaultdict[str, list[tuple[int, Tally]]] = defaultdict(list)
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        if report.when == "call":
            for key, (name, seed, counts) in report.user_properties:
                if key == "outcome":
                    runs[name].append((seed, Tally(**counts)))
    if runs:
        terminalreporter.section("what the providers saw")
    for name, outcomes in sorted(runs.items()):
        seeds = f"seed {outcomes[0][0]}" if len(outcomes) == 1 else f"{len(outcomes)} runs"
        terminalreporter.line(f"{name} ({seeds}): {reduce(add, (outcome for _, outcome in outcomes))}")
