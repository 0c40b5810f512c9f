"""Methods of the simulated Web API: what each does to the screen, and what it objects to."""

from __future__ import annotations

import mimetypes
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from adapters.slack.text import unescape
from adapters.slack.workspace import Post, file_json, member

if TYPE_CHECKING:
    from adapters.slack.simulator import Simulator

Given = Mapping[str, Any]


class Refusal(Exception):
    """``{"ok": false, "error": code}`` and what comes with it."""

    def __init__(self, code: str, **more: Any) -> None:
        super().__init__(code)
        self.body = {"ok": False, "error": code, **more}


class Methods:
    """``table``: by name. ``uploads``: file id and size that was announced, by ticket."""

    def __init__(self, slack: Simulator) -> None:
        self._slack = slack
        self.uploads: dict[str, tuple[str, int]] = {}
        self.table: dict[str, Callable[[Given], dict[str, Any]]] = {
            "auth.test": self._auth_test,
            "chat.postMessage": self._post_message,
            "chat.postEphemeral": self._post_ephemeral,
            "chat.update": self._update,
            "chat.getPermalink": self._permalink,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
            "files.info": self._file_info,
            "files.getUploadURLExternal": self._upload_url,
            "files.completeUploadExternal": self._complete,
            "reactions.add": lambda given: self._reaction(given, on=True),
            "reactions.remove": lambda given: self._reaction(given, on=False),
            "reactions.get": self._reactions,
            "users.info": self._user,
            "users.list": self._users,
        }

    def _auth_test(self, given: Given) -> dict[str, Any]:
        slack = self._slack
        return {"ok": True, "url": "https://simulated.slack.com/", "team": "Simulated", "user": "omnihub",
                "team_id": slack.team, "user_id": slack.bot_user, "bot_id": slack.bot, "is_enterprise_install": False}

    def _post_message(self, given: Given) -> dict[str, Any]:
        slack = self._slack
        self._in_channel(given)
        self._content(given)
        post = Post(slack.stamp(), self._thread(given), slack.bot_user, given.get("text") or "", bot=True)
        post.blocks = list(given.get("blocks") or [])
        post.metadata = given.get("metadata")
        if "chat:write.customize" in slack.scopes:
            post.username = given.get("username")
            post.icon = given.get("icon_url") or given.get("icon_emoji")
        slack.posts[post.ts] = post
        id = f"{slack.channel_id}:{post.ts}"
        slack.ledger.write("accept", id=id, key=post.key, text=unescape(post.text), thread=post.thread)
        slack.change()
        slack.echo_post(post)
        return {"ok": True, "channel": slack.channel_id, "ts": post.ts, "message": slack.as_json(post)}

    def _post_ephemeral(self, given: Given) -> dict[str, Any]:
        slack = self._slack
        self._in_channel(given)
        self._content(given)
        if given.get("user") not in slack.people:
            raise Refusal("user_not_in_channel")
        post = Post(slack.stamp(), self._thread(given), slack.bot_user, given.get("text") or "", bot=True)
        post.only_for = given["user"]
        slack.posts[post.ts] = post
        slack.ledger.write("ephemeral", id=post.ts, user=post.only_for, text=unescape(post.text), thread=post.thread)
        slack.change()
        return {"ok": True, "message_ts": post.ts}

    def _update(self, given: Given) -> dict[str, Any]:
        slack = self._slack
        self._in_channel(given)
        self._content(given)
        post = self._post(given.get("ts"))
        if not post.bot:
            raise Refusal("cant_update_message")
        before = slack.as_json(post)
        slack.rewrite(post, given.get("text") or "", list(given.get("blocks") or []))
        post.metadata = given.get("metadata") or post.metadata
        id = f"{slack.channel_id}:{post.ts}"
        slack.ledger.write("update", id=id, key=post.key, text=unescape(post.text))
        slack.echo_post(post, before)
        return {"ok": True, "channel": slack.channel_id, "ts": post.ts, "text": post.text,
                "message": slack.as_json(post)}

    def _permalink(self, given: Given) -> dict[str, Any]:
        post = self._post(given.get("message_ts"))
        link = f"https://simulated.slack.com/archives/{given.get('channel')}/p{post.ts.replace('.', '')}"
        return {"ok": True, "channel": given.get("channel"), "permalink": link}

    def _history(self, given: Given) -> dict[str, Any]:
        self._in_channel(given)
        found = [post for post in reversed(self._slack.channel()) if _since(post, given) and post.only_for is None]
        return self._page(found, given)

    def _replies(self, given: Given) -> dict[str, Any]:
        self._in_channel(given)
        posts = [post for post in self._slack.thread(str(given.get("ts"))) if post.only_for is None]
        if not posts:
            raise Refusal("thread_not_found")
        return self._page([post for post in posts if post.thread is None or _since(post, given)], given)

    def _page(self, found: list[Post], given: Given) -> dict[str, Any]:
        start, limit = int(given.get("cursor") or 0), min(int(given.get("limit") or 100), 999)
        more = len(found) > start + limit
        shown = str(given.get("include_all_metadata")).lower() in ("true", "1")
        page = [self._slack.as_json(post, metadata=shown) for post in found[start : start + limit]]
        cursor = str(start + limit) if more else ""
        self._slack.ledger.write("query", found=len(found))
        return {"ok": True, "messages": page, "has_more": more, "response_metadata": {"next_cursor": cursor}}

    def _reaction(self, given: Given, *, on: bool) -> dict[str, Any]:
        slack = self._slack
        self._in_channel(given)
        post, name = self._post(given.get("timestamp")), str(given.get("name"))
        if not slack.set_reaction(post, name, slack.bot_user, on=on):
            raise Refusal("already_reacted" if on else "no_reaction")
        slack.ledger.write("react", id=f"{slack.channel_id}:{post.ts}", name=name, added=on)
        slack.echo(slack.reaction_event(post, name, slack.bot_user, on=on))
        return {"ok": True}

    def _reactions(self, given: Given) -> dict[str, Any]:
        self._in_channel(given)
        message = self._slack.as_json(self._post(given.get("timestamp")))
        return {"ok": True, "type": "message", "channel": self._slack.channel_id, "message": message}

    def _user(self, given: Given) -> dict[str, Any]:
        person = self._slack.people.get(str(given.get("user")))
        if person is None:
            raise Refusal("user_not_found")
        return {"ok": True, "user": member(person)}

    def _users(self, given: Given) -> dict[str, Any]:
        own = [person for person in self._slack.people.values() if person.team == self._slack.team]
        start = int(given.get("cursor") or 0)
        end = start + min(int(given.get("limit") or 1000), 1000)
        cursor = str(end) if len(own) > end else ""
        members = [member(person) for person in own[start:end]]
        return {"ok": True, "members": members, "response_metadata": {"next_cursor": cursor}}

    # --- files ---

    def _file_info(self, given: Given) -> dict[str, Any]:
        file = self._slack.files.get(str(given.get("file")))
        if file is None:
            raise Refusal("file_not_found")
        return {"ok": True, "file": file_json(file)}

    def _upload_url(self, given: Given) -> dict[str, Any]:
        name, size = str(given.get("filename") or ""), int(given.get("length") or 0)
        if not name or size <= 0:
            raise Refusal("invalid_arguments", response_metadata={"messages": ["[ERROR] missing required field"]})
        mime = mimetypes.guess_type(name)[0] or "application/octet-stream"
        file = self._slack.keep(name, mime, b"")
        ticket = secrets.token_urlsafe(16)
        self.uploads[ticket] = (file.id, size)
        return {"ok": True, "upload_url": f"{self._slack.base}/upload/v1/{ticket}", "file_id": file.id}

    def _complete(self, given: Given) -> dict[str, Any]:
        slack = self._slack
        self._in_channel({"channel": given.get("channel_id")})
        files = [slack.files.get(str(each.get("id"))) for each in given.get("files") or []]
        found = [file for file in files if file is not None and file.data]
        if not found or len(found) != len(files):
            raise Refusal("file_not_found")
        post = Post(slack.stamp(), self._thread(given), slack.bot_user, "", bot=True, files=found)
        slack.posts[post.ts] = post
        for file in found:
            slack.ledger.write("file", id=file.id, thread=post.thread, name=file.name)
        slack.change()
        slack.echo_post(post)
        return {"ok": True, "files": [{"id": file.id, "title": file.name} for file in found]}

    # --- objections ---

    def _in_channel(self, given: Given) -> None:
        if given.get("channel") != self._slack.channel_id:
            raise Refusal("channel_not_found")
        if self._slack.trouble:
            raise Refusal(self._slack.trouble)

    def _content(self, given: Given) -> None:
        """Source: https://docs.slack.dev/reference/block-kit/blocks"""
        text, blocks = given.get("text") or "", given.get("blocks") or []
        if not text and not blocks:
            raise Refusal("no_text")
        if len(text) > 40_000:
            raise Refusal("msg_too_long")
        wrong = ["no more than 50 items allowed [json-pointer:/blocks]"] if len(blocks) > 50 else []
        for number, block in enumerate(blocks):
            limit = {"header": 150, "section": 3000}.get(block.get("type"))
            if limit and not 0 < len((block.get("text") or {}).get("text", "")) <= limit:
                wrong.append(f"must be 1 to {limit} characters [json-pointer:/blocks/{number}]")
        if wrong:
            messages = [f"[ERROR] {each}" for each in wrong]
            raise Refusal("invalid_blocks", errors=wrong, response_metadata={"messages": messages})

    def _thread(self, given: Given) -> str | None:
        thread = given.get("thread_ts")
        if thread is None:
            return None
        if thread not in self._slack.posts:
            raise Refusal("thread_not_found")
        return self._slack.posts[thread].root

    def _post(self, ts: Any) -> Post:
        post = self._slack.posts.get(str(ts))
        if post is None or post.deleted:
            raise Refusal("message_not_found")
        return post


def _since(post: Post, given: Given) -> bool:
    oldest = given.get("oldest")
    if not oldest:
        return True
    inclusive = str(given.get("inclusive")).lower() in ("true", "1")
    mine, theirs = (tuple(map(int, f"{ts}.0".split(".")[:2])) for ts in (post.ts, str(oldest)))
    return mine > theirs or (inclusive and mine == theirs)
