"""What ``hub doctor`` looks at."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import sqlalchemy as sa
from pydantic import SecretStr

from hub import registry
from hub.app import CannotStart, opened, store_of
from hub.cli._hub import LOCAL, reached
from hub.cli._logging import only_warnings
from hub.cli._masked import masked
from hub.cli.base import Failure, State
from hub.clock import system_clock
from hub.contract import AnyAdapter
from hub.host import bookmarks, keep_bookmarks
from hub.policy import pack
from hub.settings import ConfigError, Settings, master_key
from hub.store import Store, migrations
from hub.store.sqlite import DirectoryInUse

_SKEW = 2.0  # seconds between our clock and the database's
_LATE = 60.0  # seconds that a delivery may wait for its projection
_ROOM = (1 << 30, 100 << 20)  # free bytes below which the disk is a worry, and an error
_ANSWER = 15.0  # seconds that a channel has
_HERE = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Finding:
    """``next``: what to do; empty if all is well."""

    check: str
    level: Literal["ok", "warning", "error"]
    detail: str
    next: str = ""


async def examine(state: State) -> list[Finding]:
    """Everything that can be looked at, even where some of it is wrong. Changes nothing."""
    only_warnings()
    try:
        settings = state.settings()
        specs = registry.channels(settings, state.adapters())
        desk = registry.desk(settings, specs)
        registry.alerts(settings, specs)
    except ConfigError as error:
        advice = "mend it, then look again; config/hub.example.toml explains all settings"
        return [Finding("settings", "error", each, advice) for each in error.problems]
    found = list(_settings(settings, specs, desk))
    if wrong := _data(settings):
        found.append(wrong)
    else:
        found += [each async for each in _database(settings, state)]
    found += await checked(settings, state)
    return found


# --- settings ---


def _settings(
    settings: Settings, specs: dict[str, registry.ChannelSpec], desk: registry.ChannelSpec | None
) -> Iterator[Finding]:
    yield Finding("settings", "ok", f"channels: {', '.join(specs) or 'none'}")
    yield _address(settings, bool(specs))
    if specs and desk is None:
        yield Finding("desk", "warning", "no channel is a desk: nobody sees what customers write",
                      "add a channel with a desk adapter, for example slack")
    if settings.outbound == "off":
        yield Finding("outbound", "warning", "off: nothing is handed to a provider", "set outbound = \"on\" to send")
    yield from _policy(settings)
    if settings.postal_address is None and any(pack.default().channel(each.medium).imprint for each in specs.values()):
        yield Finding("postal_address", "warning", "not set: advertising by mail is refused without it",
                      "set postal_address to who and where you are, as a letter finds you")
    yield _disk(settings.data)


def _policy(settings: Settings) -> Iterator[Finding]:
    if settings.policy is not None:
        try:
            yield Finding("policy", "ok", f"{settings.policy}: version {pack.read(settings.policy).version}")
        except (ValueError, OSError) as error:
            yield Finding("policy", "error", str(error), "mend that, or take the setting policy away")


def _data(settings: Settings) -> Finding | None:
    """What keeps this user from working on the data directory."""
    place = next(each for each in (settings.data.absolute(), *settings.data.absolute().parents) if each.exists())
    names = ("hub.db", "hub.db-wal", "hub.db-shm", "hub.db.lock")
    needed = [place, *(each for name in names if (each := settings.data / name).exists())]
    if barred := [str(each) for each in needed if not os.access(each, os.W_OK)]:
        advice = "run the hub and its commands as one user, and give that user the data directory (chown -R)"
        return Finding("data", "error", f"this user may not write to {', '.join(barred)}", advice)
    try:
        if (settings.data / "secret_key").exists():
            master_key(settings)
    except ConfigError as error:
        advice = "put back the key that the hub has worked with so far, readable for the user that runs it"
        return Finding("data", "error", str(error), advice)
    return None


def _address(settings: Settings, has_channels: bool) -> Finding:
    parts = urlsplit(settings.public_url)
    if not has_channels or (parts.scheme == "https" and parts.hostname not in _HERE):
        return Finding("public_url", "ok", settings.public_url)
    advice = "set public_url to the https address that leads to this hub, and enter hub webhook urls at the providers"
    reason = "only this machine reaches it" if parts.hostname in _HERE else "not https: messages travel in the open"
    return Finding("public_url", "warning", f"{settings.public_url}: {reason}", advice)


def _disk(data: Path) -> Finding:
    place = next(each for each in (data.absolute(), *data.absolute().parents) if each.exists())
    free = shutil.disk_usage(place).free
    level: Literal["ok", "warning", "error"] = "ok" if free > _ROOM[0] else "warning" if free > _ROOM[1] else "error"
    advice = "" if level == "ok" else "make room, or move data to another disk"
    return Finding("disk", level, f"{free / 1e9:.1f} GB free for {data}", advice)


# --- the database ---


async def _database(settings: Settings, state: State) -> AsyncIterator[Finding]:
    name = str(masked(settings.database))
    clock: Finding | None = None
    try:
        if not _exists(settings):
            yield Finding("database", "ok", f"{name}: not there yet; hub serve makes it")
            return
        async with store_of(settings) as store:
            schema = await _schema(store, name)
            yield schema
            if store.dialect == "postgresql":
                clock = await _skew(store)
        if schema.level != "ok":
            if clock is not None:
                yield clock
            return
    except CannotStart as error:
        yield Finding("database", "error", str(error), "mend that, then look again")
        return
    except DirectoryInUse:
        yield Finding("database", "ok", f"{name}: a hub works on it")
    try:
        async with reached(state) as hub:
            waiting = await hub.get(f"{LOCAL}/state")
    except Failure as error:
        if clock is not None:
            yield clock
        yield Finding("hub", "error", str(error), "look into the hub's log; stop it and start it again")
        return
    for each in _waiting(waiting):
        yield each if clock is None or each.check != "clock" else _both(clock, each)


def _exists(settings: Settings) -> bool:
    scheme, _, rest = settings.database.partition(":///")
    return scheme != "sqlite" or Path(rest).exists()


async def _schema(store: Store, name: str) -> Finding:
    revision = await store.revision()
    try:
        pending = migrations.pending(revision)
    except LookupError:
        return Finding("database", "error", f"{name}: of a newer version ({revision})", "install that version again")
    if not pending:
        return Finding("database", "ok", f"{name}: revision {revision}")
    return Finding("database", "warning", f"{name}: {len(pending)} migrations to do", "stop the hub, then: hub migrate")


async def _skew(store: Store) -> Finding:
    query = sa.text("SELECT extract(epoch FROM clock_timestamp())")
    theirs = float(await store.read(lambda connection: connection.execute(query).scalar_one()))
    off = system_clock().timestamp() - theirs
    if abs(off) <= _SKEW:
        return Finding("clock", "ok", f"{abs(off):.1f} s from the database's")
    return Finding("clock", "warning", f"{abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the database's",
                   "let both machines take their time from NTP")


def _both(one: Finding, other: Finding) -> Finding:
    """The worse of two findings of one thing, with the words of both."""
    worse = max(one, other, key=lambda each: ("ok", "warning", "error").index(each.level))
    return Finding(one.check, worse.level, f"{one.detail}; {other.detail}", worse.next)


def _waiting(found: dict[str, Any]) -> Iterator[Finding]:
    newest = datetime.fromisoformat(found["newest_at"]) if found["newest_at"] else None
    if newest and newest > datetime.fromisoformat(found["now"]):
        yield Finding("clock", "warning", f"behind: something was received at {newest.isoformat()}",
                      "let this machine take its time from NTP")
    else:
        yield Finding("clock", "ok", f"{system_clock():%Y-%m-%d %H:%M:%S} UTC, nothing was received later")
    if found["copied"]:
        yield Finding("sending", "error", f"{found['copied']}: nothing is sent or fetched",
                      "once no other hub sends what it holds: hub resume --i-restored")
    if found["inbox"] and found["oldest_seconds"] > _LATE:
        yield Finding("inbox", "warning", f"{found['inbox']} deliveries wait, the oldest for "
                      f"{found['oldest_seconds']:.0f} s", "is a hub with the role inbound running? hub serve")
    else:
        yield Finding("inbox", "ok", f"{found['inbox']} deliveries wait")
    for name, count in found["strays"].items():
        yield Finding("waiting", "warning", f"{count} deliveries for {name}, which is not configured: given up in time",
                      f"if they are to go out, put channels.{name} back into the settings")
    if found["quarantined"]:
        yield Finding("quarantine", "warning", f"{found['quarantined']} deliveries could not be read",
                      "see why: hub replay --failed --dry-run; once the adapter is mended: hub replay --failed")


# --- channels ---


async def checked(settings: Settings, state: State) -> list[Finding]:
    """Each channel's own check, on a scratch database: it is of our settings, not of what is stored.

    But what adapters keep for themselves goes there and back: a login may be good only with what the last one left.
    """
    if not settings.channels:
        advice = "add one to the settings: config/hub.example.toml shows how, hub adapter list what there is"
        return [Finding("channels", "warning", "none is configured", advice)]
    with tempfile.TemporaryDirectory(prefix="omnihub-doctor-") as scratch:
        alone = settings.model_copy(
            update={"data": Path(scratch), "database_url": None, "secret_key": SecretStr(secrets.token_urlsafe(48))}
        )
        kept = await _kept(settings, state)
        async with opened(alone, adapters=state.adapters()) as hub:
            for name in hub.adapters:
                await hub.store.write(partial(keep_bookmarks, channel=name, values=kept.get(name, {})))
            found = await asyncio.gather(*(_channel(name, each) for name, each in hub.adapters.items()))
            for adapter in hub.adapters.values():
                await adapter.close()
            left = {name: await hub.store.read(partial(bookmarks, channel=name)) for name in hub.adapters}
    # No more than was changed here: a hub that runs goes on meanwhile, and is further with the rest.
    changed = {name: dict(values.items() - kept.get(name, {}).items()) for name, values in left.items()}
    if any(changed.values()):
        with contextlib.suppress(Failure, CannotStart, ConfigError, OSError):  # told where the database was looked at
            if await _is_usable(settings):
                async with reached(state) as running:
                    await running.post(f"{LOCAL}/bookmarks", {"channels": changed})
    return found


async def _kept(settings: Settings, state: State) -> dict[str, dict[str, str]]:
    with contextlib.suppress(Failure, CannotStart, ConfigError, OSError):
        if await _is_usable(settings):
            async with reached(state) as hub:
                return dict((await hub.get(f"{LOCAL}/bookmarks"))["channels"])
    return {}


async def _is_usable(settings: Settings) -> bool:
    """Whether a command may open the database, or a hub has."""
    try:
        if not _exists(settings):
            return False
        async with store_of(settings) as store:
            return not migrations.pending(await store.revision())
    except DirectoryInUse:
        return True
    except LookupError:
        return False


async def _channel(name: str, adapter: AnyAdapter) -> Finding:
    check = f"channel {name}"
    advice = f"compare channels.{name} with the provider's console (hub config show); can this machine reach it?"
    try:
        async with asyncio.timeout(_ANSWER):
            found = await adapter.check()
    except TimeoutError:
        return Finding(check, "error", f"no answer within {_ANSWER:.0f} s", "can this machine reach the provider?")
    except Exception as error:  # an adapter's bug shall not hide the other channels
        said = f"the check itself failed: {type(error).__name__}"
        return Finding(check, "error", said, "report it to the adapter's author")
    return Finding(check, "ok" if found.ok else "error", " ".join(found.detail.split()), "" if found.ok else advice)
