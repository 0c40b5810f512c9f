"""What customers write about messages, through the whole hub."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hub import consent, identity
from hub.contract import Transient
from hub.policy import pack
from hub.policy.ledger import Event, Scope, Target
from hub.store.schema import customer
from tests.paper import Office, office


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(database_url, tmp_path, answers=frozenset()) as running:
        await running.write("hello")
        yield running


async def entries(desk: Office) -> list[tuple[Any, ...]]:
    rows = await desk.rows("consent_event")
    return [(row.kind, row.actor, row.scope_channel, row.scope_purpose) for row in rows]


async def verdicts(desk: Office, text: str = "hi") -> list[str]:
    """What is decided about this text of an agent's, after all that agents wrote before."""
    await desk.agent(text, thread=desk.thread)
    await desk.settled()
    written = {row.id for row in await desk.rows("message", author_kind="agent")}
    theirs = {row.id for row in await desk.rows("delivery", kind="contact") if row.message_id in written}
    return [row.reason for row in await desk.rows("decision") if row.delivery_id in theirs]


async def marketing(desk: Office, medium: str = "paper", topic: str | None = None) -> str:
    """What the ledger says to advertising, to Ann."""
    [person] = await desk.rows("customer")
    target = Target("paper:ann", medium, "marketing", topic, sender=medium, persons=(consent.person(person.id),))
    found = await desk.hub.store.read(lambda connection: consent.standing(connection, target, desk.clock.now))
    return found.reason


async def test_a_no_in_words_counts_like_the_keyword(desk: Office) -> None:
    await desk.write("Please take me off your list, I get far too many of these letters from you lately!")
    assert await entries(desk) == [("revoke", "subject", "*", "*")]
    assert await verdicts(desk) == ["CONSENT_REVOKED_ALL"]


async def test_a_no_is_heard_in_a_long_letter(desk: Office) -> None:
    before = "I have written about this before and nobody answered me. " * 10
    await desk.write(before + "Stop sending me these letters and messages.")
    assert await entries(desk) == [("revoke", "subject", "*", "*")]


async def test_the_language_of_the_customer_is_read(desk: Office) -> None:
    await desk.write("alto")
    assert await entries(desk) == []
    spanish = sa.update(customer).values(locale="es-MX")
    await desk.hub.write(lambda connection, _: connection.execute(spanish))
    await desk.write("cancelar")
    assert await entries(desk) == [("hold", "subject", "*", "*")]  # a weak word where no carrier acts on it
    await desk.write("alto")
    assert ("revoke", "subject", "*", "*") in await entries(desk)


async def test_a_no_to_another_medium_leaves_this_one_open(desk: Office) -> None:
    await desk.write("stop emailing me")
    assert await entries(desk) == [("revoke", "subject", "email", "*")]
    assert await verdicts(desk) == ["ALLOWED"]
    [row] = await desk.rows("consent_event")
    [person] = await desk.rows("customer")
    assert row.address == consent.person(person.id)


async def test_stop_all_is_meant_for_every_address_and_start_opens_the_one_it_comes_from(desk: Office) -> None:
    await desk.write("STOP ALL")
    assert await verdicts(desk) == ["CONSENT_REVOKED_ALL"]
    await desk.write("START")
    assert await verdicts(desk) == ["CONSENT_REVOKED_ALL", "ALLOWED"]


async def test_an_unclear_message_holds_marketing(desk: Office) -> None:
    await desk.write("START")
    await desk.write("stop the delivery to my office")
    assert [kind for kind, *_ in await entries(desk)] == ["grant", "hold"]
    assert any("Unclear whether" in post for post in desk.posts)
    assert await verdicts(desk) == ["ALLOWED"]  # an answer is no marketing


async def test_an_unclear_message_counts_for_a_permission_that_comes_later(desk: Office) -> None:
    await desk.write("stop the delivery to my office")
    assert await entries(desk) == [("hold", "subject", "*", "*")]
    assert not any("Unclear whether" in post for post in desk.posts)  # nothing was to be decided
    assert await marketing(desk) == "CONSENT_MISSING"
    await desk.advance(hours=30)
    bought = Event("grant", desk.clock.now, "paper:ann", "import", basis="express")
    await desk.hub.write(lambda connection, context: said(connection, context, bought))
    assert await marketing(desk) == "CONSENT_REVOKED"
    own = Event("grant", desk.clock.now, "paper:ann", basis="express", scope=Scope("paper", "marketing"))
    await desk.hub.write(lambda connection, context: said(connection, context, own))
    assert await marketing(desk) == "OK"


async def test_a_wrong_number_gets_no_marketing(desk: Office) -> None:
    await desk.write("Sorry, you have the wrong number")
    assert await entries(desk) == [("revoke", "subject", "*", "marketing")]


async def test_yes_confirms_what_was_asked_and_nothing_else(desk: Office) -> None:
    await desk.write("yes")
    assert await entries(desk) == []

    def ask(connection: sa.Connection, context: Any) -> None:
        grant = Event("grant", context.now, "paper:ann", basis="double_opt_in")
        consent.append(connection, grant, change="opt_in", channel=None, source="page", now=context.now)

    await desk.hub.write(ask)
    await desk.write("Yes!")
    assert [kind for kind, *_ in await entries(desk)] == ["grant", "confirm"]


async def test_yes_does_not_take_back_a_stop(desk: Office) -> None:
    question = Event("grant", desk.clock.now, "paper:ann", basis="double_opt_in")
    await desk.hub.write(lambda connection, context: said(connection, context, question))
    await desk.write("STOP")
    await desk.write("Yes")
    assert [kind for kind, *_ in await entries(desk)] == ["grant", "revoke"]
    assert await verdicts(desk) == ["CONSENT_REVOKED_ALL"]


async def test_yes_takes_back_an_opt_out_at_the_provider(desk: Office) -> None:
    block = Event("suppress", desk.clock.now, "paper:ann", "provider", reason="provider_optout")
    await desk.hub.write(lambda connection, context: said(connection, context, block))
    assert await verdicts(desk) == ["SUPP_PROVIDER_OPTOUT"]
    await desk.write("Yes")
    assert await verdicts(desk) == ["SUPP_PROVIDER_OPTOUT", "ALLOWED"]


async def test_start_takes_back_each_no_in_its_own_words(desk: Office) -> None:
    [person] = await desk.rows("customer")
    for subject, scope in (
        ("paper:ann", Scope("paper")),
        ("paper:ann", Scope("paper", "marketing", sender="paper")),
        (consent.person(person.id), Scope(purpose="marketing")),
        ("paper:ann", Scope("email")),
        ("paper:ann", Scope("paper", "marketing", "news")),
    ):
        no = Event("revoke", desk.clock.now, subject, "import", scope=scope)
        await desk.hub.write(lambda connection, context, no=no: said(connection, context, no))
    assert await verdicts(desk) == ["CONSENT_REVOKED_ALL"]
    await desk.write("START")
    assert desk.posts[-1].startswith("Opted in again: paper:ann may be written to, without advertising: they opted out")
    assert (await verdicts(desk))[-1] == "ALLOWED"
    assert await marketing(desk, topic="offers") == "OK"
    assert await marketing(desk, topic="news") == "CONSENT_REVOKED"
    assert await marketing(desk, medium="email") == "CONSENT_REVOKED_ALL"


@pytest.mark.parametrize(
    ("no", "told"),
    [
        (
            Event("object", datetime(2026, 3, 1, tzinfo=UTC), "paper:ann", scope=Scope(purpose="marketing")),
            "Opted in again: paper:ann may be written to, without advertising: they opted out of purpose marketing on",
        ),
        (
            Event("suppress", datetime(2026, 3, 1, tzinfo=UTC), "paper:ann", "legal", reason="legal"),
            "paper:ann wrote START, and is still closed: blocked for legal reasons since",
        ),
    ],
    ids=["an objection", "a legal block"],
)
async def test_the_desk_is_told_what_start_does_not_open(desk: Office, no: Event, told: str) -> None:
    await desk.hub.write(lambda connection, context: said(connection, context, no))
    await desk.write("START")
    assert desk.posts[-1].startswith(told)


async def test_a_no_said_while_two_were_one_counts_for_both_afterwards(desk: Office) -> None:
    await desk.write("by fax", sender="007", channel="fax")
    first, second = sorted(row.id for row in await desk.rows("customer"))
    early = Event("revoke", desk.clock.now, consent.person(first))
    await desk.hub.write(lambda connection, context: said(connection, context, early))
    await desk.hub.write(lambda connection, context: identity.merge(connection, context, first, second, "the same"))
    await desk.advance(minutes=1)
    late = Event("revoke", desk.clock.now, consent.person(first), scope=Scope(channel="email"))
    await desk.hub.write(lambda connection, context: said(connection, context, late))

    def part(connection: sa.Connection, context: Any) -> None:
        consent.part(connection, first, second, context.now)
        identity.unmerge(connection, context, second)

    await desk.hub.write(part)
    copied = await desk.rows("consent_event", address=consent.person(second))
    assert [(row.kind, row.scope_channel) for row in copied] == [("revoke", "email")]


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[None]:
    """Packs that answer STOP and HELP; to be used after the hub has started."""
    packs = tmp_path / "packs"
    packs.mkdir()
    ours = (Path(__file__).parents[2] / "config" / "policy" / "consent.toml").read_text()
    for name, text in (("opt_out", "No more. START brings us back."), ("help", "Call 020 7946 0000.")):
        ours = re.sub(rf"^{name} = .*$", f'{name} = "{text}"', ours, flags=re.MULTILINE)
    (packs / "consent.toml").write_text(ours)
    pack.choose(packs)
    yield
    pack.choose(None)


async def test_an_opt_out_is_confirmed_once_and_help_is_always_given(desk: Office, answering: None) -> None:
    for text in ("STOP", "STOP", "HELP", "HELP"):
        await desk.write(text)
    assert desk.letters.texts == ["No more. START brings us back.", "Call 020 7946 0000.", "Call 020 7946 0000."]
    assert await verdicts(desk) == ["CONSENT_REVOKED_ALL"]
    await desk.write("START")
    await desk.write("STOP")
    assert desk.letters.texts[3:] == ["No more. START brings us back."]


async def test_a_confirmation_that_would_come_late_does_not_come(desk: Office, answering: None) -> None:
    desk.letters.answers = [Transient("busy", after=600.0)]
    await desk.write("STOP")
    await desk.advance(minutes=15)
    assert desk.letters.texts == []
    assert [row.code for row in await desk.rows("delivery", kind="contact")] == ["MSG_EXPIRED"]


def said(connection: sa.Connection, context: Any, entry: Event) -> None:
    consent.append(connection, entry, change="opt_out", channel=None, source="keyword", now=context.now)


async def told(desk: Office, change: Any, sender: str = "ann") -> None:
    """The provider tells of somebody."""

    def work(connection: sa.Connection, context: Any) -> None:
        how: dict[str, Any] = {"channel": "paper", "source": "provider", "evidence": {}}
        consent.record(connection, f"paper:{sender}", change, at=context.now, now=context.now, **how)

    await desk.hub.write(work)


async def test_who_blocks_us_gets_nothing_and_lifting_that_is_no_permission(desk: Office) -> None:
    await told(desk, "blocked")
    assert await verdicts(desk) == ["SUPP_BLOCKED_BY_USER"]
    await told(desk, "unblocked")
    assert await verdicts(desk) == ["SUPP_BLOCKED_BY_USER", "ALLOWED"]
    assert await marketing(desk) == "CONSENT_MISSING"


async def test_following_again_does_not_take_back_a_stop(desk: Office) -> None:
    await desk.write("STOP")
    await told(desk, "blocked")
    await told(desk, "unblocked")
    assert await verdicts(desk) == ["CONSENT_REVOKED_ALL"]
    await desk.write("/start")
    assert await verdicts(desk) == ["CONSENT_REVOKED_ALL", "CONSENT_REVOKED_ALL"]
    await desk.write("START")
    assert (await verdicts(desk))[-1] == "ALLOWED"


async def test_a_block_keeps_the_permission_for_when_it_is_lifted(desk: Office) -> None:
    await desk.write("START")
    await told(desk, "blocked")
    await told(desk, "unblocked")
    assert await marketing(desk) == "OK"


# --- what comes late ---

MINUTE, DAY = 60, 86400


async def tell(desk: Office, change: str, ago: float) -> None:
    """The provider tells, perhaps late, what somebody did."""
    name = f"{change}-{ago}"
    assert await desk.post("paper", {"id": name, "from": "ann", "consent": change, "ago": ago}) == 200
    await desk.settled()


async def test_a_start_from_before_the_stop_does_not_take_it_back(desk: Office) -> None:
    await desk.write("STOP", ago=10 * MINUTE)
    await desk.write("START", ago=60 * MINUTE)
    assert "paper:ann wrote START, and is still closed: they opted out of everything" in desk.posts[-1]
    assert await verdicts(desk) == ["CONSENT_REVOKED_ALL"]
    await desk.write("START")
    assert (await verdicts(desk))[-1] == "ALLOWED"


async def test_a_stop_from_before_the_start_closes_nothing(desk: Office, answering: None) -> None:
    await desk.write("START", ago=MINUTE)
    await desk.write("STOP", ago=2 * MINUTE)
    assert desk.posts[-1].startswith("A no of paper:ann, said 2026-03-02 08:58 UTC, came late.")
    assert desk.letters.texts == []
    assert await verdicts(desk) == ["ALLOWED"]
    assert await marketing(desk) == "OK"


async def test_a_stop_that_comes_late_counts_and_is_not_confirmed_any_more(desk: Office, answering: None) -> None:
    await desk.write("STOP", ago=10 * MINUTE)
    assert desk.letters.texts == []
    assert await verdicts(desk) == ["CONSENT_REVOKED_ALL"]


@pytest.mark.parametrize("told_first", ["earlier", "later"])
@pytest.mark.parametrize(
    ("earlier", "later", "found"),
    [
        ("opt_in", "opt_out", "CONSENT_REVOKED_ALL"),
        ("opt_out", "opt_in", "ALLOWED"),
        ("unblocked", "blocked", "SUPP_BLOCKED_BY_USER"),
        ("blocked", "unblocked", "ALLOWED"),
    ],
)
async def test_what_a_provider_tells_counts_in_the_order_it_happened(
    desk: Office, earlier: str, later: str, found: str, told_first: str
) -> None:
    news = [(earlier, 17 * MINUTE), (later, 2 * MINUTE)]
    for change, ago in news if told_first == "earlier" else reversed(news):
        await tell(desk, change, ago)
    assert await verdicts(desk) == [found]
    refused = await desk.hub.store.read(lambda connection: consent.refused_in_person(connection, "paper:ann"))
    assert refused == (later == "opt_out")


@pytest.mark.parametrize("ago", [8 * DAY, 20 * 365 * DAY, -DAY], ids=["old", "absurd", "to come"])
async def test_no_wrong_clock_makes_a_stop_weaker(desk: Office, ago: float) -> None:
    await desk.write("START")
    await desk.write("STOP", ago=ago)
    assert await verdicts(desk) == ["CONSENT_REVOKED_ALL"]
    await desk.write("START", ago=ago)
    assert (await verdicts(desk))[-1] == ("ALLOWED" if ago < 0 else "CONSENT_REVOKED_ALL")
    await tell(desk, "blocked", ago)
    assert (await verdicts(desk))[-1] != "ALLOWED"


async def test_a_start_that_is_to_come_does_not_outlive_the_next_stop(desk: Office) -> None:
    await desk.write("START", ago=-DAY)
    await desk.write("STOP")
    assert await verdicts(desk) == ["CONSENT_REVOKED_ALL"]


async def test_a_stop_beats_what_was_allowed_on_the_page_a_moment_before(desk: Office) -> None:
    """Two clocks: whether it was before or after cannot be told."""
    page = Event("grant", desk.clock.now, "paper:ann", basis="express", source="page")

    def allow(connection: sa.Connection, context: Any) -> None:
        consent.append(connection, page, change="opt_in", channel=None, source="page", now=context.now)

    await desk.hub.write(allow)
    await desk.write("STOP", ago=30)
    assert await verdicts(desk) == ["CONSENT_REVOKED_ALL"]


async def test_yes_from_before_the_question_confirms_nothing(desk: Office) -> None:
    def ask(connection: sa.Connection, context: Any) -> None:
        grant = Event("grant", context.now, "paper:ann", basis="double_opt_in")
        consent.append(connection, grant, change="opt_in", channel=None, source="page", now=context.now)

    await desk.hub.write(ask)
    await desk.write("Yes", ago=10 * MINUTE)
    assert [kind for kind, *_ in await entries(desk)] == ["grant"]
    await desk.write("Yes", ago=1)  # by a clock that is a little behind
    assert await marketing(desk) == "OK"


async def test_an_unclear_message_that_comes_late_can_be_looked_at_all_the_same(desk: Office) -> None:
    bought = Event("grant", desk.clock.now, "paper:ann", "import", basis="express")
    await desk.hub.write(lambda connection, context: said(connection, context, bought))
    await desk.write("stop the delivery to my office", ago=2 * DAY)
    assert await marketing(desk) == "OPT_OUT_REVIEW_HOLD"


async def test_an_unclear_message_from_before_the_start_holds_nothing(desk: Office) -> None:
    await desk.write("START", ago=DAY)
    await desk.write("stop the delivery to my office", ago=2 * DAY)
    assert not any("Unclear whether" in post for post in desk.posts)
    assert await marketing(desk) == "OK"


# --- what is changed into a no ---


async def test_who_changes_a_message_into_stop_has_said_it(desk: Office) -> None:
    number = await desk.write("Are you open?")
    await desk.agent("Yes, until six", thread=desk.thread)
    edit = {"edits": number, "from": "ann", "name": "Ann", "text": "STOP"}
    assert await desk.post("paper", edit) == 200
    await desk.settled()
    assert [row.kind for row in await desk.rows("consent_event")] == ["revoke"]
    assert any(post.startswith("Opted out: nothing more goes to paper:ann") for post in desk.posts)
    await desk.agent("See you then", thread=desk.thread)
    assert "See you then" not in desk.letters.texts


async def test_an_edit_that_says_nothing_of_it_is_no_word_about_it(desk: Office) -> None:
    number = await desk.write("Are you open?")
    assert await desk.post("paper", {"edits": number, "from": "ann", "text": "Are you open now?"}) == 200
    await desk.settled()
    assert await desk.rows("consent_event") == []
