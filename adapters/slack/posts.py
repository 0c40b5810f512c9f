"""What goes to the desk: posts, cards, files and marks, each findable again by our key."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog

from adapters.slack import blocks, events
from adapters.slack.calls import PERHAPS_DONE, Api
from hub.contract import Host, Mark, Outgoing, RateLimited, Receipt, Rejected, SendError, Transient
from hub.model import Attachment

log = structlog.get_logger(__name__)

EVENT_TYPE = "omnihub"  # of the metadata that carries our key
_POST = re.compile(r"([A-Z0-9]+):(\d+\.\d+)")
_PATIENCE = 10.0  # seconds of throttling that a call which follows a post waits out


class Posts:
    """Writes to one desk channel. ``name``: of the channel in the hub; ``desk``: Slack's id of it."""

    def __init__(self, name: str, desk: str, api: Api, host: Host) -> None:
        self._name = name
        self._desk = desk
        self._api = api
        self._host = host

    async def send(self, out: Outgoing) -> Receipt:
        """Post or update, one message. Raises: SendError."""
        if out.mark is not None:
            return await self._mark(out, out.mark)
        body = blocks.card(out.card) if out.card is not None else blocks.message(out)
        if out.edits is not None:
            channel, ts = _place(out.edits)
            body = {name: value for name, value in body.items() if name in ("text", "blocks", "parse", "link_names")}
            await self._api.write(
                "chat.update", repeatable=True, channel=channel, ts=ts, metadata=_metadata(out), **body
            )
            return Receipt(out.edits)
        receipt = await self._post(out, body)
        return await self._add_files(out, receipt) if out.attachments else receipt

    async def _post(self, out: Outgoing, body: dict[str, Any]) -> Receipt:
        channel, thread = self._thread(out)
        where: dict[str, Any] = {"channel": channel} | ({"thread_ts": thread} if thread else {})
        try:
            answer = await self._api.write("chat.postMessage", metadata=_metadata(out), **where, **body)
        except Transient as error:
            if error.code not in PERHAPS_DONE:
                raise
            done = await self._done(out)
            if done is None:
                raise
            return done
        return Receipt(f"{answer['channel']}:{answer['ts']}")

    async def _done(self, out: Outgoing) -> Receipt | None:
        """Whether the post is there although Slack answered with an error."""
        with contextlib.suppress(SendError):
            found = await self._find(out, self._host.now() - timedelta(minutes=10))
            return found[0] if found else None
        return None

    def _thread(self, out: Outgoing) -> tuple[str, str | None]:
        root = out.thread or out.reply_to
        if out.card is not None or root is None:
            return self._desk, None
        return _place(root)

    async def _add_files(self, out: Outgoing, receipt: Receipt) -> Receipt:
        """Files under the text that is out already. What does not work is said in the thread; nothing is raised,
        or the text would be sent again."""
        lost: list[tuple[Attachment, str]] = []
        uploaded: list[tuple[Attachment, dict[str, str]]] = []
        for file in out.attachments:
            try:
                uploaded.append((file, await self._upload(file)))
            except SendError as error:
                lost.append((file, error.code or error.detail))
        channel, thread = self._thread(out)
        thread = thread or _place(receipt.external_id)[1]
        try:
            if uploaded:
                shown = [entry for _, entry in uploaded]
                await self._soon("files.completeUploadExternal", files=shown, channel_id=channel, thread_ts=thread)
        except SendError as error:
            lost += [(file, error.code or error.detail) for file, _ in uploaded]
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
            answer = await self._host.http.request("GET", file.url, timeout=60)
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
        """One reaction that says how far the agent's message got; for a failure also the reason, in the thread."""
        gone: SendError | None = None
        try:
            await self._react(*_place(mark.target), blocks.MARKS[mark.state])
        except Rejected as error:
            if error.code not in ("message_not_found", "no_item_specified"):
                raise
            gone = error
        words = blocks.EXPLAINED.get(mark.state)
        if words is not None:
            await self._post(out, blocks.line(f"{words}: {mark.reason}" if mark.reason else f"{words}."))
        elif gone is not None:
            raise gone
        return Receipt(f"{mark.target}#{mark.state}")

    async def _react(self, channel: str, ts: str, name: str) -> None:
        answer = await self._api.read("reactions.get", channel=channel, timestamp=ts, full="true")
        there = {each["name"] for each in (answer.get("message") or {}).get("reactions") or []}
        await self._reaction("reactions.add", channel, ts, name, "already_reacted")
        for other in sorted((there & set(blocks.MARKS.values())) - {name}):
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
        return [Receipt(f"{out.mark.target}#{out.mark.state}")] if out.mark is not None and found else found

    async def _find(self, out: Outgoing, since: datetime) -> list[Receipt]:
        channel, thread = self._thread(out)
        method = "conversations.replies" if thread else "conversations.history"
        params: dict[str, Any] = {"channel": channel, "include_all_metadata": "true", "limit": 200}
        params |= {"oldest": f"{since.timestamp():.6f}", "inclusive": "true"} | ({"ts": thread} if thread else {})
        found: list[str] = []
        cursor = ""
        while True:
            page = await self._api.read(method, **params | ({"cursor": cursor} if cursor else {}))
            found += [each["ts"] for each in page.get("messages") or [] if _key(each) == out.key]
            cursor = (page.get("response_metadata") or {}).get("next_cursor") or ""
            if not cursor:
                return [Receipt(f"{channel}:{ts}") for ts in sorted(found, key=events.when)]


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
