"""What docs/campaigns.md and its example say is done, word for word, against the demo."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import sys
import tomllib
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hub.campaigns.draft import read
from hub.cli import main
from tests.process import HUB, clean_environment

DOCS = Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"(?:`(?P<name>[\w.]+)`:\n\n)?```(?P<kind>\w+)\n(?P<text>.*?)```", re.DOTALL)


@pytest.fixture
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """Where ``hub demo`` was started as a new user starts it, with the environment that it says."""
    command = [str(HUB), "demo", "--no-open", "--port", "0", "--data", "demo", "--json"]
    process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stdout=PIPE, env=clean_environment())
    assert process.stdout is not None
    said = json.loads(await process.stdout.readuntil(b"\n}\n"))
    monkeypatch.chdir(tmp_path)
    for name, value in {"HUB_DATA": "demo", "HUB_URL": said["hub"], "HUB_API_KEY": said["api_key"]}.items():
        monkeypatch.setenv(name, value)
    yield tmp_path
    process.terminate()
    await process.wait()


def do(block: re.Match[str], names: dict[str, Any]) -> None:
    """What the page says, in this process. Raises: AssertionError unless commands exit with 0."""
    if block["name"]:
        Path(block["name"]).write_text(block["text"], encoding="utf-8")
    elif block["kind"] == "sh":
        for line in block["text"].splitlines():
            hub, *arguments = shlex.split(line)
            assert (hub, main(arguments)) == ("hub", 0), line
    elif block["kind"] == "python":
        exec(compile(block["text"], "campaigns.md", "exec"), names)


async def test_the_page_on_campaigns_is_true(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for block in BLOCK.finditer((DOCS / "campaigns.md").read_text(encoding="utf-8")):
        await asyncio.to_thread(do, block, names)
    names["hub"].close()
    out = capsys.readouterr().out
    for words in (
        "3 rows can be taken, 0 cannot",
        "1 customers; reached by",
        "2 of 2 people would get Spring",
        "Spring: 2 sent, of 2; finished",
        "Codes: 2 sent, of 2; finished",
        "out Your parcel is on its way.",
        "3 updated, []",
        "2 are gold",
        "allow ALLOWED Hi Bo Ek",
        "2 sent, 0 failed, {}",
        "422 campaign_refused [('messages.0.text', 'nmae is used but not declared",
    ):
        assert words in out
    assert "you have 120 points" in (place / "outlook.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("many", [50, pytest.param(1000, marks=pytest.mark.slow)])
async def test_the_example_sends_to_everybody_and_its_outcomes_add_up(place: Path, many: int) -> None:
    command = [sys.executable, str(DOCS / "examples" / "campaign.py"), *([] if many == 1000 else [str(many)])]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    out = (await process.communicate())[0].decode()
    assert process.returncode == 0
    for words in ("imported", "people in the campaign", "of them would get it"):
        assert re.search(rf"^{many} .*{words}", out, re.MULTILINE)
    assert f"in all: {{'sent': {many}}}" in out


def test_the_sequences_of_the_page_can_be_written_so() -> None:
    table = (
        (DOCS / "campaigns.md").read_text(encoding="utf-8").partition("| sequence | audience |")[2].partition("\n\n")[0]
    )
    found = re.findall(r"`(\{.*?\})`", table)
    assert len(found) == 6
    for audience in found:
        values = tomllib.loads(f"audience = {audience}")
        if "trigger" not in values["audience"]:
            values = {"audience": {"trigger": {"every": "1h"}, "segment": values["audience"]}}
        read(values | {"name": "x", "channels": ["email"], "messages": [{"text": "x"}]})


def test_the_example_is_short() -> None:
    assert len((DOCS / "examples" / "campaign.py").read_text(encoding="utf-8").splitlines()) < 20
