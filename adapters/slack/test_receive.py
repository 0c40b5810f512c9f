"""What Slack sends, and the events it becomes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest

from adapters.slack.testing import DESK, FIXTURES, fixture, played, posted
from hub.contract import (
    AccountChanged,
    ActionTaken,
    Event,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    Reacted,
    Request,
    Unparseable,
)
from hub.model import Attachment, Party

POST, ROOT = f"{DESK}:1769860860.000200", f"{DESK}:1769860800.000100"
ADA = Party("slack", "U0ADA")
WRITTEN = datetime(2026, 1, 31, 12, 1, 0, 200, tzinfo=UTC)
MESSAGE = MessageReceived(POST, ADA, WRITTEN, "It left yesterday.", thread=ROOT)
PNG = Attachment(
    "image", ref="https://files.slack.com/files-pri/T0001-F0PNG/download/invoice.png", mime="image/png",
    name="invoice.png", size=2048,
)  # fmt: skip
PRESSED = datetime(2026, 1, 31, 12, 1, 35, 123456, tzinfo=UTC)
SAID = (
    "Hi @Ben, 3 < 5 &amp; the page (https://example.com/a?b=1&c=2) https://example.com ann@example.com #general "
    "@here @sales"
)

EVENTS: dict[str, list[Event]] = {
    "message": [MESSAGE],
    "named": [
        replace(
            MESSAGE, sender=Party("slack", "U0ADA", "Ada"), avatar="https://secure.gravatar.com/avatar/1.jpg"
        )
    ],
    "escaped": [replace(MESSAGE, text=SAID, mentions=["Ben"])],
    "pictures": [replace(MESSAGE, text="Done 👍🏼 🎉 :partyparrot: at 10:30:00")],
    "note": [replace(MESSAGE, text="!note he is angry")],
    "file": [replace(MESSAGE, text="Here it is", attachments=[PNG])],
    "file_not_ready": [replace(MESSAGE, text="", attachments=[Attachment("file", ref="F0LATER")])],
    "file_deleted": [replace(MESSAGE, text="Gone")],
    "broadcast": [replace(MESSAGE, text="Also to the channel")],
    "edited": [
        MessageEdited(POST, ADA, datetime(2026, 1, 31, 12, 1, 10, tzinfo=UTC), "It left today.")
    ],
    "deleted": [MessageDeleted(POST, ADA, datetime(2026, 1, 31, 12, 1, 20, 400, tzinfo=UTC))],
    "tombstone": [MessageDeleted(POST, ADA, datetime(2026, 1, 31, 12, 1, 10, 300, tzinfo=UTC))],
    "reaction_added": [
        Reacted(f"{DESK}:1769860850.000100", ADA, datetime(2026, 1, 31, 12, 1, 30, 500, tzinfo=UTC), "❤️")
    ],
    "reaction_removed": [
        Reacted(f"{DESK}:1769860850.000100", ADA, datetime(2026, 1, 31, 12, 1, 30, 500, tzinfo=UTC), "👍", removed=True)
    ],
    "resolve": [
        ActionTaken(
            "1769860895.123456:U0ADA:resolve", Party("slack", "U0ADA", "ada"), PRESSED, "resolve", "cnv_1", ROOT
        )
    ],
    "assign": [
        ActionTaken("1769860895.123456:U0ADA:assign", Party("slack", "U0ADA", "ada"), PRESSED, "assign", "me", ROOT)
    ],
    "menu": [
        ActionTaken("1769860895.123456:U0ADA:snooze", Party("slack", "U0ADA", "ada"), PRESSED, "snooze", "2h", ROOT)
    ],
    "rate_limited": [
        AccountChanged(
            "app_rate_limited:T0001:1769860860", datetime(2026, 1, 31, 12, 1, tzinfo=UTC), "events of this app",
            "app_rate_limited", "there were too many of them at 2026-01-31 12:01 UTC, and Slack dropped the rest: what "
            "agents wrote then and has no mark has to be written again",
        )
    ],
    "other_channel": [
        ActionTaken("1769860860.000200:U0ADA:show", ADA, WRITTEN, "show", thread="C0OTHER:1769860800.000100")
    ],
}
# Not for us: our own posts, other machines, other places, strangers, kinds of no interest.
SILENT = (
    "top_level", "joined", "own_post", "own_named_post", "own_file", "own_edit", "own_deleted",
    "own_reaction", "other_app", "unfurled", "partner", "partner_action", "url_verification", "view",
    "slash", "team_join",
)  # fmt: skip


def request(name: str) -> Request:
    [path] = FIXTURES.glob(f"{name}.*")
    kind = "application/json" if path.suffix == ".json" else "application/x-www-form-urlencoded"
    return replace(posted({}), body=path.read_bytes(), headers={"content-type": kind})


@pytest.mark.parametrize("name", [*EVENTS, *SILENT])
def test_events_of_a_payload(name: str) -> None:
    adapter, _ = played(agents={"U0BEN": "Ben"})
    assert adapter.receive(request(name)) == EVENTS.get(name, [])


def test_every_fixture_has_a_row() -> None:
    assert {path.stem for path in FIXTURES.iterdir()} == {*EVENTS, *SILENT}


@pytest.mark.parametrize("name", list(EVENTS))
def test_socket_mode_brings_the_same_payload(name: str) -> None:
    adapter, _ = played(agents={"U0BEN": "Ben"})
    raw = request(name)
    payload = raw.body if raw.body.startswith(b"{") else parse_qs(raw.body)[b"payload"][0]
    envelope = Request("SOCKET", "slack://socket/events_api", {}, payload, raw.received_at)
    assert adapter.receive(envelope) == EVENTS[name]


@pytest.mark.parametrize("name", list(EVENTS))
def test_a_whole_envelope_is_opened(name: str) -> None:
    adapter, _ = played(agents={"U0BEN": "Ben"})
    raw = request(name)
    payload = json.loads(raw.body if raw.body.startswith(b"{") else parse_qs(raw.body)[b"payload"][0])
    kind = "events_api" if payload["type"] == "event_callback" else "interactive"
    envelope = {"envelope_id": "57d6a792", "type": kind, "accepts_response_payload": True, "payload": payload}
    assert adapter.receive(posted(envelope)) == EVENTS[name]


@pytest.mark.parametrize("body", [b"", b"token=x&team_id=T0", b"{", b"[]", b"payload=[]", b"payload={", b"\xff=1"])
def test_what_is_no_payload_is_unparseable(body: bytes) -> None:
    adapter, _ = played()
    with pytest.raises(Unparseable):
        adapter.receive(replace(posted({}), body=body))


@pytest.mark.parametrize(
    ("config", "change", "heard"),
    [
        ({}, {}, True),
        ({"agents": {"U0ADA": "Ada"}, "only_agents": True}, {}, True),
        ({"agents": {"U0BEN": "Ben"}, "only_agents": True}, {}, False),
        ({}, {"team": "T0EXT"}, False),
        ({}, {"user_team": "T0EXT"}, False),
        ({"teams": ["T0EXT"]}, {"team": "T0EXT"}, True),
    ],
)
def test_who_may_answer_customers(config: dict[str, Any], change: dict[str, Any], heard: bool) -> None:
    adapter, _ = played(**config)
    payload = fixture("message")
    payload["event"] |= change
    assert bool(adapter.receive(posted(payload))) is heard


def test_in_a_channel_that_the_desk_has_left_only_threads_of_ours_concern_us() -> None:
    adapter, _ = played()
    payload = fixture("other_channel")
    for change in ({"parent_user_id": "U0BEN"}, {"parent_user_id": None}, {"team": "T0EXT"}, {"thread_ts": None}):
        assert adapter.receive(posted(payload | {"event": payload["event"] | change})) == []
    pressed = fixture("assign")
    pressed["container"]["channel_id"] = "C0OTHER"
    [event] = adapter.receive(posted(pressed))
    assert isinstance(event, ActionTaken) and (event.action, event.thread) == ("show", f"C0OTHER:{ROOT[12:]}")


def test_in_a_shared_channel_whoever_shows_no_workspace_is_a_stranger() -> None:
    adapter, _ = played()
    payload = fixture("message") | {"is_ext_shared_channel": True}
    assert adapter.receive(posted(payload)) != []
    del payload["event"]["team"]
    assert adapter.receive(posted(payload)) == []


@pytest.mark.parametrize(("config", "counts"), [({}, False), ({"agents": {"U0ADA": "Ada"}}, True)])
def test_in_a_shared_channel_only_those_react_who_are_in_the_settings(config: dict[str, Any], counts: bool) -> None:
    adapter, _ = played(**config)
    payload = fixture("reaction_added") | {"is_ext_shared_channel": True}
    assert bool(adapter.receive(posted(payload))) is counts


def test_strangers_neither_edit_nor_press_nor_react() -> None:
    adapter, _ = played(agents={"U0BEN": "Ben"}, only_agents=True)
    names = ("edited", "resolve", "reaction_added")
    assert [adapter.receive(request(name)) for name in names] == [[], [], []]


def test_the_configured_name_is_what_customers_see() -> None:
    adapter, _ = played(agents={"U0ADA": "Ada from Greenfield"})
    [event] = adapter.receive(request("named"))
    assert isinstance(event, MessageReceived) and event.sender.name == "Ada from Greenfield"


def test_a_new_member_of_the_workspace_has_a_name_from_their_first_message() -> None:
    adapter, _ = played()
    adapter.receive(request("team_join"))
    message = fixture("message")
    message["event"]["user"] = "U0NEW"
    [event] = adapter.receive(posted(message))
    assert isinstance(event, MessageReceived) and event.sender.name == "Zoë"


@pytest.mark.parametrize("ts", ["1769860860.000200", "1769860860.999999", "1769860860.100000"])
def test_times_keep_their_six_digits(ts: str) -> None:
    adapter, _ = played()
    payload = fixture("message")
    payload["event"] |= {"ts": ts}
    [event] = adapter.receive(posted(payload))
    assert isinstance(event, MessageReceived) and event.external_id == f"{DESK}:{ts}"
    assert f"{int(event.at.timestamp())}.{event.at.microsecond:06d}" == ts


def test_a_form_of_several_actions_is_several_events() -> None:
    adapter, _ = played()
    payload = fixture("assign")
    second = payload["actions"][0] | {"action_id": "resolve"}
    payload["actions"].append(second)
    body = urlencode({"payload": json.dumps(payload)}).encode()
    events = adapter.receive(replace(posted({}), body=body))
    assert [event.action for event in events if isinstance(event, ActionTaken)] == ["assign", "resolve"]
