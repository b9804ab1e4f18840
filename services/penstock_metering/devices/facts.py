"""What does the ledger hold of one node behind a checkpoint?

Reads the facts that `core.node_time` goes on with. It does not know what becomes of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from penstock_metering.core.accounts import Counter
from penstock_metering.core.checkpoints import Checkpoint
from penstock_metering.core.demand import Demand, DemandChange
from penstock_metering.core.node_facts import LeaseView, Line, NodeFacts
from penstock_metering.core.rows import LeaseKey, NodeChange
from penstock_metering.devices import tables
from penstock_metering.ledger import schema
from penstock_metering.ledger.prepared import Prepared
from penstock_metering.ledger.records import read_gaps
from penstock_metering.ledger.statements import Lookup

JOBS_TIME = "JOBS time"
"""Among the cursors: the instant (Unix ms) of the newest entry of JOBS that was read."""

LINES_AT_ONCE_MAX = 50_000
"""Of one node: a longer history is worked off in several steps."""

_leases, _lines, _batches = schema.leases, schema.ledger_lines, schema.usage_batches
_changes, _counters, _models = schema.node_changes, schema.counters, schema.device_models
_LEASE_COLUMNS = (
    "node", "attempt", "devices", "gpu_milli", "granted_ms", "exited_ms", "segments",
    "released_ms", "released_seq",
)  # fmt: skip
_decode_change = msgspec.json.Decoder(NodeChange).decode
_decode_devices = msgspec.json.Decoder(tuple[str, ...]).decode

_SELECT_CHANGES = Prepared(
    sa.select(_changes.c.number, _changes.c.change)
    .where(_changes.c.node == sa.bindparam("of"), _changes.c.number > sa.bindparam("after"))
    .order_by(_changes.c.number)
)
_SELECT_LEASES = Prepared(
    sa.select(
        _leases.c.lease_seq,
        _leases.c.job_id,
        _leases.c.rank,
        *(_leases.c[name] for name in _LEASE_COLUMNS),
    )
    .where(_leases.c.node == sa.bindparam("of"), _leases.c.lease_seq > sa.bindparam("after"))
    .order_by(_leases.c.lease_seq)
)
_SELECT_LINES = Prepared(
    sa.select(
        _lines.c.lease_seq,
        _lines.c.job_id,
        _lines.c.rank,
        _lines.c.seq,
        _lines.c.device,
        _lines.c.milli,
        _lines.c.t0_ms,
        _lines.c.t1_ms,
        _lines.c.energy_mj,
        _lines.c.used_milli_ms,
        _lines.c.batch_number,
        _batches.c.boot_id,
        _batches.c.batch,
    )
    .select_from(_batches)
    .join(_lines, _lines.c.batch_number == _batches.c.number)
    .where(_batches.c.node == sa.bindparam("of"), _batches.c.number >= sa.bindparam("first"))
    .order_by(_batches.c.number)
    .limit(sa.bindparam("at_most"))
)


class Background(msgspec.Struct, frozen=True):
    """What is read for several nodes at once: demand, and the counters (by boot and device) and
    models (by device) of each."""

    demand: Demand
    counters: dict[str, dict[tuple[str, str], Counter]]
    models: dict[str, dict[str, str]]
    jobs_seq: int
    jobs_ms: int
    unread_to_seq: int


def read_background(connection: sa.Connection, bases: Mapping[str, Checkpoint]) -> Background:
    """What those nodes need that go on from `bases`."""
    demand = tables.demand_changes
    known = [(base.upto_ms, base.demand_to) for base in bases.values()]
    since_ms, after = min(at for at, _ in known), min(seq for _, seq in known)
    before = sa.select(sa.func.max(demand.c.seq)).where(demand.c.at_ms <= since_ms)
    first = min(after + 1, connection.execute(before).scalar() or 0)
    rows = connection.execute(sa.select(demand).where(demand.c.seq >= first).order_by(demand.c.seq))
    cursors = {row.stream: row.seq for row in connection.execute(sa.select(schema.cursors))}
    counters: dict[str, dict[tuple[str, str], Counter]] = {node: {} for node in bases}
    counted = sa.select(_counters).where(_counters.c.node.in_(list(bases)))
    for counter in map(_read_counter, connection.execute(counted).all()):
        counters[counter.node][counter.boot_id, counter.uuid] = counter
    models: dict[str, dict[str, str]] = {node: {} for node in bases}
    named = sa.select(_models.c.node, _models.c.uuid, _models.c.model)
    for node, uuid, model in connection.execute(named.where(_models.c.node.in_(list(bases)))).all():
        models[node][uuid] = model
    return Background(
        demand=Demand(DemandChange(*row) for row in rows),
        jobs_seq=cursors.get("JOBS", 0),
        jobs_ms=cursors.get(JOBS_TIME, 0),
        unread_to_seq=read_gaps(connection).get("JOBS", 0),
        counters=counters,
        models=models,
    )


class FactReader:
    """For one kind of database."""

    def __init__(self, is_sqlite: bool) -> None:
        self._leases = Lookup(_leases, _LEASE_COLUMNS, is_sqlite)

    def read(
        self,
        connection: sa.Connection,
        node: str,
        base: Checkpoint,
        background: Background,
        lines_max: int | None,
    ) -> NodeFacts:
        """Everything of `node` behind `base`; at most about `lines_max` lines, None = all."""
        at_most = 1 << 62 if lines_max is None else lines_max
        found = _SELECT_LINES.run(connection, of=node, first=base.usage_from, at_most=at_most)
        lines = [Line._make(row) for row in found.all()]
        is_whole = len(lines) < at_most
        if not is_whole:  # the last message is perhaps not whole
            last = lines[-1].number
            if lines[0].number == last:
                return self.read(connection, node, base, background, None)
            lines = [line for line in lines if line.number < last]
        rows = _SELECT_LEASES.run(connection, of=node, after=base.leases_to).all()
        leases = {lease.key: lease for lease in map(_read_lease, rows)}
        if not is_whole:
            leases = _so_far(leases, lines)
        leases_to = max((key[0] for key in leases), default=base.leases_to)
        asked: dict[LeaseKey, None] = {
            carried.key: None for carried in base.carried if carried.key not in leases
        }
        for line in lines:
            if line.number > base.usage_to and line.lease_key not in leases:
                asked[line.lease_key] = None
        leases.update((lease.key, lease) for lease in self._look_up(connection, asked))
        changes = _SELECT_CHANGES.run(connection, of=node, after=base.changes_to).all()
        return NodeFacts(
            node=node,
            changes=[(row[0], _decode_change(row[1])) for row in changes],
            leases=leases,
            lines=lines,
            counters=background.counters[node],
            demand=background.demand,
            models=background.models[node],
            usage_to=max((line.number for line in lines), default=base.usage_to),
            leases_to=leases_to,
            jobs_seq=background.jobs_seq,
            jobs_ms=background.jobs_ms,
            unread_to_seq=background.unread_to_seq,
            is_whole=is_whole,
        )

    def _look_up(self, connection: sa.Connection, keys: Iterable[LeaseKey]) -> Iterable[LeaseView]:
        return [_read_lease(row) for row in self._leases.find(connection, list(keys))]


def _so_far(leases: dict[LeaseKey, LeaseView], lines: list[Line]) -> dict[LeaseKey, LeaseView]:
    """Leases granted before the end of these lines: they were granted in the order of keys."""
    end_ms = max(line.t1_ms for line in lines)
    named = {line.lease_key for line in lines}
    last = max(
        (key for key, lease in leases.items() if lease.granted_ms <= end_ms or key in named),
        default=None,
    )
    return {} if last is None else {k: lease for k, lease in leases.items() if k[0] <= last[0]}


def _read_lease(row: Any) -> LeaseView:
    lease_seq, job_id, rank, node, attempt, devices, *others = row
    return LeaseView((lease_seq, job_id, rank), node, attempt, _decode_devices(devices), *others)


def _read_counter(row: Any) -> Counter:
    return Counter(**dict(zip(Counter.__struct_fields__, row, strict=True)))
