"""Campaigns: a million people planned, in what time and memory; and whether a configured rate is kept."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Literal

import aiohttp

from bench.fill import fill
from bench.processes import Database, Served, hub_arguments, served
from bench.report import Figure, say
from bench.traffic import TEXT
from bench.watch import watching
from hub.app import opened
from hub.campaigns import engine
from hub.campaigns.draft import read
from hub.settings import Settings

PLAN_AIM = 60.0  # seconds for a million people
MEMORY_AIM = 300.0  # MB of the hub's process at its peak
RATE_AIM = 0.95  # of the configured rate
_PLANNED = "SELECT count(*) FROM recipient"
_HANDED = "SELECT count(*) FROM attempt WHERE finished_at IS NOT NULL"
_WINDOWS = (1.0, 5.0)  # seconds


async def plan(databases: Iterable[Database], people: int) -> list[Figure]:
    """How long a segment of everybody takes to plan, and the peak memory of the process that does it."""
    figures = []
    for database in databases:
        say(f"campaigns: {people} people in {database.name}")
        await fill(database, customers=people, messages=1)
        await _begin(database, {"start": "in a day"})
        async with served("hub", *hub_arguments(database, "outbound")) as hub, watching(database) as watch:
            began = time.perf_counter()
            seconds = await watch.until(_PLANNED, people) - began
            what = f"{people} people, {database.name}"
            figures += [
                _once("seconds to plan", what, seconds, "s", PLAN_AIM * people / 1e6),
                _once("peak memory", what, _peak(hub), "MB", MEMORY_AIM),
            ]
    return figures


async def pace(databases: Iterable[Database], people: int, rate: float) -> list[Figure]:
    """What share of its rate a campaign reaches, and the most in any few seconds against it."""
    figures = []
    for database in databases:
        await fill(database, customers=people, messages=1)
        await _begin(database, {"rate": rate})
        async with (
            served("sink") as sink,
            served("hub", *hub_arguments(database, "outbound", sink.port)),
            watching(database) as watch,
        ):
            say(f"campaigns: {people} messages at {rate:g}/s in {database.name}")
            await watch.until(_HANDED, people)
            figures += _kept(database.name, await _taken(sink.port), rate)
    return figures


async def _taken(port: int) -> list[float]:
    """When the provider took each message, in seconds of its own clock."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/taken") as answer:
        return sorted(await answer.json())


def _kept(name: str, taken: list[float], rate: float) -> list[Figure]:
    reached = (len(taken) - 1) / (taken[-1] - taken[0]) / rate
    what = f"{len(taken)} messages at {rate:g}/s, {name}"
    most = [
        _ratio(f"most in any {window:g} s", what, _most(taken, window) / (rate * window), "at most", 1.0)
        for window in _WINDOWS
    ]
    return [_ratio("share", what, reached, "at least", RATE_AIM), *most]


def _most(taken: list[float], window: float) -> int:
    """In any window of so many seconds."""
    most = first = 0
    for last, moment in enumerate(taken):
        while taken[first] <= moment - window:
            first += 1
        most = max(most, last - first + 1)
    return most


def _ratio(kind: str, what: str, value: float, sense: Literal["at least", "at most"], aim: float) -> Figure:
    return Figure("campaign's rate", f"{kind}, {what}", value, "× rate", value, value, 1, aim, sense)


def _once(area: str, what: str, value: float, unit: str, aim: float) -> Figure:
    return Figure(area, what, value, unit, value, value, 1, aim, "at most")


async def _begin(database: Database, more: dict[str, object]) -> None:
    """A campaign to everybody that has been started; its hub is not running yet."""
    settings = Settings.model_validate(
        {
            "data": database.data,
            "database_url": database.url,
            "channels": {"sms": {"adapter": "twilio_sms", "account_sid": "AC" + "0" * 32, "auth_token": "0" * 32,
                                 "from_number": "+12025550100"}},
        }
    )  # fmt: skip
    async with opened(settings) as hub:
        start = {"start": (hub.clock() + timedelta(days=1)).isoformat()} if more.pop("start", None) else {}
        draft = read(
            {
                "name": "bench", "purpose": "transactional", "audience": {"segment": {"all": []}},
                "channels": ["sms"], "messages": [{"text": TEXT}], **start, **more,
            }
        )  # fmt: skip
        made = await hub.write(lambda connection, context: engine.create(connection, context, draft))
        await hub.write(lambda connection, context: engine.start(connection, context, made))


def _peak(hub: Served) -> float:
    """MB; 0 where the system does not tell."""
    try:
        lines = Path(f"/proc/{hub.process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)
