"""What every registered adapter keeps to, whoever wrote it. A new folder is tested by being registered."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr, ValidationError

from hub.contract import Adapter, Answer, AnyAdapter, ChannelConfig, Entry, Http, Request, Unparseable, Verified
from hub.model import Address, json_ready
from hub.registry import BODY_LIMIT, adapters, parse_config
from hub.settings import explain, leaves
from hub.testing.simulation import Simulator

INSTALLED = adapters()
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
FAST = settings(  # a busy machine is no failure
    max_examples=40, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip

pytestmark = pytest.mark.parametrize("name", list(INSTALLED))


# --- a bench on which verify and receive can be tried, and nothing else -------------------------------------------


class Forbidden(Exception):
    """The adapter did what it must not."""


class NoHttp:
    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float = 0,
        largest: int = 0,
    ) -> Answer:
        raise Forbidden("http")


class Bench:
    """A ``contract.Host`` that lends only what verify and receive may use: the time, the address, the secret."""

    public_url = "https://hub.example.com"
    secret = b"a test secret of thirty-two bytes"

    def __init__(self) -> None:
        self.http: Http = NoHttp()

    def now(self) -> datetime:
        return NOW

    async def emit(self, request: Request) -> None:
        raise Forbidden("emit")

    async def history(self, address: Address, *, after: int = 0, limit: int = 100) -> list[Entry]:
        raise Forbidden("history")

    def publish(self, topic: str) -> None:
        raise Forbidden("publish")

    async def wait(self, topic: str, timeout: float) -> bool:
        raise Forbidden("wait")

    async def cursor(self, name: str) -> str | None:
        raise Forbidden("cursor")

    async def save_cursor(self, name: str, value: str) -> None:
        raise Forbidden("save_cursor")


_IO = ("socket.__new__", "socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen", "os.system",
       "sqlite3.connect")
_watched: list[str] | None = None


def _watch(event: str, arguments: object) -> None:
    if _watched is not None and event.startswith(_IO):
        _watched.append(event)


sys.addaudithook(_watch)


@pytest.fixture
def no_io(name: str) -> Iterator[None]:
    """The interpreter itself reports what reaches for the outside, even if the adapter swallows every error."""
    global _watched
    config(name)  # asks a simulator, which listens
    _watched = []
    try:
        yield
        assert _watched == []
    finally:
        _watched = None


# --- what is known about one adapter ------------------------------------------------------------------------------


@cache
def folder(name: str) -> Path:
    return Path(inspect.getfile(INSTALLED[name])).parent


@cache
def config(name: str) -> ChannelConfig:
    """Settings that work, as its own simulator gives them."""
    module = importlib.import_module(INSTALLED[name].__module__.rpartition(".")[0] + ".simulator")
    found = [kind for kind in vars(module).values()
             if inspect.isclass(kind) and issubclass(kind, Simulator) and kind.__module__ == module.__name__]
    assert len(found) == 1, f"simulator.py holds one Simulator, not {found}"

    async def ask() -> dict[str, Any]:
        simulator = found[0]()
        await simulator.start()
        try:
            return simulator.config()
        finally:
            await simulator.stop()

    return parse_config(INSTALLED[name], asyncio.run(ask()))


def build(name: str) -> AnyAdapter:
    return INSTALLED[name](name, config(name), Bench())


def secrets_of(model: BaseModel) -> list[str]:
    values = [getattr(model, field) for field in type(model).model_fields]
    inner = [secret for value in values if isinstance(value, BaseModel) for secret in secrets_of(value)]
    return [value.get_secret_value() for value in values if isinstance(value, SecretStr)] + inner


def models(model: type[BaseModel]) -> list[type[BaseModel]]:
    inner = [field.annotation for field in model.model_fields.values()]
    below = [kind for kind in inner if inspect.isclass(kind) and issubclass(kind, BaseModel)]
    return [model, *(found for kind in below for found in models(kind))]


@cache
def fixtures(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((folder(name) / "fixtures").rglob("*")) if path.is_file()]


def request(body: bytes, headers: dict[str, str] | None = None, query: str = "") -> Request:
    return Request("POST", f"https://hub.example.com/hooks/x{query}", headers or {}, body, NOW)


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(part)


def receive(adapter: AnyAdapter, seen: Request) -> None:
    """Events that the core can store, or Unparseable."""
    try:
        events = adapter.receive(seen)
    except Unparseable:
        return
    for event in events:
        assert event.at.tzinfo is not None, "a time without a zone"
        for text in strings(json_ready(event)):
            assert "\0" not in text
            text.encode()  # a lone surrogate fits in no database


def verify(adapter: AnyAdapter, seen: Request) -> Verified:
    answer = adapter.verify(seen)
    assert isinstance(answer, Verified)
    assert not set("\r\n\0") & set("".join([*answer.headers, *answer.headers.values()]))
    return answer


# --- the folder ---------------------------------------------------------------------------------------------------


def test_the_folder_is_complete(name: str) -> None:
    parts = ("__init__.py", "simulator.py", "README.md", "fixtures/*", "test_*.py")
    assert [part for part in parts if not list(folder(name).glob(part))] == []
    assert folder(name).name == name, "the registered name is the folder's"


def test_the_readme_explains_every_setting(name: str) -> None:
    readme = (folder(name) / "README.md").read_text(encoding="utf-8")
    own = [key for key in leaves(INSTALLED[name].Config) if key not in ChannelConfig.model_fields]
    assert [key for key in own if not re.search(rf"`[^`\n]*\b{re.escape(key)}\b[^`\n]*`", readme)] == []


# --- the class ----------------------------------------------------------------------------------------------------


def test_it_says_what_it_is(name: str) -> None:
    kind = INSTALLED[name]
    assert issubclass(kind, Adapter)
    assert re.fullmatch(r"[a-z][a-z0-9]*", kind.medium) and re.fullmatch(r"[a-z][a-z0-9]*", kind.scheme)
    assert kind.role in ("contact", "desk")


def test_capabilities_are_possible(name: str) -> None:
    kind, can = INSTALLED[name], INSTALLED[name].capabilities
    wrong = {
        "text_limit": can.text_limit < 1,
        "media": can.media not in ("none", "url", "bytes", "either", "both"),
        "media_max, media_size": (can.media == "none") is not (can.media_max == 0 == can.media_size)
        or can.media_max < 0 or can.media_size < 0,
        "captions": can.captions is not None and (can.captions < 0 or can.media == "none"),
        "captioned": not can.captioned <= {"image", "audio", "video", "file", "sticker", "contact"},
        "buttons": can.buttons < 0,
        "button_title": can.button_title is not None and (can.button_title < 1 or can.buttons == 0),
        "buttons_text": can.buttons_text is not None and (can.buttons_text < 2 or can.buttons == 0),
        "window": can.window is not None and can.window <= timedelta(0),
        "settle": can.settle < timedelta(0),
        "retry_for": can.retry_for <= timedelta(0),
        "concurrency": can.concurrency < 1,
        "rate": can.rate is not None and can.rate <= 0,
        "webhook": not 0 <= can.webhook <= BODY_LIMIT,
        "shed": can.shed is not None and not 400 <= can.shed <= 599,
        "seen": can.seen is not (kind.seen is not Adapter.seen),
        "idempotency": can.idempotency not in ("key", "query", "echo", "none"),
        "idempotency query without lookup": can.idempotency == "query" and kind.lookup is Adapter.lookup,
        "lookup without idempotency query": can.idempotency != "query" and kind.lookup is not Adapter.lookup,
    }
    assert [field for field, is_wrong in wrong.items() if is_wrong] == []


def test_settings_are_strict_and_leave_the_hubs_own_names_alone(name: str) -> None:
    kind = INSTALLED[name].Config
    assert issubclass(kind, ChannelConfig) and "base_url" in kind.model_fields
    assert [model.__name__ for model in models(kind) if model.model_config.get("extra") != "forbid"] == []
    assert not {"adapter", "body_limit"} & set(kind.model_fields), "keys of the hub"
    fields = [field for model in models(kind) for field in model.model_fields]
    assert [field for field in fields if field.endswith("_file") or "__" in field] == [], "HUB_…_FILE means a file"


def test_settings_that_sound_secret_are_secret(name: str) -> None:
    sounds = re.compile(r"(^|_)(token|secret|password|api_key|private_key)$")
    plain = [
        field for model in models(INSTALLED[name].Config) for field, info in model.model_fields.items()
        if sounds.search(field) and "SecretStr" not in str(info.annotation)
    ]
    assert plain == []


# --- secrets ------------------------------------------------------------------------------------------------------


def test_secrets_show_in_no_text(name: str) -> None:
    adapter = build(name)
    texts = [repr(adapter), str(adapter), repr(adapter.config), str(adapter.config), adapter.config.model_dump_json(),
             json.dumps(adapter.config.model_dump(), default=str)]
    assert [text for text in texts for secret in secrets_of(adapter.config) if secret in text] == []


def test_secrets_show_in_no_mistake(name: str) -> None:
    """Whatever is wrong with a setting, its value is not repeated."""
    kind = INSTALLED[name]
    plain = {field: value for field, value in config(name).model_dump().items() if value is not None}
    told = []
    for field, info in kind.Config.model_fields.items():
        if "SecretStr" not in str(info.annotation):
            continue
        for wrong in (["sesame"], {"sesame": 1}, "sesame", "sesame\r\n", "sesame sesame", "sésame"):
            try:
                parse_config(kind, plain | {field: wrong})
            except ValidationError as error:
                told += explain(error, lambda key: "here")
    assert [line for line in told if "sesame" in line or "sésame" in line] == []


# --- links and addresses of its own -------------------------------------------------------------------------------


def test_a_link_into_the_channel_carries_the_token(name: str) -> None:
    token = "omni-" + "a2" * 29 + "b"
    link = build(name).entry_link(token)
    assert link is None or (token in link and re.fullmatch(r"[a-z]+:[!-~]+", link)), link


def test_an_address_of_its_own_is_one_that_it_reaches(name: str) -> None:
    adapter = build(name)
    address = adapter.own_address()
    assert address is None or address.scheme == adapter.scheme


# --- verify and receive -------------------------------------------------------------------------------------------

DEEP = 100_000
GARBAGE = {
    "empty": b"",
    "nul": b"\0",
    "noise": bytes(range(256)),
    "null": b"null",
    "number": b"1",
    "text": b'"x"',
    "list": b"[]",
    "object": b"{}",
    "list of nulls": b"[null, null]",
    "deep list": b"[" * DEEP,
    "deep closed list": b"[" * DEEP + b"]" * DEEP,
    "deep object": b'{"a":' * DEEP,
    "many digits": b'{"a": ' + b"9" * 10_000 + b"}",
    "not a number": b'{"a": NaN, "b": Infinity, "c": 1e999}',
    "lone surrogate": b'{"type": "message", "text": "\\ud800", "id": "\\udfff"}',
    "bom": b"\xef\xbb\xbf{}",
    "form": b"MessageSid=%00%ff&From=%2B&Body=\xff&=&&a",
    "form of payload": b"payload=%7B%22type%22%3A%22x%22%7D",
    "mail": b"From: \r\nMessage-ID: \r\nContent-Type: multipart/mixed; boundary=\r\n\r\n--\r\n",
    "mail without headers": b"\r\n\r\nx",
    "mail in an unknown charset": b"From: =?nope?b?////?= <a@b>\r\nContent-Type: text/plain; charset=nope\r\n\r\n\xff",
}
TYPES = ("application/json", "application/x-www-form-urlencoded", "message/rfc822", "multipart/form-data; boundary=x",
         "text/plain; charset=nope")


@pytest.mark.parametrize("kind", list(GARBAGE))
def test_garbage_is_refused_or_unparseable(name: str, kind: str, no_io: None) -> None:
    adapter = build(name)
    for content_type in ("", *TYPES):
        seen = request(GARBAGE[kind], {"content-type": content_type} if content_type else {})
        assert not verify(adapter, seen).accept
        receive(adapter, seen)


HEADER_NAMES = ("content-type", "x-twilio-signature", "x-slack-signature", "x-slack-request-timestamp",
                "x-webchat-visitor", "authorization", "x-hub-signature-256", "x-telegram-bot-api-secret-token",
                "x-line-signature")
HEADERS = st.dictionaries(
    st.sampled_from(HEADER_NAMES),
    st.sampled_from([*TYPES, "v0=", "0", "-1", "1e9", "é", "Basic Og=="]) | st.text(max_size=40),
)
QUERIES = st.sampled_from(["", "?", "?key=%00", "?key=a&key=b"])
PATCHES = st.sampled_from([b"", b"\0", b"\xff", b'"', b"null", b"[]", b"{}", b"-1", b"\r\n"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode())


@FAST
@given(body=st.binary(max_size=400) | JSON, headers=HEADERS, query=QUERIES)
def test_random_requests_are_refused_or_unparseable(
    name: str, no_io: None, body: bytes, headers: dict[str, str], query: str
) -> None:
    adapter = build(name)
    seen = request(body, headers, query)
    assert not verify(adapter, seen).accept
    receive(adapter, seen)


@FAST
@given(data=st.data())
def test_damaged_payloads_are_refused_or_unparseable(name: str, no_io: None, data: st.DataObject) -> None:
    """Captured payloads with one part cut out, doubled or replaced."""
    body = data.draw(st.sampled_from(fixtures(name)))
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(len(body), start + 200)))
    patch = data.draw(PATCHES | st.just(body[start:end] * 2))
    adapter = build(name)
    seen = request(body[:start] + patch + body[end:], {"content-type": data.draw(st.sampled_from(TYPES))})
    assert not verify(adapter, seen).accept
    receive(adapter, seen)


def replaced(value: Any) -> Iterator[Any]:
    """The document once for each of its parts, with that part replaced by something of another shape."""
    others: tuple[Any, ...] = (None, 0, "x", [], {}, [None], "\ud800\0")
    for wrong in others:
        if type(wrong) is not type(value) or wrong != value:
            yield wrong
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        for changed in replaced(part):
            copy = value.copy()
            copy[key] = changed
            yield copy
        if isinstance(value, dict):
            yield {other: kept for other, kept in value.items() if other != key}


def test_payloads_with_a_part_of_another_shape_are_unparseable_or_events(name: str, no_io: None) -> None:
    adapter = build(name)
    for body in fixtures(name):
        try:
            document = json.loads(body)
        except ValueError:
            continue
        for number, changed in enumerate(replaced(document)):
            if number == 2000:
                break
            receive(adapter, request(json.dumps(changed).encode(), {"content-type": "application/json"}))


def test_unsigned_requests_are_refused_with_401_or_403(name: str, no_io: None) -> None:
    adapter = build(name)
    for body in [b"", b"{}", *fixtures(name)]:
        for method in ("POST", "GET"):
            answer = verify(adapter, replace(request(body), method=method))
            assert not answer.accept and answer.status in (401, 403)


def test_receive_gives_the_same_events_each_time(name: str, no_io: None) -> None:
    """The inbox may be replayed: nothing depends on what was seen before."""
    adapter = build(name)
    for body in fixtures(name):
        for content_type in TYPES:
            seen = request(body, {"content-type": content_type})
            try:
                once = adapter.receive(seen)
            except Unparseable:
                continue
            assert adapter.receive(seen) == once == build(name).receive(seen)
