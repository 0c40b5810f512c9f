"""The commands that need no database, run as a user runs them, with an adapter made for these tests."""

from __future__ import annotations

import hashlib
import hmac
import importlib
import io
import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
import typer
from pydantic import SecretStr

from hub import __version__
from hub.cli import app, main
from hub.cli.base import State
from hub.contract import (
    Adapter,
    Answer,
    Capabilities,
    ChannelConfig,
    ChannelDown,
    Event,
    MessageReceived,
    OptedOut,
    Outgoing,
    RateLimited,
    Receipt,
    Request,
    StatusChanged,
    Unparseable,
    Verified,
)
from hub.model import Attachment, Location, Party, Proof
from hub.registry import adapters
from hub.settings import leaves

FOLDERS = {path.parent.name for path in (Path(__file__).parent.parent / "adapters").glob("*/adapter.py")}
TOKEN = "sesame"
NOW = "2026-01-31T12:00:00Z"


class PigeonConfig(ChannelConfig):
    token: SecretStr


class Pigeon(Adapter[PigeonConfig]):
    """Signs with HMAC-SHA256; the body is JSON, or "crash"."""

    medium = "pigeon"
    scheme = "loft"
    capabilities = Capabilities(text_limit=20, idempotency="none", media="url", media_max=1, media_size=1000)
    Config = PigeonConfig
    taken = Verified(True, body="<coo/>")
    webhook_help = "Tie it to the pigeon's left leg."

    def verify(self, request: Request) -> Verified:
        signature = hmac.new(self.config.token.get_secret_value().encode(), request.body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(signature, request.headers.get("x-signature", "")):
            return Verified(accept=False, status=403)
        return self.taken

    def receive(self, request: Request) -> list[Event]:
        if request.body == b"crash":
            raise KeyError("crash")
        try:
            told = json.loads(request.body)
        except ValueError as error:
            raise Unparseable("not JSON") from error
        if "state" in told:
            return [StatusChanged(told["id"], told["state"], request.received_at)]
        sender = Party("loft", told["from"], told.get("name"), Proof.provider)
        files = [Attachment("image", ref=ref, mime="image/png", size=3, data=b"abc") for ref in told.get("files", [])]
        where = Location(*told["at"]) if "at" in told else None
        found: list[Event] = [
            MessageReceived(
                told["id"], sender, self.host.now(), told.get("text", ""), attachments=files, location=where
            )
        ]
        if "torn" in told:
            raise Unparseable("the rest is torn", found)
        return found

    async def send(self, out: Outgoing) -> Receipt:
        wire = {"to": str(out.to), "text": out.text, "key": out.key, "callback": out.callback_url,
                "files": [file.url for file in out.attachments]}
        if out.reply_to:
            wire["reply_to"] = out.reply_to
        answer = await self.host.http.request(
            "POST", f"{self.config.base_url}/send", headers={"X-Token": self.config.token.get_secret_value()},
            body=b"\xff\x00" if out.text == "raw" else json.dumps(wire).encode(),
        )
        return self._receipt(answer)

    def _receipt(self, answer: Answer) -> Receipt:
        said = json.loads(answer.body)
        match answer.status:
            case 429:
                raise RateLimited("slow down", code="429", after=float(answer.headers["retry-after"]), scope="account")
            case 401:
                raise ChannelDown("who are you")
            case 400:
                raise OptedOut(said["error"], code="21610")
        return Receipt(said["id"])


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """``run(*arguments, lines=…)``: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("HUB_")]:
        monkeypatch.delenv(name)

    def runner(*arguments: str, lines: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
        code = main(arguments, State(extra={"pigeon": Pigeon}))
        out = capfd.readouterr()
        return code, out.out, out.err

    return runner


def answers(run: Run, command: str, *lines: object) -> list[dict[str, Any]]:
    """What ``hub adapter <command>`` says to each line; bytes go in as they are."""
    text = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    code, out, err = run("adapter", command, lines=text)
    assert (code, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


def receiving(body: str | bytes, *, signed: bool = True, **more: object) -> dict[str, Any]:
    raw = body.encode() if isinstance(body, str) else body
    signature = hmac.new(TOKEN.encode(), raw, hashlib.sha256).hexdigest() if signed else "wrong"
    request: dict[str, Any] = {"method": "POST", "url": "https://hub.example.com/hooks/roof",
                               "headers": {"X-Signature": signature}}
    request |= {"body": body} if isinstance(body, str) else {"body_base64": b64encode(raw).decode()}
    return {"id": "r", "adapter": "pigeon", "config": {"token": TOKEN}, "request": request, "now": NOW} | more


def sending(message: dict[str, Any], *given: dict[str, Any], **more: object) -> dict[str, Any]:
    config = {"token": TOKEN, "base_url": "http://api"}
    return {"id": "s", "adapter": "pigeon", "config": config, "message": message, "answers": list(given)} | more


MESSAGE = json.dumps({"id": "m1", "from": "north", "name": "Ann", "text": "coo", "files": ["f1"], "at": [1.5, 2.5]})
SHOWN = {
    "type": "message",
    "external_id": "m1",
    "sender": {"scheme": "loft", "value": "north", "name": "Ann", "proof": "provider"},
    "also": [],
    "at": NOW,
    "text": "coo",
    "attachments": [{"kind": "image", "ref": "f1", "mime": "image/png"}],
    "location": {"latitude": 1.5, "longitude": 2.5},
}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (receiving(MESSAGE), {"status": 200, "body": "<coo/>", "events": [SHOWN], "error": None}),
        (receiving(MESSAGE.encode()), {"status": 200, "body": "<coo/>", "events": [SHOWN], "error": None}),
        (receiving(MESSAGE, signed=False), {"status": 403, "body": "", "events": [], "error": None}),
        (
            receiving(MESSAGE, signed=False, verify=False),
            {"status": 200, "body": "<coo/>", "events": [SHOWN], "error": None},
        ),
        (
            receiving(MESSAGE.replace("{", '{"torn": 1, ', 1)),
            {"status": 200, "body": "<coo/>", "events": [SHOWN],
             "error": {"kind": "unparseable", "detail": "the rest is torn"}},
        ),
        (
            receiving('{"id": "m1", "state": "sent"}'),
            {"status": 200, "body": "<coo/>", "error": None,
             "events": [{"type": "status", "external_id": "m1", "state": "sent", "at": NOW}]},
        ),
        (
            receiving("coo"),
            {"status": 200, "body": "<coo/>", "events": [], "error": {"kind": "unparseable", "detail": "not JSON"}},
        ),
        (
            receiving("crash"),
            {"status": 200, "body": "<coo/>", "events": [], "error": {"kind": "bug", "detail": "KeyError: 'crash'"}},
        ),
    ],
)
def test_receive(run: Run, line: dict[str, Any], expected: dict[str, Any]) -> None:
    assert answers(run, "receive", line) == [{"id": "r"} | expected]


def test_every_line_has_one_answer_in_order_whatever_it_holds(run: Run) -> None:
    lines = [
        receiving(MESSAGE, id=1), b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"id": 7, "config": NaN}',
        {"id": [8]}, {"id": 9, "adapter": "crow", "request": {"url": "http://h"}},
        receiving(MESSAGE, id=10, config={}), receiving(MESSAGE, id=11, now="2026-01-31T12:00:00"),
        receiving(MESSAGE, id=12, request={"url": 5}), receiving(MESSAGE, id=13, request={"url": "http://["}),
        receiving(MESSAGE, id=14, request={"url": "http://h", "body_base64": "?"}),
        receiving(MESSAGE, id=15, config={"token": TOKEN, "tocken": "x"}), receiving(MESSAGE, id=16),
        receiving('{"id": "m", "from": "n", "text": "\\ud800"}', id=17),
        receiving('{"id": "m", "from": "n", "at": [NaN, 1]}', id=18),
    ]
    out = answers(run, "receive", *lines)
    ids = [1, None, None, None, None, None, None, [8], 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]
    assert [line["id"] for line in out] == ids
    good = [line["id"] for line in out if "events" in line]
    assert good == [1, 16, 17]
    bad = [line for line in out if "events" not in line]
    assert [line["id"] for line in bad if line["error"]["kind"] != "bad_input"] == [18]
    told = {str(line["id"]): line["error"] for line in bad}
    for key, word in {"9": "installed: ", "10": "config.token is missing", "11": "$.now", "12": "$.request.url",
                      "13": "request.url", "14": "$.request.body_base64", "15": "config.tocken"}.items():
        assert word in told[key]["detail"], told[key]
    assert TOKEN not in json.dumps(told)


def wire(text: str, key: str, **more: object) -> dict[str, Any]:
    callback = f"https://hub.example.com/hooks/pigeon?key={key}"
    return {"to": "loft:north", "text": text, "key": key, "callback": callback, "files": []} | more


def requested(*wires: dict[str, Any]) -> list[dict[str, Any]]:
    head = {"method": "POST", "url": "http://api/send", "headers": {"X-Token": TOKEN}}
    return [head | {"body": json.dumps(body)} for body in wires]


@pytest.mark.parametrize(
    ("message", "given", "requests", "receipts", "error"),
    [
        ({"to": "loft:north", "text": "coo"}, [{"status": 200, "body": '{"id": "p1"}'}],
         [wire("coo", "s.0")], ["p1"], None),
        ({"to": "north", "text": "coo", "reply_to": "m1"}, [{"status": 200, "body": {"id": "p1"}}],
         [wire("coo", "s.0", reply_to="m1")], ["p1"], None),
        ({"to": "north", "attachments": [{"url": "https://x/a.png", "mime": "image/png"}]},
         [{"status": 200, "body": {"id": "p1"}}], [wire("", "s.0", files=["https://x/a.png"])], ["p1"], None),
        ({"to": "north", "text": "coo"}, [{"status": 400, "body": {"error": "no more"}}],
         [wire("coo", "s.0")], [], {"kind": "opted_out", "code": "21610", "detail": "no more"}),
        ({"to": "north", "text": "coo"}, [{"status": 429, "headers": {"Retry-After": "7"}, "body": {}}],
         [wire("coo", "s.0")], [],
         {"kind": "rate_limited", "code": "429", "retry_after": 7.0, "scope": "account", "detail": "slow down"}),
        ({"to": "north", "text": "coo"}, [{"status": 401, "body": {}}],
         [wire("coo", "s.0")], [], {"kind": "channel_down", "detail": "who are you"}),
        ({"to": "north", "text": "coo"}, [],
         [wire("coo", "s.0")], [], {"kind": "ambiguous", "detail": "no answer is given for request 1"}),
        ({"to": "north", "text": "coo"}, [{"status": 200, "body": {}}],
         [wire("coo", "s.0")], [], {"kind": "bug", "detail": "KeyError: 'id'"}),
        ({"to": "north", "reaction": "👍", "reply_to": "m1"}, [{"status": 200, "body": {"id": "p1"}}],
         [], [], {"kind": "rejected", "code": "reaction", "detail": "this channel shows no reactions"}),
    ],
)
def test_send(
    run: Run, message: dict[str, Any], given: list[dict[str, Any]], requests: list[dict[str, Any]],
    receipts: list[str], error: dict[str, Any] | None,
) -> None:
    expected = {"requests": requested(*requests), "receipts": [{"external_id": name} for name in receipts]}
    assert answers(run, "send", sending(message, *given)) == [{"id": "s", **expected, "error": error}]


def test_a_long_text_goes_out_in_parts_until_one_fails(run: Run) -> None:
    text = "one two three four five six seven eight nine ten"
    given = [{"status": 200, "body": {"id": "p1"}}, {"status": 401, "body": {}}]
    (out,) = answers(run, "send", sending({"to": "north", "text": text}, *given))
    parts = [json.loads(request["body"]) for request in out["requests"]]
    assert [part["key"] for part in parts] == ["s.0", "s.1"]
    assert all(part["text"] and part["text"].split()[0] in text and len(part["text"]) <= 20 for part in parts)
    assert (out["receipts"], out["error"]["kind"]) == ([{"external_id": "p1"}], "channel_down")


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({"to": "north"}, "says nothing"),
        ({"to": "", "text": "coo"}, "message.to"),
        ({"to": "loft:", "text": "coo"}, "message.to"),
        ({"text": "coo"}, "`to`"),
        ({"to": "north", "text": 5}, "$.message.text"),
    ],
)
def test_a_message_that_cannot_be_sent_is_bad_input(run: Run, message: dict[str, Any], told: str) -> None:
    (out,) = answers(run, "send", sending(message))
    assert out["id"] == "s" and out["error"]["kind"] == "bad_input" and told in out["error"]["detail"]


def test_a_body_that_is_no_text_is_shown_in_base64(run: Run) -> None:
    (out,) = answers(run, "send", sending({"to": "north", "text": "raw"}, {"status": 200, "body": {"id": "p1"}}))
    (request,) = out["requests"]
    assert request["body_base64"] == b64encode(b"\xff\x00").decode() and "body" not in request


def test_each_answer_is_written_before_the_next_line_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    command = [sys.executable, "-c", "import sys; from hub.cli import main; sys.exit(main())", "adapter", "receive"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdin and process.stdout
        for number in (1, 2):
            process.stdin.write(json.dumps({"id": number}).encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["id"] == number
        process.stdin.close()
        assert process.wait(10) == 0


@pytest.mark.parametrize("name", [name for name in adapters() if name in FOLDERS])
def test_installed_adapters_answer_lines_with_a_wrong_configuration(run: Run, name: str) -> None:
    request = {"url": f"https://hub.example.com/hooks/{name}", "body": "x"}
    wrong = {"id": 1, "adapter": name, "config": {"colour": "red"}, "request": request}
    (out,) = answers(run, "receive", wrong)
    assert out["error"]["kind"] == "bad_input" and "unknown setting config.colour" in out["error"]["detail"]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, 'config.token is missing: put "token" into the config of this line'),
        (
            {"tokem": "x"},
            'config.token is missing: put "token" into the config of this line; '
            "unknown setting config.tokem (this line); did you mean config.token?",
        ),
        (
            {"token": TOKEN, "colour_of_feathers": 1},
            "unknown setting config.colour_of_feathers (this line); pigeon knows " + ", ".join(leaves(PigeonConfig)),
        ),
        ({"token": TOKEN, "rate": -1}, "config.rate (this line): Input should be greater than 0"),
    ],
)
def test_a_mistake_in_a_lines_config_says_what_to_change_in_this_line(
    run: Run, config: dict[str, Any], told: str
) -> None:
    (out,) = answers(run, "send", sending({"to": "north", "text": "coo"}, config=config))
    assert out == {"id": "s", "error": {"kind": "bad_input", "detail": told}}


def configure(text: str = "") -> None:
    Path("hub.toml").write_text(
        f'public_url = "https://hub.example.com"\n{text}\n'
        '[channels.roof]\nadapter = "pigeon"\ntoken = "sesame"\nbase_url = "http://me:pass@api"\n'
    )


def test_config_show_tells_value_and_source_of_everything_but_no_secret(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure()
    monkeypatch.setenv("HUB_CHANNELS__ROOF__RATE", "2.5")
    code, out, err = run("config", "show", "--json")
    assert (code, err) == (0, "")
    shown = {row["key"]: (row["value"], row["source"]) for row in json.loads(out)}
    expected = {
        "public_url": ("https://hub.example.com", "hub.toml"),
        "listen.port": (8080, "default"),
        "roles": (["web", "inbound", "outbound", "pull"], "default"),
        "conversation.new_after": ("72h", "default"),
        "channels.roof.adapter": ("pigeon", "hub.toml"),
        "channels.roof.token": ("****", "hub.toml"),
        "channels.roof.base_url": ("http://****@api", "hub.toml"),
        "channels.roof.rate": (2.5, "env HUB_CHANNELS__ROOF__RATE"),
        "channels.roof.body_limit": (1 << 20, "default"),
    }
    assert {key: shown.get(key) for key in expected} == expected
    code, table, _ = run("config", "show")
    assert code == 0 and TOKEN not in out + table
    assert ["channels.roof.token", "****", "hub.toml"] in [line.split() for line in table.splitlines()]


def test_the_hubs_own_secrets_are_masked(run: Run) -> None:
    configure('secret_key = "' + "s" * 40 + '"\ndatabase_url = "postgresql://u:hunter2@h/d"')
    _, out, _ = run("config", "show", "--json")
    rows = {row["key"]: row["value"] for row in json.loads(out)}
    assert (rows["secret_key"], rows["database_url"]) == ("****", "****")


def test_channel_list_and_webhook_urls(run: Run) -> None:
    configure()
    _, out, _ = run("channel", "list", "--json")
    assert json.loads(out) == [{
        "name": "roof", "adapter": "pigeon", "medium": "pigeon", "role": "contact",
        "capabilities": "20 characters, 1 file of 0.001 MB, lost answers: none",
    }]
    _, out, _ = run("webhook", "urls", "--json")
    assert json.loads(out) == [
        {"channel": "roof", "url": "https://hub.example.com/hooks/roof", "help": Pigeon.webhook_help}
    ]
    assert run("webhook", "urls")[1] == f"roof: https://hub.example.com/hooks/roof\n    {Pigeon.webhook_help}\n"
    rows = [line.split()[:4] for line in run("channel", "list")[1].splitlines()]
    assert ["roof", "pigeon", "pigeon", "contact"] in rows


@pytest.mark.parametrize("command", [("channel", "list"), ("webhook", "urls")])
def test_without_channels_the_lists_say_so(run: Run, command: tuple[str, str]) -> None:
    assert "no channel is configured" in run(*command)[1]
    assert json.loads(run(*command, "--json")[1]) == []


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    """An adapter registered as "slack" whose package has a manifest."""
    name = f"perch_{token_hex(8)}"  # nobody imported it before
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "adapter.py").write_text("class Perch: pass\n")
    (package / "manifest.py").write_text(
        "def manifest(url, socket, channel):\n"
        "    named = {'display_information': {'name': 'hub'}, 'features': {'bot_user': {'display_name': 'hub'}}}\n"
        "    return named | {'url': url, 'socket': socket, 'channel': channel}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return State(extra={"slack": importlib.import_module(f"{name}.adapter").Perch})


def manifest(url: str, *, name: str = "hub", socket: bool = False, channel: str = "slack") -> dict[str, Any]:
    named = {"display_information": {"name": name}, "features": {"bot_user": {"display_name": name}}}
    return named | {"url": url, "socket": socket, "channel": channel}


@pytest.mark.parametrize(
    ("settings", "options", "expected"),
    [
        ("", (), manifest("http://127.0.0.1:8080")),
        ("", ("--socket",), manifest("http://127.0.0.1:8080", socket=True)),
        ("", ("--http", "https://x.example/", "--name", "Support"), manifest("https://x.example", name="Support")),
        ("[channels.team]\nadapter = 'slack'", (), manifest("http://127.0.0.1:8080", channel="team")),
        ("[channels.team]\nadapter = 'slack'", ("--channel", "x"), manifest("http://127.0.0.1:8080", channel="x")),
    ],
)
def test_slack_manifest(
    run: Run, desk: State, capfd: pytest.CaptureFixture[str], settings: str, options: tuple[str, ...],
    expected: dict[str, Any],
) -> None:
    Path("hub.toml").write_text(settings)
    assert main(["slack", "manifest", *options], desk) == 0
    assert json.loads(capfd.readouterr().out) == expected


def test_slack_manifest_of_several_channels_asks_which(
    run: Run, desk: State, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("hub.toml").write_text("[channels.a]\nadapter = 'slack'\n[channels.b]\nadapter = 'slack'")
    assert main(["slack", "manifest"], desk) == 1
    assert capfd.readouterr().err == "hub: several channels use this adapter (a, b): choose one with --channel\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nope",), "hub: No such command 'nope' (see hub --help)\n"),
        (("config", "show", "--colour"), "hub: No such option: --colour (see hub --help)\n"),
        (("slack", "manifest", "--socket", "--http", "x"), "choose one of --socket and --http"),
        (("--config", "no.toml", "config", "show"), "hub: no.toml: there is no such file"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(run: Run, arguments: tuple[str, ...], told: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1) and told in err


def test_every_mistake_in_the_settings_is_one_line_without_a_traceback(run: Run) -> None:
    configure("lissten = 1")
    Path("hub.toml").write_text(Path("hub.toml").read_text().replace("token", "tokem"))
    code, _, err = run("config", "show")
    assert (code, err) == (2, "hub: unknown setting lissten (hub.toml); did you mean listen.port?\n")
    Path("hub.toml").write_text(Path("hub.toml").read_text().replace("lissten = 1", ""))
    code, _, err = run("channel", "list")
    assert code == 2 and err.splitlines() == [
        "hub: channels.roof.token is missing: set it in the file, as HUB_CHANNELS__ROOF__TOKEN "
        "or as HUB_CHANNELS__ROOF__TOKEN_FILE",
        "hub: unknown setting channels.roof.tokem (hub.toml); did you mean channels.roof.token?",
    ]


def test_a_bug_is_one_line_unless_debugging(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Torn(State):
        def adapters(self) -> Any:
            raise RuntimeError(TOKEN)

    monkeypatch.setenv("HUB_DEBUG", "0")
    assert main(["adapter", "list"], Torn()) == 1
    told = "hub: unexpected RuntimeError; set HUB_DEBUG=1 to see where, and report it\n"
    assert run("--version") == (0, f"hub {__version__}\n", told)
    monkeypatch.setenv("HUB_DEBUG", "1")
    with pytest.raises(RuntimeError):
        main(["adapter", "list"], Torn())


def test_adapter_list_has_the_installed_ones(run: Run) -> None:
    _, out, _ = run("adapter", "list", "--json")
    assert {"pigeon", "email", "slack", "twilio_sms", "webchat"} <= {row["name"] for row in json.loads(out)}


def test_every_command_has_json(run: Run) -> None:
    def commands(group: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
        below = getattr(group, "commands", None)
        if below is None:
            return [(path, group)]
        return [found for name, part in below.items() for found in commands(part, (*path, name))]

    without = [path for path, command in commands(typer.main.get_command(app))
               if not any("--json" in option.opts for option in command.params)]
    assert without == []


def test_the_command_starts_without_the_heavy_libraries() -> None:
    program = "import sys, hub.cli; print({'pydantic', 'aiohttp', 'sqlalchemy'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out == "set()\n"
