"""``hub channel add`` and ``hub channel matrix``."""

from __future__ import annotations

import asyncio
import os
import stat
import tomllib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from adapters.twilio_sms.simulator import Simulator
from hub.cli import main
from hub.cli._adding import _questions, draft
from hub.cli._matrix import BEGIN, END
from hub.contract import RARE
from hub.registry import adapters
from hub.settings import Settings, load
from tests.process import HUB, Cli, clean_environment

ROOT = Path(__file__).parent.parent
SECRET = r"""it's \' a \\ and "quotes" # no comment"""


@pytest.fixture
def hub(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "hub.toml"
    config.write_text('# ours\npublic_url = "https://hub.example.com"  # by the proxy\n\n[listen]\nport = 0')
    return Cli(config, capsys)


@pytest.fixture
async def twilio() -> AsyncIterator[Simulator]:
    simulator = Simulator()
    await simulator.start()
    yield simulator
    await simulator.stop()


def sets(values: dict[str, Any]) -> list[str]:
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def secrets_in(directory: Path) -> dict[str, int]:
    """Names of files, with their modes."""
    return {path.name: mode(path) for path in directory.iterdir()}


def dotenv() -> str | None:
    """What is in the file; every test is in a directory of its own."""
    path = Path(".env")
    return path.read_text() if path.exists() else None


# --- matrix ---


def test_the_table_in_the_readme_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["channel", "matrix"]) == 0
    table = capsys.readouterr().out
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{BEGIN}\n{table}{END}" in text, "renew it: hub channel matrix --write README.md"


def test_every_page_in_the_table_exists(capsys: pytest.CaptureFixture[str]) -> None:
    main(["channel", "matrix"])
    pages = [line.rpartition("](")[2].removesuffix(") |") for line in capsys.readouterr().out.splitlines()[2:]]
    assert "adapters/twilio_sms/README.md" in pages
    assert [page for page in pages if not (ROOT / page).is_file()] == []


async def test_the_table_is_put_between_the_marks(hub: Cli, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert (await hub("channel", "matrix", "--write", str(page))).out == f"{page}: written\n"
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n| channel |")
    assert text.endswith(f" |\n{END}\nafter\n")
    assert "old" not in text
    assert (await hub("channel", "matrix", "--write", str(page))).out == f"{page}: was up to date\n"
    assert (await hub("channel", "matrix", "--json")).json[0]["adapter"] in text


async def test_a_page_without_marks_is_left_alone(hub: Cli, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing of the kind\n")
    done = await hub("channel", "matrix", "--write", str(page))
    assert (done.code, page.read_text()) == (1, "nothing of the kind\n")
    assert BEGIN in done.err


# --- add ---


async def test_a_channel_is_added_and_checked(hub: Cli, twilio: Simulator, tmp_path: Path) -> None:
    before = hub.config.read_text()
    done = await hub("channel", "add", "twilio_sms", "--no-input", *sets(twilio.config()), "--json")
    assert done.code == 0, done.err
    assert done.json["url"] == "https://hub.example.com/hooks/sms"
    assert done.json["check"]["level"] == "ok"
    text = hub.config.read_text()
    assert text.startswith(before + "\n\n[channels.sms]\nadapter = \"twilio_sms\"\n"), "what was there stays as it was"
    assert twilio.config()["auth_token"] not in text + done.out + done.err
    assert mode(tmp_path / ".env") == 0o600
    assert load(hub.config).channels["sms"] == {"adapter": "twilio_sms", **twilio.config()}


async def test_a_failing_check_is_told_and_the_channel_stays(hub: Cli, twilio: Simulator) -> None:
    wrong = {**twilio.config(), "auth_token": "0" * 32}
    done = await hub("channel", "add", "twilio_sms", "--no-input", *sets(wrong))
    assert done.code == 1
    assert "check: error" in done.out
    assert "sms" in load(hub.config).channels


async def test_without_a_settings_file_one_is_made(
    tmp_path: Path, hub: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.config.unlink()
    words = ["channel", "add", "webchat", "--no-input", "--no-check", "--set", "allowed_origins=*"]
    assert main(words) == 0
    assert (tmp_path / "hub.toml").read_text() == '[channels.webchat]\nadapter = "webchat"\nallowed_origins = ["*"]\n'
    assert "webhook" not in capsys.readouterr().out, "there is none to paste"


async def test_a_channel_that_nobody_calls_has_no_webhook_to_paste(hub: Cli, tmp_path: Path) -> None:
    for adapter, value in (("webchat", "allowed_origins=*"), ("apprise", "url=json://127.0.0.1:1")):
        done = await hub("channel", "add", adapter, "--no-input", "--no-check", "--set", value, "--json")
        assert (done.code, done.json["url"]) == (0, None)
    assert (await hub("webhook", "urls", "--json")).json == []


async def test_an_address_that_no_provider_reaches_is_not_passed_on_silently(hub: Cli, tmp_path: Path) -> None:
    words = ("channel", "add", "line", "--no-input", "--no-check", *sets(LINE))
    assert "set public_url" not in (await hub(*words)).out
    hub.config.write_text("")
    (tmp_path / ".env").unlink()
    assert "set public_url to the https address" in (await hub(*words)).out


LINE = {"channel_secret": "a-secret", "channel_access_token": "a-token"}


async def test_a_chat_says_what_to_put_into_the_pages(hub: Cli) -> None:
    done = await hub("channel", "add", "webchat", "--name", "site", "--no-input", "--no-check", "--set",
                     "allowed_origins=*")  # fmt: skip
    assert '<script async src="https://hub.example.com/channels/site/widget.js"></script>' in done.out


@pytest.mark.parametrize("name", list(adapters()))
def test_who_is_called_says_where_to_paste_that_and_rare_settings_are_not_asked_for(name: str) -> None:
    kind = adapters().named(name)
    if kind.capabilities.inbound:
        assert hasattr(kind, "webhook_help")
    new = draft(Settings(), kind, name, kind.medium, {})
    few, every = ({each.name for each in _questions(new, all_of_them)} for all_of_them in (False, True))
    rare = {key for key, its in kind.Config.model_fields.items() if its.json_schema_extra == RARE}
    assert rare <= every and not rare & few and len(few) <= 7


async def test_values_have_their_types_in_the_file(hub: Cli) -> None:
    given = {"allowed_origins": "https://a.example,https://b.example", "allow_missing_origin": "true",
             "connections_per_ip": "9"}
    done = await hub("channel", "add", "webchat", "--name", "site", "--no-input", "--no-check", *sets(given))
    assert done.code == 0, done.err
    assert tomllib.loads(hub.config.read_text())["channels"]["site"] == {
        "adapter": "webchat", "allowed_origins": ["https://a.example", "https://b.example"],
        "allow_missing_origin": True, "connections_per_ip": 9,
    }
    assert dotenv() is None, "there was no secret"


async def test_secrets_go_to_the_secrets_directory_if_there_is_one(
    hub: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secrets").mkdir()
    monkeypatch.setenv("HUB_SECRETS_DIR", "secrets")
    given = {"bot_token": "xoxb-1", "app_token": "xapp-1", "channel": "C1", "agents": '{"U1": "Ann"}'}
    done = await hub("channel", "add", "slack", "--no-input", "--no-check", *sets(given))
    assert done.code == 0, done.err
    assert secrets_in(tmp_path / "secrets") == {
        "HUB_CHANNELS__SLACK__BOT_TOKEN": 0o600, "HUB_CHANNELS__SLACK__APP_TOKEN": 0o600
    }
    assert load(hub.config).channels["slack"] == {"adapter": "slack", **given, "agents": {"U1": "Ann"}}
    assert dotenv() is None


async def test_lines_of_a_dotenv_stay_and_any_secret_survives(hub: Cli, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# ours\nHUB_LOG_LEVEL=debug")
    path.chmod(0o644)
    given = {"address": "a@example.com", "smtp_host": "smtp.example.com", "password": SECRET}
    done = await hub("channel", "add", "email", "--no-input", "--no-check", *sets(given))
    assert done.code == 0, done.err
    assert path.read_text().startswith("# ours\nHUB_LOG_LEVEL=debug\nHUB_CHANNELS__EMAIL__PASSWORD='")
    assert mode(path) == 0o600
    assert load(hub.config).log_level == "debug"
    assert load(hub.config).channels["email"]["password"] == SECRET


async def test_a_secret_that_a_dotenv_would_change_is_refused(hub: Cli) -> None:
    before = hub.config.read_text()
    given = {"address": "a@example.com", "smtp_host": "smtp.example.com", "password": "a${HOME}"}
    done = await hub("channel", "add", "email", "--no-input", "--no-check", *sets(given))
    assert (done.code, hub.config.read_text(), dotenv()) == (1, before, None)
    assert "HUB_SECRETS_DIR" in done.err


async def test_a_word_of_our_own_is_made_and_shown_with_its_use(hub: Cli) -> None:
    given = {"phone_number_id": "1", "access_token": "t" * 20, "app_secret": "s" * 20}
    done = await hub("channel", "add", "whatsapp_cloud", "--no-input", "--no-check", *sets(given), "--json")
    assert done.code == 0, done.err
    (tell,) = done.json["tell"]
    assert tell["key"] == "verify_token"
    assert "entered at Meta" in tell["help"]
    assert load(hub.config).channels["whatsapp"]["verify_token"] == tell["value"]
    assert len(tell["value"]) >= 32


async def test_what_a_variable_says_is_not_asked(hub: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_CHANNELS__SMS__AUTH_TOKEN", "f" * 32)
    given = {"account_sid": "AC1", "from_number": "+12025550100"}
    done = await hub("channel", "add", "twilio_sms", "--no-input", "--no-check", *sets(given))
    assert done.code == 0, done.err
    assert dotenv() is None


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["pigeon"], 2, "unknown adapter 'pigeon'"),
        (["twilio_sms", "--no-input"], 2, "channels.sms.account_sid is missing"),
        (["twilio_sms", "--no-input"], 2, "--set key=value"),
        (["twilio_sms", "--no-input", "--set", "acount_sid=AC1"], 2, "did you mean channels.sms.account_sid?"),
        (["twilio_sms", "--no-input", "--set", "account_sid"], 2, "--set takes key=value"),
        (["webchat", "--name", "My site", "--no-input"], 2, "cannot be a channel's name"),
        (["webchat", "--no-input", "--set", "allowed_origins=nonsense"], 2, "is no origin"),
    ],
)
async def test_a_mistake_is_told_and_nothing_is_written(hub: Cli, arguments: list[str], code: int, said: str) -> None:
    before = hub.config.read_text()
    done = await hub("channel", "add", *arguments)
    assert (done.code, hub.config.read_text(), dotenv()) == (code, before, None)
    assert said in done.err


async def test_a_channel_is_added_once(hub: Cli) -> None:
    words = ("channel", "add", "webchat", "--no-input", "--no-check", "--set", "allowed_origins=*")
    assert (await hub(*words)).code == 0
    before = hub.config.read_text()
    done = await hub(*words)
    assert (done.code, hub.config.read_text()) == (1, before)
    assert "--name" in done.err


async def test_a_file_that_cannot_take_a_table_is_left_alone(hub: Cli) -> None:
    text = 'channels = {site = {adapter = "webchat", allowed_origins = ["*"]}}\n'
    hub.config.write_text(text)
    given = {"account_sid": "AC1", "from_number": "+12025550100", "auth_token": "f" * 32}
    done = await hub("channel", "add", "twilio_sms", "--no-input", "--no-check", *sets(given))
    assert (done.code, hub.config.read_text(), dotenv()) == (1, text, None)
    assert "write the table [channels.sms] yourself" in done.err


# --- questions ---


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self.shown = ""

    async def run(self, *arguments: str, answers: list[tuple[str, str]]) -> int:
        """The exit code. ``answers``: what is typed, each once the question's end is on the screen."""
        ours, theirs = os.openpty()
        os.set_blocking(ours, False)
        process = await asyncio.create_subprocess_exec(
            HUB, *arguments, cwd=self._place, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env=clean_environment(),
        )
        os.close(theirs)
        try:
            for question, answer in answers:
                await self._until(ours, lambda question=question: self._fresh(question))
                self.shown += "\0"  # what is before was answered
                os.write(ours, answer.encode() + b"\n")
            await self._until(ours, lambda: False)
            return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            os.close(ours)

    def _fresh(self, question: str) -> bool:
        return self.shown.rpartition("\0")[2].endswith(question)

    async def _until(self, terminal: int, done: Callable[[], bool]) -> None:
        """Read on; the end of the other side ends it too."""
        loop = asyncio.get_running_loop()
        while not done():
            readable = loop.create_future()
            loop.add_reader(terminal, lambda future=readable: future.done() or future.set_result(None))
            try:
                await readable
                self.shown += os.read(terminal, 4096).decode()
            except OSError:
                return
            finally:
                loop.remove_reader(terminal)


async def test_the_terminal_is_asked_and_shows_no_secret(hub: Cli, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    code = await terminal.run(
        "channel", "add", "twilio_sms", "--no-check",
        answers=[
            ("account_sid: ", "nonsense"),
            ("auth_token (not shown): ", "f" * 32),
            ("from_number (Enter: none): ", "+12025550100"),
            ("messaging_service_sid (Enter: none): ", ""),
            ("account_sid: ", "AC1"),  # what was wrong is asked once more
        ],
    )
    assert code == 0, terminal.shown
    assert "f" * 32 not in terminal.shown
    assert "channels.sms.account_sid (given): String should match pattern" in terminal.shown
    assert load(hub.config).channels["sms"] == {
        "adapter": "twilio_sms", "account_sid": "AC1", "auth_token": "f" * 32, "from_number": "+12025550100"
    }


async def test_what_does_not_fit_together_is_asked_again_with_the_answers_that_were_given(
    hub: Cli, tmp_path: Path
) -> None:
    terminal = Terminal(tmp_path)
    end = ("messaging_service_sid (Enter: none): ", "")
    code = await terminal.run(
        "channel", "add", "twilio_sms", "--no-check",
        answers=[
            ("account_sid: ", "AC1"),
            ("auth_token (not shown): ", "f" * 32),
            ("from_number (Enter: none): ", ""),
            end,
            ("account_sid [AC1]: ", ""),
            ("auth_token (not shown): ", ""),
            ("from_number (Enter: none): ", "+12025550100"),
            end,
        ],
    )
    assert code == 0, terminal.shown
    assert "set from_number or messaging_service_sid" in terminal.shown
    assert load(hub.config).channels["sms"] == {
        "adapter": "twilio_sms", "account_sid": "AC1", "auth_token": "f" * 32, "from_number": "+12025550100"
    }
