"""A rate's row says when it was written, by which a clock that has been set back since shows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("rate", sa.Column("at", sa.Float(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("rate", "at")
