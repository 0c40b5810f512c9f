"""The tables. One schema for SQLite and PostgreSQL; change it together with a migration."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text, text
from sqlalchemy.types import TypeDecorator

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    """Microseconds since 1970 UTC. Raises ValueError on a naive datetime."""
    if moment.tzinfo is None:
        raise ValueError("naive datetime: every time in the hub carries a zone")
    return (moment - _EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    return _EPOCH + timedelta(microseconds=value)


class Moment(TypeDecorator[datetime]):
    """An instant as integer microseconds: the same on both databases, sortable, never without a zone."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        return None if value is None else micros(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else moment(value)


def _id() -> Column[int]:
    return Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False)


def _serial() -> Column[int]:
    return Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)


# Every raw delivery, exactly as it came, until it is taken back (hub.unsent). Ids follow commit order, so a reader with
# a cursor misses none.
inbox = Table(
    "inbox",
    metadata,
    _serial(),
    Column("channel", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("headers", Text, nullable=False),  # JSON object
    Column("body", LargeBinary, nullable=False),
    Column("received_at", Moment, nullable=False),
    sqlite_autoincrement=True,
)

# Inbox rows that could not be translated; they wait for `hub replay`.
quarantine = Table(
    "quarantine",
    metadata,
    Column("inbox_id", BigInteger, primary_key=True, autoincrement=False),
    Column("channel", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("at", Moment, nullable=False),
    Column("solved_at", Moment),
)

cursor = Table(
    "cursor",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

# What already had its effect. The key is a hash of channel, kind and the provider's id; kept for good.
event = Table(
    "event",
    metadata,
    Column("key", LargeBinary(16), primary_key=True),
    Column("message_id", BigInteger),
    sqlite_with_rowid=False,
)

customer = Table(
    "customer",
    metadata,
    _id(),
    Column("external_id", Text, unique=True),
    Column("name", Text),
    Column("locale", Text),
    Column("time_zone", Text),
    Column("country", Text),
    Column("tier", Text),
    Column("attributes", Text, nullable=False, server_default="{}"),  # JSON object
    Column("merged_into", BigInteger, ForeignKey("customer.id"), index=True),
    Column("created_at", Moment, nullable=False),
)

identity = Table(
    "identity",
    metadata,
    _id(),
    Column("address", Text, nullable=False, unique=True),  # "tel:+447700900123"
    Column("customer_id", BigInteger, ForeignKey("customer.id"), nullable=False, index=True),
    Column("proof", Text, nullable=False),
    Column("name", Text),
    Column("created_at", Moment, nullable=False),
    Column("consent_epoch", BigInteger, nullable=False, server_default="0"),  # counts ledger entries that concern it
)

# Journal of joins, so that each can be undone.
link = Table(
    "link",
    metadata,
    _serial(),
    Column("at", Moment, nullable=False),
    Column("kind", Text, nullable=False),  # "merge", "join", "release"
    Column("identity_id", BigInteger, index=True),
    Column("from_customer", BigInteger, nullable=False),
    Column("to_customer", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("undone_at", Moment),
)

conversation = Table(
    "conversation",
    metadata,
    _id(),
    Column("customer_id", BigInteger, ForeignKey("customer.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("assignee", Text),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("labels", Text, nullable=False, server_default="[]"),
    Column("opened_at", Moment, nullable=False),
    Column("last_at", Moment, nullable=False),
    Column("waiting_since", Moment),  # first unanswered message of the customer
    Column("snoozed_until", Moment),
    Column("resolved_at", Moment),
    Column("reply_channel", Text),  # the customer's last-used way in; answers take it back
    Column("reply_identity", BigInteger),
    Column("preview", Text, nullable=False, server_default=""),
    Index(
        "uq_conversation_unresolved",
        "customer_id",
        unique=True,
        sqlite_where=text("state <> 'resolved'"),
        postgresql_where=text("state <> 'resolved'"),
    ),
    Index("ix_conversation_customer_id_id", "customer_id", "id"),
    Index(
        "ix_conversation_snoozed",
        "snoozed_until",
        sqlite_where=text("state = 'snoozed'"),
        postgresql_where=text("state = 'snoozed'"),
    ),
)

message = Table(
    "message",
    metadata,
    _id(),
    Column("conversation_id", BigInteger, nullable=False),
    Column("identity_id", BigInteger),  # whom it came from or goes to; null for notes
    Column("channel", Text, nullable=False),  # where it was written: a contact channel, the desk, "api"
    Column("inbound", Boolean, nullable=False),  # written by the customer
    Column("author_kind", Text, nullable=False),
    Column("author_name", Text, nullable=False),
    Column("author_id", Text),
    Column("purpose", Text, nullable=False),
    Column("content", Text, nullable=False),  # JSON of model.Content
    Column("external_id", Text),
    Column("reply_to", Text),
    Column("proof", Text),
    Column("automatic", Boolean, nullable=False, server_default=text("false")),
    Column("provider_at", Moment, nullable=False),
    Column("recorded_at", Moment, nullable=False),
    Column("inbox_id", BigInteger),  # the raw delivery it came with
    Index("ix_message_conversation_id_id", "conversation_id", "id"),
)

# Later facts about a message: edits, deletions, reactions.
amendment = Table(
    "amendment",
    metadata,
    _serial(),
    Column("message_id", BigInteger, nullable=False, index=True),
    Column("kind", Text, nullable=False),  # "edit", "delete", "reaction"
    Column("by", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("at", Moment, nullable=False),
    Column("inbox_id", BigInteger),  # which delivery told of it
)

# Later facts that came before their message; they have their effect once it is there.
parked_amendment = Table(
    "parked_amendment",
    metadata,
    _serial(),
    Column("channel", Text, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("event", Text, nullable=False),  # JSON of contract.MessageEdited, MessageDeleted or Reacted
    Column("message_id", BigInteger),  # if it is known but not written yet
    Column("inbox_id", BigInteger, nullable=False),
    Column("at", Moment, nullable=False),
    Index("ix_parked_amendment_channel_external_id", "channel", "external_id"),
)

_PENDING = text("state IN ('queued', 'sending', 'indoubt')")
_QUEUED = text("state = 'queued'")


def pending(table: sa.FromClause) -> sa.ColumnElement[bool]:
    """Deliveries that are still on their way; ``table`` is ``delivery`` or an alias of it.

    In words, not in bound values: databases use a partial index only where the statement says what the index says.
    """
    return table.c.state.in_([sa.literal_column(f"'{state}'") for state in ("queued", "sending", "indoubt")])


def queued(table: sa.FromClause) -> sa.ColumnElement[bool]:
    """Deliveries that wait for their lane; ``table`` is ``delivery`` or an alias of it. In words, as ``pending``."""
    return table.c.state == sa.literal_column("'queued'")


delivery = Table(
    "delivery",
    metadata,
    _id(),
    Column("message_id", BigInteger, index=True),
    Column("conversation_id", BigInteger, nullable=False),
    Column("channel", Text, nullable=False),
    Column("kind", Text, nullable=False),  # "contact", or at the desk "post", "card", "mark"
    Column("identity_id", BigInteger),
    Column("purpose", Text, nullable=False),
    Column("priority", Integer, nullable=False),  # lower goes first
    Column("state", Text, nullable=False),
    Column("due_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("valid_for", Integer),  # seconds from the hand-off after which the provider should not deliver it any more
    Column("created_at", Moment, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("part", Integer, nullable=False, server_default="0"),  # the next part to send
    Column("target", Text),  # kind "mark": external id of the agent's post; "post": the delivery it replaces
    # kind "mark": the state to show; "contact": the emoji of a reaction; "post": position of the one file it shows
    Column("value", Text),
    Column("reason", Text),  # why it failed, was denied, is unknown or waits
    Column("code", Text),
    Column("topic", Text),  # of advertising; NULL: none
    Index(
        "ix_delivery_marketing", "identity_id", "due_at",
        sqlite_where=text("purpose = 'marketing'"), postgresql_where=text("purpose = 'marketing'"),
    ),
    # Only what waits: with stale statistics PostgreSQL would look up by it what is to go first of a conversation.
    Index("ix_delivery_queue", "channel", "priority", "id", sqlite_where=_QUEUED, postgresql_where=_QUEUED),
    Index("ix_delivery_order", "channel", "conversation_id", "id", sqlite_where=_PENDING, postgresql_where=_PENDING),
)

attempt = Table(
    "attempt",
    metadata,
    _serial(),
    Column("delivery_id", BigInteger, nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("finished_at", Moment),
    Column("outcome", Text),
    Column("code", Text),
    Column("detail", Text),
)

receipt = Table(
    "receipt",
    metadata,
    _serial(),
    Column("channel", Text, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("delivery_id", BigInteger, nullable=False, index=True),
    Column("part", Integer, nullable=False),  # -1 - part of one that failed and was sent once more
    Column("state", Text, nullable=False),
    Column("detail", Text, nullable=False, server_default="{}"),
    Column("at", Moment, nullable=False),
    sa.UniqueConstraint("channel", "external_id"),
)

# Statuses that came before the answer to our own call; joined when the receipt is written.
parked_status = Table(
    "parked_status",
    metadata,
    _serial(),
    Column("channel", Text, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("event", Text, nullable=False),  # JSON of contract.StatusChanged
    Column("at", Moment, nullable=False),
    Index("ix_parked_status_channel_external_id", "channel", "external_id"),
)

decision = Table(
    "decision",
    metadata,
    _serial(),
    Column("delivery_id", BigInteger, nullable=False, index=True),
    Column("at", Moment, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),  # JSON: every check with its inputs
)

# Append-only: what people allowed and refused; the policy reads it. ``suppression`` is a digest for lists.
consent_event = Table(
    "consent_event",
    metadata,
    _serial(),
    Column("address", Text, nullable=False, index=True),  # or "customer:cus_…": a person, on all their addresses
    Column("channel", Text),  # where it was said, by name
    Column("change", Text, nullable=False),  # "opt_out", "opt_in", both also with "_marketing", "bounced", "rejected" …
    Column("source", Text, nullable=False),  # "keyword", "provider", "api", "agent", "import", "page", "cli"
    Column("evidence", Text, nullable=False),  # JSON
    Column("occurred_at", Moment, nullable=False),
    Column("recorded_at", Moment, nullable=False),
    Column("kind", Text, nullable=False, server_default="revoke"),  # hub.policy.ledger.Type
    Column("actor", Text, nullable=False, server_default="subject"),
    Column("scope_channel", Text, nullable=False, server_default="*"),  # a medium
    Column("scope_purpose", Text, nullable=False, server_default="*"),
    Column("scope_topic", Text, nullable=False, server_default="*"),
    Column("scope_sender", Text, nullable=False, server_default="*"),
    Column("basis", Text),
    Column("reason", Text),
    Column("verified", Boolean, nullable=False, server_default=sa.false()),
    Column("of_id", BigInteger),  # the entry that is confirmed or resolved
    Column("until", Moment),
    Column("key", Text, unique=True),  # the same key is the same entry
    Column("hash", LargeBinary),  # over this entry and the hash before it
)

suppression = Table(
    "suppression",
    metadata,
    Column("address", Text, primary_key=True),
    Column("reason", Text, primary_key=True),  # "opt_out", "bounced"
    Column("event_id", BigInteger, nullable=False),
    Column("since", Moment, nullable=False),
)

# Templates of a provider, as it told of them.
template = Table(
    "template",
    metadata,
    Column("channel", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("language", Text, primary_key=True),
    Column("status", Text, nullable=False),  # "approved", "paused", or the provider's word for no
    Column("category", Text),
    Column("at", Moment, nullable=False),
)

# How fast each scope is worked, shared by all processes. Seconds since 1970 by the database's clock.
rate = Table(
    "rate",
    metadata,
    Column("key", Text, primary_key=True),  # "sender:sms_uk", "pair:sms_uk:tel:+447700900123", "account:…"
    Column("arrival", sa.Float, nullable=False, server_default="0"),  # of the next token (hub.policy.rates)
    Column("held_until", sa.Float, nullable=False, server_default="0"),
    Column("learned", sa.Float),  # per second, after the provider found us too fast
    Column("cut_at", sa.Float, nullable=False, server_default="0"),
    Column("raised_at", sa.Float, nullable=False, server_default="0"),
    Column("at", sa.Float, nullable=False, server_default="0"),  # when it was written, by the clock of the others
)

# Quotas of accounts, locked while somebody decides by them: "people:meta", "month:line", "warm:mail gmail".
quota = Table(
    "quota",
    metadata,
    Column("key", Text, primary_key=True),
    Column("turn", Moment),  # the place that the last message which found it full was told to wait for
    Column("spent_until", Moment),  # the provider said so
    Column("day", Moment),  # warm-up: start of the day that ``allowed`` is for
    Column("allowed", Integer),  # warm-up: messages of that day; people: as many as the provider last told
)

# What counts for a quota; only as long as it counts.
quota_use = Table(
    "quota_use",
    metadata,
    Column("key", Text, primary_key=True),
    Column("delivery_id", BigInteger, primary_key=True, autoincrement=False),
    Column("identity_id", BigInteger),
    Column("at", Moment, nullable=False),
    Column("amount", Integer, nullable=False, server_default="1"),
    Index("ix_quota_use_key_at", "key", "at"),
    Index("ix_quota_use_key_identity_id", "key", "identity_id"),
)

# What sends nothing until somebody has looked: "sender:sms_uk", "campaign:cmp_…".
hold = Table(
    "hold",
    metadata,
    Column("key", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("at", Moment, nullable=False),
)

# Failures that end a recipient only if they repeat.
soft_failure = Table(
    "soft_failure",
    metadata,
    _serial(),
    Column("address", Text, nullable=False, index=True),
    Column("medium", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("delivery_id", BigInteger, nullable=False),
    Column("at", Moment, nullable=False),
)

# Addresses of people who were forgotten, as keyed hashes: nobody writes to them or imports them again.
tombstone = Table(
    "tombstone",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("at", Moment, nullable=False),
)

desk_thread = Table(
    "desk_thread",
    metadata,
    Column("channel", Text, primary_key=True),
    Column("conversation_id", BigInteger, primary_key=True, autoincrement=False),
    Column("external_id", Text, nullable=False),
    sa.UniqueConstraint("channel", "external_id"),
)

# What agents did in threads that are not ours, or not yet: the answer to our own post may still be on its way.
parked_reply = Table(
    "parked_reply",
    metadata,
    _serial(),
    Column("channel", Text, nullable=False),
    Column("thread", Text, nullable=False),
    Column("event", Text, nullable=False),  # JSON of contract.MessageReceived or ActionTaken
    Column("message_id", BigInteger),
    Column("inbox_id", BigInteger, nullable=False),
    Column("at", Moment, nullable=False),
    Index("ix_parked_reply_channel_thread", "channel", "thread"),
)

media = Table(
    "media",
    metadata,
    _id(),
    Column("message_id", BigInteger, nullable=False, index=True),
    Column("position", Integer, nullable=False),
    Column("channel", Text, nullable=False),
    Column("inbox_id", BigInteger),
    Column("source", Text, nullable=False),  # JSON of model.Attachment
    Column("mime", Text),
    Column("name", Text),
    Column("size", BigInteger),
    Column("sha256", Text),
    Column("state", Text, nullable=False),  # "pending", "stored", "failed"; "unwanted": to be removed
    Column("error", Text),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("due_at", Moment, nullable=False),
    Index(
        "ix_media_pending",
        "due_at",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index(
        "ix_media_unwanted",
        "due_at",
        sqlite_where=text("state = 'unwanted'"),
        postgresql_where=text("state = 'unwanted'"),
    ),
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", Text, primary_key=True),  # public part of the key
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),  # SHA-256 of the secret part
    Column("scopes", Text, nullable=False),  # JSON list
    Column("created_at", Moment, nullable=False),
    Column("revoked_at", Moment),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("owner", Text, primary_key=True),  # API key id
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("at", Moment, nullable=False),
)

# What customers did elsewhere: purchases, visits. The business tells; segments and conversions read.
customer_event = Table(
    "customer_event",
    metadata,
    _serial(),
    Column("customer_id", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("external_id", Text, unique=True),  # of the teller: a repeated one has no effect
    Column("properties", Text, nullable=False, server_default="{}"),  # JSON object
    Column("at", Moment, nullable=False),
    Column("campaign_id", BigInteger),  # whose link led to it, and in which message it was
    Column("message_id", BigInteger),
    Index("ix_customer_event_name_at", "name", "at"),
    Index("ix_customer_event_customer_id_name_at", "customer_id", "name", "at"),
    Index(
        "ix_customer_event_campaign_id",
        "campaign_id",
        sqlite_where=text("campaign_id IS NOT NULL"),
        postgresql_where=text("campaign_id IS NOT NULL"),
    ),
)

segment = Table(
    "segment",
    metadata,
    Column("name", Text, primary_key=True),
    Column("filter", Text, nullable=False),  # JSON of segments.Filter
    Column("saved_at", Moment, nullable=False),
)

campaign = Table(
    "campaign",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),  # "draft", "running", "paused", "finished", "cancelled"
    Column("draft", Text, nullable=False),  # JSON of campaigns.Draft
    Column("reason", Text),  # why it is paused
    Column("planned_to", BigInteger, nullable=False, server_default="0"),  # the last customer that was looked at
    Column("planned_at", Moment),  # since when everybody has been looked at
    Column("starts_at", Moment),
    Column("created_at", Moment, nullable=False),
    Column("finished_at", Moment),
    Column("resumed_at", Moment),  # the last time: what it did before has been looked at
)

# One row per person of a campaign, for good: whoever is here gets no second message of it.
recipient = Table(
    "recipient",
    metadata,
    Column("campaign_id", BigInteger, primary_key=True, autoincrement=False),
    Column("customer_id", BigInteger, primary_key=True, autoincrement=False),
    Column("variant", Text, nullable=False, server_default=""),
    # "planned"; "waiting": whether this channel is any good; "resting": until the next step; "queued": that was the
    # last one; "skipped", "held_out"
    Column("state", Text, nullable=False),
    Column("step", Integer, nullable=False, server_default="0"),  # of the messages that follow one another
    Column("tried", Text, nullable=False, server_default=""),  # channels of this step so far, with spaces between
    Column("reason", Text),
    Column("fields", Text),  # JSON: the columns of the list
    Column("entered_at", Moment, nullable=False),
    Column("due_at", Moment, nullable=False),
    Column("message_id", BigInteger),
    Index("ix_recipient_message_id", "message_id"),
    Index("ix_recipient_customer_id", "customer_id"),
    Index(
        "ix_recipient_planned",
        "campaign_id",
        "due_at",
        sqlite_where=text("state IN ('planned', 'waiting', 'resting')"),
        postgresql_where=text("state IN ('planned', 'waiting', 'resting')"),
    ),
    sqlite_with_rowid=False,
)

def unfinished() -> sa.ColumnElement[bool]:
    """Recipients of whom there is more to come; in words, as ``pending``."""
    return recipient.c.state.in_([sa.literal_column(f"'{state}'") for state in ("planned", "waiting", "resting")])


alert = Table(
    "alert",
    metadata,
    _serial(),
    Column("at", Moment, nullable=False),
    Column("kind", Text, nullable=False),
    Column("channel", Text),
    Column("detail", Text, nullable=False),
)


def newest_id(connection: sa.Connection) -> int:
    """The greatest id that a hub has given to a row of its own; 0 if there is none."""
    made = [table.c.id for table in metadata.tables.values() if "id" in table.c and table.c.id.autoincrement is False]
    each_of = sa.union_all(*(sa.select(sa.func.max(each).label("id")) for each in made)).subquery()
    return int(connection.execute(sa.select(sa.func.max(each_of.c.id))).scalar_one_or_none() or 0)
