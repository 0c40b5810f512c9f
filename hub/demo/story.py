"""A story played on the simulators without a browser: each step says what must be seen, and is checked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from hub.demo.world import World
from hub.model import private_id
from hub.testing.device import Post, Thread
from hub.timeline import MessageDetail

_PATIENCE = 15.0  # seconds until a step counts as failed
_POLL = 0.02


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened, and what differs from the story: None if nothing does."""

    words: str
    wrong: str | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """A question on one channel and the agent's answer to it."""

    channel: str
    question: str
    answer: str
    subject: str | None = None


EPISODES = (
    Episode("sms", "Hi, where is my order 1042?", "It left our warehouse this morning, Ann."),
    Episode("email", "The box arrived, but the lid is missing.", "Sorry! A new lid is on its way.", "Order 1042"),
    Episode("whatsapp", "And could you gift-wrap it?", "With pleasure, and no charge for the wait."),
    Episode("telegram", "Can I still change the colour?", "Of course: blue or green?"),
    Episode("line", "Blue, please.", "Blue it is."),
    Episode("site", "How long will the lid take?", "Two days. You will get a text when it ships."),
)
NOTE = "!note She has waited long: add a voucher."
LATE = "Your lid has shipped."


async def tell(world: World) -> AsyncIterator[Step]:
    """Play the story. A step that fails does not end it: later ones show how far things are off."""
    for episode in EPISODES:
        async for step in _episode(world, episode):
            yield step
    yield await _note(world)
    async for step in _refusal(world):
        yield step
    yield await _one_thread(world)


async def _episode(world: World, episode: Episode) -> AsyncIterator[Step]:
    device = world.devices[episode.channel]
    await device.write(episode.question, subject=episode.subject)
    yield await _seen(
        f"{world.person.name} asks by {device.title}: {episode.question}",
        f"the question in the one thread in {world.desk.title}",
        lambda: _post(world, episode.question) is not None and len(world.desk.threads()) == 1,
    )
    thread = _thread(world)
    if thread is None:
        return
    post = await world.desk.say(thread.id, episode.answer)
    yield await _seen(
        f"Zoe answers in {world.desk.title}: {episode.answer}",
        f"the answer in {device.title}",
        lambda: any(not bubble.mine and episode.answer in bubble.text for bubble in device.screen()),
    )
    yield await _seen(
        "The answer is marked as handed over",
        "a mark on the agent's post",
        lambda: bool(_marks(world, post)) and _warning(world, post) is None,
    )


async def _note(world: World) -> Step:
    """Nothing happens to see, so an ordinary message after it shows that the note has been dealt with."""
    thread = _thread(world)
    if thread is None:
        return Step("Zoe writes a note", "no thread to write it in")
    await world.desk.say(thread.id, NOTE)
    words = NOTE.removeprefix("!note ")

    async def noted() -> bool:
        return any(message.direction == "note" and message.text == words for message in await world.messages())

    step = await _eventually(f"Zoe writes a note for her team: {words}", "the note in the timeline", noted)
    leaks = [each.title for each in world.devices.values() if any(words in bubble.text for bubble in each.screen())]
    return Step(step.words, f"the note was shown to the customer in {', '.join(leaks)}") if leaks else step


async def _refusal(world: World) -> AsyncIterator[Step]:
    device = world.devices[EPISODES[0].channel]
    await device.write("STOP")
    yield await _seen(
        f"{world.person.name} writes STOP by {device.title}",
        "the opt-out told to the agents",
        lambda: any("Opted out" in post.text for post in _posts(world)),
    )
    thread = _thread(world)
    if thread is None:
        return
    post = await world.desk.say(thread.id, LATE)
    yield await _seen(
        f"Zoe answers: {LATE}",
        "a warning on her post, with its reason in the thread",
        lambda: _warning(world, post) is not None and any("CONSENT_REVOKED" in each.text for each in _posts(world)),
    )
    shown = any(LATE in bubble.text for each in world.devices.values() for bubble in each.screen())
    refused = [each for each in await explained(world) if each.text == LATE]
    states = [each.state for each in refused]
    if shown:
        wrong: str | None = "it was sent although she opted out"
    else:
        wrong = None if states == ["denied"] else f"its state is {states or 'nothing'}, not denied"
    yield Step("Nothing is sent, and the refusal is on record", wrong)


async def _one_thread(world: World) -> Step:
    messages = await world.messages()
    conversations = await world.conversations()
    customers = {each.customer for each in conversations}
    ways = {message.channel for message in messages if message.direction == "in"}
    expected = {episode.channel for episode in EPISODES}
    words = f"One customer, one conversation, {len(messages)} messages by {', '.join(sorted(ways))}"
    if (len(customers), len(conversations)) != (1, 1):
        return Step(words, f"{len(customers)} customers with {len(conversations)} conversations")
    return Step(words, None if ways == expected else f"messages came by {sorted(ways)}, not by {sorted(expected)}")


async def explained(world: World) -> list[MessageDetail]:
    """Everything that went out or was to go out, with its decisions."""
    found = []
    for message in await world.messages():
        if message.direction == "out":
            detail = await world.explain(private_id("message", message.id))
            if detail is not None:
                found.append(detail)
    return found


# --- looking ---


async def _seen(words: str, what: str, holds: Callable[[], bool]) -> Step:
    async def check() -> bool:
        return holds()

    return await _eventually(words, what, check)


async def _eventually(words: str, what: str, holds: Callable[[], Awaitable[bool]]) -> Step:
    try:
        async with asyncio.timeout(_PATIENCE):
            while not await holds():  # noqa: ASYNC110 - a screen announces nothing
                await asyncio.sleep(_POLL)
    except TimeoutError:
        return Step(words, f"{what} did not appear within {_PATIENCE:g} s")
    return Step(words)


def _thread(world: World) -> Thread | None:
    threads = world.desk.threads()
    return threads[0] if threads else None


def _posts(world: World) -> list[Post]:
    return [post for thread in world.desk.threads() for post in thread.posts]


def _post(world: World, text: str) -> Post | None:
    return next((post for post in _posts(world) if text in post.text), None)


def _marks(world: World, post: str) -> list[str]:
    return next((each.marks for each in _posts(world) if each.id == post), [])


def _warning(world: World, post: str) -> str | None:
    return next((mark for mark in _marks(world, post) if "⚠" in mark), None)
