"""The client for programs with an event loop."""

from __future__ import annotations

import asyncio
import os
import time
import tomllib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from hub.client.errors import HubError, Refused
from hub.client.files import FileProblem, Row
from hub.client.models import (
    Added,
    Campaign,
    Counted,
    Customer,
    Imported,
    Message,
    Outlook,
    Person,
    RowProblem,
    Segment,
    Sent,
    Stats,
)
from hub.client.rows import Proof, Source, read_customers, read_people
from hub.client.transport import Transport, encode
from hub.contract import Http
from hub.http import Client as Connections

Model = TypeVar("Model", bound=BaseModel)
Draft = Mapping[str, Any] | str | PathLike[str]

_CUSTOMERS = 500  # of one request: each is a transaction that others wait for
_PEOPLE = 1000
_BYTES = 500_000
_PAGE = 200
_LOOK = 0.5  # seconds between two looks at a campaign, growing
_SLOWEST = 5.0


class AsyncClient:
    """``url`` and ``key`` are those of HUB_URL and HUB_API_KEY if not given; ``patience``: seconds of each request.

    All methods raise HubError: NotFound, Refused with the fields at fault, Unreachable.
    """

    def __init__(
        self, url: str | None = None, key: str | None = None, *, patience: float = 60.0, http: Http | None = None
    ) -> None:
        url = (url or os.environ.get("HUB_URL") or "").strip()
        key = (key or os.environ.get("HUB_API_KEY") or "").strip()  # a file of it ends with a line break
        if not url or not key:
            raise HubError("where is the hub? give url and key, or set HUB_URL and HUB_API_KEY (from hub key create)")
        if not url.startswith(("http://", "https://")):
            raise HubError(f"{url!r} is no address of a hub: it looks like https://hub.example.com")
        if not (key.isascii() and key.isprintable()):
            raise HubError("the key is none of a hub: it has other characters than those of hub key create")
        self._connections = None if http is not None else Connections(connections=8)
        self._hub = Transport(url, key, http or self._connections, patience)  # type: ignore[arg-type]  # one of the two is given

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._connections is not None:
            await self._connections.close()

    async def get(self, path: str, **query: Any) -> Any:
        """Any path below ``/api/v1`` that has no method here."""
        return await self._hub.ask("GET", path, query=query)

    async def post(self, path: str, body: Any, *, key: str | None = None) -> Any:
        return await self._hub.ask("POST", path, body, key=key)

    async def _pages(self, path: str, kind: type[Model], **query: Any) -> AsyncIterator[Model]:
        cursor = None
        while True:
            page = await self.get(path, limit=_PAGE, cursor=cursor, **query)
            for each in page["items"]:
                yield kind.model_validate(each)
            cursor = page["next"]
            if cursor is None:
                return

    # --- customers ---

    async def save_customer(self, **draft: Any) -> Customer:
        """Make a customer, or update the one with this ``external_id``: the fields of ``POST /customers``."""
        return Customer.model_validate((await self.post("/customers", draft))["customer"])

    async def customer(self, who: str) -> Customer:
        """By public id, your own id, or an address."""
        return Customer.model_validate(await self.get(f"/customers/{_segment(who)}"))

    def customers(self) -> AsyncIterator[Customer]:
        """Newest first."""
        return self._pages("/customers", Customer)

    def timeline(self, who: str) -> AsyncIterator[Message]:
        """Messages on all channels, newest first."""
        return self._pages(f"/customers/{_segment(who)}/messages", Message)

    async def importing(
        self,
        source: Source,
        *,
        columns: Mapping[str, str] | None = None,
        country: str | None = None,
        proof: Proof = "claimed",
        replace: bool = False,
    ) -> AsyncIterator[Imported]:
        """What ``import_customers`` does, told after each step."""
        so_far = Imported()
        yield so_far
        batches = _batches(read_customers(source, columns=columns, country=country, proof=proof), _CUSTOMERS)
        async for some in _ahead(batches):
            so_far = await self._import(some, "replace" if replace else "merge", so_far)
            yield so_far

    async def import_customers(
        self,
        source: Source,
        *,
        columns: Mapping[str, str] | None = None,
        country: str | None = None,
        proof: Proof = "claimed",
        replace: bool = False,
        progress: Callable[[Imported], None] | None = None,
    ) -> Imported:
        """Make or update customers of a file (CSV, JSON lines) or of mappings; see ``read_customers``.

        ``replace``: forget attributes that are not given. Raises also: FileProblem.
        """
        so_far = Imported()
        steps = self.importing(source, columns=columns, country=country, proof=proof, replace=replace)
        async for so_far in steps:
            if progress is not None:
                progress(so_far)
        return so_far

    async def _import(self, rows: list[Row], attributes: str, so_far: Imported) -> Imported:
        problems = [RowProblem(row=row.line, detail=row.problem) for row in rows if row.problem]
        refused = len(problems)
        good = [row for row in rows if not row.problem]
        items: list[dict[str, Any]] = []
        while good:
            body = {"customers": [row.values for row in good], "attributes": attributes}
            try:
                items = (await self.post("/customers/batch", body))["items"]
                break
            except Refused as error:
                wrong = _places(error)
                if not wrong:
                    raise
                problems += [RowProblem(row=good[place].line, detail=words) for place, words in wrong.items()]
                refused += len(wrong)
                good = [row for place, row in enumerate(good) if place not in wrong]
        for row, item in zip(good, items, strict=False):
            if item["not_attached"]:
                words = f"saved without {', '.join(item['not_attached'])}: somebody else has it"
                problems.append(RowProblem(row=row.line, detail=words))
        created = sum(bool(item["created"]) for item in items)
        return Imported(
            created=so_far.created + created,
            updated=so_far.updated + len(items) - created,
            refused=so_far.refused + refused,
            problems=[*so_far.problems, *sorted(problems, key=lambda each: each.row)],
        )

    async def record_event(self, customer: str | None, name: str, **more: Any) -> bool:
        """Tell what a customer did: ``external_id``, ``at``, ``properties``. Whether it was new.

        ``link`` instead of the customer: the parameter ``hub`` of the campaign's link that they came by.
        """
        who = {} if customer is None else {"customer": customer}
        return bool((await self.post("/events", {**who, "name": name, **more}))["recorded"])

    async def record_consent(self, address: str, change: str, evidence: str = "", **more: Any) -> dict[str, Any]:
        """``opt_in``, ``opt_out``, ``bounced`` or ``lifted``; how things stand with the address then."""
        body = {"address": address, "change": change, "evidence": evidence, **more}
        found: dict[str, Any] = await self.post("/consent", body)
        return found

    async def ask_consent(self, address: str, source: str, evidence: str, **more: Any) -> dict[str, Any]:
        """Ask for the confirmation of a double opt-in. ``more``: channel, topic. Raises: Refused if it may not be."""
        body = {"address": address, "source": source, "evidence": evidence, **more}
        found: dict[str, Any] = await self.post("/consent/requests", body)
        return found

    async def consent(self, address: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.get(f"/consent/{_segment(address)}")
        return found

    # --- messages ---

    async def send(self, customer: str, text: str, *, key: str | None = None, **more: Any) -> Sent:
        """Store a message for one customer: ``channel``, ``purpose`` (else marketing), ``topic`` …; the same ``key``
        sends once."""
        return Sent.model_validate(await self.post("/messages", {"customer": customer, "text": text, **more}, key=key))

    async def message(self, name: str) -> Message:
        """By its id: ``state`` and ``reason`` say what became of it."""
        return Message.model_validate(await self.get(f"/messages/{_segment(name)}"))

    # --- segments ---

    async def segments(self) -> list[Segment]:
        return [Segment.model_validate(each) for each in (await self.get("/segments"))["items"]]

    async def save_segment(self, name: str, filter: Mapping[str, Any]) -> Segment:
        return Segment.model_validate(await self.post("/segments", {"name": name, "filter": filter}))

    async def count(self, filter: Mapping[str, Any]) -> Counted:
        """How many customers a filter matches, and how many of them each channel reaches."""
        return Counted.model_validate(await self.post("/segments/count", {"filter": filter}))

    async def remove_segment(self, name: str) -> None:
        await self._hub.ask("DELETE", f"/segments/{_segment(name)}")

    # --- campaigns ---

    async def create_campaign(self, draft: Draft) -> Campaign:
        """Made, not started. ``draft``: as in docs/campaigns.md, or a TOML file of it. Raises also: FileProblem."""
        values = draft if isinstance(draft, Mapping) else _toml(Path(draft))
        return Campaign.model_validate(await self.post("/campaigns", values))

    async def campaign(self, who: str) -> Campaign:
        """By name or id."""
        return Campaign.model_validate(await self.get(f"/campaigns/{_segment(who)}"))

    def campaigns(self) -> AsyncIterator[Campaign]:
        """Newest first."""
        return self._pages("/campaigns", Campaign)

    async def add_people(
        self, who: str, source: Source, *, columns: Mapping[str, str] | None = None, country: str | None = None
    ) -> Added:
        """Put a list into a campaign: a file, or mappings with ``customer`` and values for the texts.

        ``problems`` are rows that nobody can be found for, or that cannot be read. Raises also: FileProblem.
        """
        so_far = Added()
        async for some in _ahead(_batches(read_people(source, columns=columns, country=country), _PEOPLE)):
            problems = [RowProblem(row=row.line, detail=row.problem) for row in some if row.problem]
            good = [row for row in some if not row.problem]
            found: dict[str, Any] = {"added": 0, "repeated": 0, "problems": []}
            if good:
                found = await self.post(f"/campaigns/{_segment(who)}/people", {"rows": [row.values for row in good]})
            problems += [RowProblem(row=good[each["row"]].line, detail=each["detail"]) for each in found["problems"]]
            so_far = Added(
                added=so_far.added + found["added"],
                repeated=so_far.repeated + found["repeated"],
                problems=[*so_far.problems, *sorted(problems, key=lambda each: each.row)],
            )
        return so_far

    def check(self, who: str) -> AsyncIterator[Outlook]:
        """What would happen to each person if it were sent now; nothing is."""
        return self._pages(f"/campaigns/{_segment(who)}/check", Outlook)

    async def start(self, who: str) -> Campaign:
        return await self._act(who, "start")

    async def pause(self, who: str, reason: str = "paused by a script") -> Campaign:
        return await self._act(who, "pause", {"reason": reason})

    async def resume(self, who: str) -> Campaign:
        return await self._act(who, "resume")

    async def cancel(self, who: str) -> Campaign:
        return await self._act(who, "cancel")

    async def _act(self, who: str, verb: str, body: Any = None) -> Campaign:
        return Campaign.model_validate(await self.post(f"/campaigns/{_segment(who)}/{verb}", body))

    async def forget_campaign(self, who: str) -> None:
        """A draft only; its name is free again."""
        await self._hub.ask("DELETE", f"/campaigns/{_segment(who)}")

    async def stats(self, who: str) -> Stats:
        return Stats.model_validate(await self.get(f"/campaigns/{_segment(who)}/stats"))

    def people(self, who: str) -> AsyncIterator[Person]:
        """Each person's outcome."""
        return self._pages(f"/campaigns/{_segment(who)}/people", Person)

    async def watching(self, who: str, timeout: float | None = None) -> AsyncIterator[Stats]:
        """How it stands, again and again, until it is over, it pauses, or the time (seconds) is up."""
        end = None if timeout is None else time.monotonic() + timeout
        pause = _LOOK
        while True:
            found = await self.stats(who)
            if found.campaign.state == "draft":
                raise Refused(f"the campaign {found.campaign.name!r} has not been started: nothing to wait for")
            yield found
            left = _SLOWEST if end is None else end - time.monotonic()
            if found.campaign.state != "running" or left <= 0:
                return
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.2, _SLOWEST)

    async def wait(
        self, who: str, *, progress: Callable[[Stats], None] | None = None, timeout: float | None = None
    ) -> Stats:
        """Until it is finished, cancelled or paused, or the time (seconds) is up: ``campaign.state`` says which."""
        found = None
        async for found in self.watching(who, timeout):
            if progress is not None:
                progress(found)
        assert found is not None
        return found


def _segment(text: str) -> str:
    try:
        return quote(text, safe="")
    except UnicodeEncodeError as error:
        raise HubError(f"nothing is called {text!r}: {error}") from None


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileProblem(f"{file}: there is no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileProblem(f"{file} is no TOML: {error}") from None


def _batches(rows: Iterable[Row], most: int) -> Iterator[list[Row]]:
    """Pieces that fit into one request."""
    some: list[Row] = []
    size = 0
    for row in rows:
        more = len(encode(row.values))
        if some and (len(some) == most or size + more > _BYTES):
            yield some
            some, size = [], 0
        some.append(row)
        size += more
    if some:
        yield some


async def _ahead(batches: Iterator[list[Row]]) -> AsyncIterator[list[Row]]:
    """The same, each made ready while the one before is on its way."""
    following = asyncio.ensure_future(asyncio.to_thread(next, batches, None))
    try:
        while (some := await following) is not None:
            following = asyncio.ensure_future(asyncio.to_thread(next, batches, None))
            yield some
    finally:
        await asyncio.gather(following, return_exceptions=True)


def _places(error: Refused) -> dict[int, str]:
    """Which customers of a batch were refused, and why."""
    found: dict[int, str] = {}
    for field, detail in error.errors:
        first, _, rest = field.partition(".")
        place, _, name = rest.partition(".")
        if first == "customers" and place.isdigit():
            words = f"{name}: {detail}" if name else detail
            found[int(place)] = f"{found[int(place)]}; {words}" if int(place) in found else words
    return found
