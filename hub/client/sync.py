"""The client for scripts and notebooks. Its event loop is a thread of its own, for a notebook has one already."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from typing import Any, Self, TypeVar

from hub.client.aio import AsyncClient, Draft
from hub.client.errors import HubError
from hub.client.models import (
    Added,
    Campaign,
    Counted,
    Customer,
    Imported,
    Message,
    Outlook,
    Person,
    Segment,
    Sent,
    Stats,
)
from hub.client.rows import Proof, Source

T = TypeVar("T")


class Client:
    """``AsyncClient`` without ``await``; progress is called in the caller's thread."""

    def __init__(self, url: str | None = None, key: str | None = None, *, patience: float = 60.0) -> None:
        self._hub = AsyncClient(url, key, patience=patience)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hub-client", daemon=True)
        self._thread.start()
        self._process = os.getpid()
        atexit.register(self.close)  # notebooks and short scripts do not close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._loop.is_closed() or self._process != os.getpid():
            return
        atexit.unregister(self.close)
        self._run(self._hub.close())
        self._run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._process != os.getpid():  # a fork takes no threads along
            work.close()
            raise HubError("this Client is of the process that this one was forked from; make a Client here")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # Ctrl-C too: what is under way here ends with it
            future.cancel()
            raise

    def _each(self, items: AsyncIterator[T]) -> Iterator[T]:
        async def following() -> T:
            return await anext(items)

        with contextlib.suppress(StopAsyncIteration):
            while True:
                yield self._run(following())

    def get(self, path: str, **query: Any) -> Any:
        """Any path below ``/api/v1`` that has no method here."""
        return self._run(self._hub.get(path, **query))

    def post(self, path: str, body: Any, *, key: str | None = None) -> Any:
        return self._run(self._hub.post(path, body, key=key))

    # --- customers ---

    def save_customer(self, **draft: Any) -> Customer:
        """Make a customer, or update the one with this ``external_id``: the fields of ``POST /customers``."""
        return self._run(self._hub.save_customer(**draft))

    def customer(self, who: str) -> Customer:
        """By public id, your own id, or an address."""
        return self._run(self._hub.customer(who))

    def customers(self) -> Iterator[Customer]:
        """Newest first."""
        return self._each(self._hub.customers())

    def timeline(self, who: str) -> Iterator[Message]:
        """Messages on all channels, newest first."""
        return self._each(self._hub.timeline(who))

    def import_customers(
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
        steps = self._hub.importing(source, columns=columns, country=country, proof=proof, replace=replace)
        for so_far in self._each(steps):
            if progress is not None:
                progress(so_far)
        return so_far

    def record_event(self, customer: str | None, name: str, **more: Any) -> bool:
        """Tell what a customer did: ``external_id``, ``at``, ``properties``. Whether it was new."""
        return self._run(self._hub.record_event(customer, name, **more))

    def record_consent(self, address: str, change: str, evidence: str = "", **more: Any) -> dict[str, Any]:
        """``opt_in``, ``opt_out``, ``bounced`` or ``lifted``; how things stand with the address then."""
        return self._run(self._hub.record_consent(address, change, evidence, **more))

    def ask_consent(self, address: str, source: str, evidence: str, **more: Any) -> dict[str, Any]:
        """Ask for the confirmation of a double opt-in. ``more``: channel, topic. Raises: Refused if it may not be."""
        return self._run(self._hub.ask_consent(address, source, evidence, **more))

    def consent(self, address: str) -> dict[str, Any]:
        return self._run(self._hub.consent(address))

    # --- messages ---

    def send(self, customer: str, text: str, *, key: str | None = None, **more: Any) -> Sent:
        """Store a message for one customer: ``channel``, ``purpose`` (else marketing), ``subject`` …; the same ``key``
        sends once."""
        return self._run(self._hub.send(customer, text, key=key, **more))

    def message(self, name: str) -> Message:
        """By its id: ``state`` and ``reason`` say what became of it."""
        return self._run(self._hub.message(name))

    # --- segments ---

    def segments(self) -> list[Segment]:
        return self._run(self._hub.segments())

    def save_segment(self, name: str, filter: Mapping[str, Any]) -> Segment:
        return self._run(self._hub.save_segment(name, filter))

    def count(self, filter: Mapping[str, Any]) -> Counted:
        """How many customers a filter matches, and how many of them each channel reaches."""
        return self._run(self._hub.count(filter))

    def remove_segment(self, name: str) -> None:
        self._run(self._hub.remove_segment(name))

    # --- campaigns ---

    def create_campaign(self, draft: Draft) -> Campaign:
        """Made, not started. ``draft``: as in docs/campaigns.md, or a TOML file of it. Raises also: FileProblem."""
        return self._run(self._hub.create_campaign(draft))

    def campaign(self, who: str) -> Campaign:
        """By name or id."""
        return self._run(self._hub.campaign(who))

    def campaigns(self) -> Iterator[Campaign]:
        """Newest first."""
        return self._each(self._hub.campaigns())

    def add_people(
        self, who: str, source: Source, *, columns: Mapping[str, str] | None = None, country: str | None = None
    ) -> Added:
        """Put a list into a campaign: a file, or mappings with ``customer`` and values for the texts.

        ``problems`` are rows that nobody can be found for, or that cannot be read. Raises also: FileProblem.
        """
        return self._run(self._hub.add_people(who, source, columns=columns, country=country))

    def check(self, who: str) -> Iterator[Outlook]:
        """What would happen to each person if it were sent now; nothing is."""
        return self._each(self._hub.check(who))

    def start(self, who: str) -> Campaign:
        return self._run(self._hub.start(who))

    def pause(self, who: str, reason: str = "paused by a script") -> Campaign:
        return self._run(self._hub.pause(who, reason))

    def resume(self, who: str) -> Campaign:
        return self._run(self._hub.resume(who))

    def cancel(self, who: str) -> Campaign:
        return self._run(self._hub.cancel(who))

    def forget_campaign(self, who: str) -> None:
        """A draft only; its name is free again."""
        self._run(self._hub.forget_campaign(who))

    def stats(self, who: str) -> Stats:
        return self._run(self._hub.stats(who))

    def people(self, who: str) -> Iterator[Person]:
        """Each person's outcome."""
        return self._each(self._hub.people(who))

    def wait(self, who: str, *, progress: Callable[[Stats], None] | None = None, timeout: float | None = None) -> Stats:
        """Until it is finished, cancelled or paused, or the time (seconds) is up: ``campaign.state`` says which."""
        found = None
        for found in self._each(self._hub.watching(who, timeout)):
            if progress is not None:
                progress(found)
        assert found is not None
        return found
