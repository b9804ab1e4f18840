"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from penstock_metering.migrations.notation import make_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = {
    "cursors": "stream:text:key seq:int",
    "jobs": "job_id:text:key tenant:text spec:text submitted_seq:int submitted_ms:int state:text "
    "attempt:int placed_ms:int? started_ms:int? finished_seq:int? finished_ms:int? "
    "exit_code:int? signal:int? reason:text message:text log_bytes:text?",
    "leases": "lease_seq:int:key job_id:text:key rank:int:key tenant:text attempt:int node:text "
    "devices:text gpu_milli:int cpu_milli:int granted_ms:int started_ms:int? exited_ms:int? "
    "exit_code:int? signal:int? reason:text segments:int? released_ms:int? released_seq:int? "
    "evidence:text",
    "usage_batches": "number:int:key node:text boot_id:text batch:int usage_seq:int",
    "raw_segments": "lease_seq:int:key job_id:text:key rank:int:key seq:int:key batch_number:int "
    "payload:text",
    "ledger_lines": "lease_seq:int:key job_id:text:key rank:int:key seq:int:key device:text:key "
    "milli:int t0_ms:int t1_ms:int batch_number:int",
    "counters": "node:text:key boot_id:text:key uuid:text:key batch:int since_ms:int upto_ms:int "
    "running_milli_ms:int",
    "nodes": "node:text:key state:text",
    "node_changes": "number:int:key node:text change:text",
    "device_models": "node:text:key uuid:text:key model:text",
    "prices": "sku:text:key version:int:key effective_from_ms:int micro_per_hour:int currency:text",
    "quarantine": "number:int:key stream:text seq:int reason:text payload:text",
    "anomalies": "number:int:key stream:text seq:int code:text sentence:text",
}


def upgrade() -> None:
    make_tables(TABLES, with_rowid=("jobs",))
    op.create_index("leases_job", "leases", ["job_id"])
    for name, table, column, live in (
        ("jobs_live", "jobs", "job_id", "finished_seq IS NULL"),
        ("leases_open", "leases", "lease_seq", "released_seq IS NULL"),
    ):
        op.create_index(
            name, table, [column], sqlite_where=sa.text(live), postgresql_where=sa.text(live)
        )
