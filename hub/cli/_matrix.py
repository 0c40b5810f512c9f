"""The table of channels in the README: what each installed adapter says of itself, in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from hub.cli.base import Failure
from hub.contract import AnyAdapter, Capabilities
from hub.registry import Adapters

COLUMNS = ("channel", "adapter", "in", "out", "files out", "buttons", "receipts", "window", "set-up")
BEGIN = "<!-- made by: hub channel matrix --write README.md -->"
END = "<!-- end of what was made -->"
_NO = "–"


def rows(installed: Adapters) -> list[dict[str, str]]:
    """A row for each adapter: the customers' channels first, then the agents'."""
    kinds = sorted(((name, installed.named(name)) for name in installed), key=lambda each: (each[1].role, each[0]))
    return [dict(zip(COLUMNS, _row(name, kind), strict=True)) for name, kind in kinds]


def matrix(installed: Adapters) -> str:
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(tuple(row.values()) for row in rows(installed))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def replaced(text: str, table: str) -> str:
    """The text with the table between the two marks. Raises: Failure if they are not there once, in order."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise Failure(f"the table goes between two lines, each there once: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def _row(name: str, kind: type[AnyAdapter]) -> tuple[str, ...]:
    can = kind.capabilities
    folder = "/".join(kind.__module__.split(".")[:-1])
    return (
        kind.medium + (", for agents" if kind.role == "desk" else ""), f"`{name}`", "yes" if can.inbound else _NO,
        ", ".join(_out(can)), _files(can), _buttons(can),
        ", ".join(each for each in ("delivered", "read") if getattr(can, each)) or _NO, _hours(can),
        f"[{_title(kind)}]({folder}/README.md)",
    )


def _out(can: Capabilities) -> Iterator[str]:
    yield f"{can.text_limit:,} {'bytes' if can.text_unit == 'utf-8' else 'characters'}".replace(",", " ")
    words = {"html": "HTML", "subject": "subject", "location": "places", "templates": "templates",
             "reactions": "reactions", "edits": "edits", "deletes": "deletions", "seen": "“seen”"}
    yield from (word for key, word in words.items() if getattr(can, key))


def _files(can: Capabilities) -> str:
    return "as links" if can.media == "none" else f"{can.media_max} of {can.media_size / 1e6:.3g} MB"


def _buttons(can: Capabilities) -> str:
    return str(can.buttons) if can.buttons else "as a numbered list"


def _hours(can: Capabilities) -> str:
    return f"{can.window.total_seconds() / 3600:g} h" if can.window else _NO


def _title(kind: type[AnyAdapter]) -> str:
    """The headline of the README beside the adapter."""
    from importlib.resources import files

    page = files(kind.__module__.rpartition(".")[0] or kind.__module__).joinpath("README.md")
    found = re.search(r"^# (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE) if page.is_file() else None
    return found[1] if found else "README"


def write(path: Path, table: str) -> bool:
    """Whether the file had to be changed. Raises: Failure, OSError."""
    text = path.read_text(encoding="utf-8")
    new = replaced(text, table)
    if new != text:
        path.write_text(new, encoding="utf-8")
    return new != text
