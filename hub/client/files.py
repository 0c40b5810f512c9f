"""Rows of files that people made: CSV with a header, or JSON lines. One at a time, each with the line it began on."""

from __future__ import annotations

import csv
import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import IO, Any, NoReturn

_DELIMITERS = ",;\t|"

_KEPT = re.compile("'+[=+\\-@＝＋－＠]")


class FileProblem(ValueError):
    """The file as a whole cannot be used."""


@dataclass(frozen=True, slots=True)
class Row:
    """``problem``: what is wrong with it; its values are then of no use."""

    line: int
    values: Mapping[str, Any]
    problem: str | None = None


def read(path: str | PathLike[str]) -> tuple[list[str] | None, Iterator[Row]]:
    """The columns (None: each line of JSON has its own) and the rows. Raises: FileProblem, OSError."""
    file = Path(path)
    if not file.is_file():
        raise FileProblem(f"{file}: there is no such file")
    if file.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        return None, _json(file)
    if file.suffix.lower() not in (".csv", ".tsv", ".txt"):
        raise FileProblem(f"{file}: the name ends in .csv for CSV with a header, or in .jsonl for JSON lines")
    return _columns(file), _csv(file)


def _open(file: Path) -> IO[str]:
    # What is not UTF-8 is a problem of its row alone, so it must survive being read.
    return file.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _delimiter(lines: IO[str]) -> str:
    head = lines.readline()
    lines.seek(0)
    return max(_DELIMITERS, key=head.count)


def _columns(file: Path) -> list[str]:
    with _open(file) as lines:
        try:
            header = [name.strip() for name in next(csv.reader(lines, delimiter=_delimiter(lines), strict=True), [])]
        except csv.Error as error:
            raise FileProblem(f"{file}: line 1 is no CSV: {error}") from None
    if not any(header):
        raise FileProblem(f"{file}: line 1 names no columns, such as external_id,name,phone,email")
    if any(_undecoded(name) for name in header):
        raise FileProblem(f"{file} is not UTF-8: save it as UTF-8")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise FileProblem(f"{file}: line 1 names a column twice: {', '.join(map(repr, twice))}")
    return header


class _Lines:
    """Lines of a file, which can be read again from where a row began."""

    def __init__(self, lines: IO[str]) -> None:
        self._lines = lines
        self._again: deque[str] = deque()
        self._taken: list[str] = []  # since the row began
        self.number = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self._taken.append(line)
        self.number += 1
        return line

    def begin(self) -> None:
        self._taken.clear()

    def back(self) -> None:
        """To the second line of the row: a quotation mark that nothing closes shall cost one row, not all."""
        later = self._taken[1:]
        self._again.extendleft(reversed(later))
        self.number -= len(later)


def _csv(file: Path) -> Iterator[Row]:
    columns = _columns(file)
    with _open(file) as opened:
        delimiter = _delimiter(opened)
        lines = _Lines(opened)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        next(reader)
        while True:
            begin = lines.number + 1
            lines.begin()
            cells = [""]  # what is no CSV is no empty line either
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                row = Row(begin, {}, f"no CSV: {error}; look at its quotation marks")
            else:
                row = _row(begin, columns, cells)
            if cells and row.problem and lines.number > begin:
                lines.back()
                reader = csv.reader(lines, delimiter=delimiter, strict=True)
            if cells:
                yield row


def _row(line: int, columns: list[str], cells: list[str]) -> Row:
    if len(cells) != len(columns):
        return Row(line, {}, f"{len(cells)} cells, but line 1 names {len(columns)} columns")
    for name, cell in zip(columns, cells, strict=True):
        if problem := _undecoded(cell):
            return Row(line, {}, f"{name}: {problem}")
    return Row(line, {name: _said(cell) for name, cell in zip(columns, cells, strict=True) if cell.strip()})


def _said(cell: str) -> str:
    """Without the apostrophe that keeps spreadsheets from taking a text for a formula."""
    text = cell.strip()
    return text[1:] if _KEPT.match(text) else text


def _undecoded(text: str) -> str | None:
    if "\0" in text:
        return "a NUL character"
    return "not UTF-8; save the file as UTF-8" if any("\udc80" <= each <= "\udcff" for each in text) else None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _json(file: Path) -> Iterator[Row]:
    with _open(file) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            if problem := _undecoded(line.replace("\\u0000", "\0")):
                yield Row(number, {}, problem)
                continue
            try:
                found = json.loads(line, parse_constant=_no_number)
            except (ValueError, RecursionError) as error:
                yield Row(number, {}, f"no JSON: {error}")
                continue
            if not isinstance(found, dict):
                yield Row(number, {}, "no JSON object")
                continue
            yield Row(number, {name: value for name, value in found.items() if value not in (None, "")})
