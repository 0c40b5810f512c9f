"""Stories of customers and agents, through the web, the inbox, the database and the lanes, on both databases."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from hub import identity
from hub.context import Context
from hub.contract import ActionTaken, ChannelDown, RateLimited, Rejected, SendError, StatusChanged, Transient
from hub.customers import CustomerDraft, IdentityDraft, upsert
from hub.model import Address, Party
from hub.sending import Draft, accept
from hub.store.schema import parked_reply, parked_status
from tests.paper import Office, office, until


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
    unresolved = [row for row in await desk.rows("conversation") if row.state != "resolved"]
    assert [row.customer_id for row in unresolved] == [older.id]
    [told] = await desk.rows("message", channel="hub")
    assert "the same person" in told.content and told.conversation_id not in {row.id for row in unresolved}
    assert [text for text in desk.posts if "the same person" in text]
    await desk.hub.write(lambda connection, context: identity.unmerge(connection, context, newer.id))
    assert {row.customer_id for row in await desk.rows("identity", address="fax:007")} == {newer.id}


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
    note = await desk.agent("!note yuor box", thread=desk.thread)
    for target in (note, post):
        filled = {key: target if value == "post" else value for key, value in change.items()}
        assert await desk.post("board", {"from": "zoe", "name": "Zoe", **filled}) == 200
    await desk.settled()
    assert desk.letters.texts == ["yuor box"]
    assert [text for text in desk.posts if words in text] == desk.posts[1:]
    assert len(desk.posts) == 2


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
