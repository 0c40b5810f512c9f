"""Commands that the documentation names exist, and all that exist are named there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from hub.cli import app

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Dockerfile", "compose.yaml", "config/hub.example.toml")
] + sorted((ROOT / "docs").glob("*.md"))
TREE: Any = typer.main.get_command(app)


def written(text: str) -> Iterator[list[str]]:
    """Words after ``hub`` in code: `hub …`, lines of code blocks, the image's command."""
    text = text.replace("\\\n", " ")  # a command that goes on in the next line
    for found in re.findall(r"`(?:docker compose run --rm hub )?hub ([a-z][^`\n]*)`", text):
        yield shlex.split(found)
    for found in re.findall(r"^(?:\$ )?(?:\.venv/bin/)?hub ([a-z][^\n]*)$", text, re.MULTILINE):
        yield shlex.split(found)
    for found in re.findall(r'CMD \["hub", "([a-z]+)"\]', text):
        yield [found]


def problem(words: list[str]) -> str | None:
    """What is wrong with a command line, as far as names of commands and options go."""
    command: Any = TREE
    for word in words:
        if not hasattr(command, "commands"):
            break
        if word not in command.commands:
            return f"no command {word!r} in: hub {' '.join(words)}"
        command = command.commands[word]
    known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"--help"}
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    return f"no option {options - known} in: hub {' '.join(words)}" if options - known else None


def leaves(command: Any, above: str = "hub") -> Iterator[str]:
    for name, each in command.commands.items():
        if hasattr(each, "commands"):
            yield from leaves(each, f"{above} {name}")
        else:
            yield f"{above} {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_a_page_exists(page: Path) -> None:
    wrong = [found for words in written(page.read_text(encoding="utf-8")) if (found := problem(words))]
    assert wrong == []


@pytest.mark.parametrize("name", sorted(leaves(TREE)))
def test_every_command_is_described(name: str) -> None:
    described = name in (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert described, "give it a line in docs/commands.md"


def test_a_wrong_command_would_be_found() -> None:
    page = "`hub serv` `hub serve --prot 1` `hub serve --port 1`\nhub why X --y\n"
    assert [problem(words) for words in written(page)] == [
        "no command 'serv' in: hub serv",
        "no option {'--prot'} in: hub serve --prot 1",
        None,
        "no option {'--y'} in: hub why X --y",
    ]
