"""Which tables does metering keep?

The tables as SQLAlchemy sees them; the migrations make them, and a test holds both together. Only
what SQLite and PostgreSQL share: BIGINT, TEXT, integer epoch-ms. It does not know who writes.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, MetaData, Table, Text, text

metadata = MetaData()


def _text(name: str, *, key: bool = False, unknown: bool = False) -> Column[str]:
    return Column(name, Text, primary_key=key, nullable=unknown)


def _int(name: str, *, key: bool = False, unknown: bool = False) -> Column[int]:
    return Column(name, BigInteger, primary_key=key, nullable=unknown, autoincrement=False)


def _table(name: str, *parts: Column[str] | Column[int] | Index, with_rowid: bool = False) -> Table:
    """Without a rowid a row lives in its key's order; wide rows (jobs) are better off with one."""
    return Table(name, metadata, *parts, sqlite_with_rowid=with_rowid)


def _index_where(name: str, column: str, condition: str) -> Index:
    """Only of the few rows that are not over: what a start must load."""
    where = text(condition)
    return Index(name, column, sqlite_where=where, postgresql_where=where)


cursors = _table("cursors", _text("stream", key=True), _int("seq"))
"""Up to where each stream is folded; written in the same transaction as what it led to."""

jobs = _table(
    "jobs",
    _text("job_id", key=True),
    _text("tenant"),
    _text("spec"),
    _int("submitted_seq"),
    _int("submitted_ms"),
    _text("state"),
    _int("attempt"),
    _int("placed_ms", unknown=True),
    _int("started_ms", unknown=True),
    _int("finished_seq", unknown=True),
    _int("finished_ms", unknown=True),
    _int("exit_code", unknown=True),
    _int("signal", unknown=True),
    _text("reason"),
    _text("message"),
    _text("log_bytes", unknown=True),
    _index_where("jobs_live", "job_id", "finished_seq IS NULL"),
    with_rowid=True,
)

leases = _table(
    "leases",
    _int("lease_seq", key=True),
    _text("job_id", key=True),
    _int("rank", key=True),
    _text("tenant"),
    _int("attempt"),
    _text("node"),
    _text("devices"),
    _int("gpu_milli"),
    _int("cpu_milli"),
    _int("granted_ms"),
    _int("started_ms", unknown=True),
    _int("exited_ms", unknown=True),
    _int("exit_code", unknown=True),
    _int("signal", unknown=True),
    _text("reason"),
    _int("segments", unknown=True),
    _int("released_ms", unknown=True),
    _int("released_seq", unknown=True),
    _text("evidence"),
    _text("outputs", unknown=True),
    Index("leases_job", "job_id"),
    _index_where("leases_open", "lease_seq", "released_seq IS NULL"),
)

usage_batches = _table(
    "usage_batches",
    _int("number", key=True),
    _text("node"),
    _text("boot_id"),
    _int("batch"),
    _int("usage_seq"),
)
"""One message of a node; numbered here, since a stream made anew counts from 1 again."""

raw_segments = _table(
    "raw_segments",
    _int("lease_seq", key=True),
    _text("job_id", key=True),
    _int("rank", key=True),
    _int("seq", key=True),
    _int("batch_number"),
    _text("payload"),
)
"""Segments as their agents sent them. The key is what a segment's derived id is made of."""

ledger_lines = _table(
    "ledger_lines",
    _int("lease_seq", key=True),
    _text("job_id", key=True),
    _int("rank", key=True),
    _int("seq", key=True),
    _text("device", key=True),
    _int("milli"),
    _int("t0_ms"),
    _int("t1_ms"),
    _int("batch_number"),
)
"""One segment on one device, or on the host's processors when `device` is empty."""

counters = _table(
    "counters",
    _text("node", key=True),
    _text("boot_id", key=True),
    _text("uuid", key=True),
    _int("batch"),
    _int("since_ms"),
    _int("upto_ms"),
    _int("running_milli_ms"),
)

nodes = _table("nodes", _text("node", key=True), _text("state"))
"""Each node now, as JSON of `core.fleet.NodeState`."""

node_changes = _table("node_changes", _int("number", key=True), _text("node"), _text("change"))
"""What device timelines are made of, in order; JSON of `core.rows.NodeChange`."""

device_models = _table(
    "device_models", _text("node", key=True), _text("uuid", key=True), _text("model")
)
"""Also of devices that are gone: use is rated by model."""

prices = _table(
    "prices",
    _text("sku", key=True),
    _int("version", key=True),
    _int("effective_from_ms"),
    _int("micro_per_hour"),
    _text("currency"),
)

quarantine = _table(
    "quarantine",
    _int("number", key=True),
    _text("stream"),
    _int("seq"),
    _text("reason"),
    _text("payload"),
)
"""What was not believed: kept, never used, and a finding of every audit."""

anomalies = _table(
    "anomalies",
    _int("number", key=True),
    _text("stream"),
    _int("seq"),
    _text("code"),
    _text("sentence"),
)

ledger_writer = _table(
    "ledger_writer",
    _int("id", key=True),
    _int("term"),
    _text("writer"),
    _text("host"),
    _int("pid"),
    _int("pid_start"),
)
"""One row: whose transactions count. See `fence`."""

REVISION = "0003"
"""The migration that this file corresponds to."""
