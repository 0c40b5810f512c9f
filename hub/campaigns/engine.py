"""A campaign's life: made, planned in pages, sent as ordinary messages a few at a time, paused, ended."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from hub import advertising, approvals, conversations, customers, deliveries, media, segments, tracking
from hub.campaigns import entries, legs
from hub.campaigns.cost import Costs, TooLong
from hub.campaigns.draft import CampaignDraft, CampaignError, read, wrong_texts
from hub.campaigns.person import Person, Skip, Texts, Way, load, ways, with_fields
from hub.campaigns.record import (
    MISSED,
    Campaign,
    Turn,
    due_of,
    instant,
    planned,
    repeated,
    set_campaign,
    turn_of,
    written_by,
)
from hub.context import Context, lane_topic
from hub.model import Author, AuthorKind, Content, Purpose, is_public_id, private_id, public_id
from hub.outbound.scopes import taken_ahead
from hub.sending import beside_template
from hub.store.base import chunks
from hub.store.bulk import insert_many
from hub.store.schema import campaign, delivery, message, pending, queued, recipient, unfinished

MADE_BY = "campaign"  # the channel of messages that campaigns wrote
_PAGE = 1000  # people planned in one transaction
_QUEUE = 500  # due messages of one purpose and channel that may wait in the lane; the rest waits as recipients
_AHEAD = 0.8  # seconds of a campaign's rate for which there are messages
_SOON = timedelta(seconds=1)  # what is due by then waits for the rate alone
_NEVER = datetime(2100, 1, 1, tzinfo=UTC)
_STOPPED = "CAMPAIGN_PAUSED"


def get(connection: Connection, who: str) -> Campaign | None:
    """By name or public id."""
    by = campaign.c.id == private_id("campaign", who) if is_public_id("campaign", who) else campaign.c.name == who
    found = _read(connection, by)
    return found[0] if found else None


def listed(connection: Connection, *, before: int | None = None, limit: int = 100) -> list[Campaign]:
    """Newest first."""
    return _read(connection, campaign.c.id < before if before is not None else sa.true(), limit)


def running(connection: Connection) -> list[Campaign]:
    return _read(connection, campaign.c.state == "running")


def _read(connection: Connection, where: sa.ColumnElement[bool], limit: int | None = None) -> list[Campaign]:
    rows = connection.execute(sa.select(campaign).where(where).order_by(campaign.c.id.desc()).limit(limit))
    return [Campaign(**(dict(row) | {"draft": _stored(row["draft"])})) for row in rows.mappings()]


@lru_cache(maxsize=256)
def _stored(text: str) -> CampaignDraft:
    """A draft as it was kept; nobody changes it."""
    return read(json.loads(text))


# --- made ---


def create(connection: Connection, context: Context, draft: CampaignDraft) -> Campaign:
    """A campaign that does nothing yet. Raises: CampaignError."""
    problems = [*wrong_texts(draft), *_impossible(connection, context, draft)]
    if problems:
        raise CampaignError(*problems)
    number = context.ids()
    connection.execute(
        sa.insert(campaign).values(
            id=number,
            name=draft.name,
            state="draft",
            draft=draft.model_dump_json(by_alias=True, exclude_unset=True),
            starts_at=instant(draft.start, "UTC") if draft.start else None,
            created_at=context.now,
        )
    )
    [made] = _read(connection, campaign.c.id == number)
    return made


def _impossible(connection: Connection, context: Context, draft: CampaignDraft) -> Iterable[str]:
    if get(connection, draft.name) is not None:
        yield f"name: there is a campaign called {draft.name!r} already; choose another"
    contact = [name for name, each in context.channels.items() if each.role == "contact"]
    for name in draft.channels:
        if name not in contact:
            yield f"channels: no channel to customers is called {name!r}; there are: {', '.join(contact) or 'none'}"
    if (problem := advertising.unknown_topic(context, draft.topic)) is not None:
        yield f"topic: {problem}"
    yield from _unpriced(context, draft)
    yield from _templates(connection, context, draft)
    if draft.audience.segment is not None:
        try:
            _count(connection, context, draft.audience.segment)
        except CampaignError as error:
            yield from error.problems


def _count(connection: Connection, context: Context, segment: segments.Filter) -> int:
    """Raises: CampaignError."""
    try:
        return segments.count(connection, context, segment)
    except segments.SegmentError as error:
        raise CampaignError(f"audience.segment: {error}") from None


def _unpriced(context: Context, draft: CampaignDraft) -> Iterable[str]:
    """``cheapest`` needs to know what each channel costs."""
    if draft.choose != "cheapest":
        return
    for name in draft.channels:
        channel = context.channels.get(name)
        if channel is not None and not context.prices.known(name, channel.medium):
            entry = f'{{ channel = "{name}", price = 0.05 }}'
            yield f"choose: cheapest needs a price of {name!r}: add {entry} to prices.list in the hub's settings"


def _templates(connection: Connection, context: Context, draft: CampaignDraft) -> Iterable[str]:
    """Providers' templates of which it is known that they cannot be used, or not with what is to go beside them."""
    for step, messages in enumerate(draft.steps()):
        where = f"follow_ups.{step - 1}.messages" if step else "messages"
        for place, each in enumerate(messages):
            if each.template is None:
                continue
            name, language = each.template.name, each.template.language
            for channel in [each.channel] if each.channel else draft.channels:
                state = approvals.states(connection, channel, [name]).get((name, language))
                if state is not None and state.status != "approved":
                    words = f"{channel}'s provider says of {name} ({language}): {state.status}, not approved"
                    yield f"{where}.{place}.template: {words}"
                known = context.channels.get(channel)
                wrong = beside_template(known, len(each.attachments), len(each.buttons)) if known is not None else None
                if wrong is not None:
                    yield f"{where}.{place}.{wrong[0]}: {wrong[1]}"


@dataclass(slots=True)
class Added:
    """What became of a page of a list. ``problems``: (place in the page, from 0; what is wrong)."""

    added: int = 0
    repeated: int = 0
    problems: list[tuple[int, str]] = field(default_factory=list)


def add_people(connection: Connection, context: Context, made: Campaign, rows: Sequence[Mapping[str, Any]]) -> Added:
    """Put people of a list into a campaign; ``customer`` names them, other keys are values for its texts.

    Raises: CampaignError if it takes no list, or has been started.
    """
    if not made.draft.audience.list:
        raise CampaignError("audience: this campaign's people are a segment; it takes no list")
    if made.state != "draft":
        raise CampaignError(f"state: the campaign is {made.state}; people are added before it starts")
    result = Added()
    found: dict[int, str] = {}
    names = [str(row.get("customer", "")).strip() for row in rows]
    people = customers.find_many(connection, filter(None, names))
    for place, (row, who) in enumerate(zip(rows, names, strict=True)):
        person = people.get(who)
        if person is None:
            result.problems.append((place, f"no customer is known as {who!r}" if who else "customer: missing"))
        elif person in found:
            result.repeated += 1
        else:
            values = {name: value for name, value in row.items() if name != "customer" and value not in (None, "")}
            found[person] = json.dumps(values, ensure_ascii=False)
    known = _present(connection, made.id, found)
    result.repeated += len(known)
    due = due_of(
        connection, made, [each for each in found if each not in known], made.starts_at or context.now,
        made.draft.start, context.now,
    )  # fmt: skip
    new = [planned(made, person, moment, found[person], context.now) for person, moment in due.items()]
    insert_many(connection, recipient, new)
    result.added = len(new)
    return result


def _present(connection: Connection, campaign_id: int, people: Iterable[int]) -> set[int]:
    known: set[int] = set()
    for some in chunks(people):
        query = sa.select(recipient.c.customer_id).where(
            recipient.c.campaign_id == campaign_id, recipient.c.customer_id.in_(some)
        )
        known.update(connection.execute(query).scalars())
    return known


# --- started, paused, ended ---


def start(connection: Connection, context: Context, made: Campaign) -> None:
    """Raises: CampaignError."""
    if made.state != "draft":
        raise CampaignError(f"state: the campaign is {made.state} already")
    if made.draft.audience.list and not connection.execute(_some(made.id)).first():
        raise CampaignError("audience: the list is empty: nobody would get a message")
    begin = 0
    if made.draft.audience.trigger is not None:
        begin = entries.begin(connection, context, made)
    elif made.draft.audience.segment is not None and not _count(connection, context, made.draft.audience.segment):
        raise CampaignError("audience: nobody is in the segment")
    if made.draft.audience.list and made.draft.local_time:
        _too_late(connection, context, made)
    starts_at = made.starts_at or context.now
    set_campaign(connection, made.id, state="running", starts_at=starts_at, planned_to=begin, reason=None)
    context.news.add("campaigns")


def _too_late(connection: Connection, context: Context, made: Campaign) -> None:
    """People of a list whose hour has passed since they were added get it the next day."""
    ours = recipient.c.campaign_id == made.id
    query = sa.select(recipient.c.customer_id).where(ours, recipient.c.due_at < context.now - MISSED)
    due_at = sa.bindparam("moment", type_=recipient.c.due_at.type)
    change = sa.update(recipient).where(ours, recipient.c.customer_id == sa.bindparam("who")).values(due_at=due_at)
    for some in chunks(connection.execute(query).scalars().all()):
        due = due_of(connection, made, some, context.now, made.draft.start, context.now)
        connection.execute(change, [{"who": person, "moment": moment} for person, moment in due.items()])


def _some(campaign_id: int) -> sa.Select[tuple[int]]:
    return sa.select(recipient.c.customer_id).where(recipient.c.campaign_id == campaign_id).limit(1)


def pause(connection: Connection, made: Campaign, reason: str) -> None:
    """What has not been handed to a provider stays here until ``resume``. Raises: CampaignError."""
    if made.state != "running":
        raise CampaignError(f"state: the campaign is {made.state}; only a running one can be paused")
    set_campaign(connection, made.id, state="paused", reason=reason)
    connection.execute(_waiting(made).values(due_at=_NEVER, reason=f"{_STOPPED}: {reason}", code=_STOPPED))


def resume(connection: Connection, context: Context, made: Campaign) -> None:
    """What waits has as long as if it were written now. Raises: CampaignError."""
    if made.state != "paused":
        raise CampaignError(f"state: the campaign is {made.state}; only a paused one can be resumed")
    starts_at = made.starts_at or context.now
    if made.planned_at is None and made.planned_to == 0:
        starts_at = max(starts_at, context.now)  # whoever resumes knows how late it is
    set_campaign(connection, made.id, state="running", reason=None, starts_at=starts_at, resumed_at=context.now)
    expires_at = context.now + made.draft.expires_after
    connection.execute(_waiting(made).values(due_at=context.now, expires_at=expires_at, reason=None, code=None))
    context.news |= {"campaigns", *(lane_topic(name) for name in made.draft.channels)}


def cancel(connection: Connection, context: Context, made: Campaign) -> None:
    """For good. Raises: CampaignError."""
    if made.state in ("finished", "cancelled"):
        raise CampaignError(f"state: the campaign is {made.state}")
    set_campaign(connection, made.id, state="cancelled", finished_at=context.now)
    words = "CAMPAIGN_CANCELLED: the campaign was cancelled before this was sent"
    connection.execute(_waiting(made).values(state="denied", reason=words, code="CAMPAIGN_CANCELLED"))
    # What a provider has just been handed is not tried again if it comes back.
    connection.execute(sa.update(delivery).where(pending(delivery), *_ours(made)).values(expires_at=context.now))
    connection.execute(
        sa.update(recipient)
        .where(recipient.c.campaign_id == made.id, recipient.c.state == "planned")
        .values(state="skipped", reason=words)
    )
    connection.execute(
        sa.update(recipient)
        .where(recipient.c.campaign_id == made.id, recipient.c.state.in_(("waiting", "resting")))
        .values(state="queued", reason=words)
    )


def forget(connection: Connection, made: Campaign) -> None:
    """As if it had never been made; its name is free again. Raises: CampaignError."""
    if made.state != "draft":
        raise CampaignError(f"state: the campaign is {made.state}; only a draft can be forgotten, others are cancelled")
    connection.execute(sa.delete(recipient).where(recipient.c.campaign_id == made.id))
    connection.execute(sa.delete(campaign).where(campaign.c.id == made.id))


def _waiting(made: Campaign) -> sa.Update:
    """Deliveries of the campaign that no provider has seen."""
    return sa.update(delivery).where(queued(delivery), *_ours(made))


def _ours(made: Campaign) -> tuple[sa.ColumnElement[bool], ...]:
    """Of deliveries under way, those of the campaign: of each person all messages, not the last one alone."""
    said = sa.select(message.c.id).where(message.c.id == delivery.c.message_id, *written_by(made))
    # The OFFSET makes PostgreSQL look it up for each of the few, and not go through all messages.
    return delivery.c.channel.in_(made.draft.channels), sa.exists(said.offset(sa.literal_column("0")))


# --- planned ---


def plan(connection: Connection, context: Context, made: Campaign) -> int:
    """The next page of people; the cursor moves in the same transaction. Returns how many, 0: nobody for now."""
    if made.draft.audience.trigger is not None:
        return entries.enter(connection, context, made)
    if made.planned_at is not None or (made.begins_at and context.now < made.begins_at):
        return 0  # who is in the segment by then is meant, not who is in it now
    if made.starts_at and made.planned_to == 0 and made.draft.start and context.now > made.starts_at + MISSED:
        late = context.now - made.starts_at
        pause(connection, made, f"its start was missed by {late.total_seconds() / 60:.0f} min; resume to send it now")
        return 0
    people = [] if made.draft.audience.list else meant(connection, context, made, made.planned_to, _PAGE)
    if not people:
        set_campaign(connection, made.id, planned_at=context.now)
        return 0
    set_campaign(connection, made.id, planned_to=people[-1])
    return len(people)


def meant(connection: Connection, context: Context, made: Campaign, after: int, limit: int) -> list[int]:
    """The next people of the audience by id, each with a row as recipient."""
    if made.draft.audience.list:
        query = sa.select(recipient.c.customer_id).where(
            recipient.c.campaign_id == made.id, recipient.c.customer_id > after
        )
        return list(connection.execute(query.order_by(recipient.c.customer_id).limit(limit)).scalars())
    everybody = made.draft.audience.segment or segments.All(all=[])
    people = segments.people(connection, context, everybody, after=after, limit=limit)
    new = people
    if people:
        # By range, not by a thousand values: PostgreSQL reads the whole of a young table for those.
        between = recipient.c.customer_id.between(people[0], people[-1])
        query = sa.select(recipient.c.customer_id).where(recipient.c.campaign_id == made.id, between)
        known = set(connection.execute(query).scalars())
        new = [person for person in people if person not in known]
    due = due_of(connection, made, new, made.starts_at or context.now, made.draft.start, context.now)
    insert_many(connection, recipient, [planned(made, person, due[person], None, context.now) for person in new])
    return people


# --- sent ---


def expand(connection: Connection, context: Context, made: Campaign, texts: Texts, limit: int) -> int:
    """Write messages for up to ``limit`` people whose time has come; see ``room``. Returns how many were dealt with."""
    if limit <= 0:
        return 0
    due = connection.execute(
        sa.select(recipient)
        .where(
            recipient.c.campaign_id == made.id,
            unfinished(),
            recipient.c.due_at <= context.now,
        )
        .order_by(recipient.c.due_at, recipient.c.customer_id)
        .limit(limit)
    ).all()
    turns = [turn_of(row) for row in due if row.state == "planned"]
    turns += legs.go_on(connection, context, made, [row for row in due if row.state != "planned"])
    write(connection, context, made, texts, turns)
    return len(due)


def room(connection: Connection, context: Context, made: Campaign) -> int:
    """How many messages may be written for lanes to take: more than they soon can would only make a pause slower, and
    go out faster than the campaign's rate after they were held up."""
    some = (
        sa.select(delivery.c.message_id)
        .where(
            delivery.c.channel.in_(made.draft.channels),
            delivery.c.priority == deliveries.PRIORITY[made.purpose],
            queued(delivery),
            delivery.c.due_at <= context.now + _SOON,
        )
        .limit(_QUEUE)
        .subquery()
    )
    count = sa.select(sa.func.count()).select_from(some)
    free = _QUEUE - int(connection.execute(count).scalar_one())
    if made.draft.rate is None or free <= 0:
        return free
    ours = count.join(message, message.c.id == some.c.message_id).where(*written_by(made))
    left = _AHEAD - taken_ahead(connection, made.id)
    return min(free, math.ceil(made.draft.rate * left) - int(connection.execute(ours).scalar_one()))


def write(connection: Connection, context: Context, made: Campaign, texts: Texts, turns: Sequence[Turn]) -> None:
    """Messages and deliveries for these people, or the reason why there is none."""
    if not turns:
        return
    people = load(connection, [turn.customer_id for turn in turns])
    with_fields(people, turns)
    one_with = {who: person.id for who, person in people.items()}
    twice = repeated(connection, made, one_with, context.now)
    episodes = conversations.Episodes(connection, context, one_with.values())
    costs = Costs(connection, context, texts.templates())
    author = Author(AuthorKind.campaign, made.name, public_id("campaign", made.id))
    messages: list[dict[str, Any]] = []
    sends: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    files: list[tuple[str, int, Content]] = []
    for turn in turns:
        person = people[turn.customer_id]
        open_ways = [way for way in ways(made.draft, context, person) if way[0] not in turn.tried.split()]
        try:
            if turn.customer_id in twice:
                raise Skip("MERGED", f"one person with another recipient, {person.external_id or person.name or ''}")
            if not open_ways:
                raise Skip("NO_CHANNEL", f"no address that {' or '.join(made.draft.channels)} reaches")
            number = context.ids()
            content_of = partial(
                _content, context, made, person, texts=texts, chosen=turn.variant, now=context.now, step=turn.step,
                track=partial(tracking.link, context.secret, number),
            )  # fmt: skip
            channel, identity_id, content = _choose(made, costs, open_ways, content_of)
        except Skip as skip:
            changed.append(legs.without(made, turn, context.now, skip))
            continue
        episode = episodes.for_ours(person.id)
        if episode.is_new:  # it counts as a conversation once it is answered
            episode.state, episode.resolved_at = "resolved", context.now
            episode.reply_channel, episode.reply_identity = channel, identity_id
        said = deliveries.message_row(context, episode.id, identity_id, MADE_BY, author, made.purpose, content)
        said["id"] = number
        sent = deliveries.delivery_row(context, episode.id, channel, "contact", made.purpose)
        sent |= {"message_id": said["id"], "identity_id": identity_id, "topic": made.draft.topic}
        sent["expires_at"] = context.now + made.draft.expires_after
        more = len(open_ways) > 1
        sent["valid_for"] = legs.valid_for(made) if more else None
        changed.append(legs.after(made, turn, context.now, channel, said["id"], more=more))
        messages.append(said)
        sends.append(sent)
        if content.attachments:
            files.append((channel, said["id"], content))
    episodes.save()
    insert_many(connection, message, messages)
    for channel, number, content in files:
        media.expect(connection, context, channel, None, [(number, content.attachments)])
    insert_many(connection, delivery, sends)
    legs.keep(connection, made.id, changed)


def _content(
    context: Context, made: Campaign, person: Person, way: Way, *, texts: Texts, **how: Any
) -> Content:
    """What this person is told that way. Raises: Skip."""
    channel, _, address = way
    content = texts.content(person, channel, **how)
    if made.purpose is Purpose.marketing:
        spoken = [person.locale] if person.locale else []
        advertising.say_how_to_end(content, context, context.channels[channel], address, spoken)
    return content


def _choose(
    made: Campaign, costs: Costs, open_ways: Sequence[Way], content_of: Callable[[Way], Content]
) -> tuple[str, int, Content]:
    """The channel, the identity and what is said there. Raises: Skip."""
    if made.draft.choose != "cheapest":
        channel, identity_id, _ = open_ways[0]
        return channel, identity_id, content_of(open_ways[0])
    best: tuple[Decimal, tuple[str, int, Content]] | None = None
    skips: list[Skip] = []
    for way in open_ways:
        channel, identity_id, address = way
        try:
            content = content_of(way)
            _, cost = costs.of(channel, address, content)
        except Skip as skip:
            skips.append(skip)
            continue
        except TooLong:
            cost = None  # it is the last choice, where the policy will say why
        price = cost if cost is not None else Decimal("Infinity")
        if best is None or price < best[0]:
            best = price, (channel, identity_id, content)
    if best is None:
        raise skips[0]
    return best[1]


def finish(connection: Connection, context: Context, made: Campaign) -> bool:
    """End it if nobody is left and nothing is on its way."""
    if made.planned_at is None or made.draft.audience.trigger is not None:
        return False
    left = sa.select(recipient.c.customer_id).where(recipient.c.campaign_id == made.id, unfinished())
    under_way = sa.select(delivery.c.id).where(pending(delivery), *_ours(made))
    if connection.execute(left.limit(1)).first() or connection.execute(under_way.limit(1)).first():
        return False
    set_campaign(connection, made.id, state="finished", finished_at=context.now)
    return True
