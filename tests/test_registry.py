"""Adapters by name, and channels checked with their adapter's own settings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from hub.channels import Channel
from hub.contract import Adapter, Capabilities, ChannelConfig, Event, Outgoing, Receipt, Request, Verified
from hub.registry import FOLDER, GROUP, Adapters, adapters, build, channels, desk, summary
from hub.settings import ConfigError, Settings, load
from hub.testing.host import LocalHost


class Mailbox(BaseModel):
    host: str
    folders: list[str] = []


class PigeonConfig(ChannelConfig):
    token: SecretStr
    lofts: tuple[str, ...] = ()
    names: dict[str, str] = {}
    box: Mailbox | None = None
    motto: str | list[str] = ""


class Pigeon(Adapter[PigeonConfig]):
    medium = "pigeon"
    scheme = "loft"
    capabilities = Capabilities(text_limit=100, idempotency="none")
    Config = PigeonConfig

    def verify(self, request: Request) -> Verified:
        return Verified(accept=True)

    def receive(self, request: Request) -> list[Event]:
        return []

    async def send(self, out: Outgoing) -> Receipt:
        return Receipt("1")


class Perch(Pigeon):
    role = "desk"


KNOWN = Adapters({"pigeon": Pigeon, "perch": Perch})
SMS = {"adapter": "pigeon", "token": "sesame"}


def mistakes(**tables: Mapping[str, object]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        channels(Settings(channels={name: dict(table) for name, table in tables.items()}), KNOWN)
    return caught.value.problems


def test_every_adapter_of_this_distribution_is_registered_under_its_folders_name() -> None:
    folders = {path.parent.name for path in (Path(__file__).parent.parent / "adapters").glob("*/adapter.py")}
    assert folders <= set(adapters())


def test_an_adapter_is_imported_only_when_it_is_used() -> None:
    program = (
        "import sys; from hub.registry import adapters; names = list(adapters());"
        "print(names, [name for name in sys.modules if name.startswith('adapters.')])"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "twilio_sms" in out and out.rstrip().endswith(" []")


def test_channels_are_checked_and_described() -> None:
    spec = channels(Settings(channels={"roof": SMS}), KNOWN)["roof"]
    assert (spec.name, spec.adapter, spec.kind) == ("roof", "pigeon", Pigeon)
    assert (spec.role, spec.medium) == ("contact", "pigeon")
    assert isinstance(spec.config, PigeonConfig) and spec.config.token.get_secret_value() == "sesame"


def test_build_makes_the_adapter_of_one_channel_whatever_is_wrong_with_others() -> None:
    settings = Settings(channels={"roof": SMS, "broken": {"adapter": "pigeon"}})
    host = LocalHost()
    adapter = build(settings, "roof", host, KNOWN)
    assert isinstance(adapter, Pigeon) and (adapter.name, adapter.host) == ("roof", host)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"adapter": "pigeom"}, ["channels.roof.adapter", "'pigeom'", "did you mean pigeon?", "installed: ", "perch"]),
        ({"token": "x"}, ["channels.roof", "no adapter", "pigeon"]),
        ({"adapter": "pigeon"}, ["channels.roof.token is missing", "HUB_CHANNELS__ROOF__TOKEN_FILE"]),
        ({**SMS, "lofs": []}, ["unknown setting channels.roof.lofs", "did you mean channels.roof.lofts?"]),
        ({**SMS, "box": {"host": "h", "folder": "x"}, "rate": -1}, ["channels.roof.rate", "greater than 0"]),
        ({**SMS, "body_limit": "26MiB"}, ["channels.roof.body_limit", "at most 26214400 bytes"]),
        ({**SMS, "body_limit": "much"}, ["channels.roof.body_limit", "byte"]),
        ({**SMS, "names": "{not json"}, ["channels.roof.names", "valid dictionary"]),
    ],
)
def test_a_mistake_in_a_channel_is_told_by_key(table: dict[str, object], told: list[str]) -> None:
    message = "\n".join(mistakes(roof=table))
    assert [part for part in told if part not in message] == [], message


def test_the_mistakes_of_all_channels_are_told_at_once() -> None:
    assert len(mistakes(roof={"adapter": "pigeon"}, yard={"adapter": "crow"}, good=SMS)) == 2


def test_a_misspelt_channel_in_a_variable_is_told_with_its_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "hub.toml").write_text('[channels.roof]\nadapter = "pigeon"\ntoken = "x"')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HUB_CHANNELS__ROOFF__TOKEN", "y")
    with pytest.raises(ConfigError, match=r"channels\.rooff \(env HUB_CHANNELS__ROOFF__TOKEN\).*did you mean roof\?"):
        channels(load(), KNOWN)


def test_secrets_are_in_no_error() -> None:
    table = {"adapter": "pigeon", "token": ["sesame"], "rate": "sesame", "names": "sesame", "box": "sesame"}
    message = "\n".join(mistakes(roof=table))
    assert message.count("channels.roof.") == 4 and "sesame" not in message


def test_text_from_variables_becomes_what_the_field_wants() -> None:
    table = {**SMS, "token": "[1]", "lofts": "a, b", "names": '{"x": "y"}',
             "box": {"host": "h", "folders": "in,out"}, "motto": "fly, home", "rate": "2.5", "body_limit": "2MiB"}
    spec = channels(Settings(channels={"roof": table}), KNOWN)["roof"]
    config = spec.config
    assert isinstance(config, PigeonConfig)
    assert (config.lofts, config.names, config.rate) == (("a", "b"), {"x": "y"}, 2.5)
    assert config.box == Mailbox(host="h", folders=["in", "out"])
    assert config.token.get_secret_value() == "[1]" and config.motto == "fly, home"
    assert spec.body_limit == 2 << 20


def test_a_channel_takes_what_its_provider_sends_or_what_is_set() -> None:
    heavy = type("Heavy", (Pigeon,), {"capabilities": replace(Pigeon.capabilities, webhook=3 << 20)})
    known = Adapters({"pigeon": heavy})
    tables: list[dict[str, Any]] = [SMS, {**SMS, "body_limit": "1KiB"}]
    limits = [channels(Settings(channels={"roof": table}), known)["roof"].body_limit for table in tables]
    assert limits == [3 << 20, 1 << 10]


@pytest.mark.parametrize(
    ("wanted", "tables", "found"),
    [
        (None, {"a": SMS}, None),
        (None, {"a": SMS, "b": {**SMS, "adapter": "perch"}}, "b"),
        ("c", {"b": {**SMS, "adapter": "perch"}, "c": {**SMS, "adapter": "perch"}}, "c"),
    ],
)
def test_the_desk_is_the_named_or_the_only_one(
    wanted: str | None, tables: dict[str, dict[str, object]], found: str | None
) -> None:
    settings = Settings(desk=wanted, channels=tables)
    spec = desk(settings, channels(settings, KNOWN))
    assert (spec and spec.name) == found


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (None, r"several channels are desks \(porch, yard\): name one"),
        ("a", r"'a' is no desk channel; desk channels: porch, yard"),
        ("porcc", r"did you mean porch\?"),
    ],
)
def test_an_unclear_desk_is_a_mistake(wanted: str | None, told: str) -> None:
    perch = {**SMS, "adapter": "perch"}
    settings = Settings(desk=wanted, channels={"a": SMS, "porch": perch, "yard": perch})
    with pytest.raises(ConfigError, match=told):
        desk(settings, channels(settings, KNOWN))


def test_an_adapter_that_does_not_import_is_told_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "broken-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nbroken = missing_module_of_broken:X\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    installed = adapters()
    assert "broken" in installed
    with pytest.raises(ConfigError, match=r"'broken' cannot be imported: .*missing_module_of_broken"):
        installed.named("broken")


@pytest.mark.parametrize(
    ("classes", "told"), [("", "none"), ("class A(Adapter): ...\nclass B(A): ...\n", "A, B")], ids=["none", "two"]
)
def test_a_folder_with_another_number_of_adapters_is_told(
    classes: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = f"pigeons_{'and_'.join(told.split(', ')).lower()}"
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "adapter.py").write_text(f"from hub.contract import Adapter\n{classes}")
    monkeypatch.setattr(import_module(FOLDER), "__path__", [*import_module(FOLDER).__path__, str(tmp_path)])
    with pytest.raises(ConfigError, match=f"must define one class that is an Adapter; it defines {told}"):
        adapters().named(folder)


def test_capabilities_fit_one_line() -> None:
    can = Capabilities(text_limit=1600, idempotency="echo", media="url", media_max=10, media_size=5_000_000, buttons=3,
                       delivered=True, window=timedelta(hours=24))
    assert summary(can) == "1600 characters, delivered, 10 files of 5 MB, 3 buttons, window 24 h, lost answers: echo"


@pytest.mark.parametrize(("configured", "seconds"), [(None, 60), (3, 3)])
def test_a_configured_settle_time_replaces_the_adapters_own(configured: float | None, seconds: float) -> None:
    pigeon = Pigeon("post", PigeonConfig(token=SecretStr("x"), settle=configured), LocalHost())
    assert Channel.of("pigeon", pigeon).capabilities.settle == timedelta(seconds=seconds)
