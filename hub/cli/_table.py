"""Values as files: CSV or JSON lines, by the file's name."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from hub.cli.base import Failure

_FORMULA = re.compile(r"'*[=+\-@\t\r＝＋－＠]")
_NUMBERS = re.compile(r"[+-]?[0-9][0-9. ]*(;[+-]?[0-9][0-9. ]*)*")  # and phone numbers


class Write(Protocol):
    def __call__(self, row: Mapping[str, Any]) -> None: ...


def is_csv(file: Path) -> bool:
    """Raises: Failure for a name that says neither."""
    if file.suffix.lower() not in (".csv", ".jsonl"):
        raise Failure(f"{file}: the name ends in .csv or .jsonl, so that it is known what to write", 2)
    return file.suffix.lower() == ".csv"


@contextmanager
def writing(file: Path, columns: Sequence[str]) -> Iterator[Write]:
    """A row at a time. Raises: Failure, OSError."""
    with file.open("w", encoding="utf-8", newline="") as out:
        if is_csv(file):
            table = csv.writer(out)
            table.writerow(columns)
            yield lambda row: table.writerow([cell(row.get(name)) for name in columns])
        else:
            yield lambda row: print(json.dumps(row, ensure_ascii=False), file=out)


def cell(value: Any) -> str:
    """Lists are joined by semicolons. What a spreadsheet would take for a formula gets an apostrophe in front."""
    text = _plain(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBERS.fullmatch(text) else text


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ";".join(map(_plain, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
