"""The desk in Slack with a hub behind it: whatever goes wrong on the way, nothing is lost and nothing comes twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.line.simulator import Simulator as Line
from adapters.slack.simulator import Simulator as Slack
from adapters.webchat.simulator import Simulator as Website
from adapters.webchat.simulator import Visitor
from hub.app import Hub, running
from hub.settings import Settings
from hub.testing.simulation import Fault, FaultKind
from tests.paper import until


@dataclass
class Desk:
    """A hub, the agents' Slack, and one visitor of the website who is called Ann."""

    hub: Hub
    slack: Slack
    ann: Visitor

    async def shown(self, count: int) -> list[tuple[str, str]]:
        """Author and text of the posts in the one thread, once there are ``count`` of them."""

        async def there() -> bool:
            return len(self._posts()) >= count

        await until(there)
        return self._posts()

    def _posts(self) -> list[tuple[str, str]]:
        roots = self.slack.shown()
        posts = self.slack.shown(roots[0]["ts"])[1:] if roots else []
        return [(post["name"], post["text"]) for post in posts if post["bot"]]

    @property
    def thread(self) -> str:
        [root] = self.slack.channel()
        return root.ts

    async def replies(self, count: int) -> tuple[str, list[str]]:
        """The newest card, and what is in its thread, once that are ``count`` posts."""

        async def there() -> bool:
            roots = self.slack.channel()
            return bool(roots) and len(self.slack.thread(roots[-1].ts)) > count

        await until(there)
        await self.at_rest()
        newest = self.slack.channel()[-1].ts
        return newest, [post.words for post in self.slack.thread(newest)[1:]]

    async def heard(self, count: int) -> list[str]:
        """What Ann was answered, once it is that much."""
        answers = [f"answer {number}" for number in range(count)]
        for answer in answers:
            await self.ann.read(answer)
        return [entry["text"] for entry in self.ann.entries if entry["from"] == "them"]

    async def at_rest(self) -> None:
        """Nothing waits, in the hub or in Slack."""

        async def idle() -> bool:
            query = "SELECT count(*) FROM delivery WHERE state IN ('queued', 'sending', 'indoubt')"
            return await self.hub.store.read(lambda connection: connection.exec_driver_sql(query).scalar_one()) == 0

        await self.slack.settle()
        await until(idle)
        await self.slack.settle()


@asynccontextmanager
async def simulated(*, socket_mode: bool = False) -> AsyncIterator[tuple[Slack, Website]]:
    async with AsyncExitStack() as stack:
        slack, website = Slack(socket_mode=socket_mode), Website()
        slack.repeats = (0.0, 0.05, *([0.1] * 500))
        slack.patience = 60.0  # a hub that is slow is not asked twice, which would change the order
        for each in (slack, website):
            await each.start()
            stack.push_async_callback(each.stop)
        yield slack, website


@asynccontextmanager
async def hub_for(slack: Slack, website: Website, data: Path) -> AsyncIterator[Desk]:
    settings = Settings.model_validate({
        "data": data, "listen": {"port": 0}, "log_level": "error",
        "channels": {
            "desk": {"adapter": "slack", "rate": 1000, "settle": 0.3, **slack.config()},
            "site": {"adapter": "webchat", **website.config()},
        },
    })  # fmt: skip
    async with running(settings) as hub:
        slack.webhook_url, website.webhook_url = f"{hub.url}/hooks/desk", f"{hub.url}/hooks/site"
        if slack.socket_mode:
            await slack.sockets.connected()
        ann = await website.visitor().connect(token=website.sign("42", name="Ann"))
        yield Desk(hub, slack, ann)


@pytest.fixture(params=["http", "socket"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    async with (
        simulated(socket_mode=request.param == "socket") as (slack, website),
        hub_for(slack, website, tmp_path) as one,
    ):
        yield one


WAYS: list[tuple[FaultKind, float]] = [
    ("throttle", 1.0),  # 429 with Retry-After: 1
    ("error", 0.0),
    ("error_after", 0.0),
    ("drop_before", 0.0),
    ("drop_after", 0.0),
    ("late_accept", 0.05),
]


@pytest.mark.parametrize(("kind", "delay"), WAYS, ids=[kind for kind, _ in WAYS])
@pytest.mark.parametrize("desk", ["http"], indirect=True)
async def test_what_a_customer_writes_is_shown_once_and_in_order(desk: Desk, kind: FaultKind, delay: float) -> None:
    desk.slack.faulty = frozenset({"chat.postMessage"})
    desk.slack.faults.queued = [Fault(kind, delay), Fault(kind, delay)]  # the card, and the first post or a new try
    for number in range(3):
        await desk.ann.write(f"question {number}")
    await desk.shown(3)
    await desk.at_rest()
    assert await desk.shown(3) == [("Ann · Web chat", f"question {number}") for number in range(3)]
    assert len(desk.slack.channel()) == 1 and not desk.slack.faults.queued


@pytest.mark.parametrize("desk", ["http"], indirect=True)
async def test_a_file_of_a_visitor_is_shown_at_the_desk_as_what_it_is(desk: Desk) -> None:
    await desk.ann.upload("lid.png", "image/png", b"\x89PNG\r\n\x1a\n a picture", text="The lid")
    await desk.ann.upload("page.png", "image/png", b"<script>alert(1)</script>")

    async def there() -> bool:
        return sum(bool(post.files) for root in desk.slack.channel() for post in desk.slack.thread(root.ts)) == 2

    await until(there)
    files = [(file.name, file.data) for post in desk.slack.thread(desk.thread) for file in post.files]
    assert files == [("lid.png", b"\x89PNG\r\n\x1a\n a picture"), ("page.png", b"<script>alert(1)</script>")]
    again = await desk.ann.connect(after="0")
    shown = [(file["kind"], file["name"]) for entry in again.entries for file in entry["attachments"]]
    assert shown == [("image", "lid.png"), ("image", "page.png")]
    query = "SELECT mime FROM media ORDER BY id"
    mimes = await desk.hub.store.read(lambda connection: connection.exec_driver_sql(query).scalars().all())
    assert mimes == ["image/png", "application/octet-stream"], "the content counts, not what the browser said"


def repeated(slack: Slack) -> None:
    slack.faults.duplicate_callbacks = True


def reordered(slack: Slack) -> None:
    slack.faults.shuffle_callbacks = True


@pytest.mark.parametrize("trouble", [repeated, reordered])
async def test_what_agents_write_goes_out_once(desk: Desk, trouble: Callable[[Slack], None]) -> None:
    await desk.ann.write("question")
    await desk.shown(1)
    trouble(desk.slack)
    for number in range(4):
        await desk.slack.say(f"answer {number}", thread=desk.thread)
    await desk.slack.settle()
    await desk.heard(4)
    await desk.at_rest()
    assert sorted(await desk.heard(4)) == [f"answer {number}" for number in range(4)]


@pytest.mark.parametrize("trouble", [None, repeated, reordered])
async def test_what_an_agent_deletes_at_once_is_not_sent_twice(
    desk: Desk, trouble: Callable[[Slack], None] | None
) -> None:
    """The deletion may overtake the message; then nothing goes out."""
    await desk.ann.write("question")
    await desk.shown(1)
    if trouble is not None:
        trouble(desk.slack)
    post = await desk.slack.say("a slip of the tongue", thread=desk.thread)
    await desk.slack.delete(post.ts)
    await desk.slack.settle()
    told = (await desk.shown(2))[1][1]
    await desk.at_rest()
    await desk.slack.say("answer 0", thread=desk.thread)
    await desk.slack.settle()
    heard = await desk.heard(1)
    out = heard[:-1]
    if not told.endswith("the customer may have it as it was."):  # it was just going out, once at most
        assert out == (["a slip of the tongue"] if told.endswith("the customer still has it.") else [])
    assert out in ([], ["a slip of the tongue"]) and heard[-1] == "answer 0"
    if trouble is reordered:
        assert told == "Ada took a message back before it was sent."


@pytest.mark.parametrize("desk", ["socket"], indirect=True)
async def test_a_lost_connection_loses_nothing(desk: Desk) -> None:
    await desk.ann.write("question")
    await desk.shown(1)
    for number in range(4):
        await desk.slack.disconnect("refresh_requested" if number % 2 else "warning")
        await desk.slack.say(f"answer {number}", thread=desk.thread)
    await desk.slack.settle()
    await desk.heard(4)
    await desk.at_rest()
    assert sorted(await desk.heard(4)) == [f"answer {number}" for number in range(4)]


async def test_what_a_customer_takes_back_is_not_kept_as_slack_tells_it(database_url: str, tmp_path: Path) -> None:
    """Our own posts come back as events, before and after; a button brings the card along, a broadcast its root."""
    slack, line = Slack(), Line()
    await slack.start()
    await line.start()
    settings = Settings.model_validate({
        "data": tmp_path, "database_url": database_url, "listen": {"port": 0},
        "channels": {
            "desk": {"adapter": "slack", "rate": 1000, "settle": 0.3, **slack.config()},
            "line": {"adapter": "line", **line.config()},
        },
    })  # fmt: skip
    try:
        async with running(settings) as hub:
            slack.webhook_url, line.webhook_url = f"{hub.url}/hooks/desk", f"{hub.url}/hooks/line"
            await line.text("U1", "4111-secret")
            desk = Desk(hub, slack, None)  # type: ignore[arg-type]  # nobody visits the website

            async def posted() -> bool:
                return any("4111-secret" in text for _, text in desk._posts())

            await until(posted)
            await desk.at_rest()
            await slack.press("assign", thread=desk.thread)
            await slack.say("Hello", thread=desk.thread)
            await desk.at_rest()
            assert b"4111-secret" in b"".join(await bodies(hub))
            await line.unsend("U1", line.written[0]["id"])

            async def changed() -> bool:
                return not await posted()

            await until(changed)
            await desk.at_rest()

            async def gone() -> bool:
                return b"4111-secret" not in b"".join(await bodies(hub))

            await until(gone)
            assert [row["text"] for row in slack.shown(desk.thread) if row["text"] == "Hello"] == ["Hello"]
            assert b"Hello" in b"".join(await bodies(hub))
    finally:
        await line.stop()
        await slack.stop()


async def bodies(hub: Hub) -> list[bytes]:
    query = "SELECT body FROM inbox"
    return await hub.store.read(lambda connection: list(connection.exec_driver_sql(query).scalars()))
EARLIER = "This conversation goes on from an earlier thread"


@pytest.mark.parametrize("desk", ["http"], indirect=True)
async def test_a_card_that_somebody_deleted_comes_back(desk: Desk) -> None:
    await desk.ann.write("question")
    old, _ = await desk.replies(1)
    desk.slack.post(old).deleted = True
    await desk.ann.write("and another")
    await desk.replies(1)
    await desk.ann.write("hello?")
    new, words = await desk.replies(2)
    assert words == [EARLIER, "hello?"]
    for number, thread in enumerate((old, new)):
        await desk.slack.say(f"answer {number}", thread=thread)
    assert await desk.heard(2) == ["answer 0", "answer 1"]


async def test_conversations_follow_the_desk_into_another_channel(tmp_path: Path) -> None:
    async with simulated() as (slack, website):
        async with hub_for(slack, website, tmp_path) as desk:
            await desk.ann.write("question")
            old, _ = await desk.replies(1)
        slack.channel_id = "C0NEWDESK"  # and nothing can be posted to the one before
        async with hub_for(slack, website, tmp_path) as desk:
            await desk.ann.write("are you there?")
            new, words = await desk.replies(2)
            assert words == [EARLIER, "are you there?"] and new != old
            await slack.say("answer 0", thread=new)
            assert await desk.heard(1) == ["answer 0"]


async def test_whoever_writes_in_a_channel_that_the_desk_has_left_is_shown_the_way(tmp_path: Path) -> None:
    async with simulated() as (slack, website):
        async with hub_for(slack, website, tmp_path) as desk:
            await desk.ann.write("question")
            old, _ = await desk.replies(1)
        former, slack.channel_id = slack.channel_id, "C0NEWDESK"
        async with hub_for(slack, website, tmp_path) as desk:
            slack.channel_id = former
            await slack.say("answer", thread=old)
            slack.channel_id = "C0NEWDESK"

            async def brought_over() -> bool:
                return [root.words for root in slack.channel()[1:]] == [slack.post(old).words]

            await until(brought_over)
            await slack.ledger.wait_for("request", method="chat.postEphemeral")
            await desk.at_rest()
            assert await desk.heard(0) == []
