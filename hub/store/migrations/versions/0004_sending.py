"""What is known of senders and templates: states, holds, rates, failures; and who has been forgotten."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "template",
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("channel", "name", "language", name=op.f("pk_template")),
    )
    op.create_table(
        "rate",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("arrival", sa.Float(), server_default="0", nullable=False),
        sa.Column("held_until", sa.Float(), server_default="0", nullable=False),
        sa.Column("learned", sa.Float(), nullable=True),
        sa.Column("cut_at", sa.Float(), server_default="0", nullable=False),
        sa.Column("raised_at", sa.Float(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_rate")),
    )
    op.create_table(
        "quota",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("turn", sa.BigInteger(), nullable=True),
        sa.Column("spent_until", sa.BigInteger(), nullable=True),
        sa.Column("day", sa.BigInteger(), nullable=True),
        sa.Column("allowed", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_quota")),
    )
    op.create_table(
        "quota_use",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("identity_id", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.Integer(), server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("key", "delivery_id", name=op.f("pk_quota_use")),
    )
    with op.batch_alter_table("quota_use", schema=None) as batch_op:
        batch_op.create_index("ix_quota_use_key_at", ["key", "at"], unique=False)
        batch_op.create_index("ix_quota_use_key_identity_id", ["key", "identity_id"], unique=False)

    op.create_table(
        "hold",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_hold")),
    )
    op.create_table(
        "soft_failure",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("medium", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_soft_failure")),
    )
    with op.batch_alter_table("soft_failure", schema=None) as batch_op:
        batch_op.create_index("ix_soft_failure_address", ["address"], unique=False)

    op.create_table(
        "tombstone",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_tombstone")),
    )


def downgrade() -> None:
    op.drop_table("tombstone")
    with op.batch_alter_table("soft_failure", schema=None) as batch_op:
        batch_op.drop_index("ix_soft_failure_address")

    op.drop_table("soft_failure")
    op.drop_table("hold")
    with op.batch_alter_table("quota_use", schema=None) as batch_op:
        batch_op.drop_index("ix_quota_use_key_identity_id")
        batch_op.drop_index("ix_quota_use_key_at")

    op.drop_table("quota_use")
    op.drop_table("quota")
    op.drop_table("rate")
    op.drop_table("template")
