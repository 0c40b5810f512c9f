"""``hub customer …``"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hub.cli.base import Failure, Json, print_json, print_table, state

if TYPE_CHECKING:
    from hub.cli.base import State
    from hub.client import Customer, Imported
    from hub.client.rows import Proof

app = typer.Typer()
_customer = typer.Typer(help="Customers: in from files, out to files.", no_args_is_help=True)
app.add_typer(_customer, name="customer")

Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="COLUMN=WHAT",
        help="What a column says, if its name does not tell: external_id, name, tel, mailto, address, locale, "
        "time_zone, country, tier, tags, attributes.NAME, or - to leave it out. Can be repeated.",
    ),
]
Country = Annotated[str | None, typer.Option(help="Of phone numbers without one: GB.")]
_PLAIN = ("external_id", "name", "locale", "time_zone", "country", "tier")


@_customer.command("import")
def import_customers(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV with a header (.csv), or JSON lines (.jsonl).")],
    mapping: Map = None,
    country: Country = None,
    verified: Annotated[
        bool, typer.Option("--verified", help="The addresses are proven; customers who share one are joined.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Forget attributes that the file does not have.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read the file and tell, change nothing.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Where refused rows are listed (.csv, .jsonl); else FILE.refused.csv.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make customers, or update those whose external_id is known. Exit code: 1 some rows refused, 2 nothing done."""
    from hub.cli._client import columns, problems
    from hub.cli._table import is_csv

    names = columns(mapping)
    place = report or file.with_name(f"{file.name}.refused.csv")
    is_csv(place)
    proof: Proof = "verified" if verified else "claimed"
    if dry_run:
        said, found = _dry(file, names, country, proof)
    else:
        said, found = {}, asyncio.run(_import(state(ctx), file, names, country, proof, replace))
    listed = [(each.row, each.detail) for each in found.problems]
    if listed and not dry_run:
        _report(place, listed)
    problems(file.name, listed)
    if as_json:
        counts = found.model_dump(mode="json") | {"dry_run": dry_run, "columns": said}
        print_json(counts | {"report": str(place) if listed and not dry_run else None})
    else:
        _tell(said, found, dry_run, place if listed else None)
    if listed:
        raise typer.Exit(1)


def _dry(file: Path, names: dict[str, str], country: str | None, proof: Proof) -> tuple[dict[str, str], Imported]:
    """Columns with what they say, and the rows counted as if they were all new."""
    from hub.cli._client import told
    from hub.client import Imported, RowProblem, read_customers
    from hub.client.rows import targets

    good, wrong = 0, []
    with told():
        said = targets(file, names)
        for row in read_customers(file, columns=names, country=country, proof=proof):
            if row.problem:
                wrong.append(RowProblem(row=row.line, detail=row.problem))
            else:
                good += 1
    return said, Imported(created=good, refused=len(wrong), problems=wrong)


async def _import(
    state: State, file: Path, names: dict[str, str], country: str | None, proof: Proof, replace: bool
) -> Imported:
    from hub.cli._client import bar, connected
    from hub.client import Imported

    found = Imported()
    async with connected(state) as (hub, _):
        with bar(total=False) as shown:
            task = shown.add_task("reading", total=None)
            steps = hub.importing(file, columns=names, country=country, proof=proof, replace=replace)
            async for found in steps:
                shown.update(task, description=f"{found.rows} rows, {found.refused} refused")
    return found


def _report(place: Path, listed: list[tuple[int, str]]) -> None:
    from hub.cli._table import writing

    with writing(place, ("line", "problem")) as write:
        for row, detail in listed:
            write({"line": row, "problem": detail})


def _tell(said: dict[str, str], found: Imported, dry_run: bool, report: Path | None) -> None:
    if said:
        print_table(("column", "says"), [(column, _says(target)) for column, target in said.items()])
    if dry_run:
        typer.echo(f"{found.created} rows can be taken, {found.refused} cannot; nothing was changed")
        return
    typer.echo(f"{found.created} new, {found.updated} updated, {found.refused} refused", nl=report is None)
    if report is not None:
        typer.echo(f"; the rows with problems are in {report}")


def _says(target: str) -> str:
    return "nothing: left out" if target == "-" else target


@_customer.command("export")
def export_customers(
    ctx: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="Where to (.csv, .jsonl); else standard output.")] = None,
    form: Annotated[
        Literal["csv", "jsonl"] | None, typer.Option("--format", help="Of standard output; jsonl if not given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """All customers with addresses and attributes, newest first. The import takes them back as they are."""
    from hub.cli._table import is_csv

    if file is None and form == "csv" and as_json:
        raise Failure("--json and --format csv contradict each other: give one of the two", 2)
    table = is_csv(file) if file is not None else form == "csv"
    if file is not None and form is not None and table != (form == "csv"):
        raise Failure(f"{file} says one format and --format {form} another", 2)
    count = asyncio.run(_export(state(ctx), file, table))
    if file is not None:
        print_json({"customers": count, "file": str(file)}) if as_json else typer.echo(f"{count} customers in {file}")


async def _export(state: State, file: Path | None, table: bool) -> int:
    import json
    import sys
    import tempfile

    from hub.cli._client import bar, connected

    count = 0
    attributes: dict[str, None] = {}
    # Of a table the columns come first, and are known last.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as spool:
        async with connected(state) as (hub, _):
            with bar(total=False) as shown:
                task = shown.add_task("reading", total=None)
                async for each in hub.customers():
                    spool.write(json.dumps(_plain(each), ensure_ascii=False) + "\n")
                    attributes |= dict.fromkeys(each.attributes)
                    count += 1
                    shown.update(task, description=f"{count} customers")
        spool.seek(0)
        out = file.open("w", encoding="utf-8", newline="") if file is not None else sys.stdout
        try:
            _write(spool, out, table, [name for name in attributes if name != "tags"])
        finally:
            if file is not None:
                out.close()
    return count


def _plain(each: Customer) -> dict[str, Any]:
    """In the form that JSON lines are imported from."""
    known = {name: getattr(each, name) for name in _PLAIN}
    found = {"hub_id": each.id} | {name: value for name, value in known.items() if value is not None}
    if each.attributes:
        found["attributes"] = each.attributes
    found["identities"] = [{"address": one.address, "proof": _proof(one.proof)} for one in each.identities]
    return found


def _proof(proof: str) -> str:
    """The import says claimed or verified; what a provider or a widget proved is proven."""
    return "claimed" if proof == "claimed" else "verified"


def _write(lines: Any, out: Any, table: bool, attributes: list[str]) -> None:
    import csv
    import json
    import shutil

    from hub.cli._table import cell
    from hub.client.rows import Columns

    if not table:
        shutil.copyfileobj(lines, out)
        return
    names = Columns()
    heads = [name if names.target(name) == f"attributes.{name}" else f"attributes.{name}" for name in attributes]
    writer = csv.writer(out)
    writer.writerow(["hub_id", *_PLAIN, "tel", "mailto", "address", "tags", *map(cell, heads)])
    for each in map(json.loads, lines):
        addresses = [one["address"] for one in each["identities"]]
        known = each.get("attributes", {})
        values = [each.get(name) for name in ("hub_id", *_PLAIN)]
        values += [list(_of(addresses, scheme)) for scheme in ("tel", "mailto", "")]
        writer.writerow([cell(value) for value in (*values, known.get("tags"), *(known.get(n) for n in attributes))])


def _of(addresses: list[str], scheme: str) -> Iterator[str]:
    """Addresses of a scheme, without it; those that are of no column's own scheme, whole."""
    for each in addresses:
        own, _, value = each.partition(":")
        if scheme == own:
            yield value
        elif not scheme and own not in ("tel", "mailto"):
            yield each
