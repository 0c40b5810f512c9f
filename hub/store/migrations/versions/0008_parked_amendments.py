"""Edits and reactions that come before their message wait for it; amendments know which delivery told of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("amendment", sa.Column("inbox_id", sa.BigInteger()))
    op.create_table(
        "parked_amendment",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("message_id", sa.BigInteger()),
        sa.Column("inbox_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_parked_amendment")),
    )
    op.create_index("ix_parked_amendment_channel_external_id", "parked_amendment", ["channel", "external_id"])


def downgrade() -> None:
    op.drop_table("parked_amendment")
    op.drop_column("amendment", "inbox_id")
