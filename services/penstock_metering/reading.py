"""What does the ledger say about jobs and use?

Answers from committed rows, each inside one read transaction. It does not write, and does not know
who asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from penstock_contracts.jobs import JobSpec
from penstock_contracts.prices import QUANTITY_NAMES
from penstock_contracts.queries import (
    Finding,
    JobsQuery,
    JobsView,
    JobView,
    RankView,
    UsageLine,
    UsageQuery,
    UsageView,
    jobs_page,
)
from penstock_metering.core.balances import NodeBalance
from penstock_metering.core.book import CURRENCY
from penstock_metering.core.conservation import Balance, balance
from penstock_metering.core.fleet import NodeState
from penstock_metering.core.rows import JobRow, LeaseRow
from penstock_metering.devices import tables as devices
from penstock_metering.ledger import schema
from penstock_metering.ledger.database import Database
from penstock_metering.ledger.records import GAP, read_job, read_lease
from penstock_metering.money_questions import LookUp
from penstock_metering.rating.costing import Asked, Use, use_by_job, use_by_tenant

FINDINGS_MAX = 100
_decode_spec = msgspec.json.Decoder(JobSpec).decode
_decode_node = msgspec.json.Decoder(NodeState).decode
_decode_balance = msgspec.json.Decoder(NodeBalance).decode
_jobs, _leases, _raw = schema.jobs, schema.leases, schema.raw_segments


class Counts(msgspec.Struct, frozen=True):
    """Jobs as of a JOBS sequence."""

    accepted: int
    finished: dict[str, int]


class Library:
    """The reader. Any number of threads may use it."""

    def __init__(self, database: Database) -> None:
        self._engine = database.reading

    def job(self, job_id: str) -> JobView | None:
        with self._engine.begin() as connection:
            row = connection.execute(sa.select(_jobs).where(_jobs.c.job_id == job_id)).one_or_none()
            return _views(connection, [read_job(row)])[0] if row is not None else None

    def jobs(self, query: JobsQuery) -> JobsView:
        """Finished jobs, newest id first."""
        statement = sa.select(_jobs).where(_jobs.c.finished_seq.is_not(None))
        if query.tenant:
            statement = statement.where(_jobs.c.tenant == query.tenant)
        if query.state:
            statement = statement.where(_jobs.c.state == query.state)
        if query.before:
            statement = statement.where(_jobs.c.job_id < query.before)
        statement = statement.order_by(_jobs.c.job_id.desc()).limit(query.limit + 1)
        with self._engine.begin() as connection:
            rows = [read_job(row) for row in connection.execute(statement)]
            return jobs_page(_views(connection, rows), query.limit)

    def usage(self, query: UsageQuery) -> UsageView:
        asked = Asked(
            tenant=query.tenant,
            project=query.project,
            by_project=query.by_project,
            from_ms=query.from_ms,
            to_ms=query.to_ms,
        )
        with self._engine.begin() as connection:
            lines = tuple(map(_usage_line, use_by_tenant(connection, asked)))
        return UsageView(lines, query.from_ms, query.to_ms)

    def look_up(self, answer: LookUp, now_ms: int, question: Any) -> Any:
        """What one of the questions about money is answered."""
        with self._engine.begin() as connection:
            return answer(connection, question, now_ms)

    def nodes(self) -> list[NodeState]:
        """Nodes that inventory knows now."""
        with self._engine.begin() as connection:
            rows = connection.execute(sa.select(schema.nodes.c.state).order_by(schema.nodes.c.node))
            return [_decode_node(row.state) for row in rows]

    def newest_lease_seq(self) -> int:
        """The newest grant that any segment names."""
        with self._engine.begin() as connection:
            return connection.execute(sa.select(sa.func.max(_raw.c.lease_seq))).scalar() or 0

    def counts(self, jobs_seq: int) -> Counts:
        with self._engine.begin() as connection:
            accepted = connection.execute(
                sa.select(sa.func.count()).where(_jobs.c.submitted_seq <= jobs_seq)
            ).scalar_one()
            finished = connection.execute(
                sa.select(_jobs.c.state, sa.func.count().label("jobs"))
                .where(_jobs.c.finished_seq <= jobs_seq)
                .group_by(_jobs.c.state)
                .order_by(_jobs.c.state)
            )
            return Counts(accepted, {row.state: row.jobs for row in finished})

    def findings(self) -> list[Finding]:
        """What was noted while reading: what is missing, quarantined messages, and things that must
        never happen."""
        held, odd = schema.quarantine, schema.anomalies
        with self._engine.begin() as connection:
            quarantined = connection.execute(
                sa.select(held).order_by(held.c.number).limit(FINDINGS_MAX)
            )
            anomalies = connection.execute(
                sa.select(odd).where(odd.c.code != GAP).order_by(odd.c.number).limit(FINDINGS_MAX)
            )
            gaps = connection.execute(
                sa.select(odd).where(odd.c.code == GAP).order_by(odd.c.number).limit(FINDINGS_MAX)
            )
            return [
                *(Finding(row.code, row.sentence) for row in gaps),
                *(
                    Finding("quarantined", f"{row.stream} {row.seq}: {row.reason}")
                    for row in quarantined
                ),
                *(Finding(row.code, row.sentence) for row in anomalies),
            ]

    def balance(self, answered: frozenset[str], settled_seq: int, now_ms: int) -> Balance:
        """What an audit compares, as far as it is derived."""
        table = devices.node_balances
        with self._engine.begin() as connection:
            rows = connection.execute(sa.select(table.c.node, table.c.balance).order_by("node"))
            nodes = ((row.node, _decode_balance(row.balance)) for row in rows)
            return balance(nodes, answered, settled_seq, now_ms)


def _views(connection: sa.Connection, rows: Sequence[JobRow]) -> list[JobView]:
    job_ids = [row.job_id for row in rows]
    leases: dict[str, list[LeaseRow]] = {}
    ordered = sa.select(_leases).order_by(_leases.c.lease_seq, _leases.c.rank)
    for row in connection.execute(ordered.where(_leases.c.job_id.in_(job_ids))):
        leases.setdefault(row.job_id, []).append(read_lease(row))
    uses = use_by_job(connection, job_ids)
    stored = _segments_stored(connection, job_ids)
    return [
        _view(row, leases.get(row.job_id, []), uses.get(row.job_id, []), stored.get(row.job_id, 0))
        for row in rows
    ]


def _segments_stored(connection: sa.Connection, job_ids: Sequence[str]) -> dict[str, int]:
    leases = sa.select(_leases.c.lease_seq, _leases.c.job_id, _leases.c.rank).where(
        _leases.c.job_id.in_(job_ids)
    )
    own = leases.subquery()
    counted = connection.execute(
        sa.select(own.c.job_id, sa.func.count().label("segments"))
        .select_from(own)
        .join(
            _raw,
            sa.and_(
                _raw.c.lease_seq == own.c.lease_seq,
                _raw.c.job_id == own.c.job_id,
                _raw.c.rank == own.c.rank,
            ),
        )
        .group_by(own.c.job_id)
    )
    return {row.job_id: row.segments for row in counted}


def _view(job: JobRow, leases: list[LeaseRow], uses: list[Use], stored: int) -> JobView:
    """Use and cost stay unknown until every segment that was announced is there."""
    spec = _decode_spec(job.spec)
    complete = job.finished_seq is None or stored >= sum(lease.segments or 0 for lease in leases)
    own = "gpu_hour" if spec.gpus else "cpu_hour"
    used = sum(use.quantity for use in uses if use.unit == own) if complete else None
    prices = [use.price for use in uses if use.price is not None]
    return JobView(
        job_id=job.job_id,
        tenant=job.tenant,
        state=job.state,
        attempt=job.attempt,
        spec=spec,
        submitted_ms=job.submitted_ms,
        placed_ms=job.placed_ms,
        started_ms=job.started_ms,
        finished_ms=job.finished_ms,
        ranks=tuple(_rank(lease) for lease in leases if lease.attempt == job.attempt),
        exit_code=job.exit_code,
        signal=job.signal,
        reason=job.reason,
        message=job.message,
        log_bytes=job.log_bytes,
        gpu_milli_ms=used if spec.gpus else 0,
        cpu_milli_ms=None if spec.gpus else used,
        cost_micro=sum(use.cost_micro for use in uses) if complete else None,
        currency=prices[-1].currency if prices else CURRENCY,
        expected_ms=job.expected_ms,
        estimated_ms=job.estimated_ms,
    )


def _usage_line(use: Use) -> UsageLine:
    price = use.price
    return UsageLine(
        tenant=use.owner,
        sku=use.sku,
        unit=QUANTITY_NAMES[use.unit],
        quantity=use.quantity,
        price_micro_per_hour=0 if price is None else price.micro,
        cost_micro=use.cost_micro,
        currency=CURRENCY if price is None else price.currency,
        jobs=use.runs,
        project=use.project,
        per=use.unit,
        billed_quantity=use.billed_quantity,
        price_version=0 if price is None else price.version,
    )


def _rank(lease: LeaseRow) -> RankView:
    return RankView(
        rank=lease.rank,
        node=lease.node,
        devices=lease.devices,
        exit_code=lease.exit_code,
        signal=lease.signal,
        reason=lease.reason,
        released=lease.released_seq is not None,
        outputs=lease.outputs,
    )
