"""The fixtures of this folder's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from adapters.slack.testing import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as one:
        yield one


@pytest.fixture(params=["http", "socket"])
async def both(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Each way to be told: signed requests, and Socket Mode."""
    async with World(socket_mode=request.param == "socket") as one:
        await one.run()
        yield one
