"""The seed of a run, and a summary of what happened at its end."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

_lines = pytest.StashKey[list[str]]()
Note = Callable[[object], None]


@pytest.fixture
def seed() -> int:
    """Of the moments and of the load: HUB_TEST_SEED, else another one each time."""
    return int(os.environ.get("HUB_TEST_SEED") or random.SystemRandom().randrange(1 << 32))


@pytest.fixture
def note(request: pytest.FixtureRequest, seed: int) -> Note:
    """Put a line into the summary."""
    lines = request.config.stash.setdefault(_lines, [])
    print(f"HUB_TEST_SEED={seed}")  # shown with a failure
    return lambda said: lines.append(f"{request.node.name}: seed {seed}: {said}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash.get(_lines, [])
    if lines:
        terminalreporter.section("what was left")
        for line in lines:
            terminalreporter.line(line)
