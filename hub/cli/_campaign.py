"""How a campaign is checked and sent from a file."""

from __future__ import annotations

import asyncio
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import typer

from hub.cli._client import bar, connected, problems, told
from hub.cli._table import Write, is_csv, writing
from hub.cli._text import indented, line, printable
from hub.cli.base import Failure, State, print_table
from hub.client import Added, AsyncClient, Campaign, HubError, NotFound, Outlook, Person, Stats
from hub.client.rows import targets
from hub.settings import nearest

_LATE = timedelta(minutes=15)  # what the hub takes for a start that was missed
_OUTLOOK = tuple(Outlook.model_fields)
_PERSON = tuple(Person.model_fields)


@dataclass
class Checked:
    """``verdicts``: people by (verdict, reason). ``parts``: provider calls by channel, SMS their segments.

    ``costs`` of those whose price is known; ``unpriced``: how many messages have none.
    """

    campaign: str
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    sends: Counter[str] = field(default_factory=Counter)
    parts: Counter[str] = field(default_factory=Counter)
    costs: defaultdict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    unpriced: Counter[str] = field(default_factory=Counter)
    currency: str | None = None
    samples: list[Outlook] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)
    repeated: int = 0  # rows of people whom another row of the list names too
    notes: list[str] = field(default_factory=list)

    @property
    def people(self) -> int:
        return self.verdicts.total()

    @property
    def going(self) -> int:
        return self.sends.total()

    def count(self, each: Outlook) -> None:
        self.verdicts[each.verdict, each.reason] += 1
        if each.goes and each.channel is not None:
            self.sends[each.channel] += 1
            self.parts[each.channel] += each.parts
            if each.cost is None:
                self.unpriced[each.channel] += 1
            else:
                self.costs[each.channel] += Decimal(str(each.cost))
                self.currency = each.currency

    @property
    def cost(self) -> Decimal | None:
        """Of all whose price is known; None if no price is."""
        return sum(self.costs.values(), Decimal()) if self.costs else None

    def plain(self) -> dict[str, Any]:
        return {
            "campaign": self.campaign, "people": self.people, "going": self.going,
            "verdicts": [{"verdict": v, "reason": r, "people": n} for (v, r), n in self.verdicts.most_common()],
            "channels": {
                name: {
                    "people": n, "parts": self.parts[name], "unpriced": self.unpriced[name],
                    "cost": _amount(self.costs.get(name)),
                }
                for name, n in self.sends.items()
            },
            "cost": _amount(self.cost), "currency": self.currency,
            "samples": [each.model_dump(mode="json") for each in self.samples],
            "problems": [{"row": row, "detail": detail} for row, detail in self.problems],
            "repeated": self.repeated, "notes": self.notes,
        }  # fmt: skip


async def check(
    state: State,
    file: Path,
    people: Path | None,
    columns: Mapping[str, str],
    country: str | None,
    out: Path | None,
    samples: int,
) -> Checked:
    """Raises: Failure, code 2 if the campaign is of no use as it is."""
    if out is not None:
        is_csv(out)
    draft = _read(file, people)
    found = Checked(str(draft.get("name", "")), notes=_unused(draft, people, columns))
    if "trigger" in draft["audience"]:
        found.notes.append("people enter by its trigger, one by one; this is what each would get who is known today")
    async with connected(state) as (hub, _), _draft(hub, draft) as made:
        if made.starts_at is not None and made.starts_at < datetime.now(UTC) - _LATE:
            found.notes.append("its start is past: sent like this it pauses at once, until hub campaign resume")
        with told(2), writing(out, _OUTLOOK) if out is not None else nullcontext() as write:
            if people is not None:
                added = await hub.add_people(made.id, people, columns=columns, country=country)
                found.problems = [(each.row, each.detail) for each in added.problems]
                found.repeated = added.repeated
                found.notes += _repeated(people, added)
            await _look(hub, made, found, samples, write)
    return found


async def _look(hub: AsyncClient, made: Campaign, found: Checked, samples: int, write: Write | None) -> None:
    """Each person once; samples are of different channels and variants first."""
    seen: set[tuple[str | None, str]] = set()
    first: list[Outlook] = []
    more: list[Outlook] = []
    with bar(total=False) as shown:
        task = shown.add_task("checking", total=None)
        async for each in hub.check(made.id):
            found.count(each)
            shown.update(task, description=f"{found.people} people, {found.going} would get it")
            if write is not None:
                write(each.model_dump(mode="json"))
            if each.goes:
                kind = each.channel, each.variant
                place = more if kind in seen else first
                if len(place) < samples:
                    place.append(each)
                seen.add(kind)
    found.samples = (first + more)[:samples]


async def send(
    state: State,
    file: Path,
    people: Path | None,
    columns: Mapping[str, str],
    country: str | None,
    skip_problems: bool,
    ask_above: int | None,
    wait: bool,
    timeout: float | None,
    out: Path | None,
) -> tuple[Stats, bool]:
    """The outcome, and whether it was waited for: whoever enters by a trigger comes later.

    Raises: Failure, code 2 if nothing was sent; Abort if the person at the terminal says no.
    """
    if out is not None:
        is_csv(out)
    draft = _read(file, people)
    for note in _unused(draft, people, columns):
        typer.echo(note, err=True)
    wait = wait and "trigger" not in draft["audience"]
    async with connected(state) as (hub, works):
        if wait and works is False:
            raise Failure("nothing was sent: no hub runs that would do it; start one (hub serve), or say --no-wait", 2)
        async with _draft(hub, draft) as made:
            count = await _audience(hub, made, draft, people, columns, country, skip_problems)
            if ask_above is not None and count > ask_above:
                typer.confirm(f"Send {made.name!r} to {count} people?", abort=True, err=True)
            with told(2):
                await hub.start(made.id)
        if works is False:
            typer.echo("no hub runs here, so it waits for one: hub serve", err=True)
        stats = await (_followed(hub, made, timeout) if wait else hub.stats(made.id))
        if out is not None:
            await outcomes(hub, made.id, out)
        return stats, wait


async def _audience(
    hub: AsyncClient,
    made: Campaign,
    draft: Mapping[str, Any],
    people: Path | None,
    columns: Mapping[str, str],
    country: str | None,
    skip_problems: bool,
) -> int:
    """How many people it is for. Raises: Failure if the list has rows that cannot be used."""
    with told(2):
        if people is None:
            segment = draft["audience"].get("segment")
            return (await hub.count(segment)).customers if segment is not None else 0
        added = await hub.add_people(made.id, people, columns=columns, country=country)
    wrong = [(each.row, each.detail) for each in added.problems]
    problems(people.name, wrong)
    for note in _repeated(people, added):
        typer.echo(note, err=True)
    count = len(wrong) + added.repeated
    if count and not skip_problems:
        raise Failure(f"nothing was sent: {count} rows have problems; mend them, or say --skip-problems", 2)
    return added.added


def _repeated(people: Path, added: Added) -> list[str]:
    """The same name twice is a problem of its row; only the hub knows that two names are one person's."""
    if not added.repeated:
        return []
    words = "are of people whom another row has by another name (id, address): each gets one message"
    return [f"{people.name}: {added.repeated} rows {words}"]


async def _followed(hub: AsyncClient, made: Campaign, timeout: float | None) -> Stats:
    speed = _Speed()
    found = None
    with bar() as shown:
        task = shown.add_task("", total=None)
        try:
            async for found in hub.watching(made.id, timeout):
                done = found.people - found.left
                shown.update(task, total=found.people, completed=done, description=_words(found, speed.of(done)))
        except asyncio.CancelledError:
            typer.echo(f"{made.name} goes on unwatched; to stop it: hub campaign pause {made.name!r}", err=True)
            raise
    assert found is not None
    return found


class _Speed:
    """People per second, smoothed."""

    def __init__(self) -> None:
        self._last: tuple[float, int] | None = None
        self._rate = 0.0

    def of(self, done: int) -> float:
        now = time.monotonic()
        if self._last is not None and now > self._last[0]:
            rate = (done - self._last[1]) / (now - self._last[0])
            self._rate = rate if not self._rate else 0.7 * self._rate + 0.3 * rate
        self._last = now, done
        return self._rate


def _words(found: Stats, rate: float) -> str:
    """What matters most first: a narrow terminal shows no more."""
    names = ("deferred", "denied", "skipped", "held_out", "failed")
    counts = {name.replace("_", " "): getattr(found, name) for name in names}
    parts = [f"{found.sent} sent", *(f"{count} {name}" for name, count in counts.items() if count)]
    moving = found.left - found.deferred
    if rate > 0 and moving:
        parts.append(f"{rate:.0f}/s, {timedelta(seconds=round(moving / rate))} to go")
    if found.reasons:
        most = sorted(found.reasons.items(), key=lambda each: -each[1])[:3]
        parts.append("(" + ", ".join(f"{name} {count}" for name, count in most) + ")")
    return " ".join(parts)


async def outcomes(hub: AsyncClient, who: str, out: Path) -> None:
    with writing(out, _PERSON) as write:
        async for each in hub.people(who):
            write(each.model_dump(mode="json"))


# --- the file ---


def _read(file: Path, people: Path | None) -> dict[str, Any]:
    """Raises: Failure."""
    try:
        draft = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise Failure(f"{file}: {error.strerror}", 2) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Failure(f"{file} is no TOML: {error}", 2) from None
    audience = draft.get("audience")
    if not isinstance(audience, dict):
        raise Failure(f"{file}: audience is missing: a table with a segment, or audience = {{ list = true }}", 2)
    wants = audience.get("list") is True
    if wants and people is None:
        raise Failure(f"{file}: its audience is a list: hand it over with --people FILE.csv", 2)
    if people is not None and not wants:
        raise Failure(f"{file}: its audience is a segment; for --people write audience = {{ list = true }}", 2)
    return draft


def _unused(draft: Mapping[str, Any], people: Path | None, columns: Mapping[str, str]) -> list[str]:
    """What to say of columns that no text can use."""
    variables = draft.get("variables")
    if people is None or not isinstance(variables, dict):
        return []
    with told(2):
        said = targets(people, columns)
    sources = {each.get("source") for each in variables.values() if isinstance(each, dict)}
    known = set(variables) | {str(each).removeprefix("list.") for each in sources if each}
    extra = [name for name, target in said.items() if target.startswith("attributes.") and name not in known]
    return [f"{people.name}: no variable is called {name!r}{nearest(name, known)}" for name in extra]


@asynccontextmanager
async def _draft(hub: AsyncClient, draft: Mapping[str, Any]) -> AsyncIterator[Campaign]:
    """The campaign as a draft, which is forgotten again unless it was started. Raises: Failure."""
    try:
        made = await hub.create_campaign(draft)
    except HubError as error:
        raise Failure(f"{error}{await _taken(hub, draft)}", 2) from error
    try:
        yield made
    finally:
        with suppress(HubError):  # what went wrong before is what has to be told
            if (await hub.campaign(made.id)).state == "draft":
                await hub.forget_campaign(made.id)


async def _taken(hub: AsyncClient, draft: Mapping[str, Any]) -> str:
    """What can be done about a campaign that has this name already."""
    name = draft.get("name")
    if not isinstance(name, str) or not name:
        return ""
    try:
        known = await hub.campaign(name)
    except NotFound:
        return ""
    way = {"draft": "to forget it: hub campaign cancel", "paused": "to go on with it: hub campaign resume"}
    return f"; that one is {known.state}; {way.get(known.state, 'what came of it: hub campaign stats')} {name!r}"


# --- what is told ---


def tell(found: Checked) -> None:
    rows = [(verdict, reason, str(count)) for (verdict, reason), count in found.verdicts.most_common()]
    if rows:
        print_table(("verdict", "reason", "people"), rows)
    for name, count in found.sends.items():
        typer.echo(f"{name}: {count} messages, {found.parts[name]} parts or segments{_price(found, name)}")
    if found.cost is not None:
        without = found.unpriced.total()
        rest = f", and what {without} messages cost for which no price is known" if without else ""
        typer.echo(f"estimated cost: {found.cost:f} {found.currency}{rest}")
    for each in found.samples:
        who = each.name or each.external_id or each.customer
        subject = [f"subject: {line(each.subject)}"] if each.subject else []
        why = f" ({each.detail})" if each.detail else ""
        typer.echo(line(f"\nto {who}, {each.address} by {each.channel}: {each.verdict}{why}"))
        typer.echo(indented(subject + (printable(each.text).splitlines() or ["(no text)"]), 4))
    for note in found.notes:
        typer.echo(line(note), err=True)
    count = len(found.problems) + found.repeated
    problems_ = f", {count} rows of the list cannot be used" if count else ""
    typer.echo(f"{found.going} of {found.people} people would get {line(found.campaign)}{problems_}; nothing was sent")


def _compare(found: Stats) -> None:
    """Variants beside each other, and what people did who came by links."""
    events = sorted({name for each in found.results.values() for name in each.events})
    if len(found.results) < 2 and not events:
        return
    names = ("people", "sent", "replied", "opted_out", "converted")
    print_table(
        ("variant", *(name.replace("_", " ") for name in names), *events),
        [
            (line(part.replace("_", " ") or "(all)"), *(str(getattr(each, name)) for name in names),
             *(str(each.events.get(name, 0)) for name in events))
            for part, each in found.results.items()
        ],
    )  # fmt: skip


def _price(found: Checked, name: str) -> str:
    cost = found.costs.get(name)
    if cost is None:
        return ", no price is known ([prices] in the hub's settings)"
    return f", {cost:f} {found.currency}" + (f" without {n} of unknown price" if (n := found.unpriced[name]) else "")


def _amount(cost: Decimal | None) -> float | None:
    return None if cost is None else float(cost)


def tell_stats(found: Stats) -> None:
    if found.states:
        print_table(("people", "are"), [(str(count), name.replace("_", " ")) for name, count in found.states.items()])
    if found.reasons:
        rows = sorted(found.reasons.items(), key=lambda each: -each[1])
        print_table(("people", "because"), [(str(count), name) for name, count in rows])
    _compare(found)
    made = found.campaign
    why = f" ({line(made.reason)})" if made.reason else ""
    typer.echo(
        line(
            f"{found}; {made.state}{why}; {found.replied} replied, {found.opted_out} opted out"
            + (f", {found.converted} converted" if found.converted else "")
        )
    )
    if made.state == "paused":
        typer.echo(line(f"to go on: hub campaign resume {made.name!r}"), err=True)
    elif made.state == "running":
        typer.echo(line(f"it goes on: hub campaign stats {made.name!r}"), err=True)
