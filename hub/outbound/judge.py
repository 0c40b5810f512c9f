"""Ask the policy about a batch of deliveries: facts set-wise, one decision each."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import Connection

from hub import approvals, consent, feedback, tombstones
from hub.channels import Channel
from hub.context import Context
from hub.deliveries import OURS
from hub.model import AuthorKind, Proof, Purpose, decode_content, known_id, public_id
from hub.outbound import quotas
from hub.outbound.quotas import Tally
from hub.policy import mail, pack, quiet
from hub.policy.decide import Decision, Facts, Intent, decide
from hub.policy.ledger import Event
from hub.policy.limits import Sent
from hub.policy.mail import Mail
from hub.policy.pack import ChannelRules, Policy
from hub.policy.places import Known, Whereabouts, country_behind, whereabouts
from hub.policy.quiet import zone_of
from hub.policy.window import TemplateState
from hub.store.bulk import SOME, among
from hub.store.schema import campaign, conversation, customer, delivery, identity, message, recipient

_ON_THE_WAY = ("sending", "indoubt", "unknown", "sent", "delivered", "read")
_KEPT = timedelta(hours=1)
_PURPOSES = ("reply", "transactional", "marketing")
_RECIPIENTS = (
    sa.select(
        identity.c.id, identity.c.address, identity.c.customer_id, identity.c.consent_epoch, identity.c.proof,
        customer.c.time_zone, customer.c.country, customer.c.attributes,
    )
    .join(customer, customer.c.id == identity.c.customer_id)
    .where(identity.c.id.in_(SOME))
)  # fmt: skip
_MERGED = sa.select(customer.c.id, customer.c.merged_into).where(customer.c.merged_into.in_(SOME))
_MESSAGES = sa.select(
    message.c.id,
    message.c.content,
    message.c.author_kind,
    message.c.author_id,
    message.c.channel,
    sa.exists().where(recipient.c.message_id == message.c.id, recipient.c.state == "waiting").label("elsewhere"),
).where(message.c.id.in_(SOME))
_PAUSED = sa.select(campaign.c.id).where(campaign.c.id.in_(SOME), campaign.c.state == "paused")


@dataclass(slots=True)
class _Batch:
    """What the database says about all rows together."""

    recipients: Mapping[int, Any]  # by identity
    families: Mapping[int, tuple[int, ...]]  # of customers
    events: Mapping[str, tuple[Event, ...]]
    messages: Mapping[int, Any]
    paused: frozenset[str]  # campaigns
    erased: Mapping[str, datetime]  # addresses of people who were forgotten
    held: str | None  # why the sender sends no advertising
    last_inbound: Mapping[int, datetime]
    templates: Mapping[tuple[str, str], TemplateState]
    mail: Mail | None  # what advertising carries, where something is demanded of it
    history: defaultdict[int, list[Sent]] = field(default_factory=lambda: defaultdict(list))  # by customer


def judge(
    connection: Connection,
    context: Context,
    channel: Channel,
    rows: Sequence[Any],
    outbound: Literal["on", "off"],
    health: str = "OK",
    *,
    keep: bool = False,
    ahead: Counter[str] | None = None,
) -> dict[int, Decision]:
    """The decision for each row of ``delivery``. What is allowed counts for the caps and quotas of the rows after it.

    ``keep``: it is about to go out, and counts for everybody's quotas. ``ahead``: it is only foreseen; places in quotas
    that others take before, by key. Who waits has a place too: ``not_before`` is when it comes, all are added.
    """
    policy = pack.default()
    rules = rules_of(channel, policy)
    batch = _gather(connection, context, channel, rows, policy, rules)
    tally = None
    if channel.quotas is not None:
        of = quotas.Batch(connection, channel, channel.quotas, rows, batch.recipients, rules, policy, context.now)
        tally = Tally(of, batch.last_inbound, lock=keep, ahead=ahead)
    made: dict[int, Decision] = {}
    for row in rows:
        facts, intent = _case(context, batch, channel, rules, row, outbound, policy)
        if health != facts.health:
            facts = replace(facts, health=health)
        if tally is not None:
            facts = replace(facts, **tally.facts(row))
        made[row.id] = decide(facts, intent, context.now, policy)
        if tally is not None and ahead is not None:
            made[row.id] = _foreseen(tally, row, made[row.id])
        elif tally is not None:
            tally.took(row, made[row.id])
        if made[row.id].verdict == "allow" and row.identity_id in batch.recipients:
            sent = Sent(context.now, channel.medium, row.purpose, "reserved", row.topic)
            batch.history[batch.recipients[row.identity_id].customer_id].append(sent)
    if tally is not None and keep:
        tally.keep()
    return made


def _foreseen(tally: Tally, row: Any, made: Decision) -> Decision:
    if made.verdict not in ("allow", "defer"):
        return made
    at = tally.will_take(row)
    if made.verdict == "allow" or at is None or made.not_before is None:
        return made
    return replace(made, not_before=max(made.not_before, min(at, row.expires_at)))


def rules_of(channel: Channel, policy: Policy) -> ChannelRules:
    """The policy's rules for the medium; what the channel says of its own window counts more."""
    rules = policy.channel(channel.medium)
    window = channel.capabilities.window
    if window is None:
        return rules.model_copy(update={"free_h": None, "session": False})
    hours = window.total_seconds() / 3600
    if rules.free_h is None:
        return rules.model_copy(update={"free_h": hours, "template_for": _PURPOSES, "session": False})
    return rules.model_copy(update={"free_h": hours, "session": False})


def _case(
    context: Context,
    batch: _Batch,
    channel: Channel,
    rules: ChannelRules,
    row: Any,
    outbound: Literal["on", "off"],
    policy: Policy,
) -> tuple[Facts, Intent]:
    to = batch.recipients.get(row.identity_id)
    said = batch.messages.get(row.message_id)
    used = decode_content(said.content).template if said is not None else None
    known = batch.templates.get((used.name, used.language)) if used is not None else None
    paused = said is not None and said.author_id in batch.paused
    intent = Intent(
        purpose=row.purpose,
        medium=channel.medium,
        topic=row.topic,
        # While its campaign is paused its time does not run out: it gets new time when that goes on.
        expires_at=max(row.expires_at, context.now + _KEPT) if paused else row.expires_at,
        sender=channel.name,
        actor="human" if said is not None and said.author_kind == AuthorKind.agent else "bot",
        template=None if used is None else known or TemplateState(),
        key=str(row.id),
        answers_no=said is not None and said.channel == OURS,
        fallback_available=said is not None and bool(said.elsewhere),  # a campaign has another channel to try
        mail=batch.mail if row.purpose == Purpose.marketing else None,
    )
    if to is None:
        return Facts(None, rules=rules, outbound=outbound), intent
    persons = tuple(consent.person(each) for each in batch.families.get(to.customer_id, (to.customer_id,)))
    entries = tuple(each for subject in (to.address, *persons) for each in batch.events.get(subject, ()))
    if (at := batch.erased.get(to.address)) is not None and not _came_back(row, to):
        entries = (*entries, Event("erase", at, to.address, "subject"))
    facts = Facts(
        address=to.address,
        events=entries,
        ledger_at=max((each.known_at for each in entries), default=None),
        persons=persons,
        outbound=outbound,
        rules=rules,
        last_inbound=batch.last_inbound.get(row.identity_id),
        history=tuple(batch.history.get(to.customer_id, ())),
        epoch=to.consent_epoch,
        # Until whoever has it now is heard from.
        reassigned=to.proof == Proof.claimed and any(each.type == "reassign" for each in entries),
        # Whatever its purpose: what was on its way when the campaign was paused may come back to be tried again.
        campaign_paused=paused,
    )
    if row.purpose == Purpose.marketing:
        where = whereabouts_of(to, policy)
        facts = replace(
            facts,
            places=where.places,
            jurisdiction=where.jurisdiction,
            holidays=quiet.holidays(where.places, context.now, policy) if rules.quiet else frozenset(),
            held=batch.held,
            country_restricted=bool(rules.no_marketing_to) and country_behind(to.address) in rules.no_marketing_to,
        )
    return facts, intent


def _came_back(row: Any, to: Any) -> bool:
    """Somebody erased who has written since gets an answer. For anything more they say START."""
    return bool(row.purpose == Purpose.reply and to.proof != Proof.claimed)


def whereabouts_of(to: Any, policy: Policy) -> Whereabouts:
    """``to``: a row with the address of an identity, and time_zone, country and attributes of its customer."""
    more = json.loads(to.attributes)
    scheme, _, value = to.address.partition(":")
    known = Known(
        zone=_usable(to.time_zone),
        country=to.country.upper() if to.country else None,
        region=_text(more.get("region")),
        postcode=_text(more.get("postcode")),
        number=value if scheme == "tel" else None,
    )
    return whereabouts(known, policy)


def _usable(zone: str | None) -> str | None:
    """A zone nobody knows is as good as none."""
    try:
        return zone if zone and zone_of(zone) else None
    except ValueError:
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


# --- set-wise ---


def _gather(
    connection: Connection,
    context: Context,
    channel: Channel,
    rows: Sequence[Any],
    policy: Policy,
    rules: ChannelRules,
) -> _Batch:
    recipients = _recipients(connection, {row.identity_id for row in rows if row.identity_id is not None})
    people = {each.customer_id for each in recipients.values()}
    families = _families(connection, people)
    subjects = [each.address for each in recipients.values()]
    subjects += [consent.person(each) for family in families.values() for each in family]
    marketing = {
        recipients[row.identity_id].customer_id
        for row in rows
        if row.purpose == Purpose.marketing and row.identity_id in recipients
    }
    messages = _messages(connection, {row.message_id for row in rows if row.message_id is not None})
    return _Batch(
        recipients=recipients,
        families=families,
        events=consent.events(connection, subjects, context.secret),
        messages=messages,
        paused=_paused(connection, messages.values()),
        erased=tombstones.buried(connection, context.secret, [each.address for each in recipients.values()]),
        held=feedback.held(connection, f"sender:{channel.name}") if marketing else None,
        templates=_templates(connection, channel, messages.values()),
        mail=mail.ours(context.public_url, context.postal_address) if rules.imprint else None,
        last_inbound=_last_inbound(connection, people, set(recipients), {row.channel for row in rows})
        if rules.free_h is not None
        else {},
        history=_history(connection, context, marketing, {row.id for row in rows}, policy),
    )


def _recipients(connection: Connection, ids: Iterable[int]) -> dict[int, Any]:
    return {row.id: row for row in among(connection, _RECIPIENTS, set(ids))}


def _families(connection: Connection, people: set[int]) -> dict[int, tuple[int, ...]]:
    """Each customer with those that were merged into them: whoever of them said no, no was said."""
    families: dict[int, tuple[int, ...]] = {each: (each,) for each in people}
    for row in among(connection, _MERGED, people):
        families[row.merged_into] = (*families[row.merged_into], row.id)
    return families


def _messages(connection: Connection, ids: Iterable[int]) -> dict[int, Any]:
    return {row.id: row for row in among(connection, _MESSAGES, set(ids))}


def _paused(connection: Connection, messages: Iterable[Any]) -> frozenset[str]:
    """Those of the campaigns that wrote the messages that are paused, by public id."""
    by_campaign = {known_id("campaign", each.author_id) for each in messages if each.author_kind == AuthorKind.campaign}
    numbers = by_campaign - {None}  # of other programs' campaigns we know nothing
    return frozenset(public_id("campaign", row.id) for row in among(connection, _PAUSED, numbers))


def _templates(
    connection: Connection, channel: Channel, messages: Iterable[Any]
) -> dict[tuple[str, str], TemplateState]:
    if not channel.capabilities.templates:
        return {}
    used = [found for each in messages if (found := decode_content(each.content).template) is not None]
    return approvals.states(connection, channel.name, {each.name for each in used})


def _last_inbound(
    connection: Connection, people: set[int], identities: set[int], channels: set[str]
) -> dict[int, datetime]:
    """When somebody last wrote to these channels from each identity, in whichever conversation.

    What comes without a word of theirs, such as news of their account, opens no window.
    """
    query = (
        sa.select(message.c.identity_id, sa.func.max(message.c.provider_at).label("at"))
        .join(conversation, conversation.c.id == message.c.conversation_id)
        .where(
            conversation.c.customer_id.in_(people),
            message.c.inbound.is_(True),
            message.c.automatic.is_(False),
            message.c.channel.in_(channels),
            message.c.identity_id.in_(identities),
        )
        .group_by(message.c.identity_id)
    )
    return {row.identity_id: row.at for row in connection.execute(query)}


def _history(
    connection: Connection, context: Context, people: set[int], asking: set[int], policy: Policy
) -> defaultdict[int, list[Sent]]:
    """Marketing that each customer got of late or that is on its way, on every channel."""
    found: defaultdict[int, list[Sent]] = defaultdict(list)
    if not people or not policy.caps:
        return found
    since = context.now - timedelta(hours=max(rule.hours for rule in policy.caps))
    query = (
        sa.select(identity.c.customer_id, delivery.c.id, delivery.c.channel, delivery.c.state, delivery.c.due_at)
        .add_columns(delivery.c.topic)
        .join(identity, identity.c.id == delivery.c.identity_id)
        .where(
            identity.c.customer_id.in_(people),
            delivery.c.purpose == Purpose.marketing,
            delivery.c.state.in_(_ON_THE_WAY),
            delivery.c.due_at > since,
        )
    )
    for row in connection.execute(query):
        if row.id not in asking:
            used = context.channels.get(row.channel)
            medium = used.medium if used else row.channel
            found[row.customer_id].append(Sent(row.due_at, medium, "marketing", row.state, row.topic))
    return found
