"""Prices and what they apply to, the time of devices, cost, bills, budgets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Each subject matter in a function of its own, as in the modules `schema_*`."""
    _measured()


def _measured() -> None:
    for name in ("energy_mj", "used_milli_ms"):
        op.add_column("ledger_lines", sa.Column(name, sa.BigInteger(), nullable=True))
