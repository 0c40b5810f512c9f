"""The consent ledger tells who said what about what, chained; identities count their changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("identity", schema=None) as batch_op:
        batch_op.add_column(sa.Column("consent_epoch", sa.BigInteger(), server_default="0", nullable=False))

    with op.batch_alter_table("consent_event", schema=None) as batch_op:
        batch_op.add_column(sa.Column("kind", sa.Text(), server_default="revoke", nullable=False))
        batch_op.add_column(sa.Column("actor", sa.Text(), server_default="subject", nullable=False))
        batch_op.add_column(sa.Column("scope_channel", sa.Text(), server_default="*", nullable=False))
        batch_op.add_column(sa.Column("scope_purpose", sa.Text(), server_default="*", nullable=False))
        batch_op.add_column(sa.Column("scope_topic", sa.Text(), server_default="*", nullable=False))
        batch_op.add_column(sa.Column("scope_sender", sa.Text(), server_default="*", nullable=False))
        batch_op.add_column(sa.Column("basis", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("reason", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("verified", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("of_id", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("until", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("key", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("hash", sa.LargeBinary(), nullable=True))
        batch_op.create_unique_constraint(batch_op.f("uq_consent_event_key"), ["key"])

    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.create_index(
            "ix_delivery_marketing",
            ["identity_id", "due_at"],
            unique=False,
            sqlite_where=sa.text("purpose = 'marketing'"),
            postgresql_where=sa.text("purpose = 'marketing'"),
        )

    for statement in _MEANING:
        op.execute(statement)


# What the words of the first schema meant. These rows come before the chain and have no hash.
_MEANING = (
    "UPDATE consent_event SET kind = 'grant', basis = 'express' WHERE change LIKE 'opt_in%'",
    "UPDATE consent_event SET scope_purpose = 'marketing' WHERE change LIKE '%_marketing'",
    "UPDATE consent_event SET actor = 'provider' WHERE source = 'provider' AND change NOT LIKE 'opt_in%'",
    "UPDATE consent_event SET actor = 'agent' WHERE source IN ('api', 'agent')",
    "UPDATE consent_event SET kind = 'suppress', reason = 'manual' WHERE change = 'opt_out' AND actor = 'agent'",
    "UPDATE consent_event SET kind = 'suppress', reason = 'hard_bounce' WHERE change = 'bounced'",
    "UPDATE consent_event SET kind = 'lift', reason = 'hard_bounce', actor = 'agent', verified = true"
    " WHERE change = 'lifted'",
)


def downgrade() -> None:
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.drop_index("ix_delivery_marketing")

    with op.batch_alter_table("consent_event", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("uq_consent_event_key"), type_="unique")
        for name in _ADDED:
            batch_op.drop_column(name)

    with op.batch_alter_table("identity", schema=None) as batch_op:
        batch_op.drop_column("consent_epoch")


_ADDED = (
    "hash", "key", "until", "of_id", "verified", "reason", "basis",
    "scope_sender", "scope_topic", "scope_purpose", "scope_channel", "actor", "kind",
)  # fmt: skip
