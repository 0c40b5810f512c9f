"""The desk channel of the simulated workspace, as its members see it."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from adapters.slack.workspace import File, Person, Post, Stamps


class Screen:
    """People, posts and files, and who waits for news of them. ``base``: address of what serves the files."""

    def __init__(self) -> None:
        self.team, self.app, self.channel_id = "T0SIMULATED", "A0SIMULATED", "C0SIMULATED"
        self.bot_user, self.bot = "U0SIMULATED", "B0SIMULATED"
        self.base = ""
        self.people: dict[str, Person] = {}
        self.posts: dict[str, Post] = {}  # by ts, oldest first
        self.files: dict[str, File] = {}
        self.version = 0  # grows with every change
        self._stamps = Stamps()
        self._changed = asyncio.Event()

    def person(self, user: str, *, team: str | None = None) -> Person:
        """Somebody by id or name; a new name is a new member of ``team`` (else of this workspace)."""
        for known in self.people.values():
            if user in (known.id, known.name):
                return known
        one = Person(f"U0AGENT{len(self.people) + 1}", user, team or self.team)
        self.people[one.id] = one
        return one

    def post(self, ts: str) -> Post:
        return self.posts[ts]

    def channel(self) -> list[Post]:
        """Root posts, oldest first."""
        return [post for post in self.posts.values() if post.thread is None and not post.deleted]

    def thread(self, ts: str) -> list[Post]:
        """The root post, then its replies, oldest first."""
        return [post for post in self.posts.values() if post.root == ts and not post.deleted]

    def shown(self, thread: str | None = None) -> list[dict[str, Any]]:
        """``channel()`` or ``thread()`` as plain values, see ``Post.shown``."""
        names = {person.id: person.name for person in self.people.values()} | {self.bot_user: "omnihub"}
        return [post.shown(names) for post in (self.thread(thread) if thread else self.channel())]

    def file(self, id: str) -> File:
        return self.files[id]

    async def news(self, *, after: int, timeout: float = 30.0) -> int:
        """The version of the screen once it is not ``after`` any more, or after ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while self.version == after:
                    await self._changed.wait()
        except TimeoutError:
            pass
        return self.version

    # --- what changes it ---

    def stamp(self) -> str:
        return self._stamps.next()

    def change(self) -> None:
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def keep(self, name: str, mime: str, data: bytes) -> File:
        """Store a file."""
        id = "F0" + secrets.token_hex(5).upper()
        where = f"{self.base}/files-pri/{self.team}-{id}/{name}"
        self.files[id] = File(id, name, mime, data, where, len(data))
        return self.files[id]

    def rewrite(self, post: Post, text: str, blocks: list[dict[str, Any]]) -> None:
        post.edits.append(post.text)
        post.text, post.blocks, post.edited_at = text, blocks, self.stamp()
        self.change()

    def set_reaction(self, post: Post, name: str, user: str, *, on: bool) -> bool:
        """Whether that changed something."""
        users = post.reactions.setdefault(name, [])
        changed = (user in users) is not on
        if changed:
            users.append(user) if on else users.remove(user)
            self.change()
        if not users:
            del post.reactions[name]
        return changed

    def as_json(self, post: Post, *, metadata: bool = False) -> dict[str, Any]:
        """As history shows it."""
        data = post.json(self.team, self.app, self.bot, metadata=metadata)
        if not post.bot and post.user in self.people:
            data["team"] = self.people[post.user].team
        replies = [each for each in self.thread(post.ts) if each is not post] if post.thread is None else []
        if replies:
            data |= {"thread_ts": post.ts, "reply_count": len(replies), "latest_reply": replies[-1].ts}
        return data
