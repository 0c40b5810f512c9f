"""From a job to the provider calls it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hub.channels import Channel
from hub.contract import Outgoing, Rejected
from hub.media import Links, Shelf
from hub.model import Address, public_id
from hub.outbound.job import Job
from hub.render import render

NOBODY = Address("none", "-")


def key_of(delivery_id: int, part: int) -> str:
    """Our reference for one part, the same on every attempt."""
    return f"{public_id('delivery', delivery_id)}.{part}"


async def compose(job: Job, channel: Channel, links: Links, shelf: Shelf, public_url: str) -> list[Outgoing]:
    """One ``Outgoing`` per part, all of them; the first ``job.part`` are out already.

    Raises: render.TooLong; Rejected without a file that could not be had.
    """
    if job.lost is not None:
        raise Rejected(job.lost, code="FILE_LOST")
    if job.kind in ("card", "mark"):
        return [_control(job)]
    if job.reaction is not None:
        return [_reaction(job, job.reaction, f"{public_url}/hooks/{channel.name}")]
    await _give_files(job, channel, links, shelf)
    parts = render(job.content, channel.capabilities)
    if job.replaces is not None:
        return [_replacement(job, number, each, parts[0].text) for number, each in enumerate(job.replaces)]
    return [
        Outgoing(
            key=(key := key_of(job.id, number)),
            to=job.to or NOBODY,
            text=part.text,
            subject=part.subject,
            html=part.html,
            attachments=part.attachments,
            buttons=part.buttons,
            location=part.location,
            template=part.template,
            reply_to=job.reply_to,
            quoted=job.quoted if number == 0 else None,
            references=job.references,
            thread=job.thread,
            author=job.author,
            origin=job.origin,
            purpose=job.purpose,
            callback_url=f"{public_url}/hooks/{channel.name}?key={key}",
            automatic=job.automatic,
            late=job.late,
            unsubscribe=job.unsubscribe,
            valid_for=job.valid_for,
        )
        for number, part in enumerate(parts)
    ]


def _control(job: Job) -> Outgoing:
    return Outgoing(
        key=key_of(job.id, 0),
        to=job.to or NOBODY,
        thread=job.thread,
        edits=job.thread if job.kind == "card" else None,
        card=job.card,
        mark=job.mark,
    )


def _reaction(job: Job, emoji: str, hook: str) -> Outgoing:
    key = key_of(job.id, 0)
    callback_url = f"{hook}?key={key}"
    return Outgoing(
        key, job.to or NOBODY, reaction=emoji, reply_to=job.reply_to, thread=job.thread, callback_url=callback_url
    )


def _replacement(job: Job, number: int, post: str, text: str) -> Outgoing:
    quoted = job.quoted if number == 0 else None
    return Outgoing(
        key=key_of(job.id, number), to=job.to or NOBODY, text=text, thread=job.thread, edits=post, author=job.author,
        origin=job.origin, quoted=quoted,
    )


async def _give_files(job: Job, channel: Channel, links: Links, shelf: Shelf) -> None:
    wants_bytes = channel.capabilities.media in ("bytes", "both")
    for attachment, (sha256, _) in zip(job.content.attachments, job.files, strict=False):
        if attachment.ref is not None:
            attachment.url = links.make(int(attachment.ref), attachment.name)
            attachment.ref = None
        if wants_bytes and (attachment.size or 0) <= channel.capabilities.media_size:
            attachment.data = await asyncio.to_thread(shelf.read, sha256)


def already_out(job: Job, parts: Sequence[Outgoing]) -> bool:
    return job.part >= len(parts)
