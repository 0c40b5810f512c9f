"""What the tests of this folder share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from adapters.webchat.testing import Site, Watched


@pytest.fixture
async def sites() -> AsyncIterator[Callable[..., Any]]:
    started: list[Site] = []

    async def start(adapter: type[Watched] = Watched, **config: Any) -> Site:
        started.append(Site())
        return await started[-1].start(adapter, **config)

    yield start
    for site in started:
        await site.stop()


@pytest.fixture
async def site(sites: Callable[..., Any]) -> Site:
    started: Site = await sites()
    return started
