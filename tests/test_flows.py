"""Stories of customers and agents, through the web, the inbox, the database and the lanes, on both databases."""

from __future__ import annotations

import asyncio
import io
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from aiohttp import web
from aiohttp.test_utils import TestServer

from hub import identity
from hub.campaigns.draft import CampaignError, read
from hub.campaigns.engine import create
from hub.context import Context
from hub.contract import (
    ActionTaken,
    Ambiguous,
    ChannelDown,
    RateLimited,
    Rejected,
    SendError,
    StatusChanged,
    Transient,
)
from hub.customers import CustomerDraft, IdentityDraft, upsert
from hub.desk import Said, parse, wake_snoozed
from hub.media import Shelf
from hub.model import Address, Party
from hub.outbound.compose import compose
from hub.outbound.preview import preview
from hub.sending import Draft, FileDraft, Unsendable, accept
from hub.store.schema import parked_reply, parked_status
from tests.paper import Office, Post, office, until


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(database_url, tmp_path) as running:
        yield running


async def test_a_message_appears_in_a_thread_and_the_answer_goes_back(desk: Office) -> None:
    await desk.write("where is my order?", name="Ann")
    assert desk.posts == ["where is my order?"]
    post = await desk.agent("on its way", thread=desk.thread)
    assert desk.letters.texts == ["on its way"]
    assert str(desk.letters.accepted[0][1].to) == "paper:ann"
    await desk.status("paper-1", "delivered")
    await desk.status("paper-1", "read")
    assert desk.marks(post) == ["sent", "delivered", "read"]


async def test_the_desk_shows_a_template_in_words(database_url: str, tmp_path: Path) -> None:
    async with office(database_url, tmp_path, templates=True) as desk:
        await desk.write("where is my order?")
        template = {"name": "moved", "language": "en", "variables": {"day": "Friday", "1": "Ann"}}
        draft = Draft.model_validate({"customer": "paper:ann", "purpose": "transactional", "template": template})
        await desk.hub.write(lambda connection, context: accept(connection, context, draft, "me"))
        await desk.settled()
        assert [(out.text, out.template is not None) for _, out in desk.letters.accepted] == [("", True)]
        assert desk.posts == ["where is my order?", "[template moved (en): day Friday, 1 Ann]"]


INVOICE = {"url": "https://example.com/invoice.pdf"}


@pytest.mark.parametrize(
    ("can", "beside", "words"),
    [
        ({}, {"attachments": [INVOICE]}, "attachments: none goes beside a template by paper: send files in a message"),
        ({"template_files": 1}, {"attachments": [INVOICE] * 2}, "attachments: only one goes beside a template by"),
        ({}, {"buttons": [{"id": "y", "title": "Yes"}]}, "buttons: by paper a template's buttons are in the template"),
        ({"template_files": 1, "template_buttons": True},
         {"attachments": [INVOICE], "buttons": [{"id": "y", "title": "Yes"}]}, None),
        ({"templates": False}, {"attachments": [INVOICE], "text": "Your invoice"}, None),
    ],
)
async def test_what_does_not_go_beside_a_template_is_refused_at_once(
    sqlite_url: str, tmp_path: Path, can: dict[str, Any], beside: dict[str, Any], words: str | None
) -> None:
    async with office(sqlite_url, tmp_path, **{"templates": True, **can}) as desk:
        said = {"template": {"name": "moved", "language": "en"}, **beside}
        draft = Draft.model_validate({"customer": "paper:ann", "purpose": "transactional", **said})
        plan = {
            "name": "Spring", "purpose": "transactional", "audience": {"list": True}, "channels": ["paper"],
            "messages": [said],
        }
        asked = [
            partial(accept, draft=draft, sender="me"),
            lambda connection, context: create(connection, context, read(plan)),
        ]
        for work in asked:
            if words is None:
                await desk.hub.write(work)
                continue
            with pytest.raises((Unsendable, CampaignError)) as caught:
                await desk.hub.write(work)
            told = caught.value
            said_so = f"{told.field}: {told.detail}" if isinstance(told, Unsendable) else str(told)
            assert words in said_so


async def test_an_event_delivered_many_times_at_once_has_one_effect(desk: Office) -> None:
    letter = {"id": "same", "from": "ann", "text": "once"}
    answers = await asyncio.gather(*(desk.post("paper", letter, letter) for _ in range(25)))
    await desk.settled()
    assert set(answers) == {200}
    assert len(await desk.rows("message", inbound=True)) == 1
    assert desk.posts == ["once"]


async def test_a_wrong_signature_is_refused_and_nothing_is_stored(desk: Office) -> None:
    assert await desk.post("paper", {"id": "x", "from": "eve", "text": "hi"}, seal="chalk") == 403
    assert await desk.rows("inbox") == []


async def test_an_oversized_body_is_refused(desk: Office) -> None:
    assert await desk.post("paper", body=io.BytesIO(b"x" * ((1 << 20) + 1))) == 413
    assert await desk.rows("inbox") == []


async def test_a_note_and_a_mistyped_command_stay_inside(desk: Office) -> None:
    await desk.write("hello")
    for text in ("!note rude customer", "!Note again", "!nte typo", "!via", " !unknown", "!via nowhere psst"):
        post = await desk.agent(text, thread=desk.thread)
        assert desk.marks(post) == ["inside"]
    assert desk.letters.handed == []
    assert {row.purpose for row in await desk.rows("message", author_kind="agent")} == {"note"}


DISGUISED = (
    "*!note* rude", "_!note rude_", "`!note rude`", "```!note rude```", "> !note rude", "• !note rude", "1. !note rude",
    "a) !note rude", "！note rude", "\u200b!note rude", "\ufeff!note rude", "!no\u200bte rude", "*!nte* rude",
    "*！nte* rude", "*!*note rude", "!via fax !note rude", "!via paper *！nte* rude", "!continue fax > !note rude",
    "@Ben !note rude", "Hello Ann\n!note rude",
)  # fmt: skip


async def test_a_note_in_disguise_stays_inside(desk: Office) -> None:
    await desk.write("hello")
    await desk.write("hello", sender="007", channel="fax", also={"paper:ann": "verified"})
    for text in DISGUISED:
        post = await desk.agent(text, thread=desk.thread)
        assert desk.marks(post) == ["inside"], text
    assert desk.letters.handed == desk.faxes.handed == []
    assert {row.purpose for row in await desk.rows("message", author_kind="agent")} == {"note"}


@pytest.mark.parametrize("text", ["Hello!", "- one\n- two!", "Ben: note this!", "Careful! Note that", "👍!", "*Hi* !"])
def test_an_answer_may_have_an_exclamation_mark(text: str) -> None:
    assert parse(text) == Said("reply", text)


async def test_a_channel_is_understood_however_it_is_written(desk: Office) -> None:
    await desk.write("hello", sender="007", channel="fax")
    await desk.write("hello", also={"fax:007": "verified"})
    for text in ("!via fax\none", "!via FAX two", "!VIA\tfax\n\nthree"):
        await desk.agent(text, thread=desk.thread)
    await desk.agent("!via fax", thread=desk.thread, files=["a picture"])
    await _files_there(desk)
    await until(lambda: _many(desk.faxes, 4))
    assert desk.faxes.texts[:3] == ["one", "two", "three"]
    assert "a picture.txt" in desk.faxes.texts[3]
    assert desk.letters.handed == []


@pytest.mark.parametrize("text", ["", " \n", "!via paper"])
async def test_what_has_nothing_in_it_is_not_sent(desk: Office, text: str) -> None:
    await desk.write("hello")
    post = await desk.agent(text, thread=desk.thread)
    assert desk.marks(post) == ["inside"]
    assert desk.letters.handed == []
    assert desk.posts[1:] == ["Not sent: there are no words and no files in it. Write what the customer shall read."]
    await desk.agent("", thread=desk.thread, files=["a picture"])
    await _files_there(desk)
    await until(lambda: _many(desk.letters, 1))


async def _files_there(desk: Office) -> None:
    async def stored() -> bool:
        return [row.state for row in await desk.rows("media")] == ["stored"]

    await until(stored)
    await desk.advance(minutes=1)


@pytest.mark.parametrize("left", [["invoice"], ["invoice", "payroll"]])
async def test_an_answer_that_waits_is_taken_back_with_a_file_of_it(desk: Office, left: list[str]) -> None:
    await desk.write("hello")
    files = ["invoice", "payroll"]
    post = await desk.agent("here it is", thread=desk.thread, files=files)  # its clock stands, so it waits
    edit = {"edits": post, "from": "zoe", "name": "Zoe", "text": "here it is", "files": left}
    assert await desk.post("board", edit) == 200
    await desk.settled()
    told = "Zoe took a file out of a message that waited, so it was not sent. Write it anew."

    async def over() -> bool:
        await desk.advance(seconds=10)
        return bool(desk.letters.texts) if left == files else told in desk.posts

    await until(over)
    await desk.settled()
    assert len(desk.letters.texts) == (left == files)
    assert (told in desk.posts) is (left != files)


async def test_an_answer_in_a_thread_that_is_not_known_yet_waits_for_it(desk: Office) -> None:
    slow = asyncio.Event()
    desk.board.answers = [slow]
    assert await desk.post("paper", {"id": "a", "from": "ann", "text": "hello"}) == 200

    async def shown() -> bool:
        return bool(desk.board.accepted)

    await until(shown)
    for letter in (
        {"id": "1", "from": "zoe", "text": "hi Ann", "thread": desk.thread},
        {"id": "2", "from": "zoe", "action": "assign", "thread": desk.thread},
        {"id": "3", "from": "zoe", "text": "psst", "thread": "a thread of somebody else"},
    ):
        assert await desk.post("board", letter) == 200

    async def parked() -> bool:
        return len(await desk.rows("parked_reply")) == 3

    await until(parked)
    assert desk.letters.texts == []
    slow.set()
    await until(lambda: _sent(desk))
    await desk.settled()
    assert desk.letters.texts == ["hi Ann"]
    assert [row.assignee for row in await desk.rows("conversation")] == ["zoe"]
    assert [row.thread for row in await desk.rows("parked_reply")] == ["a thread of somebody else"]
    await desk.advance(days=2)
    await until(lambda: _nothing(desk, "parked_reply"))


async def _nothing(desk: Office, table: str) -> bool:
    return await desk.rows(table) == []


async def test_what_was_parked_while_its_other_half_was_written_is_found_later(desk: Office) -> None:
    await desk.write("hello")
    await desk.agent("hi", thread=desk.thread)
    [sent] = await desk.rows("receipt", channel="paper")

    def park(connection: sa.Connection, context: Context) -> None:
        """As a transaction does that cannot see yet what another one has just written."""
        status = StatusChanged(sent.external_id, "delivered", context.now)
        event = msgspec.json.encode(status).decode()
        values = {"channel": "paper", "external_id": sent.external_id, "event": event, "at": context.now}
        connection.execute(sa.insert(parked_status).values(values))
        press = ActionTaken("p", Party("board", "zoe", "Zoe"), context.now, "assign", None, desk.thread)
        event = msgspec.json.encode(press).decode()
        values = {"channel": "board", "thread": desk.thread, "event": event, "inbox_id": 1, "at": context.now}
        connection.execute(sa.insert(parked_reply).values(values))

    await desk.hub.write(park)
    await until(lambda: _nothing(desk, "parked_reply"))
    await until(lambda: _nothing(desk, "parked_status"))
    assert [row.state for row in await desk.rows("delivery", kind="contact")] == ["delivered"]
    assert [row.assignee for row in await desk.rows("conversation")] == ["Zoe"]


async def _many(post: Post, count: int) -> bool:
    return len(post.accepted) >= count


async def _sent(desk: Office) -> bool:
    return bool(desk.letters.accepted)


async def test_after_stop_nothing_goes_out_and_the_agent_is_told_why(desk: Office) -> None:
    await desk.write("hello")
    await desk.write("STOP")
    post = await desk.agent("are you sure?", thread=desk.thread)
    assert desk.letters.handed == []
    assert desk.marks(post) == ["denied"]
    [decision] = await desk.rows("decision")
    assert (decision.verdict, decision.reason) == ("block", "CONSENT_REVOKED_ALL")
    await desk.write("START")
    await desk.agent("welcome back", thread=desk.thread)
    assert desk.letters.texts == ["welcome back"]


async def test_an_empty_mail_says_stop_in_its_subject(desk: Office) -> None:
    await desk.write("hello", subject="STOP the press")
    await desk.agent("what happened?", thread=desk.thread)
    assert desk.letters.texts == ["what happened?"]
    await desk.write("", subject="Unsubscribe")
    post = await desk.agent("are you sure?", thread=desk.thread)
    assert desk.marks(post) == ["denied"]


async def test_a_customer_whose_answer_was_refused_still_waits(desk: Office) -> None:
    await desk.write("hello")
    await desk.write("STOP")
    await desk.agent("are you sure?", thread=desk.thread)

    async def waits() -> bool:
        [row] = await desk.rows("conversation")
        return (row.state, row.preview) == ("open", "STOP")

    await until(waits)
    await desk.settled()
    [row] = await desk.rows("conversation")
    assert row.waiting_since is not None
    card = [out.card for _, out in desk.board.accepted if out.card is not None][-1]
    assert (card.state, card.preview) == ("open", "STOP")


async def test_stop_between_queueing_and_sending_is_honoured(desk: Office) -> None:
    await desk.write("hello")
    desk.letters.answers = [Transient("busy", after=30)]
    await desk.agent("answer", thread=desk.thread)
    await desk.write("stop")
    await desk.advance(minutes=5)
    assert len(desk.letters.handed) == 1
    assert [row.state for row in await desk.rows("delivery", kind="contact")] == ["denied"]


async def test_proven_addresses_join_one_thread_across_channels(desk: Office) -> None:
    await desk.write("by letter", sender="ann")
    await desk.write("by fax", sender="007", channel="fax", also={"paper:ann": "verified"})
    assert len(await desk.rows("conversation")) == 1
    assert desk.posts == ["by letter", "by fax"]
    await desk.agent("answer", thread=desk.thread)
    assert (desk.letters.texts, desk.faxes.texts) == ([], ["answer"])
    await desk.agent("!via paper another", thread=desk.thread)
    assert desk.letters.texts == ["another"]


async def test_a_claimed_address_joins_nobody(desk: Office) -> None:
    await desk.write("mine", sender="ann")
    await desk.write("me too", sender="eve", channel="fax", also={"paper:ann": "claimed"})
    await desk.write("really", sender="mallory", channel="fax", proof="claimed", also={"paper:ann": "verified"})
    assert len({row.customer_id for row in await desk.rows("conversation")}) == 3


async def test_two_customers_whose_addresses_prove_to_be_one_are_merged_and_can_be_parted(desk: Office) -> None:
    await desk.write("one", sender="ann")
    await desk.write("two", sender="007", channel="fax")
    await desk.write("both", sender="007", channel="fax", also={"paper:ann": "verified"})
    [older, newer] = await desk.rows("customer")
    assert newer.merged_into == older.id
    assert {row.customer_id for row in await desk.rows("identity")} == {older.id}
    first, second = await desk.rows("conversation")
    assert (first.state, second.state) == ("open", "resolved")
    waits, ended = [row for row in await desk.rows("message", channel="hub") if "the same person" in row.content]
    assert {waits.conversation_id, ended.conversation_id} == {first.id, second.id}
    [told] = [text for text in desk.posts if "They wait" in text]
    assert desk.quoted(told) == ["Customer 007: two"]
    await desk.hub.write(lambda connection, context: identity.unmerge(connection, context, newer.id))
    await desk.settled()
    assert {row.customer_id for row in await desk.rows("identity", address="fax:007")} == {newer.id}
    assert [row.state for row in await desk.rows("conversation")] == ["open", "open"]
    for thread in desk.threads:
        await desk.agent("answer", thread=thread)
    assert (desk.letters.texts, desk.faxes.texts) == (["answer"], ["answer"])


@pytest.mark.parametrize("how", ["resolved", "answered", "snoozed"])
async def test_who_waits_for_an_answer_waits_on_after_a_merge(desk: Office, how: str) -> None:
    await desk.write("old business", sender="ann")
    if how == "answered":
        await desk.agent("done", thread=desk.thread)
    else:
        await desk.press("resolve" if how == "resolved" else "snooze", thread=desk.thread)
    await desk.write("cancel my order!", sender="007", channel="fax")
    await desk.press("assign", thread=desk.threads[1])
    kept, dropped = await desk.rows("customer")
    waited = [row.waiting_since for row in await desk.rows("conversation") if row.waiting_since]
    await desk.hub.write(lambda *both: identity.merge(*both, kept.id, dropped.id, "the same"))
    await desk.settled()
    first, second = await desk.rows("conversation")
    assert (first.state, second.state) == ("resolved", "open")
    assert (second.waiting_since, second.assignee) == (min(waited), "zoe")
    await desk.agent("which one?", thread=desk.threads[1])
    await desk.write("number 17", sender="007", channel="fax")
    await desk.write("and hello", sender="ann")
    first, second = await desk.rows("conversation")
    assert (first.state, second.state, second.preview) == ("resolved", "open", "and hello")
    await desk.hub.write(lambda *both: identity.unmerge(*both, dropped.id))
    await desk.settled()
    first, second = await desk.rows("conversation")
    assert first.state == {"resolved": "resolved", "answered": "pending", "snoozed": "open"}[how]
    assert (second.state, second.reply_channel) == ("open", "fax"), "answers go to their own address"
    await desk.agent("it is cancelled", thread=desk.threads[1])
    assert desk.faxes.texts == ["which one?", "it is cancelled"]


async def test_a_mail_about_an_older_matter_after_a_long_quiet_leaves_one_unresolved(desk: Office) -> None:
    old = await desk.write("about my order")
    await desk.press("resolve", thread=desk.thread)
    await desk.advance(hours=73)
    await desk.write("about my bill")
    await desk.advance(hours=73)
    await desk.write("my order again", references=[old])
    assert [row.state for row in await desk.rows("conversation")] == ["open", "resolved"]


async def test_who_has_a_new_address_is_answered_there_and_the_old_one_is_nobodys(desk: Office) -> None:
    await desk.post(
        "paper",
        {"id": "1", "from": "ann", "text": "one", "name": "Ann"},
        {"id": "2", "from": "eve", "text": "Ann is Eve now", "former": ["paper:ann"], "automatic": True},
        {"id": "3", "from": "ann", "text": "I live here now"},
    )
    await desk.settled()
    await desk.agent("answer", thread=desk.threads[0])
    assert [str(out.to) for _, out in desk.letters.accepted] == ["paper:eve"]
    assert "They are at paper:eve now. Nothing more goes to paper:ann: that may be somebody else by now." in desk.posts
    people = {row.address: row for row in await desk.rows("identity")}
    assert (people["paper:eve"].name, people["paper:ann"].name, people["paper:ann"].proof) == ("Ann", None, "provider")
    assert [row.customer_id for row in await desk.rows("conversation")] == [
        people["paper:eve"].customer_id, people["paper:ann"].customer_id
    ]


async def test_a_move_that_is_told_twice_in_other_words_is_one_move(desk: Office) -> None:
    await desk.write("one", sender="ann")
    await desk.write("Ann is Eve now", sender="eve", former=["paper:ann"], automatic=True)
    await desk.write("Ann is 007 now", sender="007", channel="fax", former=["paper:ann"], automatic=True)
    people = {row.address: row.customer_id for row in await desk.rows("identity")}
    assert people["paper:eve"] == people["fax:007"] != people["paper:ann"]
    assert len(await desk.rows("conversation")) == 1


@pytest.mark.parametrize("known", [True, False])
async def test_who_moves_without_a_word_goes_on_in_what_was_said_before(desk: Office, known: bool) -> None:
    if known:
        await desk.write("some time ago", sender="eve")
        await desk.press("resolve", thread=desk.thread)
    await desk.write("one", sender="ann")
    thread = desk.threads[-1]
    await desk.agent("two", thread=thread)
    before = len(await desk.rows("message", inbound=True))
    await desk.write("", sender="eve", former=["paper:ann"], automatic=True, id="ann/login")
    await desk.write("", sender="mallory", former=["paper:ann"], automatic=True, id="ann/login")  # once
    await desk.write("", sender="zed", former=["paper:nobody"], automatic=True)
    await desk.agent("three", thread=thread)
    await desk.write("I am somebody else", sender="ann")
    assert [str(out.to) for _, out in desk.letters.accepted] == ["paper:ann", "paper:eve"]
    assert [text for text in desk.posts if text.startswith("They are at paper:eve now.")]
    assert len(await desk.rows("message", inbound=True)) == before + 1, "a move alone is no message"
    host = desk.hub.adapters["paper"].host
    said = [entry.text for entry in await host.history(Address("paper", "eve"))]
    assert said == (["some time ago"] if known else []) + ["one", "two", "three"]
    assert await host.history(Address("paper", "mallory")) == await host.history(Address("paper", "zed")) == []


async def test_an_address_that_was_left_stays_out_when_its_owner_is_parted_from_another(desk: Office) -> None:
    await desk.write("one", sender="ann")
    await desk.write("two", sender="007", channel="fax")
    await desk.write("both", sender="007", channel="fax", also={"paper:ann": "verified"})
    await desk.write("a new fax", sender="008", channel="fax", former=["fax:007"], automatic=True)
    newer = (await desk.rows("customer"))[1]
    await desk.hub.write(lambda connection, context: identity.unmerge(connection, context, newer.id))
    assert {row.customer_id for row in await desk.rows("identity", address="fax:007")} == {
        (await desk.rows("customer"))[-1].id
    }


async def test_a_resolved_conversation_is_reopened_by_a_new_message(desk: Office) -> None:
    await desk.write("hello")
    await desk.press("resolve", thread=desk.thread)
    assert [row.state for row in await desk.rows("conversation")] == ["resolved"]
    await desk.advance(hours=1)
    await desk.write("one more thing")
    assert [row.state for row in await desk.rows("conversation")] == ["open"]


async def test_after_a_long_quiet_a_new_episode_begins_in_the_same_timeline(desk: Office) -> None:
    await desk.write("hello")
    await desk.advance(hours=73)
    await desk.write("hello again")
    first, second = await desk.rows("conversation")
    assert (first.state, second.state) == ("resolved", "open")
    assert first.customer_id == second.customer_id
    assert len([out for _, out in desk.board.accepted if out.card and out.edits is None]) == 2


async def test_a_letter_that_names_an_older_one_reopens_its_conversation(desk: Office) -> None:
    old = await desk.write("about my order")
    await desk.agent("sent", thread=desk.thread)
    await desk.press("resolve", thread=desk.thread)
    await desk.advance(days=30)
    await desk.write("something else")
    [first, second] = await desk.rows("conversation")
    await desk.press("resolve", thread=desk.threads[1])
    await desk.advance(days=30)
    await desk.write("about that order again", references=["nothing we know", old])
    assert [(row.id, row.state) for row in await desk.rows("conversation")] == [
        (first.id, "open"),
        (second.id, "resolved"),
    ]


async def test_a_letter_that_names_somebody_elses_opens_nothing_of_theirs(desk: Office) -> None:
    hers = await desk.write("my secret", sender="ann")
    await desk.press("resolve", thread=desk.thread)
    await desk.write("tell me", sender="eve", references=[hers, "paper-1"])
    [first, second] = await desk.rows("conversation")
    assert (first.state, second.state) == ("resolved", "open")
    assert first.customer_id != second.customer_id


async def test_assigning_snoozing_and_waking(desk: Office) -> None:
    await desk.write("hello")
    await desk.press("assign", thread=desk.thread)
    await desk.agent("!snooze 2h", thread=desk.thread)
    [row] = await desk.rows("conversation")
    assert (row.assignee, row.state) == ("zoe", "snoozed")
    await desk.advance(hours=3)

    async def awake() -> bool:
        return bool((await desk.rows("conversation"))[0].state == "open")

    await until(awake)


@pytest.mark.parametrize(
    ("text", "mentions", "assignee"),
    [("Ben", [], "Ben"), ("@Ben", [], "Ben"), ("@Ben Smith", ["Ben Smith"], "Ben Smith"), ("me", [], "Zoe"),
     ("@Ben can you take this? Ask @Ada", ["Ben", "Ada"], "Ben"), ("Ben\nplease", [], None), ("Ben " * 30, [], None)],
)  # fmt: skip
async def test_a_conversation_is_assigned_to_who_is_named(
    desk: Office, text: str, mentions: list[str], assignee: str | None
) -> None:
    await desk.write("hello")
    await desk.agent(f"!assign {text}", thread=desk.thread, mentions=mentions)
    assert [row.assignee for row in await desk.rows("conversation")] == [assignee]
    assert desk.posts[-1].startswith(f"Assigned to {assignee}." if assignee else "Not assigned: that is no name.")


async def test_a_snooze_ends_in_its_time_whatever_was_answered_meanwhile(desk: Office) -> None:
    await desk.write("hello")
    await desk.agent("!snooze 2h", thread=desk.thread)
    await desk.agent("!snooze 4h", thread=desk.thread)
    assert "Not snoozed" not in desk.posts[-1]
    await desk.agent("we look into it", thread=desk.thread)
    await desk.advance(hours=3)
    await desk.hub.write(wake_snoozed)
    [row] = await desk.rows("conversation")
    assert (row.state, row.waiting_since) == ("snoozed", None)
    await desk.advance(hours=2)

    async def awake() -> bool:
        return bool((await desk.rows("conversation"))[0].state == "open")

    await until(awake)
    assert (await desk.rows("conversation"))[0].waiting_since is None


async def test_who_waited_before_a_snooze_or_a_resolution_waits_after_it(desk: Office) -> None:
    await desk.write("hello")
    await desk.agent("hi", thread=desk.thread)
    await desk.advance(hours=1)
    await desk.write("where is it?")
    await desk.write("?")
    [_, asked, _] = await desk.rows("message", inbound=True)
    await desk.agent("!snooze 2h", thread=desk.thread)
    await desk.advance(hours=3)
    await desk.hub.write(wake_snoozed)
    [row] = await desk.rows("conversation")
    assert (row.state, row.waiting_since) == ("open", asked.recorded_at)
    await desk.press("resolve", thread=desk.thread)
    assert (await desk.rows("conversation"))[0].waiting_since is None
    await desk.press("reopen", thread=desk.thread)
    assert (await desk.rows("conversation"))[0].waiting_since == asked.recorded_at


@pytest.mark.parametrize("text", ["!reopen", "!snooze 2h"])
async def test_who_cannot_reopen_an_old_conversation_is_told_why(desk: Office, text: str) -> None:
    await desk.write("hello")
    await desk.advance(hours=80)
    await desk.write("hello again")
    await desk.agent(text, thread=desk.thread)
    assert desk.posts[-1].endswith(
        "another conversation of this customer is unresolved, and there can be only one. Go on in that one."
    )


async def test_what_cannot_be_parsed_is_kept_alerted_and_replayable(desk: Office) -> None:
    assert await desk.post("paper", body=b"not json") == 200
    await desk.write("the next one is fine")
    [kept] = await desk.rows("quarantine")
    assert [row.kind for row in await desk.rows("alert")] == ["unparseable"]
    paper = desk.hub.adapters["paper"]
    original = type(paper).receive
    try:
        type(paper).receive = lambda self, request: []  # type: ignore[method-assign]  # the adapter after its fix
        await desk.hub.projector.replay([kept.inbox_id])
    finally:
        type(paper).receive = original  # type: ignore[method-assign]  # back to the broken one
    [solved] = await desk.rows("quarantine")
    assert solved.solved_at is not None


async def test_replaying_everything_changes_nothing(desk: Office) -> None:
    await desk.write("hello")
    await desk.agent("hi", thread=desk.thread)
    await desk.write("STOP")
    before = [len(await desk.rows(table)) for table in ("message", "delivery", "consent_event", "conversation")]
    await desk.hub.projector.replay([row.id for row in await desk.rows("inbox")])
    await desk.settled()
    assert [len(await desk.rows(t)) for t in ("message", "delivery", "consent_event", "conversation")] == before


async def test_one_row_that_cannot_be_applied_does_not_stop_the_others(desk: Office) -> None:
    assert await desk.post("paper", {"id": "a", "from": "ann", "text": "bad \ud800 text"}) == 200
    await desk.write("good")
    assert "good" in desk.posts


async def test_the_card_names_channels_and_what_people_know_by_heart(desk: Office) -> None:
    await desk.write("hello", also={"tel:+447700900123": "verified"})
    card = next(out.card for _, out in desk.board.accepted if out.card is not None)
    assert card.channels == ["paper", "tel +447700900123"]


async def test_posts_at_the_desk_say_by_which_channel_the_customer_wrote(desk: Office) -> None:
    await desk.write("by letter", sender="ann", name="Ann")
    await desk.write("by fax", sender="007", channel="fax", also={"paper:ann": "verified"})
    posts = [out for _, out in desk.board.accepted if out.text.startswith("by ")]
    assert [(out.origin, out.purpose) for out in posts] == [("paper", "reply"), ("fax", "reply")]


async def test_customers_and_agents_without_a_name_are_not_called_by_an_id(desk: Office) -> None:
    await desk.write("hello", sender="0f8fad5bd9cb469fa16570867728950e")
    letter = {"id": "1", "from": "U0AGENT2", "text": "hi", "thread": desk.thread}
    assert await desk.post("board", letter) == 200
    await desk.settled()
    card = next(out.card for _, out in desk.board.accepted if out.card is not None)
    authors = [out.author.name for _, out in desk.board.accepted if out.author] + [
        out.author.name for _, out in desk.letters.accepted if out.author
    ]
    assert (card.customer, authors) == ("Customer 950e", ["Customer 950e", "Support"])


async def test_a_channels_history_names_each_message_as_that_channel_does(desk: Office) -> None:
    letter = await desk.write("hello")
    await desk.agent("hi Ann", thread=desk.thread)
    await desk.agent("!note psst", thread=desk.thread)
    history = await desk.hub.adapters["paper"].host.history(Address("paper", "ann"))
    assert [(entry.external_id, entry.text) for entry in history] == [(letter, "hello"), ("paper-1", "hi Ann")]


async def test_an_agent_may_change_or_take_back_what_still_waits(desk: Office) -> None:
    await desk.write("hello")
    desk.letters.answers = [Transient("busy", after=30)]
    first = await desk.agent("yuor box", thread=desk.thread)
    second = await desk.agent("a slip of the tongue", thread=desk.thread)
    third = await desk.agent("he is a difficult one", thread=desk.thread)
    for change in ({"edits": first, "text": "your box"}, {"deletes": second}, {"edits": third, "text": "!note he is"}):
        assert await desk.post("board", {"from": "zoe", "name": "Zoe", **change}) == 200
    await desk.settled()
    await desk.advance(minutes=5)
    assert desk.letters.texts == ["your box"]
    assert [row.state for row in await desk.rows("delivery", kind="contact")] == ["sent", "cancelled", "cancelled"]
    assert desk.posts.count("Zoe took a message back before it was sent.") == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [({"edits": "post", "text": "your box"}, "the customer still has its first version"),
     ({"deletes": "post"}, "the customer still has it")],
)
async def test_an_agent_who_changes_what_is_out_is_told_so(desk: Office, change: dict[str, str], words: str) -> None:
    await desk.write("hello")
    post = await desk.agent("yuor box", thread=desk.thread)
    filled = {key: post if value == "post" else value for key, value in change.items()}
    assert await desk.post("board", {"from": "zoe", "name": "Zoe", **filled}) == 200
    await desk.settled()
    assert desk.letters.texts == ["yuor box"]
    assert [text for text in desk.posts if words in text] == desk.posts[1:]
    assert len(desk.posts) == 2


async def change(desk: Office, post: str, text: str | None) -> None:
    """None: delete it."""
    done = {"deletes": post} if text is None else {"edits": post, "text": text}
    assert await desk.post("board", {"from": "zoe", "name": "Zoe", **done}) == 200
    await desk.settled()


@pytest.mark.parametrize(
    ("text", "words"),
    [("sorry", "Zoe changed a message that the customer did not get. Write it anew to send it."),
     (None, "Zoe took back a message that the customer did not get.")],
)  # fmt: skip
async def test_an_agent_who_changes_what_was_refused_is_told_that(desk: Office, text: str | None, words: str) -> None:
    await desk.write("hello")
    await desk.write("STOP")
    post = await desk.agent("are you sure?", thread=desk.thread)
    await change(desk, post, text)
    assert desk.posts[-1] == words


async def test_an_agent_who_changes_what_is_perhaps_out_is_told_that(desk: Office) -> None:
    await desk.write("hello")
    desk.letters.answers = [(Ambiguous("lost", settles=False),)]
    post = await desk.agent("yuor box", thread=desk.thread)
    await change(desk, post, "your box")
    assert desk.posts[-1] == "Zoe changed a message that is perhaps out already: the customer may have it as it was."


async def test_a_note_stays_inside_though_it_is_edited_into_an_answer(desk: Office) -> None:
    await desk.write("hello")
    note = await desk.agent("!note draft: on Friday", thread=desk.thread)
    mistyped = await desk.agent("!vai paper on Friday", thread=desk.thread)
    before = len(desk.posts)
    await change(desk, note, "!note a draft: on Friday")
    await change(desk, note, None)
    assert len(desk.posts) == before
    await change(desk, note, "on Friday")
    await change(desk, mistyped, "!via paper on Friday")
    told = "Zoe changed a note: it stays inside and does nothing. Write it anew to send it."
    assert desk.posts[before:] == [told, told]
    assert desk.letters.handed == []


@pytest.mark.parametrize(
    ("first", "second", "letters", "faxes", "moved"),
    [
        ("!via fax my PIN", "!via paper my PIN", ["my PIN"], [], True),
        ("my PIN", "!via fax my PIN", [], ["my PIN"], True),
        ("!via fax hi", "hi there", ["hi there"], [], True),
        ("!via fax hi", "!via fax hi there", [], ["hi there"], False),
    ],
)
async def test_an_answer_that_waits_goes_where_its_new_text_says(
    desk: Office, first: str, second: str, letters: list[str], faxes: list[str], moved: bool
) -> None:
    await desk.write("hello by fax", sender="007", channel="fax")
    await desk.write("hello by paper", also={"fax:007": "verified"})
    first_way = desk.faxes if first.startswith("!via fax") else desk.letters
    first_way.answers = [Transient("busy", after=30)]
    post = await desk.agent(first, thread=desk.threads[-1])
    await change(desk, post, second)
    await desk.advance(minutes=5)
    assert (desk.letters.texts, desk.faxes.texts) == (letters, faxes)
    by = "paper" if letters else "fax"
    assert (desk.posts[-1] == f"Zoe changed a message before it was sent: it goes by {by}.") == moved
    assert desk.marks(post)[-1] == "sent"


@pytest.mark.parametrize("text", [None, "!note hm"])
async def test_a_customer_whose_answer_was_taken_back_still_waits(desk: Office, text: str | None) -> None:
    await desk.write("hello")
    first = await desk.agent("hi", thread=desk.thread)
    desk.letters.answers = [Transient("busy", after=30)]
    second = await desk.agent("your box comes", thread=desk.thread)
    await change(desk, second, text)
    assert [row.state for row in await desk.rows("conversation")] == ["pending"]  # the first one is out
    await desk.write("when?")
    [_, asked] = await desk.rows("message", inbound=True)
    desk.letters.answers = [Transient("busy", after=30)]
    third = await desk.agent("tomorrow", thread=desk.thread)
    await change(desk, third, text)
    [row] = await desk.rows("conversation")
    assert (row.state, row.waiting_since) == ("open", asked.recorded_at)
    card = [out.card for _, out in desk.board.accepted if out.card is not None][-1]
    assert card.state == "open"
    assert desk.marks(first) == ["sent"]


async def test_a_template_that_waits_may_be_changed(database_url: str, tmp_path: Path) -> None:
    async with office(database_url, tmp_path, templates=True) as desk:
        await desk.write("hello")
        for second, expected in (("!template moved en day=Monday", "Monday"), ("It moved to Monday", None)):
            desk.letters.answers = [Transient("busy", after=30)]
            post = await desk.agent("!template moved en day=Friday", thread=desk.thread)
            await change(desk, post, second)
            await desk.advance(minutes=5)
            out = desk.letters.accepted[-1][1]
            assert out.template is None if expected is None else out.template.variables == {"day": expected}
        assert desk.letters.texts == ["", "It moved to Monday"]


@pytest.mark.parametrize(
    ("text", "words"),
    [("!note she is a liar", "Zoe took a message back before it was sent."),
     ("!resolve", "Zoe took a message back before it was sent. A command has no effect there: write it anew."),
     ("*!nte* she is a liar", "Zoe took a message back before it was sent.")],
)  # fmt: skip
async def test_an_answer_that_becomes_a_note_is_marked_as_one(desk: Office, text: str, words: str) -> None:
    await desk.write("hello")
    desk.letters.answers = [Transient("busy", after=30)]
    post = await desk.agent("she is a liar", thread=desk.thread)
    await change(desk, post, text)
    assert desk.marks(post) == ["queued", "inside"]
    assert desk.posts[-1] == words
    await desk.advance(minutes=5)
    assert desk.letters.texts == []
    [written] = await desk.rows("message", author_kind="agent")
    assert (written.purpose, written.identity_id) == ("note", None)


async def test_a_proven_address_is_preferred_to_one_that_the_business_holds_for_theirs(desk: Office) -> None:
    def know(connection: sa.Connection, context: Context) -> None:
        for name, proofs in (("ann", {"a": "verified", "b": "claimed"}), ("bob", {"c": "claimed"})):
            addresses = [IdentityDraft.model_validate({"address": f"paper:{each}", "proof": how})
                         for each, how in proofs.items()]  # fmt: skip
            upsert(connection, context, CustomerDraft(external_id=name, identities=addresses))
            accept(connection, context, Draft(customer=name, text=f"to {name}", purpose="reply"), "me")

    await desk.hub.write(know)
    await desk.settled()
    accepted = [(str(out.to), out.text) for _, out in desk.letters.accepted]
    assert accepted == [("paper:a", "to ann"), ("paper:c", "to bob")]


async def test_an_answer_by_another_channel_goes_where_the_customer_wrote_from(desk: Office) -> None:
    def know(connection: sa.Connection, context: Context) -> None:
        held = [IdentityDraft.model_validate({"address": f"paper:{each}", "proof": "verified"})
                for each in ("mobile", "office")]  # fmt: skip
        upsert(connection, context, CustomerDraft(external_id="1", identities=held))

    await desk.write("one", sender="mobile")
    await desk.hub.write(know)
    await desk.write("by fax", sender="007", channel="fax", also={"paper:mobile": "verified"})
    await desk.agent("!via paper two", thread=desk.thread)
    await desk.write("three", sender="office")
    await desk.write("by fax again", sender="007", channel="fax")
    await desk.agent("!via paper four", thread=desk.thread)
    accepted = [(str(out.to), out.text) for _, out in desk.letters.accepted]
    assert accepted == [("paper:mobile", "two"), ("paper:office", "four")]


@asynccontextmanager
async def shelf(*statuses: int) -> AsyncIterator[FileDraft]:
    """An invoice on a server that answers with these statuses, one after the other, and then with it."""
    left = iter(statuses)

    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=b"%PDF-1.4 invoice", status=next(left, 200))

    app = web.Application()
    app.router.add_get("/invoice.pdf", serve)
    async with TestServer(app) as server:
        url = str(server.make_url("/invoice.pdf"))
        yield FileDraft.model_construct(url=url, name="invoice.pdf", mime="application/pdf", kind="file")


async def file_sent(desk: Office, file: FileDraft, state: str) -> Any:
    """An answer with that file, once its delivery is so. Returns the delivery."""
    draft = Draft(customer="paper:ann", text="Your invoice", purpose="reply", attachments=[file])
    await desk.hub.write(lambda connection, context: accept(connection, context, draft, "me"))

    async def there() -> bool:
        await desk.advance(seconds=10)
        return bool(await desk.rows("delivery", kind="contact", state=state))

    await until(there)
    [row] = await desk.rows("delivery", kind="contact", state=state)
    return row


@pytest.mark.parametrize("statuses", [(), (503, 429, 408)])
async def test_a_file_that_is_given_by_its_address_goes_out(
    database_url: str, tmp_path: Path, statuses: tuple[int, ...]
) -> None:
    settings = {"egress": {"allow": ["127.0.0.1"]}}
    can = {"media": "bytes", "media_max": 5, "media_size": 10_000}
    async with office(database_url, tmp_path, settings_=settings, **can) as desk, shelf(*statuses) as file:
        await desk.write("the invoice, please")
        await file_sent(desk, file, "sent")
        [(_, out)] = desk.letters.accepted
        assert (out.text, [(each.name, each.data) for each in out.attachments]) == (
            "Your invoice", [("invoice.pdf", b"%PDF-1.4 invoice")]
        )


async def test_a_message_whose_file_cannot_be_had_fails_and_says_so(database_url: str, tmp_path: Path) -> None:
    settings = {"egress": {"allow": ["127.0.0.1"]}}
    async with office(database_url, tmp_path, settings_=settings) as desk, shelf(404) as file:
        await desk.write("the invoice, please")
        row = await file_sent(desk, file, "failed")
        words = "file invoice.pdf could not be fetched: its server answered 404"
        assert (row.reason, row.code, desk.letters.handed) == (f"rejected: the {words}", "FILE_LOST", [])
        await desk.advance(seconds=10)
        assert desk.posts == ["the invoice, please", f"Your invoice\n[{words}]"]


async def test_a_dry_run_shows_a_file_that_is_not_there_yet(database_url: str, tmp_path: Path) -> None:
    can = {"media": "bytes", "media_max": 5, "media_size": 10_000}
    async with office(database_url, tmp_path, **can) as desk:
        file = {"url": "https://example.com/invoice.pdf", "name": "invoice.pdf"}
        draft = {"customer": "paper:ann", "text": "Your invoice", "purpose": "transactional", "attachments": [file]}
        asked = Draft.model_validate(draft)

        def taken(connection: sa.Connection) -> tuple[int, Any]:
            accepted = accept(connection, desk.hub.context(), asked, "me")
            return accepted.delivery, accepted.channel

        found = await preview(desk.hub.store, desk.hub.context(), taken, "on")
        [out] = await compose(found.job, found.channel, desk.hub.links, desk.hub.shelf, "https://hub.example.com")
        assert (out.text, [each.name for each in out.attachments]) == ("Your invoice", ["invoice.pdf"])
async def test_an_agent_learns_at_once_which_file_is_not_to_be_had(desk: Office) -> None:
    await desk.write("the manual, please")
    letter = {"id": "1", "from": "zoe", "text": "here it is", "thread": desk.thread, "files": ["no manual", "a price"]}
    assert await desk.post("board", letter) == 200

    async def told() -> bool:
        return len(desk.posts) > 1 and not await desk.rows("media", state="pending")

    await until(told)
    assert desk.posts[1].startswith("Not sent: no manual.txt. It could not be fetched (file_not_found).")
    files = [(row.state, row.attempts) for row in await desk.rows("media")]
    assert files == [("failed", 1), ("stored", 0)]


async def until_file(desk: Office, state: str, **span: float) -> None:
    """Let time pass in such steps until the only file is so and nothing is on its way."""

    async def there() -> bool:
        await desk.advance(**span)
        return [row.state for row in await desk.rows("media")] == [state]

    await until(there)
    await desk.advance(seconds=61)


async def test_a_file_of_a_customer_that_comes_late_is_shown_when_it_is_there(desk: Office) -> None:
    desk.letters.files["box"] = [Transient("HTTP 503")] * 20
    await desk.write("see the picture", files=["box"])
    await until_file(desk, "stored", minutes=10)
    first, second = desk.posts
    assert first == "see the picture\n[file box.txt could not be fetched: HTTP 503]"
    assert second.startswith("[file box.txt is here now]\n\nbox.txt: http")
    assert [row.kind for row in await desk.rows("alert")] == ["no files"]


async def test_a_file_that_is_there_in_time_is_shown_once(desk: Office) -> None:
    desk.letters.files["box"] = [Transient("HTTP 503")]
    await desk.write("see the picture", files=["box"])
    await until_file(desk, "stored", seconds=1)
    [post] = desk.posts
    assert post.startswith("see the picture\n\nbox.txt: http")


async def test_a_file_of_a_customer_is_tried_for_a_day_and_again_by_a_replay(desk: Office) -> None:
    begun = desk.clock.now
    desk.letters.files["box"] = [Transient("HTTP 503")] * 40
    await desk.write("see the picture", files=["box"])
    await until_file(desk, "failed", minutes=30)
    assert desk.clock.now - begun > timedelta(hours=20)
    told = [(row.kind, row.channel) for row in await desk.rows("alert")]
    assert told == [("no files", "paper"), ("file lost", "paper")]
    [inbox] = await desk.rows("inbox")
    assert (await desk.rows("alert"))[1].detail.endswith(f"Once it is mended: hub replay {inbox.id}")
    desk.letters.files.clear()
    await desk.hub.projector.replay([inbox.id])
    await until_file(desk, "stored", seconds=1)
    assert len(desk.posts) == 2 and desk.posts[1].startswith("[file box.txt is here now]\n\nbox.txt: http")


async def test_a_server_that_hangs_keeps_no_file_of_another_channel_back(desk: Office) -> None:
    hangs = asyncio.Event()
    desk.letters.files["box"] = [hangs] * 40
    await desk.post("paper", *({"id": f"{n}", "from": f"p{n}", "text": "look", "files": ["box"]} for n in range(40)))
    await desk.settled()
    await desk.write("bob's picture", sender="bob", channel="fax", files=["urgent"])

    async def there() -> bool:
        return bool(await desk.rows("media", channel="fax", state="stored"))

    await until(there)
    await desk.advance(seconds=2)
    assert desk.posts[-1].startswith("bob's picture\n\nurgent.txt: http")
    assert {row.state for row in await desk.rows("media", channel="paper")} == {"pending"}
    hangs.set()


async def test_a_full_disk_keeps_no_half_of_a_file(tmp_path: Path) -> None:
    async def large() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"a" * 5000

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (128_000, before[1]))
    try:
        with pytest.raises(OSError, match="large"):
            await Shelf(tmp_path / "media", 1_000_000).put(large())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "media").iterdir()) == []


SLOW = RateLimited("too fast", after=600, scope="pair")


@pytest.mark.parametrize("trouble", [Transient("busy", after=30), ChannelDown("token revoked"), SLOW])
async def test_an_answer_that_has_to_wait_is_marked(desk: Office, trouble: SendError) -> None:
    await desk.write("hello")
    desk.letters.answers = [trouble]
    post = await desk.agent("hi Ann", thread=desk.thread)
    assert desk.marks(post) == ["queued"]


async def test_an_answer_that_has_to_wait_again_and_again_is_marked_once(desk: Office) -> None:
    await desk.write("hello")
    desk.letters.answers = [Transient("busy", after=30)] * 3
    post = await desk.agent("hi Ann", thread=desk.thread)
    for _ in range(3):
        await desk.advance(minutes=20)
    assert desk.marks(post) == ["queued", "sent"]


async def test_an_answer_that_is_put_off_before_it_is_tried_is_marked(database_url: str, tmp_path: Path) -> None:
    month = {"configured": {"messages_per_month": 0}, "retry_for": timedelta(days=60)}  # the next one has none either
    async with office(database_url, tmp_path, **month) as desk:  # type: ignore[arg-type]  # values of mixed types
        await desk.write("hello")
        post = await desk.agent("hi Ann", thread=desk.thread)
        assert (desk.marks(post), desk.letters.handed) == (["queued"], [])


async def test_a_conversation_that_was_resolved_before_its_answer_failed_is_open_again(desk: Office) -> None:
    await desk.write("hello")
    desk.letters.answers = [Transient("busy", after=30), Rejected("no such house")]
    await desk.agent("hi Ann", thread=desk.thread)
    await desk.press("resolve", thread=desk.thread)
    await desk.advance(minutes=2)
    [row] = await desk.rows("conversation")
    assert (row.state, row.preview, row.resolved_at) == ("open", "hello", None) and row.waiting_since is not None
    card = [out.card for _, out in desk.board.accepted if out.card][-1]
    assert card is not None and (card.state, card.preview) == ("open", "hello")


async def test_what_was_resolved_after_a_later_answer_stays_so(desk: Office) -> None:
    await desk.write("hello")
    desk.letters.answers = [Transient("busy", after=30), Rejected("no such house")]
    await desk.agent("hi Ann", thread=desk.thread)
    await desk.agent("and another", thread=desk.thread)
    await desk.press("resolve", thread=desk.thread)
    await desk.advance(minutes=2)
    assert [row.state for row in await desk.rows("conversation")] == ["resolved"]


async def test_after_a_long_quiet_the_old_thread_says_that_it_is_over_and_an_answer_there_ends_the_wait(
    desk: Office,
) -> None:
    await desk.write("first question")
    await desk.advance(hours=80)
    await desk.write("are you there?")
    old, new = desk.threads
    cards = {out.edits or name: out.card for name, out in desk.board.accepted if out.card}
    assert [(cards[each].state, cards[each].waiting_since is None) for each in (old, new)] == [
        ("resolved", True), ("open", False)
    ]  # fmt: skip
    [words] = [out.text for _, out in desk.board.accepted if out.thread == old and "new conversation" in out.text]
    assert words.startswith("After a long quiet this goes on in a new conversation (con_")
    desk.letters.answers = [None, Rejected("no such house")]
    for state in ("pending", "open"):  # the second answer does not get there
        await desk.agent("answer in the old thread", thread=old)
        cards = {out.edits or name: out.card for name, out in desk.board.accepted if out.card}
        assert (cards[old].state, cards[new].state) == ("resolved", state)
    assert desk.letters.texts == ["answer in the old thread"]
