"""When each job was expected to be placed, and when that was said."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("expected_ms", "estimated_ms"):
        op.add_column("jobs", sa.Column(name, sa.BigInteger(), nullable=True))
