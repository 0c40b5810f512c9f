"""Advertising may have a topic, which people refuse and allow by itself."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("delivery", sa.Column("topic", sa.Text()))


def downgrade() -> None:
    op.drop_column("delivery", "topic")
