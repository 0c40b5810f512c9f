"""A channel that nobody has thought of: one folder, and the whole hub works with it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.process import run, served, write_settings

ADAPTER = '''
import hmac, json
from pydantic import SecretStr
from hub.contract import Adapter, Capabilities, ChannelConfig, MessageReceived, Receipt, Unparseable, Verified
from hub.model import Party

class PigeonConfig(ChannelConfig):
    ring: SecretStr

class Pigeon(Adapter[PigeonConfig]):
    medium = "pigeon"
    scheme = "pigeon"
    Config = PigeonConfig
    capabilities = Capabilities(text_limit=40, idempotency="none")

    def verify(self, request):
        good = hmac.compare_digest(request.headers.get("x-ring", ""), self.config.ring.get_secret_value())
        return Verified(good, 200 if good else 401)

    def receive(self, request):
        try:
            note = json.loads(request.body)
            return [MessageReceived(note["id"], Party("pigeon", note["from"]), request.received_at, note["text"])]
        except (ValueError, KeyError, TypeError) as error:
            raise Unparseable("no note") from error

    async def send(self, out):
        body = json.dumps({"to": out.to.value, "text": out.text}).encode()
        answer = await self.host.http.request("POST", self.config.base_url, body=body)
        assert answer.status == 200
        return Receipt(json.loads(answer.body)["leg"])
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Everything about the channel, as an installed package has it."""
    home = tmp_path / "pigeon"
    information = home / "pigeon-1.0.dist-info"
    information.mkdir(parents=True)
    (home / "pigeon.py").write_text(ADAPTER, encoding="utf-8")
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeon\nVersion: 1.0\n", encoding="utf-8")
    (information / "entry_points.txt").write_text("[omnihub.adapters]\npigeon = pigeon:Pigeon\n", encoding="utf-8")
    return home


@pytest.fixture
async def loft() -> AsyncIterator[tuple[str, list[dict[str, str]]]]:
    """Where the pigeons leave from: its address, and what they carried."""
    carried: list[dict[str, str]] = []

    async def leave(request: web.Request) -> web.Response:
        carried.append(await request.json())
        return web.json_response({"leg": f"leg-{len(carried)}"})

    app = web.Application()
    app.router.add_post("/", leave)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/", carried
    await runner.cleanup()


async def test_a_channel_in_a_folder_of_its_own_takes_in_and_sends(
    folder: Path, loft: tuple[str, list[dict[str, str]]], tmp_path: Path
) -> None:
    url, carried = loft
    write_settings(tmp_path, {"roof": {"adapter": "pigeon", "ring": "brass", "base_url": url}})
    path = {"PYTHONPATH": str(folder)}
    async with served(tmp_path, **path) as hub:
        note = json.dumps({"id": "1", "from": "ann", "text": "coo"})
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{hub.url}/hooks/roof", data=note) as refused:
                assert refused.status == 401
            async with session.post(f"{hub.url}/hooks/roof", data=note, headers={"X-Ring": "brass"}) as taken:
                assert taken.status == 200
        sent = await run("send", "pigeon:ann", "a text that is longer than one pigeon carries", "--purpose", "reply",
                         "--wait", "--json", cwd=tmp_path, **path)  # fmt: skip
        assert sent.code == 0, sent.err
        assert [each["to"] for each in carried] == ["ann", "ann"]
        assert " ".join(each["text"] for each in carried) == "a text that is longer than one pigeon carries"
        told = await run("timeline", "pigeon:ann", "--json", cwd=tmp_path, **path)
        assert [(each["channel"], each["text"]) for each in told.json["messages"]] == [
            ("roof", "coo"),
            ("api", "a text that is longer than one pigeon carries"),
        ]
    listed = await run("channel", "list", "--json", cwd=tmp_path, **path)
    assert [(each["name"], each["adapter"], each["medium"]) for each in listed.json] == [("roof", "pigeon", "pigeon")]


PULLED = ADAPTER.replace("Receipt, Unparseable", "Receipt, Transient, Unparseable") + '''
    async def run(self, emit):
        raise Transient("the loft is locked", code="423")
'''


async def test_a_source_that_cannot_be_pulled_from_now_is_told_in_one_line(folder: Path, tmp_path: Path) -> None:
    (folder / "pigeon.py").write_text(PULLED, encoding="utf-8")
    write_settings(tmp_path, {"roof": {"adapter": "pigeon", "ring": "brass"}})
    async with served(tmp_path, PYTHONPATH=str(folder)) as hub:
        known = [each for each in hub.events if each["event"].startswith("worker failed")]
        told = known[0] if known else await hub.event("worker failed")
    assert (told["level"], told["error"], told["detail"]) == ("warning", "transient", "the loft is locked")
    assert "exception" not in told
