"""How is the ledger written?

One transaction per batch holds everything: raw segments, ledger lines, counters, history, node
changes and the cursors of all that was read. So after a crash at any line either all of it counts
or none. It does not know what the rows mean, nor where messages come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from penstock_metering.core.accounts import Counter, CounterKey
from penstock_metering.core.allowances import Agreed, Reserved
from penstock_metering.core.demand import DemandChange
from penstock_metering.core.fleet import NodeState
from penstock_metering.core.history import Stray
from penstock_metering.core.rows import Anomaly, JobRow, LeaseRow, NodeChange
from penstock_metering.core.segments import Rejected, UsageMessage
from penstock_metering.ledger import schema
from penstock_metering.ledger.database import Database, Row
from penstock_metering.ledger.fence import Fence, Writer
from penstock_metering.ledger.followers import FOLLOWERS
from penstock_metering.ledger.records import (
    job_values,
    lease_values,
    read_gaps,
    read_job,
    read_lease,
)
from penstock_metering.ledger.segment_rows import SegmentRows
from penstock_metering.rating.price_book import insert_default_prices

T = TypeVar("T")
_encode = msgspec.json.Encoder().encode
_astuple = msgspec.structs.astuple
_job_fields = JobRow.__struct_fields__
_lease_fields = LeaseRow.__struct_fields__
_JOB_FIXED = ("job_id", "tenant", "spec", "submitted_seq", "submitted_ms")
_LEASE_CHANGING = (
    "started_ms", "exited_ms", "exit_code", "signal", "reason", "segments", "released_ms",
    "released_seq", "evidence",
)  # fmt: skip
_COUNTED = ("batch", "since_ms", "upto_ms", "running_milli_ms")

NODES_ASKED_AT_ONCE = 500
QUARANTINE_MAX = 1_000
"""Messages and segments kept of those that were not believed; further ones are only counted, or a
node that lies could fill the disk."""


class Loaded(msgspec.Struct, kw_only=True):
    """What a start needs: the cursors and all that is not over."""

    cursors: dict[str, int]
    jobs: list[JobRow]
    leases: list[LeaseRow]
    nodes: list[NodeState]
    counters: dict[CounterKey, Counter]
    """Of present boots: those of earlier ones are in the database only."""
    unread: dict[str, int]
    """Up to where messages are missing, of streams of which some are."""


class Changes(msgspec.Struct, kw_only=True):
    """What one batch of messages leads to."""

    cursors: Mapping[str, int] = {}
    jobs: Sequence[JobRow] = ()
    leases: Sequence[LeaseRow] = ()
    usage: Sequence[UsageMessage] = ()
    counters: Iterable[Counter] = ()
    nodes: Mapping[str, NodeState | None] = {}
    node_changes: Sequence[NodeChange] = ()
    anomalies: Sequence[Anomaly] = ()
    strays: Sequence[Stray] = ()
    rejected: Sequence[Rejected] = ()
    reserved: Sequence[Reserved] = ()
    agreed: Sequence[Agreed] = ()
    demand: Sequence[DemandChange] = ()
    models_changed: bool = False
    """Set as it is written: a device is new, or is called something else."""
    models_renamed: bool = False
    """The latter."""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What a commit did."""

    segments: int
    repeated: int
    quarantined: int
    anomalies: int


class Store:
    """The writer. Not thread-safe: one thread uses it."""

    def __init__(self, database: Database, writer: Writer) -> None:
        """Takes the right to write from whoever had it. Raises OperationalError."""
        self._fence = Fence(database, writer)
        self._fence.take_term()
        self._engine = database.writing
        self._segments = SegmentRows(database)
        self._followers = [make(database) for make in FOLLOWERS]
        self._upsert_jobs = database.upsert(
            schema.jobs,
            [name for name in _job_fields if name not in _JOB_FIXED],
            only_if_same=("submitted_seq",),
        )
        self._upsert_leases = database.upsert(schema.leases, _LEASE_CHANGING)
        self._upsert_counters = database.upsert(
            schema.counters, _COUNTED, only_if_more=("batch", "upto_ms")
        )
        self._upsert_cursors = database.upsert(schema.cursors, ["seq"])
        self._upsert_nodes = database.upsert(schema.nodes, ["state"])
        self._upsert_models = database.upsert(schema.device_models, ["model"])
        self._numbered = {table: database.insert(table) for table in _NUMBERED}
        self._next = dict.fromkeys(_NUMBERED, 1)
        with self._transaction() as connection:
            insert_default_prices(connection)

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        """One that counts only while nobody else has the right to write."""
        with self._engine.begin() as connection:
            self._fence.check(connection)
            yield connection

    def change(self, work: Callable[[sa.Connection], T]) -> T:
        """What `work` does counts if it returns. Raises Superseded when somebody else has the right
        to write."""
        with self._transaction() as connection:
            return work(connection)

    def load(self) -> Loaded:
        with self._transaction() as connection:
            for table in _NUMBERED:
                last = connection.execute(sa.select(sa.func.max(table.c.number))).scalar()
                self._next[table] = (last or 0) + 1
            nodes = [
                msgspec.json.decode(row.state, type=NodeState)
                for row in connection.execute(sa.select(schema.nodes).order_by(schema.nodes.c.node))
            ]
            present = {node.node: node.boot_id for node in nodes}
            return Loaded(
                cursors={
                    row.stream: row.seq for row in connection.execute(sa.select(schema.cursors))
                },
                jobs=[
                    read_job(row)
                    for row in connection.execute(
                        sa.select(schema.jobs)
                        .where(schema.jobs.c.finished_seq.is_(None))
                        .order_by(schema.jobs.c.job_id)
                    )
                ],
                leases=[
                    read_lease(row)
                    for row in connection.execute(
                        sa.select(schema.leases)
                        .where(schema.leases.c.released_seq.is_(None))
                        .order_by(*schema.leases.primary_key.columns)
                    )
                ],
                nodes=nodes,
                unread=read_gaps(connection),
                counters={
                    (row.node, row.boot_id, row.uuid): Counter(**row._mapping)
                    for row in connection.execute(sa.select(schema.counters))
                    if present.get(row.node) == row.boot_id
                },
            )

    def write(self, changes: Changes) -> Written:
        """All or nothing. Raises Superseded, and OperationalError when the database cannot now."""
        next_before = dict(self._next)
        try:
            with self._transaction() as connection:
                return self._write(connection, changes)
        except BaseException:
            self._next = next_before
            raise

    def _write(self, connection: sa.Connection, changes: Changes) -> Written:
        numbers = self._append(
            connection,
            schema.usage_batches,
            ((m.node, m.boot_id, m.batch, m.seq) for m in changes.usage),
        )
        taken = self._segments.store(connection, changes.usage, numbers)
        self._upsert_counters.run(connection, [*map(_astuple, changes.counters)])
        anomalies = [*changes.anomalies, *self._write_jobs(connection, changes)]
        self._upsert_leases.run(connection, [*map(lease_values, changes.leases)])
        self._write_nodes(connection, changes)
        rejected = [*changes.rejected, *taken.refused]
        room = max(0, QUARANTINE_MAX + 1 - self._next[schema.quarantine])
        self._append(connection, schema.quarantine, map(_astuple, rejected[:room]))
        self._append(connection, schema.anomalies, map(_astuple, anomalies))
        for follow in self._followers:
            follow(connection, changes, taken.accepted)
        self._upsert_cursors.run(connection, [*changes.cursors.items()])
        return Written(
            segments=len(taken.accepted),
            repeated=taken.repeated,
            quarantined=len(rejected),
            anomalies=len(anomalies),
        )

    def _write_jobs(self, connection: sa.Connection, changes: Changes) -> list[Anomaly]:
        rows = [*map(job_values, changes.jobs)]
        found = []
        if self._upsert_jobs.run(connection, rows) != len(rows):
            for job in changes.jobs:
                row = _stored_job(connection, job.job_id)
                if row is not None and row.submitted_seq != job.submitted_seq:
                    sentence = f"job {job.job_id} was accepted twice"
                    seq = job.submitted_seq
                    found.append(Anomaly("JOBS", seq, "job_accepted_twice", sentence))
        for stray in changes.strays:
            row = _stored_job(connection, stray.job_id)
            if row is not None and row.finished_seq is not None:
                sentence = f"job {stray.job_id} had ended in {row.state}, then came {stray.fact}"
                found.append(Anomaly("JOBS", stray.seq, "fact_after_the_end", sentence))
        return found

    def _write_nodes(self, connection: sa.Connection, changes: Changes) -> None:
        there = {name: node for name, node in changes.nodes.items() if node is not None}
        gone = sorted(set(changes.nodes) - set(there))
        if gone:
            connection.execute(sa.delete(schema.nodes).where(schema.nodes.c.node.in_(gone)))
        states = [(name, _encode(node).decode()) for name, node in there.items()]
        self._upsert_nodes.run(connection, states)
        models = [
            (name, uuid, model)
            for name, node in there.items()
            for uuid, model in node.devices.items()
        ]
        known = _known_models(connection, list(there))
        models = [row for row in models if known.get((row[0], row[1])) != row[2]]
        changes.models_changed = bool(models)
        changes.models_renamed = any((node, uuid) in known for node, uuid, _ in models)
        self._upsert_models.run(connection, models)
        self._append(
            connection,
            schema.node_changes,
            ((change.node, _encode(change).decode()) for change in changes.node_changes),
        )

    def _append(self, connection: sa.Connection, table: sa.Table, rows: Iterable[Row]) -> range:
        """Insert rows under numbers of their own; returns the numbers."""
        first = self._next[table]
        numbered = [(first + index, *row) for index, row in enumerate(rows)]
        self._numbered[table].run(connection, numbered)
        self._next[table] = first + len(numbered)
        return range(first, first + len(numbered))


_NUMBERED = (schema.usage_batches, schema.node_changes, schema.quarantine, schema.anomalies)


def _stored_job(connection: sa.Connection, job_id: str) -> Any:
    table = schema.jobs
    return connection.execute(
        sa.select(table.c.submitted_seq, table.c.finished_seq, table.c.state).where(
            table.c.job_id == job_id
        )
    ).one_or_none()


def _known_models(connection: sa.Connection, nodes: Sequence[str]) -> dict[tuple[str, str], str]:
    table, known = schema.device_models, {}
    for first in range(0, len(nodes), NODES_ASKED_AT_ONCE):
        asked = table.c.node.in_(nodes[first : first + NODES_ASKED_AT_ONCE])
        for row in connection.execute(sa.select(table).where(asked)):
            known[row.node, row.uuid] = row.model
    return known
