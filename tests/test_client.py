"""``hub.client`` against a hub that runs, and against networks that lose answers."""

from __future__ import annotations

import asyncio
import inspect
import math
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from hub import keys
from hub.client import AsyncClient, Client, HubError, Imported, NotFound, Refused, RowProblem, Stats, Unreachable
from hub.client.aio import _batches
from hub.client.files import Row
from tests.paper import Office, office

Fault = Callable[[int, web.Request], str | None]  # by the request's number: lose, drop or a status; None: all is well
SPRING: dict[str, Any] = {
    "name": "Spring", "purpose": "transactional", "channels": ["paper"],
    "audience": {"segment": {"field": "tier", "is": "gold"}},
    "messages": [{"text": "Hi {{ customer.name | default: 'there' }}"}],
}  # fmt: skip
PEOPLE = [
    {"external_id": "ann", "name": "Ann", "tier": "gold", "address": "paper:ann"},
    {"external_id": "bob", "tier": "gold", "address": "paper:bob"},
]


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(database_url, tmp_path) as running:
        yield running


@pytest.fixture
async def quick(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(sqlite_url, tmp_path) as running:
        yield running


async def key(desk: Office) -> str:
    _, token = await desk.hub.write(
        lambda connection, context: keys.create(connection, context.now, "script", ("read", "send"))
    )
    return token


def url(desk: Office) -> str:
    return f"http://127.0.0.1:{desk.hub.port}"


@asynccontextmanager
async def client(desk: Office, at: str | None = None, patience: float = 20) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(at or url(desk), await key(desk), patience=patience) as one:
        yield one


@asynccontextmanager
async def network(desk: Office, fault: Fault) -> AsyncIterator[tuple[str, list[str]]]:
    """A way to the hub that goes wrong, and the requests that it saw."""
    seen: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(request.path_qs)
        wrong = fault(len(seen), request)
        assert request.transport is not None
        if wrong == "drop":
            request.transport.abort()
            return web.Response()
        if wrong is not None and wrong.isdigit():
            return web.Response(status=int(wrong), text="<html>", headers={"Retry-After": "0"})
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        async with aiohttp.request(
            request.method, url(desk) + request.path_qs, data=await request.read(), headers=headers
        ) as answer:
            body = await answer.read()
            if wrong == "lose":
                request.transport.abort()
            return web.Response(status=answer.status, body=body, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", seen
    finally:
        await runner.cleanup()


# --- where the hub is ---


def test_without_a_place_it_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HUB_URL", raising=False)
    with pytest.raises(HubError, match="set HUB_URL and HUB_API_KEY"):
        Client(key="hub_x")
    with pytest.raises(HubError, match="is no address of a hub"):
        Client("hub.example.com", "hub_x")


async def test_it_finds_the_hub_by_the_environment(quick: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_URL", url(quick))
    monkeypatch.setenv("HUB_API_KEY", await key(quick))
    async with AsyncClient() as hub:
        assert [each async for each in hub.campaigns()] == []


# --- lost answers ---


@pytest.mark.parametrize("fault", ["lose", "drop", "429", "502", "503"])
async def test_what_gets_no_answer_is_sent_again_and_has_one_effect(desk: Office, fault: str) -> None:
    async with (
        network(desk, lambda number, _: fault if number < 3 else None) as (way, seen),
        client(desk, way) as hub,
    ):
        sent = await hub.send("paper:ann", "Hello", purpose="transactional")
        await desk.settled()
        assert desk.letters.texts == ["Hello"]
        assert (await hub.message(sent.id)).state == "sent"
        assert len(seen) == 4


async def test_a_campaign_starts_once_though_the_answer_was_lost(desk: Office) -> None:
    def lost(number: int, request: web.Request) -> str | None:
        first = request.path.endswith(("/campaigns", "/start")) and request.path not in started
        started.add(request.path)
        return "lose" if first else None

    started: set[str] = set()
    async with network(desk, lost) as (way, _), client(desk, way) as hub:
        await hub.import_customers(PEOPLE)
        assert (await hub.create_campaign(SPRING)).state == "draft"
        assert (await hub.start("Spring")).state == "running"
        assert (await hub.wait("Spring")).states == {"sent": 2}
    assert sorted(desk.letters.texts) == ["Hi Ann", "Hi there"]


async def test_patience_ends(quick: Office) -> None:
    async with network(quick, lambda *_: "502") as (way, seen), client(quick, way, patience=2) as hub:
        with pytest.raises(Unreachable, match=r"does not answer \(HTTP 502\)"):
            await hub.campaign("Spring")
        assert len(seen) > 1
    async with client(quick, "http://127.0.0.1:9", patience=0.1) as hub:
        with pytest.raises(Unreachable, match="is it running, is HUB_URL right"):
            await hub.campaign("Spring")


@pytest.mark.parametrize("retry_after", ["3600", None])
async def test_patience_is_no_longer_than_was_said(retry_after: str | None) -> None:
    over = asyncio.Event()

    async def handle(_: web.Request) -> web.StreamResponse:
        if retry_after is None:
            await over.wait()
        headers = {"Retry-After": retry_after or "0"}
        return web.json_response({"code": "overloaded", "detail": "wait"}, status=503, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(app, host="127.0.0.1") as server:
        async with AsyncClient(f"http://127.0.0.1:{server.port}", "hub_x", patience=0.5) as hub:
            async with asyncio.timeout(20):  # it would be a minute
                with pytest.raises(HubError):
                    await hub.send("ann", "Hello")
        over.set()


async def test_what_cannot_be_sent_is_an_error_of_the_hub(quick: Office) -> None:
    async with client(quick) as hub:
        for text, more, words in (
            ("\ud800", {}, "cannot be sent to the hub"),
            ("x", {"key": "a\nb"}, "printable"),
            ("x", {"attachments": {1}}, "a set is no text"),
        ):
            with pytest.raises(HubError, match=words):
                await hub.send("paper:ann", text, purpose="transactional", **more)
        with pytest.raises(HubError, match="nothing is called"):
            await hub.customer("\ud800")
        with pytest.raises(Refused, match="start: "):
            await hub.create_campaign(SPRING | {"start": date(2027, 12, 1)})  # as TOML has it


def test_a_key_may_end_with_a_line_break() -> None:
    assert AsyncClient("http://127.0.0.1:9\n", "hub_x\n")._hub._key == "hub_x"
    with pytest.raises(HubError, match="the key is none of a hub"):
        AsyncClient("http://127.0.0.1:9", "hub_x\nhub_y")


FORKED = """
import os, signal
from hub.client import Client, HubError
hub = Client("http://127.0.0.1:9", "hub_x", patience=0.1)
if (child := os.fork()) == 0:
    signal.alarm(20)
    try:
        hub.campaign("Spring")
    except HubError as error:
        print(error, flush=True)
    hub.close()
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""


def test_a_forked_process_is_told_to_make_a_client_of_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=100, check=True)
    told = "this Client is of the process that this one was forked from; make a Client here"
    assert done.stdout.splitlines() == [told, "0"]


async def test_what_the_hub_refuses_is_not_asked_again(quick: Office) -> None:
    async with network(quick, lambda *_: None) as (way, seen), client(quick, way) as hub:
        with pytest.raises(NotFound, match="no campaign is known as 'Winter'"):
            await hub.campaign("Winter")
        with pytest.raises(Refused) as refused:
            await hub.create_campaign(SPRING | {"messages": [{"text": "{{ code }}"}]})
        assert (refused.value.status, refused.value.code) == (422, "campaign_refused")
        [(field, words)] = refused.value.errors
        assert field == "messages.0.text"
        assert words.startswith("code is used but not declared")
        with pytest.raises(Refused, match="lacks the scope admin"):
            await hub.get("/keys")
        assert len(seen) == 3


async def test_another_program_is_no_hub(quick: Office) -> None:
    async with network(quick, lambda *_: "200") as (way, _), client(quick, way) as hub:
        with pytest.raises(Unreachable, match="is no hub"):
            await hub.campaign("Spring")


# --- customers ---


async def test_customers_are_imported_from_mappings_with_progress(desk: Office) -> None:
    steps: list[Imported] = []
    rows = [{"id": n, "name": f"C{n}", "address": f"paper:{n}", "shoe": 41.5} for n in range(505)]
    async with client(desk) as hub:
        done = await hub.import_customers(rows, progress=steps.append)
        assert (done.created, done.updated, done.refused, done.problems) == (505, 0, 0, [])
        assert [each.rows for each in steps] == [0, 500, 505]
        assert (await hub.import_customers(rows)).updated == 505
        known = [each async for each in hub.customers()]
        assert len({each.external_id for each in known}) == 505
        assert known[0].attributes == {"shoe": 41.5}


async def test_rows_that_cannot_be_used_are_named_and_the_rest_is_taken(quick: Office) -> None:
    rows = [{"id": "1"}, {"id": "1"}, {"name": "x"}, {"id": "2", "email": "nobody"}, {"id": "3", "note": "\ud800"},
            {"id": "4", "note": "a\0b"}, {"id": "5", "name": math.nan, "tier": None}]  # fmt: skip
    async with client(quick) as hub:
        done = await hub.import_customers(rows)
    assert (done.created, done.refused) == (2, 5)
    assert [(each.row, each.detail.split(":")[0]) for each in done.problems] == [
        (2, "external_id '1' is in line 1 already"), (3, "nothing says who this is"), (4, "email"),
        (5, "cannot be sent to the hub"), (6, "a NUL character"),
    ]  # fmt: skip


async def test_a_row_that_is_too_large_is_a_problem_of_its_own(quick: Office) -> None:
    rows: list[dict[str, Any]] = [{"id": n, "note": "y" * 1_200_000 if n == 2 else "x"} for n in (1, 2, 3)]
    async with client(quick) as hub:
        done = await hub.import_customers(rows)
        await hub.create_campaign(SPRING | {"audience": {"list": True}})
        added = await hub.add_people("Spring", rows)
    assert (done.created, added.added) == (2, 2)
    for problems in (done.problems, added.problems):
        assert [(each.row, each.detail.split(":")[0]) for each in problems] == [(2, "too large")]


async def test_what_only_the_hub_refuses_is_named_too(quick: Office) -> None:
    async with client(quick) as hub:
        values = ({"external_id": "1"}, {"external_id": "2", "tear": "gold"}, {"external_id": "3"})
        rows = [Row(line, each) for line, each in enumerate(values, 7)]
        done = await hub._import(rows, "merge", Imported())
        assert (done.created, done.refused) == (2, 1)
        [problem] = done.problems
        assert problem == RowProblem(row=8, detail=problem.detail)
        assert problem.detail.startswith("tear: there is no such field")


def test_a_request_stays_small() -> None:
    rows = [Row(n, {"external_id": str(n), "attributes": {"note": "x" * 200_000}}) for n in range(5)]
    assert [len(some) for some in _batches(rows, 200)] == [2, 2, 1]
    assert [len(some) for some in _batches((Row(n, {}) for n in range(5)), 2)] == [2, 2, 1]


async def test_a_batch_merges_attributes_or_replaces_them(desk: Office) -> None:
    async with client(desk) as hub:
        await hub.post("/customers/batch", {"customers": [{"external_id": "1", "attributes": {"a": 1, "b": 2}}]})
        change = {"customers": [{"external_id": "1", "attributes": {"a": None, "c": 3}}, {"external_id": "2"}]}
        found = await hub.post("/customers/batch", change)
        assert [(each["external_id"], each["created"]) for each in found["items"]] == [("1", False), ("2", True)]
        assert (await hub.customer("1")).attributes == {"b": 2, "c": 3}
        await hub.post("/customers/batch", change | {"attributes": "replace"})
        assert (await hub.customer("1")).attributes == {"a": None, "c": 3}


async def test_a_batch_with_one_mistake_stores_nothing_and_names_its_place(desk: Office) -> None:
    async with client(desk) as hub:
        with pytest.raises(Refused) as refused:
            await hub.post("/customers/batch", {"customers": [{"external_id": "1"}, {"country": "Spain"}]})
        assert [field for field, _ in refused.value.errors] == ["customers.1.country"]
        assert [each async for each in hub.customers()] == []


# --- what else there is ---


async def test_messages_timelines_events_consent_and_segments(quick: Office) -> None:
    async with client(quick) as hub:
        await hub.import_customers(PEOPLE, proof="verified")
        first = await hub.send("ann", "Hello", purpose="transactional", key="k")
        assert (await hub.send("ann", "Hello", purpose="transactional", key="k")).id == first.id
        await quick.write("Thanks", sender="ann")
        assert [each.direction + each.text async for each in hub.timeline("ann")] == ["inThanks", "outHello"]
        assert await hub.record_event("ann", "purchase", external_id="o7", properties={"total": 1.5})
        assert not await hub.record_event("ann", "purchase", external_id="o7")
        await hub.save_segment("buyers", {"event": "purchase"})
        assert (await hub.count({"segment": "buyers"})).customers == 1
        assert [each.name for each in await hub.segments()] == ["buyers"]
        await hub.remove_segment("buyers")
        assert await hub.segments() == []
        await hub.record_consent("paper:ann", "opt_out")
        assert (await hub.consent("paper:ann"))["suppressed"]
        assert (await hub.customer("ann")).identities[0].suppressed
        assert (await hub.save_customer(external_id="ann", tier="basic")).tier == "basic"


# --- campaigns ---


async def test_a_campaign_is_made_from_a_file_given_people_and_waited_for(quick: Office, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        'name = "C"\npurpose = "transactional"\nchannels = ["paper"]\naudience = { list = true }\n'
        'start = 2026-03-02T09:00:00Z\nmessages = [{ text = "{{ code }}" }]\nvariables.code = { required = true }\n'
    )
    (tmp_path / "p.csv").write_text("customer,code\nann,A\nbob,\neve,E\n")
    async with client(quick) as hub:
        await hub.import_customers(PEOPLE)
        await hub.create_campaign(tmp_path / "c.toml")
        added = await hub.add_people("C", tmp_path / "p.csv")
        assert (added.added, added.problems) == (2, [RowProblem(row=4, detail="no customer is known as 'eve'")])
        outlook = {each.external_id: each async for each in hub.check("C")}
        assert (outlook["ann"].goes, outlook["ann"].text, outlook["bob"].reason) == (True, "A", "MISSING_VALUE")
        with pytest.raises(Refused, match="has not been started"):
            await hub.wait("C")
        await hub.start("C")
        steps: list[Stats] = []
        done = await hub.wait("C", progress=steps.append)
        assert (done.people, done.sent, done.skipped, done.left) == (2, 1, 1, 0)
        assert steps[-1] == done
        assert str(done) == "C: 1 sent, 1 skipped, of 2"
        under_way = done.model_copy(update={"people": 4, "states": {"deferred": 2, "queued": 1, "skipped": 1}})
        assert str(under_way) == "C: 2 deferred, 1 skipped, 1 left, of 4"
        people = {each.external_id: each.state async for each in hub.people("C")}
        assert people == {"ann": "sent", "bob": "skipped"}


async def test_paused_people_are_deferred_and_waiting_ends_there(quick: Office) -> None:
    quick.letters.gate = asyncio.Event()
    async with client(quick) as hub:
        await hub.import_customers([{"id": str(n), "tier": "gold", "address": f"paper:{n}"} for n in range(40)])
        await hub.create_campaign(SPRING)
        await hub.start("Spring")
        async for stats in hub.watching("Spring"):
            if stats.campaign.planned and stats.people == 40 and stats.count("planned") == 0:
                break
        await hub.pause("Spring", "a typo")
        done = await hub.wait("Spring")
        assert (done.campaign.state, done.campaign.reason) == ("paused", "a typo")
        assert done.deferred > 0
        assert done.reasons["CAMPAIGN_PAUSED"] == done.deferred
        assert (await hub.cancel("Spring")).over
        quick.letters.gate.set()


async def test_a_draft_can_be_forgotten_and_nothing_else(desk: Office) -> None:
    async with client(desk) as hub:
        await hub.import_customers(PEOPLE)
        await hub.create_campaign(SPRING | {"audience": {"list": True}})
        await hub.add_people("Spring", [{"customer": "ann"}])
        await hub.forget_campaign("Spring")
        assert await desk.rows("recipient") == []
        await hub.create_campaign(SPRING)
        await hub.start("Spring")
        with pytest.raises(Refused, match="only a draft can be forgotten"):
            await hub.forget_campaign("Spring")
        await hub.wait("Spring")


def test_both_clients_can_do_the_same() -> None:
    def can(kind: type) -> dict[str, list[str]]:
        methods = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(each).parameters) for name, each in methods if not name.startswith("_")}

    steps = ("importing", "watching")  # what the others are made of
    assert can(Client) == {name: each for name, each in can(AsyncClient).items() if name not in steps}


async def test_the_same_without_await_also_where_a_loop_runs_already(quick: Office) -> None:
    token = await key(quick)

    async def notebook() -> tuple[Stats, list[str]]:
        with Client(url(quick), token) as hub:
            assert hub.import_customers(PEOPLE).created == 2
            hub.create_campaign(SPRING)
            assert [each.goes for each in hub.check("Spring")] == [True, True]
            hub.start("Spring")
            seen: list[Stats] = []
            done = hub.wait("Spring", progress=seen.append)
            assert seen[-1] == done
            with pytest.raises(NotFound):
                hub.stats("Winter")
            return done, [each.state for each in hub.people("Spring")]

    done, states = await asyncio.to_thread(asyncio.run, notebook())
    assert (done.states, states) == ({"sent": 2}, ["sent", "sent"])
