"""The fixture of this folder's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from adapters.graph.testing import World
from adapters.messenger.adapter import Messenger
from adapters.messenger.simulator import Simulator
from adapters.messenger.testing import Messengers


@pytest.fixture
async def world() -> AsyncIterator[Messengers]:
    async with World(Messenger, Simulator()) as one:
        yield one
