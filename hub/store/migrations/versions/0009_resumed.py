"""A campaign that paused itself is judged by what it did since it was resumed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("campaign", sa.Column("resumed_at", sa.BigInteger()))


def downgrade() -> None:
    op.drop_column("campaign", "resumed_at")
