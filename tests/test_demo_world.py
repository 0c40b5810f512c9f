"""What the demo is made of."""

from __future__ import annotations

import asyncio
import importlib
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from hub.app import CannotStart
from hub.demo.world import _device
from hub.testing.device import Person
from tests.process import HUB, clean_environment


def adapter_in(folder: Path, name: str, device: str | None, monkeypatch: pytest.MonkeyPatch) -> type:
    """A class of ``<name>/adapter.py``, beside a ``device.py`` of that text."""
    package = folder / name
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "adapter.py").write_text("class Adapter:\n    role = 'contact'\n")
    if device is not None:
        (package / "device.py").write_text(device)
    monkeypatch.syspath_prepend(folder)
    found: type = importlib.import_module(f"{name}.adapter").Adapter
    return found


def test_an_adapter_without_a_device_takes_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _device(adapter_in(tmp_path, "demo_shy", None, monkeypatch), Person()) is None


def test_a_device_whose_packages_are_missing_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = adapter_in(tmp_path, "demo_poor", "import no_such_simulator", monkeypatch)
    with pytest.raises(CannotStart, match=r"demo_poor.device needs no_such_simulator: install omnihub\[demo\]"):
        _device(kind, Person())


def inside(place: Path) -> list[Path]:
    return list(place.iterdir())


async def test_whoever_ends_the_demo_it_leaves_nothing(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        HUB, "demo", "--no-open", "--port", "0", "--json",
        stdout=PIPE, stderr=PIPE, env=clean_environment(TMPDIR=str(tmp_path)),
    )  # fmt: skip
    assert process.stdout is not None
    await process.stdout.readuntil(b"\n}\n")
    assert inside(tmp_path)
    process.terminate()
    _, words = await process.communicate()
    assert process.returncode == 130, words
    assert b"Traceback" not in words
    assert not inside(tmp_path)
