"""Ways in which a hub dies, or is wrong."""

from __future__ import annotations

from collections.abc import Callable

ALL: dict[str, Callable[[], None]] = {}
