"""Where settings come from, which source wins, and what a mistake is told."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from hub.settings import ConfigError, Settings, leaves, load, master_key, variable

ROOT = Path(__file__).parent.parent
KEY = "k" * 32


@pytest.fixture(autouse=True)
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("HUB_")]:
        monkeypatch.delenv(name)


def put(files: Mapping[str, str]) -> None:
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")


def mistake(**flags: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load(flags=flags)
    return "\n".join(caught.value.problems)


def test_without_any_source_everything_is_default() -> None:
    settings = load()
    assert settings.public_url == "http://127.0.0.1:8080"
    assert (settings.listen.host, settings.listen.port) == ("127.0.0.1", 8080)
    assert settings.conversation.new_after == timedelta(hours=72)
    assert settings.roles == ("web", "inbound", "outbound", "pull")
    assert settings.body_limit == 1024 * 1024
    assert {settings.origin(key) for key in leaves(Settings)} == {"default"}


def test_each_source_wins_over_the_ones_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken away from the top, the next one shows."""
    put({
        "hub.toml": '[channels.sms]\nauth_token = "toml"',
        "secrets/channels__sms__auth_token": "secret\n",
        "token": "file\n",
        ".env": "HUB_CHANNELS__SMS__AUTH_TOKEN=dotenv",
    })
    monkeypatch.setenv("HUB_SECRETS_DIR", "secrets")
    monkeypatch.setenv("HUB_CHANNELS__SMS__AUTH_TOKEN", "env")

    def winner(**flags: object) -> tuple[object, str]:
        settings = load(flags=flags)
        return settings.channels["sms"]["auth_token"], settings.origin("channels.sms.auth_token")

    assert winner(**{"channels.sms.auth_token": "flag"}) == ("flag", "flag")
    assert winner() == ("env", "env HUB_CHANNELS__SMS__AUTH_TOKEN")
    monkeypatch.delenv("HUB_CHANNELS__SMS__AUTH_TOKEN")
    assert winner() == ("dotenv", ".env HUB_CHANNELS__SMS__AUTH_TOKEN")
    Path(".env").unlink()
    monkeypatch.setenv("HUB_CHANNELS__SMS__AUTH_TOKEN_FILE", "token")
    assert winner() == ("file", "env HUB_CHANNELS__SMS__AUTH_TOKEN_FILE")
    monkeypatch.delenv("HUB_CHANNELS__SMS__AUTH_TOKEN_FILE")
    assert winner() == ("secret", "secrets channels__sms__auth_token")
    monkeypatch.delenv("HUB_SECRETS_DIR")
    assert winner() == ("toml", "hub.toml")


def test_sources_are_merged_key_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    put({"hub.toml": '[listen]\nhost = "0.0.0.0"\nport = 1\n[channels.sms]\nadapter = "x"\nauth_token = "a"'})
    monkeypatch.setenv("HUB_LISTEN__PORT", "2")
    monkeypatch.setenv("HUB_CHANNELS__SMS__AUTH_TOKEN", "0123")
    settings = load()
    assert (settings.listen.host, settings.listen.port) == ("0.0.0.0", 2)
    assert settings.channels == {"sms": {"adapter": "x", "auth_token": "0123"}}
    assert [settings.origin(f"listen.{key}") for key in ("host", "port")] == ["hub.toml", "env HUB_LISTEN__PORT"]


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        ("HUB_ROLES", "web, pull", "roles", ("web", "pull")),
        ("HUB_EGRESS__ALLOW", "10.0.0.0/8,files.example.com", "egress.allow", ("10.0.0.0/8", "files.example.com")),
        ("HUB_CONVERSATION__NEW_AFTER", "90m", "conversation.new_after", timedelta(minutes=90)),
        ("HUB_CONVERSATION__NEW_AFTER", "3d", "conversation.new_after", timedelta(days=3)),
        ("HUB_BODY_LIMIT", "2MiB", "body_limit", 2 << 20),
        ("HUB_PUBLIC_URL", "https://hub.example.com/", "public_url", "https://hub.example.com"),
        ("hub_outbound", "off", "outbound", "off"),
        ("HUB_DESK", "", "desk", None),
        ("HUB_TOPICS", '{"news": "Kettle News"}', "topics", {"news": "Kettle News"}),
    ],
)
def test_variables_are_read_by_type(
    name: str, text: str, key: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, text)
    found: object = load()
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value


def test_topics_are_a_table_or_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    put({"hub.toml": 'topics = { news = "Kettle News", offers = "Offers" }'})
    assert load().topics == {"news": "Kettle News", "offers": "Offers"}
    put({"hub.toml": '[topics]\nnews = "Kettle News"'})
    assert load().topics == {"news": "Kettle News"}
    monkeypatch.setenv("HUB_TOPICS", '{"sale": "Sale"}')
    assert load().topics == {"sale": "Sale"}


@pytest.mark.parametrize(
    ("files", "variables", "told"),
    [
        ({"hub.toml": "[listen]\nprot = 1"}, {}, ["listen.prot", "hub.toml", "did you mean listen.port?"]),
        ({"hub.toml": "[lissten]\nport = 1"}, {}, ["lissten.port", "hub.toml", "did you mean listen.port?"]),
        ({"hub.toml": "port = 1"}, {}, ["port (hub.toml)", "did you mean listen.port?"]),
        ({"hub.toml": "listen = 8080"}, {}, ["listen (hub.toml)", "did you mean listen."]),
        ({}, {"HUB_PUBLIC_ULR": "x"}, ["public_ulr", "env HUB_PUBLIC_ULR", "HUB_PUBLIC_URL"]),
        ({}, {"HUB_LISTEN_PORT": "1"}, ["env HUB_LISTEN_PORT", "HUB_LISTEN__PORT"]),
        ({}, {"HUB_ZZZZZZ": "x"}, ["env HUB_ZZZZZZ", "config/hub.example.toml"]),
        ({".env": "HUB_LOG_LEVL=info"}, {}, [".env HUB_LOG_LEVL", "HUB_LOG_LEVEL"]),
        ({"s/secret_kee": KEY}, {"HUB_SECRETS_DIR": "s"}, ["secrets secret_kee", "did you mean secret_key?"]),
        ({"s/desk": "a", "s/hub_desk": "b"}, {"HUB_SECRETS_DIR": "s"}, ["hub_desk", "twice"]),
        ({}, {"HUB_SECRETS_DIR": "nowhere"}, ["HUB_SECRETS_DIR", "nowhere", "not a directory"]),
        ({"k": "x"}, {"HUB_DESK": "a", "HUB_DESK_FILE": "k"}, ["HUB_DESK_FILE", "without _FILE"]),
        ({"k": "x", ".env": "HUB_DESK=a"}, {"HUB_DESK_FILE": "k"}, ["HUB_DESK_FILE", "without _FILE"]),
        ({}, {"HUB_DESK_FILE": "nowhere"}, ["HUB_DESK_FILE", "nowhere", "No such file"]),
        ({}, {"HUB_CONFIG": "nowhere.toml"}, ["nowhere.toml", "no such file", "HUB_CONFIG"]),
        ({}, {"HUB_TOPICS": "news"}, ["topics (env HUB_TOPICS)", "as a variable they are JSON"]),
        ({"hub.toml": 'topics = { News = "x" }'}, {}, ["topics.News (hub.toml): String should match"]),
        ({"hub.toml": "listen = ["}, {}, ["hub.toml", "not TOML"]),
        ({"hub.toml": "[listen]\nport = 70000"}, {}, ["listen.port (hub.toml)", "less than or equal to 65535"]),
        ({}, {"HUB_OUTBOUND": "maybe"}, ["outbound (env HUB_OUTBOUND)", "'on' or 'off'"]),
        ({}, {"HUB_ROLES": "web,inbond"}, ["roles.1 (env HUB_ROLES)", "'inbound'"]),
        ({"hub.toml": "[[prices.list]]\nchannel = 'sms'"}, {}, ["prices.list.0.price is missing: set it where the"]),
        ({"hub.toml": "trusted_proxies = ['::/0', '300.1.1.1']"}, {}, ["trusted_proxies.1 (hub.toml): not a network"]),
        ({"hub.toml": "[conversation]\nnew_after = 72"}, {}, ["conversation.new_after (hub.toml)", "unit", "72h"]),
        ({}, {"HUB_PUBLIC_URL": "hub.example.com"}, ["public_url (env HUB_PUBLIC_URL)", "https://hub.example.com"]),
        ({}, {"HUB_DATABASE_URL": "mysql://x"}, ["database_url (env HUB_DATABASE_URL)", "postgresql://"]),
        ({}, {"HUB_DATABASE_URL": "postgresql://u:a/b@h/d"}, ["database_url (env HUB_DATABASE_URL)", "%2F for /"]),
        ({}, {"HUB_DATABASE_URL": "postgresql://u:12/b@h/d"}, ["percent-encoded"]),
        ({}, {"HUB_DATABASE_URL": "postgresql://u:a@b@h/d"}, ["%40 for @"]),
        ({}, {"HUB_DATABASE_URL": "postgresql://u:a#b@h/d"}, ["%23 for #"]),
        ({}, {"HUB_DATABASE_URL": "postgresql://h:port/d"}, ["postgresql://user:password@host/name"]),
        ({"hub.toml": "channels.sms = 1"}, {}, ["channels.sms (hub.toml)", "[channels.sms]"]),
        ({"hub.toml": "[channels.sms]"}, {}, ["channels.sms (hub.toml)", "adapter"]),
        ({"hub.toml": "[channels.My-SMS]\nadapter='x'"}, {}, ["channels.My-SMS (hub.toml)", "'My-SMS'", "small"]),
        (
            {"hub.toml": "[channels.sms]\na = 1"},
            {"HUB_CHANNELS__SMS__A__B": "2"},
            ["channels.sms.a.b (env HUB_CHANNELS__SMS__A__B)", "channels.sms.a is set to a plain value"],
        ),
    ],
)
def test_a_mistake_is_told_with_key_source_and_remedy(
    files: dict[str, str], variables: dict[str, str], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(files)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    message = mistake()
    assert [part for part in told if part not in message] == [], message


def test_all_mistakes_are_told_at_once() -> None:
    put({"hub.toml": "desck = 'a'\n[listen]\nprot = 1"})
    assert len(mistake().splitlines()) == 2


def test_an_unknown_flag_is_refused() -> None:
    assert "listen.prot (flag); did you mean listen.port?" in mistake(**{"listen.prot": 1})


def test_variables_of_tests_and_of_others_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HUB_TEST_POSTGRES", "HUB_CRASH", "HUB_DEBUG", "GITHUB_TOKEN", "HUBERT"):
        monkeypatch.setenv(name, "x")
    put({".env": "COMPOSE_PROJECT_NAME=x"})
    assert load().origin("public_url") == "default"


def test_the_file_is_named_by_argument_before_variable_before_habit(monkeypatch: pytest.MonkeyPatch) -> None:
    put({"hub.toml": "desk = 'habit'", "b.toml": "desk = 'variable'", "c.toml": "desk = 'argument'"})
    assert load().desk == "habit"
    monkeypatch.setenv("HUB_CONFIG", "b.toml")
    assert load().desk == "variable"
    assert load(Path("c.toml")).desk == "argument"
    assert load(Path("c.toml")).origin("desk") == "c.toml"


def test_secrets_show_in_no_text_of_the_settings_nor_in_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = f"secret_key = '{KEY}'\ndatabase_url = 'postgresql://u:hunter2@h/d'\n"
    put({"hub.toml": secret + "[channels.sms]\ntoken = 'sesame'"})
    settings = load()
    texts = [repr(settings), str(settings), settings.model_dump_json(), json.dumps(settings.model_dump(), default=str)]
    assert [word for word in (KEY, "hunter2", "sesame") for text in texts if word in text] == []
    monkeypatch.setenv("HUB_SECRET_KEY", "too-short-sesame")
    for url in ("mysql://u:sesame@h/d", "postgresql://u:sesame/sesame@h/d"):
        monkeypatch.setenv("HUB_DATABASE_URL", url)
        message = mistake()
        assert "secret_key" in message and "database_url" in message and "sesame" not in message


def test_the_database_is_sqlite_in_the_data_directory_unless_set(tmp_path: Path) -> None:
    assert Settings(data=Path("d")).database == f"sqlite:///{tmp_path}/d/hub.db"
    assert load(flags={"database_url": "postgresql://h/d"}).database == "postgresql://h/d"


def test_the_master_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "a" / "b")
    key = master_key(settings)
    path = tmp_path / "a" / "b" / "secret_key"
    assert len(key) >= 32 and master_key(settings) == key == path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["secret_key"]


def test_processes_that_start_together_agree_on_the_master_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(lambda _: master_key(Settings(data=tmp_path)), range(64)))
    assert len(keys) == 1


def test_a_set_master_key_is_used_and_nothing_is_written(tmp_path: Path) -> None:
    assert master_key(load(flags={"secret_key": KEY, "data": tmp_path / "none"})) == KEY.encode()
    assert not (tmp_path / "none").exists()


def test_a_damaged_master_key_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text("")
    with pytest.raises(ConfigError, match="put back the old file"):
        master_key(Settings(data=tmp_path))


def test_the_example_file_names_every_setting_and_its_values_are_the_defaults() -> None:
    path = ROOT / "config" / "hub.example.toml"
    settings = load(path)
    text = path.read_text()
    table = ""
    named = set()
    for line in text.splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            table = match[1] + "."
        elif match := re.match(r"(?:# )?(\w+) = ", line):
            named.add(table + match[1])
    assert {key for key in leaves(Settings) if key != "channels"} <= named
    assert settings.model_dump() == Settings(data=Path("./hub-data")).model_dump()


def test_the_example_variables_name_every_setting_and_their_values_are_the_defaults() -> None:
    text = (ROOT / ".env.example").read_text()
    put({".env": text})
    named = {line.partition("=")[0] for line in text.splitlines() if re.match(r"HUB_", line)}
    assert named == {variable(key) for key in leaves(Settings) if key != "channels"}
    assert load().model_dump() == Settings().model_dump()


@pytest.mark.parametrize("name", ["config/hub.example.toml", ".env.example"])
def test_every_key_of_the_examples_has_a_comment(name: str) -> None:
    lines = (ROOT / name).read_text().split("# One table per account")[0].splitlines()
    keys = [number for number, line in enumerate(lines) if re.match(r"(# )?\w+ ?=", line)]
    assert [lines[number] for number in keys if not lines[number - 1].startswith("# ")] == []
