"""Notifications through Apprise itself to a service on this machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from adapters.apprise.adapter import Apprise, AppriseConfig
from adapters.apprise.simulator import Simulator
from hub.contract import (
    Ambiguous,
    Answer,
    BadAddress,
    ChannelDown,
    Outgoing,
    RateLimited,
    Rejected,
    SendError,
    Transient,
)
from hub.model import Address, Template
from hub.testing.host import LocalHost
from hub.testing.simulation import Fault


@pytest.fixture
async def service() -> AsyncIterator[Simulator]:
    simulator = Simulator()
    await simulator.start()
    yield simulator
    await simulator.stop()


def channel(config: dict[str, Any]) -> Apprise:
    return Apprise("ops", AppriseConfig(**config), LocalHost())


@pytest.fixture
async def ops(service: Simulator) -> AsyncIterator[Apprise]:
    one = channel(service.config())
    yield one
    await one.close()


def out(text: str = "Disk is full", to: str = "apprise:ops", **more: Any) -> Outgoing:
    return Outgoing(key="del_1.0", to=Address.parse(to), text=text, **more)


async def test_a_notification_arrives_as_it_was_written(ops: Apprise, service: Simulator) -> None:
    receipt = await ops.send(out("<b>1 < 2</b> \\n &amp;", subject="Alert"))
    assert (receipt.external_id, receipt.state) == ("del_1.0", "sent")
    assert service.notes == [("Alert", "<b>1 < 2</b> \\n &amp;")]


async def test_a_title_that_is_too_long_is_whole_in_the_text(ops: Apprise, service: Simulator) -> None:
    subject = "Disk is full on " + "x" * 400
    await ops.send(out("Clean up", subject=subject))
    assert service.notes == [(subject[:249] + "…", f"{subject}\n\nClean up")]


FAILURES: list[tuple[Fault, type[SendError]]] = [
    (Fault("throttle"), RateLimited),
    (Fault("reject"), Rejected),
    (Fault("reject", code="403"), ChannelDown),
    (Fault("error"), Ambiguous),
    (Fault("drop_before"), Ambiguous),
    (Fault("drop_after"), Ambiguous),
]


@pytest.mark.parametrize(("fault", "error"), FAILURES, ids=str)
async def test_a_failure_is_an_error(ops: Apprise, service: Simulator, fault: Fault, error: type[SendError]) -> None:
    service.faults.queued.append(fault)
    with pytest.raises(SendError) as caught:
        await ops.send(out())
    assert type(caught.value) is error
    assert "127.0.0.1" not in caught.value.detail, "a URL may hold secrets"


async def test_no_service_is_an_error_and_no_success(ops: Apprise, service: Simulator) -> None:
    ops._library.clear()
    with pytest.raises(ChannelDown):
        await ops.send(out())
    assert service.notes == []


async def test_another_address_is_refused(ops: Apprise, service: Simulator) -> None:
    for address in ("apprise:json://evil.example", "tel:+447700900123"):
        with pytest.raises(BadAddress):
            await ops.send(out(to=address))
    assert len(service.ledger) == 0


async def test_what_takes_too_long_is_in_doubt_and_what_did_not_begin_is_not(
    service: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Apprise, "patience", 0.2)
    busy = channel(service.config())
    service.faults.queued += [Fault("slow", 1.0), Fault("slow", 1.0)]
    kinds: list[type[SendError]] = []

    async def attempt() -> None:
        try:
            await busy.send(out())
        except SendError as error:
            kinds.append(type(error))

    await asyncio.gather(*(attempt() for _ in range(3)))
    await busy.close()
    assert sorted(each.__name__ for each in kinds) == ["Ambiguous", "Ambiguous", "Transient"]
    assert len(service.ledger.of("request")) == 2, "two threads, no more"
    assert Transient in kinds


class Played(LocalHost):
    """A host that shows what would be told, and gives one answer."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status
        self.told: list[tuple[str, str, bytes]] = []

    async def relay(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.told.append((method, url, body))
        return Answer(self.status, {}, b"")


PLAYED: list[tuple[int, type[SendError]]] = [
    (400, Rejected), (401, ChannelDown), (403, ChannelDown), (404, ChannelDown), (429, RateLimited), (500, Ambiguous),
]  # fmt: skip


async def test_a_host_that_plays_answers_is_told_no_secret_and_reaches_no_service() -> None:
    host = Played(200)
    ops = Apprise("ops", AppriseConfig(url=SecretStr("json://ann:a-secret@127.0.0.1:1/x")), host)
    assert (await ops.send(out(subject="Alert"))).external_id == "del_1.0"
    [(method, url, body)] = host.told
    assert (method, json.loads(body)) == ("NOTIFY", {"title": "Alert", "body": "Disk is full"})
    assert url.startswith("json://ann:****@127.0.0.1:1/")
    await ops.close()


@pytest.mark.parametrize(("status", "error"), PLAYED)
async def test_an_answer_is_an_error(status: int, error: type[SendError]) -> None:
    ops = Apprise("ops", AppriseConfig(url=SecretStr("json://127.0.0.1:1/")), Played(status))
    with pytest.raises(SendError) as caught:
        await ops.send(out())
    assert (type(caught.value), caught.value.code) == (error, str(status))
    await ops.close()


async def test_what_says_nothing_or_is_a_template_is_rejected(ops: Apprise, service: Simulator) -> None:
    for template in (None, Template("order_update", "en")):
        with pytest.raises(Rejected):
            await ops.send(out("", template=template))
    assert len(service.ledger) == 0


@pytest.mark.parametrize("wrong", [{"url": "nonsense"}, {"url": "nope://secret@host"}, {"url": "slack://"},
                                   {"url": "json://localhost", "base_url": "http://127.0.0.1"}, {}])
def test_settings_that_cannot_work_are_refused_and_not_repeated(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        AppriseConfig(**wrong)
    assert "secret" not in str([each["msg"] for each in caught.value.errors()])


async def test_the_check_names_the_service(ops: Apprise) -> None:
    found = await ops.check()
    assert found.ok
    assert found.detail.startswith("JSON")
