"""Prices and what they apply to, the time of devices, cost, bills, budgets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from penstock_metering.migrations.notation import make_tables

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Each subject matter in a function of its own, as in the modules `schema_*`."""
    _measured()
    _prices()


def _measured() -> None:
    for name in ("energy_mj", "used_milli_ms"):
        op.add_column("ledger_lines", sa.Column(name, sa.BigInteger(), nullable=True))


def _prices() -> None:
    """What a lease is priced by was not noted before: empty, and no memory."""
    for name in ("project", "tier", "site"):
        op.add_column("leases", sa.Column(name, sa.Text(), nullable=False, server_default=""))
    memory = sa.Column("memory_mib", sa.BigInteger(), nullable=False, server_default="0")
    op.add_column("leases", memory)
    make_tables(
        {
            "price_versions": "version:int:key sku:text effective_from_ms:int unit:text micro:int "
            "currency:text tenant:text site:text tier:text granularity_ms:int minimum_ms:int "
            "billable:text free_quantity:int discount_ppm:int set_ms:int",
            "rated": "lease_seq:int:key job_id:text:key rank:int:key part:int:key tenant:text "
            "project:text tier:text site:text node:text device:text model:text sku:text "
            "price_version:int unit:text state:text day:int t0_ms:int t1_ms:int quantity:int "
            "billed_quantity:int runs:int period:text corrects:text",
            "usage_days": "period:text:key day:int:key tenant:text:key project:text:key "
            "sku:text:key price_version:int:key state:text:key unit:text corrects:text "
            "quantity:int billed_quantity:int leases:int",
            "device_sales": "period:text:key day:int:key node:text:key device:text:key "
            "tenant:text:key sku:text:key price_version:int:key quantity:int billed_quantity:int",
            "dirty_leases": "lease_seq:int:key job_id:text:key rank:int:key from_seq:int",
        }
    )
    unmodelled = sa.text("model = '' AND device <> ''")
    op.create_index(
        "rated_unmodelled", "rated", ["node"],
        sqlite_where=unmodelled, postgresql_where=unmodelled,
    )  # fmt: skip
    op.execute(
        "INSERT INTO price_versions SELECT ROW_NUMBER() OVER (ORDER BY p.effective_from_ms, "
        "p.sku DESC, p.version), p.sku, p.effective_from_ms, "
        "CASE p.sku WHEN 'cpu' THEN 'cpu_hour' ELSE 'gpu_hour' END, p.micro_per_hour, "
        "p.currency, '', '', '', 1, 0, '[\"running\"]', 0, 0, p.effective_from_ms FROM prices p"
    )
    op.execute("INSERT INTO dirty_leases SELECT l.lease_seq, l.job_id, l.rank, -1 FROM leases l")
