"""Files with agreed cases, where they lie beside the project: in ``../shared``, or in HUB_TEST_SHARED."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


def read(name: str) -> Any:
    """The JSON of that file; skips the test where there is none."""
    folder = Path(os.environ.get("HUB_TEST_SHARED") or ROOT.parent / "shared")
    path = folder / "acceptance" / name
    if not path.exists():
        pytest.skip(f"no {folder.name}/acceptance/{name} beside the project")
    return json.loads(path.read_text(encoding="utf-8"))
