"""The fixture of this folder's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from adapters.vonage_sms.testing import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as one:
        yield one
