"""The index by which lanes find what is due holds nothing else, so that no other question is answered by it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_QUEUED = sa.text("state = 'queued'")
_PENDING = sa.text("state IN ('queued', 'sending', 'indoubt')")


def upgrade() -> None:
    _index(_QUEUED)


def downgrade() -> None:
    _index(_PENDING)


def _index(of: sa.TextClause) -> None:
    op.drop_index("ix_delivery_queue", "delivery")
    op.create_index(
        "ix_delivery_queue", "delivery", ["channel", "priority", "id"], sqlite_where=of, postgresql_where=of
    )
