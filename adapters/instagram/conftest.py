"""The fixture of this folder's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from adapters.graph.testing import World
from adapters.instagram.adapter import Instagram
from adapters.instagram.simulator import Simulator
from adapters.instagram.testing import Instagrams


@pytest.fixture
async def world() -> AsyncIterator[Instagrams]:
    async with World(Instagram, Simulator()) as one:
        yield one
