"""Prices and what they apply to, the time of devices, cost, bills, budgets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from penstock_metering.migrations.notation import make_tables
from penstock_metering.migrations.versions.first_tables import TABLES

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Each subject matter in a function of its own, as in the modules `schema_*`."""
    _by_arrival()
    _measured()
    _prices()
    _costs()
    _device_time()
    _bills()
    _budgets()


def _by_arrival() -> None:
    """SQLite keeps segments and lines as they come, not by lease: a minute of a fleet changes the
    end of the file and not all of it. PostgreSQL does so anyway."""
    if op.get_bind().dialect.name != "sqlite":
        return
    for name in ("raw_segments", "ledger_lines"):
        op.rename_table(name, f"{name}_by_lease")
        make_tables({name: TABLES[name]}, with_rowid=(name,))
        op.execute(f"INSERT INTO {name} SELECT * FROM {name}_by_lease ORDER BY batch_number")
        op.drop_table(f"{name}_by_lease")


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
            "commands_done": "key:text:key digest:text answer:text at_ms:int",
        }
    )
    op.create_index("rated_day", "rated", ["day"])
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
    op.drop_table("prices")
    op.execute("INSERT INTO dirty_leases SELECT l.lease_seq, l.job_id, l.rank, -1 FROM leases l")


def _costs() -> None:
    make_tables({"cost_versions": "number:int:key kind:text set_ms:int cost:text"})


def _device_time() -> None:
    make_tables(
        {
            "device_slices": "node:text:key boot_id:text:key device:text:key seq:int:key t0_ms:int "
            "t1_ms:int energy_mj:int? used_milli_ms:int? batch_number:int",
            "demand_changes": "seq:int:key at_ms:int blocked:text",
            "device_days": "node:text:key device:text:key day:int:key site:text sold_used:int "
            "sold_idle:int sold:int held:int free_no_demand:int free_fragmented:int "
            "free_quota:int draining:int broken:int unknown:int energy_sold_mj:int?",
            "device_energy": "node:text:key device:text:key day:int:key energy_mj:int "
            "known_ms:int quarters_mj:text",
            "audit_checkpoints": "node:text:key upto_ms:int:key state:text",
            "node_balances": "node:text:key upto_ms:int slices_to:int "
            "unaccounted_milli_ms:int balance:text",
            "dirty_device_days": "node:text:key",
        }
    )
    for name, table, *columns in (
        ("device_slices_batch", "device_slices", "node", "batch_number"),
        ("device_days_day", "device_days", "day"),
        ("node_balances_upto", "node_balances", "upto_ms"),
        ("usage_batches_node", "usage_batches", "node", "number"),
        ("ledger_lines_batch", "ledger_lines", "batch_number"),
        ("node_changes_node", "node_changes", "node", "number"),
        ("leases_node", "leases", "node", "lease_seq"),
    ):
        op.create_index(name, table, columns)
    wrong = sa.text("unaccounted_milli_ms <> 0")
    op.create_index(
        "node_balances_wrong", "node_balances", ["unaccounted_milli_ms"],
        sqlite_where=wrong, postgresql_where=wrong,
    )  # fmt: skip
    op.execute("INSERT INTO dirty_device_days SELECT DISTINCT c.node FROM node_changes c")


def _bills() -> None:
    make_tables(
        {
            "periods": "month:text:key closed_ms:int usage_batch:int unfinished:int",
            "parties": "tenant:text:key name:text address:text tax_id:text",
            "invoices": "invoice_id:int:key number:text kind:text tenant:text period:text "
            "currency:text issued_ms:int total_micro:int credit_micro:int refers:text reason:text "
            "issuer:text customer:text",
            "invoice_lines": "invoice_id:int:key number:int:key tenant:text kind:text sku:text "
            "price_version:int corrects:text quantity:int billed_quantity:int free_quantity:int "
            "amount_micro:int refers:int",
            "postings": "number:int:key entry:int at_ms:int period:text month:text account:text "
            "tenant:text currency:text amount_micro:int invoice_id:int line:int",
        }
    )
    op.create_index("invoices_number", "invoices", ["number"], unique=True)
    op.create_index("invoices_period", "invoices", ["period"])
    op.create_index("postings_period", "postings", ["period"])


def _budgets() -> None:
    make_tables(
        {
            "budgets": "number:int:key budget_id:text tenant:text project:text unit:text "
            "currency:text acts:text per:text amount:int? warn_percent:text set_ms:int",
            "credits": "number:int:key key:text tenant:text currency:text asked_micro:int "
            "amount_micro:int state:text at_ms:int reason:text",
            "budget_accounts": "budget_id:text:key tenant:text project:text unit:text "
            "currency:text acts:text per:text prepaid:int amount:int asked:int asked_number:int? "
            "warn_percent:text period:text spent:int excess:int warned_percent:int told:text",
            "budget_grants": "lease_seq:int:key job_id:text:key budget_id:text:key reserved:int "
            "charged:int excess:int over:int due_ms:int? dirty:int",
            "budget_outbox": "number:int:key subject:text payload:text",
        }
    )
    for name, column, condition in (
        ("budget_grants_open", "budget_id", "over = 0"),
        ("budget_grants_dirty", "lease_seq", "dirty = 1"),
    ):
        where = sa.text(condition)
        op.create_index(name, "budget_grants", [column], sqlite_where=where, postgresql_where=where)
