"""What goes to the desk: posts, cards, files and marks, each findable again by our key."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog

from adapters.slack import blocks, events
from adapters.slack.calls import LARGEST, OF_CHANNEL, PERHAPS_DONE, Api
from adapters.slack.text import shortcode
from hub.contract import (
    Ambiguous,
    BadAddress,
    ChannelDown,
    Host,
    Mark,
    Outgoing,
    RateLimited,
    Receipt,
    Rejected,
    SendError,
    Transient,
)
from hub.model import Attachment

log = structlog.get_logger(__name__)

EVENT_TYPE = "omnihub"  # of the metadata that carries our key
_POST = re.compile(r"([A-Z0-9]+):(\d+\.\d+)")
_RECENT = timedelta(days=1)
_GONE = frozenset({"message_not_found", "cant_update_message"})  # a card that cannot be kept up to date: of another app
_BLOCKS = frozenset({"invalid_blocks", "invalid_blocks_format"})
_PATIENCE = 10.0  # seconds of throttling that a call which follows a post waits out


@dataclass(slots=True)
class Files:
    """What became of a message's files: at Slack with id and title, or lost with a reason."""

    ready: list[tuple[Attachment, dict[str, str]]] = field(default_factory=list)
    lost: list[tuple[Attachment, str]] = field(default_factory=list)


class Posts:
    """Writes to one desk channel. ``name``: of the channel in the hub; ``desk``: Slack's id of it."""

    def __init__(self, name: str, desk: str, api: Api, host: Host) -> None:
        self._name = name
        self._desk = desk
        self._api = api
        self._host = host
        self._unsure: set[str] = set()  # keys of posts that Slack may have taken although it answered with an error

    async def send(self, out: Outgoing) -> Receipt:
        """Post or update, one message. Raises: SendError."""
        if out.mark is not None:
            return await self._mark(out, out.mark)
        if out.reaction is not None:
            return await self._react_to(out, out.reaction)
        body = blocks.card(out.card) if out.card is not None else blocks.message(out)
        if out.edits is not None:
            return await self._update(out, out.edits, body)
        files = await self._upload_all(out)  # first, so that words and files appear together
        receipt = await self._share(out, await self._post(out, body), files)
        if out.card is not None and out.card.before is not None:
            await self._point_back(receipt, out.card.before)
        return receipt

    async def _update(self, out: Outgoing, post: str, body: dict[str, Any]) -> Receipt:
        """Raises: BadAddress for a card that is no longer there, or not in the desk channel."""
        channel, ts = _place(post)
        if out.card is not None:
            self._check(channel)
        body = {name: value for name, value in body.items() if name in ("text", "blocks", "parse", "link_names")}
        try:
            with self._left(channel):
                await self._write("chat.update", out, body, repeatable=True, channel=channel, ts=ts)
        except Rejected as error:
            if out.card is not None and error.code in _GONE:
                raise BadAddress(error.detail, code=error.code) from error
            raise
        return Receipt(post)

    async def _write(self, method: str, out: Outgoing, body: dict[str, Any], **more: Any) -> dict[str, Any]:
        """A post, in plain text if Slack does not take our blocks: better than not at all."""
        more |= {"metadata": _metadata(out)}
        try:
            return await self._api.write(method, **more, **body)
        except Rejected as error:
            if error.code not in _BLOCKS:
                raise
            log.error("blocks refused; shown as plain text", channel=self._name, key=out.key, error=error.detail)
            return await self._api.write(method, **more, **blocks.plain(body, out.text))

    def _check(self, channel: str) -> None:
        """Raises: BadAddress."""
        if channel != self._desk:
            raise BadAddress(f"the thread is in {channel}, and the desk in {self._desk} now", code="moved")

    @contextlib.contextmanager
    def _left(self, channel: str) -> Iterator[None]:
        """What is in a channel that the desk has left may be out of reach: no trouble of the desk's own."""
        try:
            yield
        except ChannelDown as error:
            if channel == self._desk or error.code not in OF_CHANNEL:
                raise
            raise Rejected(error.detail, code=error.code) from error

    async def _point_back(self, card: Receipt, before: str) -> None:
        """Say in a new thread where the conversation was before."""
        (channel, ts), (old, at) = _place(card.external_id), _place(before)
        link = None
        with contextlib.suppress(SendError):  # of a card that was deleted there is none
            link = (await self._api.read("chat.getPermalink", channel=old, message_ts=at)).get("permalink")
        try:
            await self._soon("chat.postMessage", channel=channel, thread_ts=ts, **blocks.earlier(link))
        except SendError as error:
            log.warning("no link to the earlier thread", channel=self._name, error=error.detail)

    async def _post(self, out: Outgoing, body: dict[str, Any]) -> Receipt:
        if out.key in self._unsure and (found := await self._find(out, self._host.now() - _RECENT)):
            self._unsure.discard(out.key)
            return found[0]
        channel, thread = self._thread(out)
        self._check(channel)
        where: dict[str, Any] = {"channel": channel} | ({"thread_ts": thread} if thread else {})
        try:
            answer = await self._write("chat.postMessage", out, body, **where)
        except Rejected as error:
            if error.code == "thread_not_found":
                raise BadAddress(error.detail, code=error.code) from error
            raise
        except Transient as error:
            if error.code not in PERHAPS_DONE:
                raise
            done = await self._done(out)
            if done is None:
                self._unsure.add(out.key)  # the next try looks first
                raise
            return done
        self._unsure.discard(out.key)
        if not (isinstance(answer.get("channel"), str) and isinstance(answer.get("ts"), str)):
            raise Ambiguous("chat.postMessage: ok, without the post's channel and ts", code="no_ts")
        return Receipt(f"{answer['channel']}:{answer['ts']}")

    async def _done(self, out: Outgoing) -> Receipt | None:
        """Whether the post is there although Slack answered with an error."""
        with contextlib.suppress(SendError):
            found = await self._find(out, self._host.now() - _RECENT)
            return found[0] if found else None
        return None

    def _thread(self, out: Outgoing) -> tuple[str, str | None]:
        root = out.thread or out.reply_to
        if out.card is not None or root is None:
            return self._desk, None
        return _place(root)

    async def _upload_all(self, out: Outgoing) -> Files:
        """Put the files at Slack, not shown yet. What cannot be put there becomes a reason. Raises: RateLimited."""
        files = Files()
        for file in out.attachments:
            try:
                files.ready.append((file, await self._upload(file)))
            except RateLimited:
                raise
            except SendError as error:
                files.lost.append((file, error.code or error.detail))
        return files

    async def _share(self, out: Outgoing, receipt: Receipt, files: Files) -> Receipt:
        """Files under the text that is out already. What does not work is said in the thread; nothing is raised,
        or the text would be sent again."""
        channel, thread = self._thread(out)
        thread = thread or _place(receipt.external_id)[1]
        lost = list(files.lost)
        try:
            if files.ready:
                shown = [entry for _, entry in files.ready]
                await self._soon("files.completeUploadExternal", files=shown, channel_id=channel, thread_ts=thread)
        except SendError as error:
            lost += [(file, error.code or error.detail) for file, _ in files.ready]
        if not lost:
            return receipt
        problems = {file.name or file.kind: reason for file, reason in lost}
        log.warning("files not shown at the desk", channel=self._name, key=out.key, reasons=sorted(problems.values()))
        try:
            await self._soon("chat.postMessage", channel=channel, thread_ts=thread, **blocks.lost_files(lost))
        except SendError as error:
            log.error("files lost at the desk", channel=self._name, key=out.key, error=error.detail)
        return Receipt(receipt.external_id, receipt.state, {"files not shown": ", ".join(problems)})

    async def _upload(self, file: Attachment) -> dict[str, str]:
        data = file.data
        if data is None:
            if not file.url or not file.url.startswith(self._host.public_url + "/"):
                raise Rejected("no bytes to upload", code="only a link")
            answer = await self._host.http.request("GET", file.url, timeout=60, largest=LARGEST)
            if answer.status != 200:
                raise Rejected(f"file: HTTP {answer.status}", code=str(answer.status))
            data = answer.body
        if not data:
            raise Rejected("Slack takes no empty files", code="empty file")
        name = file.name or file.kind
        return {"id": await self._api.upload(name, data), "title": name}

    async def _soon(self, method: str, **body: Any) -> None:
        """A call that follows a post, so that the channel's rate may be used up."""
        try:
            await self._api.write(method, **body)
        except RateLimited as error:
            if (error.after or 1.0) > _PATIENCE:
                raise
            await asyncio.sleep(error.after or 1.0)
            await self._api.write(method, **body)

    async def _mark(self, out: Outgoing, mark: Mark) -> Receipt:
        """Reactions that say how far the agent's message got; for a failure also the reason, in the thread."""
        gone: SendError | None = None
        channel, ts = _place(mark.target)
        try:
            with self._left(channel):
                await self._react(channel, ts, blocks.MARKS[mark.state])
        except Rejected as error:
            if error.code not in ("message_not_found", "no_item_specified", *OF_CHANNEL):
                raise
            gone = error
        words = blocks.EXPLAINED.get(mark.state)
        if words is not None:
            await self._post(out, blocks.line(f"{words}: {mark.reason}" if mark.reason else f"{words}."))
        elif gone is not None:
            raise gone
        return Receipt(f"{mark.target}#{mark.state}")

    async def _react_to(self, out: Outgoing, emoji: str) -> Receipt:
        """Raises: Rejected for an emoji that Slack has no name for; "" takes nothing back, since it names none."""
        name = shortcode(emoji)
        if name is None:
            raise Rejected("Slack wants to know which emoji, and this is none that it has a name for", code="reaction")
        channel, ts = _place(out.reply_to or "")
        with self._left(channel):
            await self._reaction("reactions.add", channel, ts, name, "already_reacted")
        return Receipt(f"{channel}:{ts}#{name}")

    async def _react(self, channel: str, ts: str, wanted: tuple[str, ...]) -> None:
        """Make ``wanted`` the marks of a post: the new ones first, so that it never has none."""
        answer = await self._api.read("reactions.get", channel=channel, timestamp=ts, full="true")
        there = {each["name"] for each in (answer.get("message") or {}).get("reactions") or []}
        for name in wanted:
            if name not in there:
                await self._reaction("reactions.add", channel, ts, name, "already_reacted")
        for other in sorted((there & blocks.ALL_MARKS) - set(wanted)):
            await self._reaction("reactions.remove", channel, ts, other, "no_reaction")

    async def _reaction(self, method: str, channel: str, ts: str, name: str, harmless: str) -> None:
        try:
            await self._api.write(method, repeatable=True, channel=channel, timestamp=ts, name=name)
        except Rejected as error:
            if error.code != harmless:
                raise

    async def lookup(self, out: Outgoing, since: datetime) -> list[Receipt]:
        """Posts that carry ``out.key``. Updates and bare marks can be repeated, so there is nothing to find."""
        if out.edits is not None or (out.mark is not None and out.mark.state not in blocks.EXPLAINED):
            return []
        found = await self._find(out, since)
        if out.mark is not None:
            return [Receipt(f"{out.mark.target}#{out.mark.state}")] if found else []
        if found and out.attachments and not await self._is_shared(out, found[0]):
            found[0] = await self._share(out, found[0], await self._upload_all(out))
        return found

    async def _find(self, out: Outgoing, since: datetime) -> list[Receipt]:
        channel, thread = self._thread(out)
        found = [each["ts"] async for each in self._messages(channel, thread, since) if _key(each) == out.key]
        return [Receipt(f"{channel}:{ts}") for ts in sorted(found, key=events.when)]

    async def _is_shared(self, out: Outgoing, receipt: Receipt) -> bool:
        """Whether the files came after the text, as far as the thread shows it."""
        channel, ts = _place(receipt.external_id)
        names = {file.name or file.kind for file in out.attachments}
        thread = self._thread(out)[1] or ts
        async for each in self._messages(channel, thread, events.when(ts)):
            if names & {file.get("title") or file.get("name") for file in each.get("files") or []}:
                return True
        return False

    async def _messages(self, channel: str, thread: str | None, since: datetime) -> AsyncIterator[dict[str, Any]]:
        method = "conversations.replies" if thread else "conversations.history"
        params: dict[str, Any] = {"channel": channel, "include_all_metadata": "true", "limit": 200}
        params |= {"oldest": f"{since.timestamp():.6f}", "inclusive": "true"} | ({"ts": thread} if thread else {})
        cursor = ""
        while True:
            page = await self._api.read(method, **params | ({"cursor": cursor} if cursor else {}))
            for each in page.get("messages") or []:
                yield each
            cursor = (page.get("response_metadata") or {}).get("next_cursor") or ""
            if not cursor:
                return


def _place(external_id: str) -> tuple[str, str]:
    """Channel and ts of a post. Raises: Rejected."""
    found = _POST.fullmatch(external_id)
    if found is None:
        raise Rejected(f"not a post of Slack's: {external_id!r} (it looks like C0123ABCDEF:1610261659.001400)")
    return found[1], found[2]


def _metadata(out: Outgoing) -> dict[str, Any]:
    """Slack keeps it with the post and shows it in history.

    Source: https://docs.slack.dev/messaging/message-metadata
    """
    return {"event_type": EVENT_TYPE, "event_payload": {"key": out.key}}


def _key(message: Mapping[str, Any]) -> str | None:
    metadata = message.get("metadata") or {}
    key = (metadata.get("event_payload") or {}).get("key")
    return key if metadata.get("event_type") == EVENT_TYPE else None
