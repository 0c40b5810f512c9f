"""No statement of everyday work reads through a whole table: years of messages must not slow it down."""

from __future__ import annotations

import re
import sqlite3
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from hub.contract import Ambiguous
from hub.outbound import claim, start
from tests.paper import office, until

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)

_FIRST = re.compile(r"FROM \w+\s+LIMIT \?")  # asked only whether there is any row
_SMALL = r"alert|campaign|cursor|parked_\w+|fresh|CONSTANT"  # tables that stay so, and no table at all


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
            await desk.agent("!via fax answer", thread=desk.thread)
            await desk.press("resolve", thread=desk.thread)
            await desk.press("reopen", thread=desk.thread)
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


_QUEUE = """INSERT INTO delivery (id, conversation_id, channel, kind, purpose, priority, state, due_at, expires_at,
created_at, attempts, part) SELECT i, i, 'paper', 'contact', 'transactional', 20, 'queued', 0, 9, 0, 0, 0
FROM generate_series(1, 5000) AS i"""


async def test_a_long_queue_is_not_read_through_where_it_was_short_when_statistics_were_made(
    postgres_dsn: str,
) -> None:
    due = claim._DUE[True, True].params(lane="paper", now=NOON, most=256, some=[1, 2])
    text = str(due.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True}))
    database = await asyncpg.connect(postgres_dsn)
    try:
        await database.execute("ANALYZE")
        types = "bigint[], bigint[], int[], int[], bigint[], bigint"
        await database.execute(f"PREPARE begin ({types}) AS {start._STARTED}")
        await database.execute(_QUEUE)
        ids, zeros, nulls = (",".join([*map(str, each)]) for each in (range(1, 17), [0] * 16, ["null"] * 16))
        some = f"EXECUTE begin ('{{{ids}}}', '{{{zeros}}}', '{{{zeros}}}', '{{{zeros}}}', '{{{nulls}}}', 0)"
        for statement in (text, some):
            plan = [row[0].strip() for row in await database.fetch(f"EXPLAIN {statement}")]
            found = [index for index, step in enumerate(plan) if "on delivery earlier" in step]
            assert found, plan
            assert all("conversation_id = delivery.conversation_id" in plan[index + 1] for index in found), plan
            assert not any(re.search(r"(Seq|Bitmap Heap) Scan on delivery", step) for step in plan), plan
    finally:
        await database.close()
