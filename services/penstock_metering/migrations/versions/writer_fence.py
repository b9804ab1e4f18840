"""The row that fences writers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    table = op.create_table(
        "ledger_writer",
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("writer", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("pid_start", sa.BigInteger(), nullable=False),
        sqlite_with_rowid=False,
    )
    nobody = {"id": 1, "term": 0, "writer": "", "host": "", "pid": 0, "pid_start": 0}
    op.bulk_insert(table, [nobody])
