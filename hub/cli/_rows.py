"""Rows of a file that people made: CSV with a header, or JSON lines, with the line each began on."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from hub.cli.base import Failure

Row = tuple[int, dict[str, Any], str | None]  # line, values, what is wrong with it


def read(file: Path) -> list[Row]:
    """Raises: Failure if the file as a whole cannot be read."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise Failure(f"{file} is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    return _csv(text) if file.suffix.lower() == ".csv" else _json(text)


def _json(text: str) -> list[Row]:
    rows: list[Row] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            rows.append((number, {}, f"not JSON: {error}"))
            continue
        rows.append((number, value, None) if isinstance(value, dict) else (number, {}, "not a JSON object"))
    return rows


def _csv(text: str) -> list[Row]:
    reader = csv.DictReader(io.StringIO(text))
    if not reader.fieldnames:
        raise Failure("the file is empty: its first line has to name the columns (type,address,channel,…)")
    rows: list[Row] = []
    for row in reader:
        extra = row.pop(None, None)
        problem = "more cells than the header has columns" if extra else None
        rows.append((reader.line_num, {name: value for name, value in row.items() if value}, problem))
    return rows
