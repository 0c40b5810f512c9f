"""Load what a batch of jobs will say: content, author, files, thread, card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hub import advertising, media, quotes
from hub import identity as identities
from hub.channels import Channel
from hub.context import Context
from hub.contract import Card, Mark
from hub.model import Address, Attachment, Author, AuthorKind, Content, Proof, Purpose, decode_content, public_id
from hub.outbound.job import Job
from hub.policy import pack
from hub.store.bulk import SOME, among
from hub.store.schema import conversation, customer, delivery, desk_thread, identity, message, receipt

_REFERENCES = 20  # ids of earlier messages that a mail names
_MESSAGES = (
    sa.select(message, identity.c.address, delivery.c.id.label("job_id"))
    .join(delivery, delivery.c.message_id == message.c.id)
    .outerjoin(identity, identity.c.id == delivery.c.identity_id)
    .where(delivery.c.id.in_(SOME))
)


def load(
    connection: Connection,
    context: Context,
    channel: Channel,
    jobs: Sequence[Job],
    files: Mapping[int, Sequence[media.File]] | None = None,
) -> None:
    """``files``: of their messages, if they have been read already."""
    _messages(connection, context, jobs, files)
    if channel.role == "desk":
        _desk(connection, context, channel, jobs)
    elif channel.capabilities.subject:
        for job in jobs:
            _mail_thread(connection, job)
    if channel.capabilities.seen:
        for job in jobs:
            _answered(connection, job)
    if context.postal_address and pack.default().channel(channel.medium).imprint:
        for job in jobs:
            if job.purpose is Purpose.marketing:
                advertising.sign(job.content, context.postal_address)
    for job in jobs:
        if channel.role == "contact":
            job.thread = public_id("conversation", job.conversation_id)


def _messages(
    connection: Connection, context: Context, jobs: Sequence[Job], files: Mapping[int, Sequence[media.File]] | None
) -> None:
    ids = {job.message_id for job in jobs if job.message_id is not None}
    rows = {row.job_id: row for row in among(connection, _MESSAGES, [job.id for job in jobs])} if ids else {}
    if files is None:
        files = media.of_messages(connection, ids)
    for job in jobs:
        row = rows.get(job.id)
        if row is None:
            continue
        job.content = decode_content(row.content)
        job.author = Author(AuthorKind(row.author_kind), row.author_name, row.author_id)
        job.automatic = bool(row.automatic)
        job.reply_to = row.reply_to if job.reaction is not None else None
        job.to = Address.parse(row.address) if row.address else None
        job.purpose = Purpose(row.purpose)  # a delivery to the desk has one of its own
        if job.kind == "post" and job.content.template is not None:
            job.content.text = job.content.text or str(job.content.template)
        origin = context.channels.get(row.channel)
        job.origin = origin.medium if origin else row.channel
        if job.file is not None:
            _only_file(job, files.get(row.id, []))
        else:
            _attach(job, files.get(row.id, []))
    _quote(connection, [(job, rows[job.id]) for job in jobs if job.kind == "post" and job.id in rows])


def _quote(connection: Connection, posts: Sequence[tuple[Job, Any]]) -> None:
    """What posts at the desk answer or are about."""
    known = quotes.targets(
        connection, [(row.id, row.conversation_id, row.channel, row.reply_to) for _, row in posts]
    )
    for job, row in posts:
        if row.id in known:
            job.quoted = known[row.id][1]


def _only_file(job: Job, files: Sequence[media.File]) -> None:
    own = [each for each in files if each.position == job.file]
    names = [each.name or each.source.name or each.source.kind for each in own]
    job.content = Content(f"[file {names[0]} is here now]" if names else "[a file that came late was taken back]")
    _attach(job, own)


def _attach(job: Job, files: Sequence[media.File]) -> None:
    """What is stored replaces what the provider said. What could not be had the desk is told in words; a customer's
    message fails of it."""
    if not files:
        return
    job.content.attachments = []
    for file in files:
        name = file.name or file.source.name
        if file.state == "stored" and file.sha256 is not None:
            attachment = Attachment(file.source.kind, None, str(file.id), file.mime, name, file.size)
            job.content.attachments.append(attachment)
            job.files.append((file.sha256, None))
        elif job.kind == "contact" and file.state == "pending":  # only foreseen: it is not sent without its files
            job.content.attachments.append(replace(file.source, name=name, data=b""))
        else:
            lost = f"file {name or file.source.kind} could not be fetched: {file.error or 'not yet there'}"
            if job.kind == "contact":
                job.lost = f"the {lost}"
            else:
                job.content.text = f"{job.content.text}\n[{lost}]".strip()


def _mail_thread(connection: Connection, job: Job) -> None:
    """References and subject of the mails exchanged with this address in this conversation."""
    identity_id = sa.select(delivery.c.identity_id).where(delivery.c.id == job.id).scalar_subquery()
    received = sa.select(message.c.id, message.c.external_id, message.c.content).where(
        message.c.conversation_id == job.conversation_id,
        message.c.inbound.is_(True),
        message.c.channel == job.channel,
        message.c.identity_id == identity_id,
    )
    inbound = connection.execute(received.order_by(message.c.id.desc()).limit(_REFERENCES)).all()
    sent = (
        sa.select(delivery.c.id, receipt.c.external_id)
        .join(receipt, receipt.c.delivery_id == delivery.c.id)
        .where(
            delivery.c.channel == job.channel,
            delivery.c.identity_id == identity_id,
            delivery.c.message_id.in_(
                sa.select(message.c.id).where(message.c.conversation_id == job.conversation_id)
            ),
        )
    )
    outbound = connection.execute(sent.order_by(receipt.c.id.desc()).limit(_REFERENCES)).all()
    both = sorted([(row.id, row.external_id) for row in (*inbound, *outbound) if row.external_id])
    job.references = [external_id for _, external_id in both][-_REFERENCES:]
    if inbound:
        job.reply_to = inbound[0].external_id
        if job.content.subject is None:
            job.content.subject = decode_content(inbound[0].content).subject


def _answered(connection: Connection, job: Job) -> None:
    """The customer's last message here, if this is a person's answer."""
    if job.purpose is not Purpose.reply or job.automatic:
        return
    query = sa.select(message.c.external_id).where(
        message.c.conversation_id == job.conversation_id,
        message.c.inbound.is_(True),
        message.c.channel == job.channel,
        message.c.identity_id == job.identity_id,
    )
    job.answers = connection.execute(query.order_by(message.c.id.desc()).limit(1)).scalar_one_or_none()


def _desk(connection: Connection, context: Context, channel: Channel, jobs: Sequence[Job]) -> None:
    ids = {job.conversation_id for job in jobs}
    query = sa.select(desk_thread.c.conversation_id, desk_thread.c.external_id).where(
        desk_thread.c.channel == channel.name, desk_thread.c.conversation_id.in_(ids)
    )
    threads: dict[int, str] = {row.conversation_id: row.external_id for row in connection.execute(query)}
    marks = sa.select(delivery.c.id, delivery.c.target, delivery.c.value, delivery.c.reason).where(
        delivery.c.id.in_([job.id for job in jobs]), delivery.c.target.is_not(None)
    )
    wanted = {row.id: row for row in connection.execute(marks)}
    for job in jobs:
        job.thread = threads.get(job.conversation_id)
        job.to = Address(channel.scheme, channel.name)
        if job.kind == "card":
            job.card = _card(connection, context, job.conversation_id)
            job.card.before = wanted[job.id].target if job.id in wanted else None
        elif job.kind == "mark":
            row = wanted[job.id]
            job.mark = Mark(row.target, row.value, row.reason)
        elif job.id in wanted:
            job.replaces = _posts(connection, wanted[job.id].target)


def _posts(connection: Connection, original: str) -> list[str]:
    """External ids of what a delivery to the desk was posted as."""
    parts = sa.select(receipt.c.external_id).where(receipt.c.delivery_id == int(original)).order_by(receipt.c.part)
    return list(connection.execute(parts).scalars())


def _card(connection: Connection, context: Context, conversation_id: int) -> Card:
    row = connection.execute(
        sa.select(conversation, customer.c.name)
        .join(customer, customer.c.id == conversation.c.customer_id)
        .where(conversation.c.id == conversation_id)
    ).one()
    people = identities.family(connection, row.customer_id)
    known = connection.execute(
        sa.select(identity.c.id, identity.c.address, identity.c.proof, identity.c.name)
        .where(identity.c.customer_id.in_(people))
        .order_by(identity.c.id)
    ).all()
    current = next((each for each in known if each.id == row.reply_identity), None)
    name = row.name or next((each.name for each in known if each.name), None)
    ordered = sorted(known, key=lambda each: each.id != row.reply_identity)
    return Card(
        conversation=public_id("conversation", conversation_id),
        customer=name or (_nickname(current.address) if current else "Unknown customer"),
        state=row.state,
        channels=[_way(context, each.address, each.proof) for each in ordered],
        assignee=row.assignee,
        preview=row.preview,
        waiting_since=row.waiting_since,
        unverified=current is not None and current.proof == "claimed",
    )


def _nickname(address: str) -> str:
    scheme, _, value = address.partition(":")
    return identities.nickname(scheme, value)


def _way(context: Context, address: str, proof: str) -> str:
    """``sms +447700900123``; without the value where it is a provider's own number, which tells nobody anything."""
    scheme, _, value = address.partition(":")
    names = [each.name for each in context.channels.values() if each.role == "contact" and each.scheme == scheme]
    words = [", ".join(names) or scheme, *([value] if scheme in identities.READABLE else [])]
    return " ".join(words) + ("" if proof != Proof.claimed else " (unverified)")
