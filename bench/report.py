"""Figures and the table that shows them."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """One line: a ratio of medians of rounds to a bound, or a plain number where there is no bound."""

    area: str  # "inbound"
    what: str  # "burst, SQLite"
    value: float
    unit: str  # "× bare", "µs"
    low: float
    high: float
    rounds: int
    aim: float | None = None
    sense: Literal["at least", "at most"] = "at least"
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.aim is None:
            return None
        return self.value >= self.aim if self.sense == "at least" else self.value <= self.aim


def of_rounds(
    area: str,
    what: str,
    values: Sequence[float],
    unit: str = "× bare",
    *,
    aim: float | None = None,
    sense: Literal["at least", "at most"] = "at least",
    note: str = "",
) -> Figure:
    """The median of ``values``, each measured in one round against that round's own bound."""
    return Figure(
        area, what, statistics.median(values), unit, min(values), max(values), len(values), aim, sense, note
    )


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def machine() -> dict[str, str]:
    load, *_ = os.getloadavg()
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "load at the start": f"{load:.1f}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def as_json(figures: Sequence[Figure], where: dict[str, str]) -> dict[str, Any]:
    return {"machine": where, "figures": [asdict(each) | {"met": each.met} for each in figures]}


def table(figures: Sequence[Figure], where: dict[str, str]) -> str:
    head = ("", "median", "min – max", "aim", "", "")
    rows = [head, *(_row(each) for each in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [", ".join(f"{name} {value}" for name, value in where.items()), ""]
    area = ""
    for number, row in enumerate(rows):
        if number and figures[number - 1].area != area:
            area = figures[number - 1].area
            lines.append(area)
        cells = [row[0].ljust(widths[0]), *(cell.rjust(widths[place]) for place, cell in enumerate(row[1:4], 1))]
        lines.append("  ".join(["", *cells, row[4].ljust(widths[4]), row[5]]).rstrip())
    return "\n".join(lines)


def _row(each: Figure) -> tuple[str, str, str, str, str, str]:
    digits = 2 if each.unit.startswith("×") else 1
    spread = f"{each.low:.{digits}f} – {each.high:.{digits}f}" if each.rounds > 1 else ""
    aim = "" if each.aim is None else f"{'≥' if each.sense == 'at least' else '≤'} {each.aim:g}"
    verdict = {None: "", True: "met", False: "missed"}[each.met]
    return each.what, f"{each.value:.{digits}f} {each.unit}", spread, aim, verdict, each.note
