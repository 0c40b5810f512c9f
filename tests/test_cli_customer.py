"""``hub customer import`` and ``export``."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from hub.app import opened
from hub.client import FileProblem, read_customers, read_people
from hub.client.rows import targets
from hub.settings import load
from hub.store.schema import metadata
from tests.process import Cli, write_settings


@pytest.fixture
def hub(
    sqlite_template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Cli:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir(mode=0o700)
    shutil.copy(sqlite_template, tmp_path / "data" / "hub.db")
    return Cli(write_settings(tmp_path), capsys)


def people(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path.name


async def exported(hub: Cli) -> list[dict[str, Any]]:
    done = await hub("customer", "export")
    assert done.code == 0, done.err
    return [json.loads(each) for each in done.out.splitlines()][::-1]


async def test_columns_are_understood_by_their_names(hub: Cli, tmp_path: Path) -> None:
    name = people(
        tmp_path / "crm.csv",
        "External ID;Full name;Phone;E-mail;Language;TZ;Country;Tier;Tags;shoe_size",
        "7;Ann Fielding;07700 900123; Ann@Example.org;en-GB;Europe/London;gb;gold;vip, early;41",
    )
    done = await hub("customer", "import", name, "--json")
    assert done.code == 0, done.err
    assert {each: done.json[each] for each in ("created", "updated", "refused")} == {
        "created": 1, "updated": 0, "refused": 0
    }  # fmt: skip
    [ann] = await exported(hub)
    assert ann.pop("hub_id").startswith("cus_")
    assert ann == {
        "external_id": "7", "name": "Ann Fielding", "locale": "en-GB", "time_zone": "Europe/London", "country": "GB",
        "tier": "gold", "attributes": {"tags": ["vip", "early"], "shoe_size": "41"},
        "identities": [
            {"address": "tel:+447700900123", "proof": "claimed"},
            {"address": "mailto:ann@example.org", "proof": "claimed"},
        ],
    }  # fmt: skip


async def test_a_second_import_updates_and_keeps_what_the_file_does_not_have(hub: Cli, tmp_path: Path) -> None:
    await hub("customer", "import", people(tmp_path / "a.csv", "id,name,shoe,hat", "7,Ann,41,S"))
    done = await hub("customer", "import", people(tmp_path / "b.csv", "id,shoe", "7,42"))
    assert (done.code, done.out) == (0, "0 new, 1 updated, 0 refused\n")
    [ann] = await exported(hub)
    assert (ann["name"], ann["attributes"]) == ("Ann", {"shoe": "42", "hat": "S"})
    await hub("customer", "import", "b.csv", "--replace")
    assert (await exported(hub))[0]["attributes"] == {"shoe": "42"}


async def test_refused_rows_are_named_by_line_and_the_rest_is_taken(hub: Cli, tmp_path: Path) -> None:
    rows = ["id,name,phone,tz", "1,Ann,+447700900101,", "1,Twice,,", "2,Bad,12,", "3,Short", '4,"Quo"te,,',
            "5,Zone,,Mars", ",Nobody,+447700900102,", "6,Bo,+447700900103,"]  # fmt: skip
    done = await hub("customer", "import", people(tmp_path / "crm.csv", *rows))
    assert (done.code, done.out) == (
        1, "2 new, 0 updated, 6 refused; the rows with problems are in crm.csv.refused.csv\n"
    )  # fmt: skip
    assert done.err.splitlines() == [
        "crm.csv:3: external_id '1' is in line 2 already",
        "crm.csv:4: phone: '12' has no country: write +44…, or say which country is meant (GB)",
        "crm.csv:5: 2 cells, but line 1 names 4 columns",
        "crm.csv:6: no CSV: ',' expected after '\"'; look at its quotation marks",
        "crm.csv:7: tz: not a time zone: it looks like Europe/London",
        "crm.csv:8: nothing says who this is: give an external_id, or addresses that are verified (--verified)",
    ]
    report = list(csv.DictReader(io.StringIO((tmp_path / "crm.csv.refused.csv").read_text())))
    assert [each["line"] for each in report] == ["3", "4", "5", "6", "7", "8"]
    assert [each["external_id"] for each in await exported(hub)] == ["1", "6"]


async def test_a_quotation_mark_that_nothing_closes_costs_its_row_alone(hub: Cli, tmp_path: Path) -> None:
    lines = ["id,name,note", '1,"Ann ""A"" Lee","two', 'lines"', '2,"Bo', "3,Cy,", '4,"Di,"x"', "5,Ed,", '6,"Flo']
    name = people(tmp_path / "crm.csv", *lines, "7,Gil", "8,Hal,")
    done = await hub("customer", "import", name, "--json")
    assert (done.code, done.json["created"]) == (1, 4), done.json
    assert [each["row"] for each in done.json["problems"]] == [4, 6, 8, 9]
    assert done.json["problems"][0]["detail"].startswith("no CSV: ")


async def test_a_dry_run_tells_and_changes_nothing(hub: Cli, tmp_path: Path) -> None:
    name = people(tmp_path / "crm.csv", "id,nom,size,phone", "1,Ann,41,12", "2,Bo,42,")
    done = await hub("customer", "import", name, "--dry-run", "--map", "nom=name", "--map", "size=-")
    assert done.code == 1
    assert "nothing: left out" in done.out
    assert done.out.endswith("1 rows can be taken, 1 cannot; nothing was changed\n")
    assert not (tmp_path / "crm.csv.refused.csv").exists()
    assert await exported(hub) == []


async def test_an_address_of_somebody_else_stays_there_and_is_told(hub: Cli, tmp_path: Path) -> None:
    name = people(tmp_path / "crm.csv", "id,email", "1,ann@example.org", "2,ann@example.org")
    done = await hub("customer", "import", name)
    assert (done.code, done.err) == (1, "crm.csv:3: saved without mailto:ann@example.org: somebody else has it\n")
    assert [len(each["identities"]) for each in await exported(hub)] == [1, 0]


async def test_verified_addresses_say_who_it_is(hub: Cli, tmp_path: Path) -> None:
    name = people(tmp_path / "crm.csv", "name,email", "Ann,ann@example.org")
    for _ in range(2):
        assert (await hub("customer", "import", name, "--verified")).code == 0
    assert [each["name"] for each in await exported(hub)] == ["Ann"]


@pytest.mark.parametrize(
    ("lines", "arguments", "words"),
    [
        (["id,name", "1,Ann"], ["--map", "nmae=name"], "nmae=name: there is no such column; there are id, name"),
        (["id,name", "1,Ann"], ["--map", "name=nom"], "name=nom: say one of external_id, name"),
        (["id,name", "1,Ann"], ["--map", "name"], "write COLUMN=WHAT"),
        (["id,id", "1,2"], [], "line 1 names a column twice: 'id'"),
        (["name,full name", "1,2"], [], "columns 'name' and 'full name' are both name"),
        ([""], [], "line 1 names no columns"),
        (["id", "1"], ["--country", "XY"], "'XY' is no country"),
        (["id", "1"], ["--report", "report.txt"], "the name ends in .csv or .jsonl"),
    ],
)
async def test_a_file_of_no_use_is_refused_before_anything_is_done(
    hub: Cli, tmp_path: Path, lines: list[str], arguments: list[str], words: str
) -> None:
    done = await hub("customer", "import", people(tmp_path / "crm.csv", *lines), *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert await exported(hub) == []


async def test_files_that_are_not_there_or_say_no_format(hub: Cli, tmp_path: Path) -> None:
    assert "there is no such file" in (await hub("customer", "import", "no.csv")).err
    (tmp_path / "crm.xlsx").write_bytes(b"PK")
    assert "the name ends in .csv" in (await hub("customer", "import", "crm.xlsx")).err


@pytest.mark.parametrize("form", ["csv", "jsonl"])
async def test_what_is_exported_is_imported_as_it_was(hub: Cli, tmp_path: Path, form: str) -> None:
    rows = [
        {"external_id": "1", "name": 'A "quoted", name', "phone": "+447700900101", "attributes": {"tags": ["a", "b"]}},
        {"external_id": "2", "identities": [{"address": "web:ann", "proof": "verified"}]},
        {"external_id": "3", "locale": "de", "attributes": {"name": "nick", "hat": "S"}},
    ]
    await hub("customer", "import", people(tmp_path / "crm.jsonl", *map(json.dumps, rows)))
    before = await exported(hub)
    assert len(before) == 3
    out = f"out.{form}"
    assert (await hub("customer", "export", out)).out == f"3 customers in {out}\n"
    (tmp_path / "new").mkdir()
    fresh = Cli(write_settings(tmp_path / "new"), hub.capsys)
    columns = ["--verified"] if form == "csv" else []
    done = await fresh("customer", "import", out, *columns)
    assert (done.code, done.out) == (0, "3 new, 0 updated, 0 refused\n"), done.err
    after = {each["external_id"]: each for each in await exported(fresh)}
    for each in before:
        same = after[each["external_id"]]
        assert {k: v for k, v in same.items() if k not in ("hub_id", "identities")} == {
            k: v for k, v in each.items() if k not in ("hub_id", "identities")
        }
        assert [one["address"] for one in same["identities"]] == [one["address"] for one in each["identities"]]


async def test_what_is_written_to_standard_output_has_one_form(hub: Cli) -> None:
    done = await hub("customer", "export", "--format", "csv", "--json")
    assert (done.code, done.out) == (2, "")
    assert "--json and --format csv contradict each other" in done.err
    assert (await hub("customer", "export", "--format", "jsonl", "--json")).code == 0


def test_json_lines_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    lines = ['{"id": "1"}', "{", "[1]", '{"id": "2", "name": "a\\u0000"}', '{"id": "3", "attributes": {"a": {"b": 1}}}']
    people(tmp_path / "crm.jsonl", *lines)
    rows = list(read_customers(tmp_path / "crm.jsonl"))
    assert [(row.line, (row.problem or "").partition(":")[0]) for row in rows] == [
        (1, ""), (2, "no JSON"), (3, "no JSON object"), (4, "a NUL character"), (5, "attributes.a")
    ]  # fmt: skip


def test_bytes_that_are_no_utf8_spoil_their_row_alone(tmp_path: Path) -> None:
    (tmp_path / "crm.csv").write_bytes("id,name\n1,Zoe\n2,Zoë\n3,Bo\n".encode("latin-1"))
    rows = list(read_customers(tmp_path / "crm.csv"))
    assert [row.problem for row in rows] == [None, "name: not UTF-8; save the file as UTF-8", None]


def test_a_people_list_is_read_by_id_phone_or_mail(tmp_path: Path) -> None:
    people(tmp_path / "p.csv", "phone,code,country", "07700 900123,A,GB", "030 901820,B,DE", "07700 900123,C,GB", ",D,")
    rows = list(read_people(tmp_path / "p.csv"))
    assert [(row.values.get("customer"), row.problem) for row in rows] == [
        ("tel:+447700900123", None),
        ("tel:+4930901820", None),
        (None, "customer 'tel:+447700900123' is in line 2 already"),
        (None, "nothing says who this is: give a column customer, external_id, phone or email"),
    ]
    assert rows[0].values["code"] == "A"


@pytest.mark.parametrize(
    ("country", "phone", "said"),
    [
        ("GB", 7700900201.0, "tel:+447700900201"),  # a column with a gap is of floats in pandas
        ("GB", "7700900201.0", "tel:+447700900201"),
        ("SE", 46701740605.0, "tel:+46701740605"),
        ("CN", 8613812345678.0, "tel:+8613812345678"),
        ("DE", 1701234567.0, "tel:+491701234567"),
        ("DE", "+49 (170) 123-45/67", "tel:+491701234567"),
        ("DE", "\u202a+49 170 1234567\u202c", "tel:+491701234567"),  # as copied from an address book
        ("DE", "0491 701234567", "tel:+49491701234567"),
        ("DE", 491701234567.0, "phone: '491701234567' may be two numbers: write +491701234567, or what is dialled"),
        ("DE", "+49 170 1234xxx", "phone: not a phone number: '+49 170 1234xxx': no number has 'x'"),
        ("GB", "+44 7700 900 3xx", "phone: not a phone number: '+44 7700 900 3xx': no number has 'x'"),
        ("GB", "07700 900 20?", "phone: not a phone number: '07700 900 20?': no number has '?'"),
        (None, "+44 7700 900 3xx", "phone: not a phone number: '+44 7700 900 3xx': no number has 'x'"),
        ("US", 1e21, "phone: not a phone number: '1000000000000000000000'"),
    ],
)
def test_a_phone_number_is_what_was_meant_or_the_row_is_refused(country: str | None, phone: Any, said: str) -> None:
    ann, gap = read_customers([{"id": "1", "phone": phone}, {"id": "2", "phone": math.nan}], country=country)
    [listed] = read_people([{"phone": phone}], country=country)
    addresses = [each["address"] for each in ann.values.get("identities", ())]
    for problem, found in ((ann.problem, addresses), (listed.problem, [listed.values.get("customer")])):
        assert found == [said] if problem is None else problem.startswith(said), (problem, found)
    assert gap.problem is None


def test_whole_numbers_of_a_table_with_gaps_are_whole() -> None:
    [ann, _] = read_customers([{"id": 1042.0, "points": 12.0, "shoe": 41.5}, {"id": math.nan, "external_id": "2"}])
    assert ann.values == {"external_id": "1042", "attributes": {"points": 12, "shoe": 41.5}}, ann.problem


def test_days_and_times_of_a_table_are_said_as_the_hub_takes_them() -> None:
    noon, midnight = datetime(2026, 3, 1, 12, tzinfo=UTC), datetime.fromisoformat("1990-04-01")
    row = {"id": "1", "birthday": midnight, "since": date(2026, 3, 1), "seen": noon, "size": {1}}
    [refused] = read_customers([row])
    assert refused.problem == "attributes.size: say a text, a number, true or false, or a list of texts"
    [taken] = read_customers([row | {"size": None}])
    days = {"birthday": "1990-04-01", "since": "2026-03-01", "seen": "2026-03-01T12:00:00+00:00"}
    assert taken.values == {"external_id": "1", "attributes": days}


def test_the_column_of_exactly_that_name_is_the_external_id(tmp_path: Path) -> None:
    people(tmp_path / "p.csv", "id,external_id,a.b", "1,2,3")
    assert targets(tmp_path / "p.csv") == {"id": "attributes.id", "external_id": "external_id", "a.b": "attributes.a.b"}
    with pytest.raises(FileProblem, match="there is no such file"):
        targets(tmp_path / "q.csv")


async def test_rows_are_stored_in_few_transactions(hub: Cli, tmp_path: Path) -> None:
    name = people(tmp_path / "crm.csv", "id,phone", *(f"{n},+4477009{n:05}" for n in range(1050)))
    done = await hub("customer", "import", name)
    assert (done.code, done.out) == (0, "1050 new, 0 updated, 0 refused\n"), done.err
    async with opened(load(hub.config)) as running:
        keys = await running.store.read(lambda c: c.execute(metadata.tables["idempotency"].select()).all())
    assert len(keys) == 3


async def test_a_spreadsheet_finds_no_formula_and_an_import_finds_what_was_there(hub: Cli, tmp_path: Path) -> None:
    names = ['=HYPERLINK("http://evil.example","x")', "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "＝1", "'=1", 'a","=1']
    people, table = tmp_path / "people.jsonl", tmp_path / "people.csv"
    rows = [{"external_id": str(n), "name": name, "tel": f"+44770090012{n}"} for n, name in enumerate(names)]
    people.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert (await hub("customer", "import", str(people))).code == 0
    assert (await hub("customer", "export", str(table))).code == 0
    with table.open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "＝") and not cell[1:].isdigit()]
    assert "+447700900123" in cells
    assert (await hub("customer", "import", str(table))).code == 0
    assert sorted(each["name"] for each in await exported(hub)) == sorted(names)
