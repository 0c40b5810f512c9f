"""Slack's side: the Web API, what it tells an app, and the agents who write in the desk channel."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from aiohttp import web

from adapters.slack.manifest import SCOPES
from adapters.slack.screen import Screen
from adapters.slack.webapi import WebApi
from adapters.slack.wire import REASONS, Hooks, Sockets
from adapters.slack.workspace import Person, Post, callback, member, pressed, typed, typed_blocks
from hub.testing.simulation import Faults, Ledger
from hub.testing.simulation import Simulator as Base

WRITES = frozenset({
    "chat.postMessage", "chat.update", "chat.postEphemeral", "reactions.add", "reactions.remove",
    "files.completeUploadExternal",
})  # fmt: skip


class Simulator(Screen, Base):
    """One workspace with the app installed in it, and one desk channel.

    ``socket_mode``: tell the app through Socket Mode instead of ``webhook_url``. ``repeats``: seconds before each
    repeat of an event that was not acknowledged within ``patience`` seconds. ``faulty``: methods that ``faults`` hit.
    ``echoes``: report the app's own posts back to it, as Slack does.
    """

    def __init__(
        self, *, ledger: Ledger | None = None, faults: Faults | None = None, socket_mode: bool = False
    ) -> None:
        Screen.__init__(self)
        Base.__init__(self, ledger=ledger, faults=faults)
        self.socket_mode = socket_mode
        self.repeats: tuple[float, ...] = (0.0, 60.0, 300.0)
        self.patience = 3.0
        self.faulty = WRITES
        self.echoes = True
        self.scopes = set(SCOPES)  # of bot_token
        self.trouble: str | None = None  # error code of every call about the channel: not_in_channel, is_archived
        self.files_late = False  # True: events name a file before its address is known, as Slack sometimes does
        self.bot_token = f"xoxb-{secrets.token_hex(24)}"
        self.app_token = f"xapp-1-{self.app}-{secrets.token_hex(32)}"
        self.signing_secret = secrets.token_hex(16)
        self.sockets = Sockets(self.app)
        self._hooks = Hooks()
        self._told: set[asyncio.Task[Any]] = set()
        self._overtaken: list[tuple[str, Mapping[str, Any]]] = []
        self._runner: web.AppRunner | None = None
        self.person("Ada")

    # --- what who starts it uses ---

    async def start(self, port: int = 0) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.add_routes(WebApi(self).routes())
        app.add_routes([web.get("/link/", self.sockets.serve)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        for task in self._told:
            task.cancel()
        await asyncio.gather(*self._told, return_exceptions=True)
        await self.sockets.close()
        await self._hooks.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def config(self) -> dict[str, Any]:
        way = {"app_token": self.app_token} if self.socket_mode else {"signing_secret": self.signing_secret}
        return {"bot_token": self.bot_token, "channel": self.channel_id, "base_url": f"{self.base}/api", **way}

    async def settle(self) -> None:
        """Wait until nothing is left to be told, and all late posts are taken."""
        await self._catch_up()
        while self._told:
            await asyncio.gather(*self._told)

    async def disconnect(self, reason: str = "refresh_requested") -> None:
        """Close all Socket Mode connections, as Slack does about once an hour. The app has to come back."""
        await self.sockets.disconnect(reason)

    async def verify_url(self) -> bool:
        """The handshake when a Request URL is entered."""
        challenge = secrets.token_hex(16)
        payload = {"type": "url_verification", "token": "unused", "challenge": challenge}
        status, body, _ = await self._hooks.post(self._hook, self.signing_secret, payload, patience=self.patience)
        return status == 200 and challenge in body.decode(errors="replace")

    # --- what agents do ---

    async def say(
        self, text: str, *, thread: str | None = None, user: str = "Ada", files: Sequence[tuple[str, str, bytes]] = ()
    ) -> Post:
        """Write in a thread (or the channel), with (name, mime type, bytes). Returns after the event's first try."""
        person = self.person(user)
        post = Post(self.stamp(), thread, person.id, typed(text))
        post.files = [self.keep(*file) for file in files]
        post.blocks = typed_blocks(text)
        self.posts[post.ts] = post
        self.change()
        event = self._seen(post) | {"event_ts": post.ts}
        if self.files_late:
            event["files"] = [{"id": each.id, "file_access": "check_file_info", "mode": "file_access"}
                              for each in post.files]
        what = {"text": text, "thread": thread, "user": person.id}
        await self._tell(f"{self.channel_id}:{post.ts}", "message", self._callback(event, person), **what)
        return post

    async def join(self, name: str) -> Person:
        """A new member of the workspace."""
        person = self.person(name)
        event = {"type": "team_join", "user": member(person), "event_ts": self.stamp()}
        await self._tell(person.id, "join", self._callback(event, person), user=person.id)
        return person

    async def edit(self, ts: str, text: str) -> None:
        """The author changes a message."""
        post = self.posts[ts]
        before = self._seen(post)
        self.rewrite(post, typed(text), typed_blocks(text))
        await self._tell_changed(post, before, text)

    async def delete(self, ts: str) -> None:
        """The author deletes a message."""
        post = self.posts[ts]
        before = self._seen(post)
        post.deleted = True
        self.change()
        event = {"type": "message", "subtype": "message_deleted", "hidden": True, "channel": self.channel_id,
                 "channel_type": "channel", "ts": self.stamp(), "deleted_ts": ts, "previous_message": before}
        event["event_ts"] = event["ts"]
        person = self.people[post.user]
        await self._tell(f"{self.channel_id}:{ts}", "delete", self._callback(event, person), user=post.user)

    async def react(self, name: str, *, ts: str, user: str = "Ada", remove: bool = False) -> None:
        """An agent adds or takes back a reaction."""
        person, post = self.person(user), self.posts[ts]
        self.set_reaction(post, name, person.id, on=not remove)
        event = self.reaction_event(post, name, person.id, on=not remove)
        await self._tell(f"{self.channel_id}:{ts}", "reaction", self._callback(event, person), user=person.id)

    async def press(self, action: str, *, thread: str, user: str = "Ada") -> bool:
        """Press a button of the root post. Whether the app acknowledged it; Slack does not repeat a press.

        Raises: LookupError if there is no such button.
        """
        post, person = self.posts[thread], self.person(user)
        button = next((each for each in post.buttons if each["action"] == action), None)
        if button is None:
            raise LookupError(f"no button {action!r} there, only {[each['action'] for each in post.buttons]}")
        stamp = self.stamp()
        message = self._seen(post)
        payload = pressed(
            post, message, button, person, team=self.team, app=self.app, channel=self.channel_id, ts=stamp
        )
        id = f"{stamp}:{person.id}:{action}"
        self.ledger.write("deliver", what="action", id=id, text=action, thread=thread, user=person.id)
        return await self._try(id, payload, 0, "") == 200

    # --- what the Web API does ---

    def reaction_event(self, post: Post, name: str, user: str, *, on: bool) -> dict[str, Any]:
        item = {"type": "message", "channel": self.channel_id, "ts": post.ts}
        return {
            "type": "reaction_added" if on else "reaction_removed", "user": user, "reaction": name, "item": item,
            "item_user": post.user, "event_ts": self.stamp(),
        }  # fmt: skip

    def echo(self, event: Mapping[str, Any]) -> None:
        """Report to the app what the app itself did."""
        if self.echoes:
            self.ledger.write("echo", what=event["type"])
            self.spawn(self._try("", self._callback(event), 0, ""))

    def echo_post(self, post: Post, before: Mapping[str, Any] | None = None) -> None:
        """A new post of the app's, or what one was ``before`` it changed."""
        seen = self._seen(post) | {"event_ts": post.ts}
        self.echo(seen if before is None else self._changed_event(post, before))

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._told.add(task)
        task.add_done_callback(self._told.discard)

    # --- telling the app ---

    def _seen(self, post: Post) -> dict[str, Any]:
        """A message as events have it."""
        seen = self.as_json(post) | {"channel": self.channel_id, "channel_type": "channel"}
        if post.thread and post.thread in self.posts:
            seen["parent_user_id"] = self.posts[post.thread].user
        return seen

    def _changed_event(self, post: Post, before: Mapping[str, Any]) -> dict[str, Any]:
        stamp = self.stamp()
        return {
            "type": "message", "subtype": "message_changed", "hidden": True, "channel": self.channel_id,
            "channel_type": "channel", "ts": stamp, "event_ts": stamp, "message": self._seen(post),
            "previous_message": dict(before),
        }  # fmt: skip

    async def _tell_changed(self, post: Post, before: Mapping[str, Any], text: str) -> None:
        payload = self._callback(self._changed_event(post, before), self.people[post.user])
        await self._tell(f"{self.channel_id}:{post.ts}", "edit", payload, text=text, user=post.user)

    def _callback(self, event: Mapping[str, Any], person: Person | None = None) -> dict[str, Any]:
        payload = callback(event, team=self.team, app=self.app, bot_user=self.bot_user)
        shared = person is not None and person.team != self.team
        return payload | {"is_ext_shared_channel": shared}

    async def _tell(self, id: str, what: str, payload: Mapping[str, Any], **data: Any) -> None:
        """Deliver an event; repeats go on in the background. Shuffled, every second one overtakes the one before."""
        self.ledger.write("deliver", what=what, id=id, **data)
        if self.faults.shuffle_callbacks and not self._overtaken:
            self._overtaken.append((id, payload))
            return
        await self._give(id, payload)
        await self._catch_up()

    async def _catch_up(self) -> None:
        while self._overtaken:
            await self._give(*self._overtaken.pop())

    async def _give(self, id: str, payload: Mapping[str, Any]) -> None:
        status = await self._try(id, payload, 0, "")
        if self.faults.duplicate_callbacks:
            await self._try(id, payload, 1, "http_timeout")
        if status is None or not 200 <= status < 300:
            self.spawn(self._repeat(id, payload, status))

    async def _repeat(self, id: str, payload: Mapping[str, Any], status: int | None) -> None:
        for number, delay in enumerate(self.repeats, 1):
            if status == _NEVER:
                break
            await asyncio.sleep(delay)
            status = await self._try(id, payload, number, REASONS.get(status, "http_error"))
            if status is not None and 200 <= status < 300:
                return
        self.ledger.write("gave_up", id=id)

    async def _try(self, id: str, payload: Mapping[str, Any], attempt: int, reason: str) -> int | None:
        """One attempt: the status, 0 without a connection, None without an answer."""
        if self.socket_mode:
            status = await self.sockets.post(payload, patience=self.patience, attempt=attempt, reason=reason)
        else:
            status, _, final = await self._hooks.post(
                self._hook, self.signing_secret, payload, patience=self.patience, attempt=attempt, reason=reason
            )
            if final and status and status >= 300:
                status = _NEVER
        if id and status is not None and 200 <= status < 300:
            self.ledger.write("acked", id=id, status=status, attempt=attempt)
        return status

    @property
    def _hook(self) -> str:
        if self.webhook_url is None:
            raise RuntimeError("set webhook_url first: http://127.0.0.1:8080/hooks/slack")
        return self.webhook_url


_NEVER = -1  # the app asked not to be told again
