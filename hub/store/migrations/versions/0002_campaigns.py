"""Campaigns, segments and what customers did elsewhere."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "campaign",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("draft", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("planned_to", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("planned_at", sa.BigInteger(), nullable=True),
        sa.Column("starts_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaign")),
        sa.UniqueConstraint("name", name=op.f("uq_campaign_name")),
    )
    op.create_table(
        "customer_event",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("customer_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("properties", sa.Text(), server_default="{}", nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("campaign_id", sa.BigInteger(), nullable=True),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customer_event")),
        sa.UniqueConstraint("external_id", name=op.f("uq_customer_event_external_id")),
    )
    with op.batch_alter_table("customer_event", schema=None) as batch_op:
        batch_op.create_index("ix_customer_event_customer_id_name_at", ["customer_id", "name", "at"], unique=False)
        batch_op.create_index("ix_customer_event_name_at", ["name", "at"], unique=False)
        batch_op.create_index(
            "ix_customer_event_campaign_id",
            ["campaign_id"],
            unique=False,
            sqlite_where=sa.text("campaign_id IS NOT NULL"),
            postgresql_where=sa.text("campaign_id IS NOT NULL"),
        )

    op.create_table(
        "recipient",
        sa.Column("campaign_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("customer_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("variant", sa.Text(), server_default="", nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("step", sa.Integer(), server_default="0", nullable=False),
        sa.Column("tried", sa.Text(), server_default="", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("fields", sa.Text(), nullable=True),
        sa.Column("entered_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("campaign_id", "customer_id", name=op.f("pk_recipient")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("recipient", schema=None) as batch_op:
        batch_op.create_index("ix_recipient_customer_id", ["customer_id"], unique=False)
        batch_op.create_index("ix_recipient_message_id", ["message_id"], unique=False)
        batch_op.create_index(
            "ix_recipient_planned",
            ["campaign_id", "due_at"],
            unique=False,
            sqlite_where=sa.text("state IN ('planned', 'waiting', 'resting')"),
            postgresql_where=sa.text("state IN ('planned', 'waiting', 'resting')"),
        )

    op.create_table(
        "segment",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("filter", sa.Text(), nullable=False),
        sa.Column("saved_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_segment")),
    )


def downgrade() -> None:
    op.drop_table("segment")
    with op.batch_alter_table("recipient", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_recipient_planned",
            sqlite_where=sa.text("state IN ('planned', 'waiting', 'resting')"),
            postgresql_where=sa.text("state IN ('planned', 'waiting', 'resting')"),
        )
        batch_op.drop_index("ix_recipient_message_id")
        batch_op.drop_index("ix_recipient_customer_id")

    op.drop_table("recipient")
    with op.batch_alter_table("customer_event", schema=None) as batch_op:
        batch_op.drop_index("ix_customer_event_campaign_id")
        batch_op.drop_index("ix_customer_event_name_at")
        batch_op.drop_index("ix_customer_event_customer_id_name_at")

    op.drop_table("customer_event")
    op.drop_table("campaign")
