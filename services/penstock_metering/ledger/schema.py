"""Which tables does metering keep?

The tables as SQLAlchemy sees them; the migrations make them, and a test holds both together. Only
what SQLite and PostgreSQL share: BIGINT, TEXT, integer epoch-ms. It does not know who writes.
"""

from __future__ import annotations

from sqlalchemy import Index

from penstock_metering.ledger.columns import index_where, integer, metadata, table, text

__all__ = ["metadata"]

cursors = table("cursors", text("stream", key=True), integer("seq"))
"""Up to where each stream is folded; written in the same transaction as what it led to."""

jobs = table(
    "jobs",
    text("job_id", key=True),
    text("tenant"),
    text("spec"),
    integer("submitted_seq"),
    integer("submitted_ms"),
    text("state"),
    integer("attempt"),
    integer("placed_ms", unknown=True),
    integer("started_ms", unknown=True),
    integer("finished_seq", unknown=True),
    integer("finished_ms", unknown=True),
    integer("exit_code", unknown=True),
    integer("signal", unknown=True),
    text("reason"),
    text("message"),
    text("log_bytes", unknown=True),
    integer("expected_ms", unknown=True),
    integer("estimated_ms", unknown=True),
    index_where("jobs_live", "job_id", "finished_seq IS NULL"),
    with_rowid=True,
)

leases = table(
    "leases",
    integer("lease_seq", key=True),
    text("job_id", key=True),
    integer("rank", key=True),
    text("tenant"),
    integer("attempt"),
    text("node"),
    text("devices"),
    integer("gpu_milli"),
    integer("cpu_milli"),
    integer("granted_ms"),
    integer("started_ms", unknown=True),
    integer("exited_ms", unknown=True),
    integer("exit_code", unknown=True),
    integer("signal", unknown=True),
    text("reason"),
    integer("segments", unknown=True),
    integer("released_ms", unknown=True),
    integer("released_seq", unknown=True),
    text("evidence"),
    text("outputs", unknown=True),
    text("project"),
    text("tier"),
    text("site"),
    integer("memory_mib"),
    Index("leases_job", "job_id"),
    Index("leases_node", "node", "lease_seq"),
    index_where("leases_open", "lease_seq", "released_seq IS NULL"),
)

usage_batches = table(
    "usage_batches",
    integer("number", key=True),
    text("node"),
    text("boot_id"),
    integer("batch"),
    integer("usage_seq"),
    Index("usage_batches_node", "node", "number"),
)
"""One message of a node; numbered here, since a stream made anew counts from 1 again."""

raw_segments = table(
    "raw_segments",
    integer("lease_seq", key=True),
    text("job_id", key=True),
    integer("rank", key=True),
    integer("seq", key=True),
    integer("batch_number"),
    text("payload"),
    with_rowid=True,
)
"""Segments as their agents sent them. The key is what a segment's derived id is made of. `payload`
is empty where it is no longer kept."""

ledger_lines = table(
    "ledger_lines",
    integer("lease_seq", key=True),
    text("job_id", key=True),
    integer("rank", key=True),
    integer("seq", key=True),
    text("device", key=True),
    integer("milli"),
    integer("t0_ms"),
    integer("t1_ms"),
    integer("batch_number"),
    integer("energy_mj", unknown=True),
    integer("used_milli_ms", unknown=True),
    Index("ledger_lines_batch", "batch_number"),
    with_rowid=True,
)
"""One segment on one device, or on the host's processors when `device` is empty; what the device
drew and did meanwhile, where that was measured."""

counters = table(
    "counters",
    text("node", key=True),
    text("boot_id", key=True),
    text("uuid", key=True),
    integer("batch"),
    integer("since_ms"),
    integer("upto_ms"),
    integer("running_milli_ms"),
)

nodes = table("nodes", text("node", key=True), text("state"))
"""Each node now, as JSON of `core.fleet.NodeState`."""

node_changes = table(
    "node_changes",
    integer("number", key=True),
    text("node"),
    text("change"),
    Index("node_changes_node", "node", "number"),
)
"""What device timelines are made of, in order; JSON of `core.rows.NodeChange`."""

device_models = table(
    "device_models", text("node", key=True), text("uuid", key=True), text("model")
)
"""Also of devices that are gone: use is rated by model."""

quarantine = table(
    "quarantine",
    integer("number", key=True),
    text("stream"),
    integer("seq"),
    text("reason"),
    text("payload"),
)
"""What was not believed: kept, never used, and a finding of every audit."""

anomalies = table(
    "anomalies",
    integer("number", key=True),
    text("stream"),
    integer("seq"),
    text("code"),
    text("sentence"),
)

commands_done = table(
    "commands_done",
    text("key", key=True),
    text("digest"),
    text("answer"),
    integer("at_ms"),
)
"""What was ordered, by the key its asker drew, and what was answered."""

ledger_writer = table(
    "ledger_writer",
    integer("id", key=True),
    integer("term"),
    text("writer"),
    text("host"),
    integer("pid"),
    integer("pid_start"),
)
"""One row: whose transactions count. See `fence`."""

REVISION = "0005"
"""The migration that this file corresponds to."""


import penstock_metering.bills.tables  # noqa: E402
import penstock_metering.budgets.tables  # noqa: E402
import penstock_metering.costs.tables  # noqa: E402
import penstock_metering.devices.tables  # noqa: E402
import penstock_metering.rating.tables  # noqa: E402, F401
