"""No statement of everyday work reads through a whole table: years of messages must not slow it down."""

from __future__ import annotations

import re
import sqlite3
import traceback
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from hub.contract import Ambiguous
from tests.paper import office, until

_FIRST = re.compile(r"FROM \w+\s+LIMIT \?")  # asked only whether there is any row
_SMALL = "campaign|cursor|parked_reply|parked_status|fresh|CONSTANT"  # tables that stay so, and no table at all


def _asked_by_a_test() -> bool:
    return any(Path(frame.f_code.co_filename).parent.name == "tests" for frame, _ in traceback.walk_stack(None))


async def test_everyday_work_finds_its_rows_by_an_index(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    @sa.event.listens_for(sa.Engine, "before_cursor_execute")
    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if not _asked_by_a_test():
            seen[statement] = parameters[0] if many else parameters

    try:
        async with office(f"sqlite:///{tmp_path}/hub.db", tmp_path) as desk:
            seen.clear()  # migrations may look at everything
            await desk.write("hello")
            assert await desk.post("paper", {"id": "elsewhere", "to": "ann", "text": "typed on the phone"}) == 200
            gone = await desk.write("a secret")
            assert await desk.post("paper", {"deletes": gone, "from": "ann"}) == 200
            await desk.agent("answer", thread=desk.thread)
            desk.letters.answers = [(Ambiguous("lost"),)]
            await desk.agent("and another", thread=desk.thread)
            await desk.advance(minutes=2)

            async def settled() -> bool:
                return all(row.state == "sent" for row in await desk.rows("delivery", kind="contact"))

            async def watched() -> bool:
                return any("snoozed_until <=" in statement for statement in seen)

            await until(settled)
            await until(watched)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)

    database = sqlite3.connect(tmp_path / "hub.db")
    scans = [
        f"{step}: {statement}"
        for statement, parameters in seen.items()
        if re.match(r"SELECT|UPDATE|DELETE|INSERT|WITH", statement) and not _FIRST.search(statement)
        for *_, step in database.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        if re.match(rf"SCAN (?!(?:{_SMALL})\b)\w+", step)
    ]
    database.close()
    assert len(seen) > 30
    assert not scans, "\n".join(scans)
