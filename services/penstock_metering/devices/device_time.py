"""How is the time of devices derived?

Takes nodes that are marked, a bounded number in one transaction, goes on with each from its newest
checkpoint, and writes its days, its balance and where to go on next. Where facts came that tell of
earlier, an older checkpoint is taken. The outcome depends on what the ledger holds, not on when
this ran, nor on how often. It does not know who marks, nor what time is worth.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_metering.core.checkpoints import Checkpoint
from penstock_metering.core.node_time import Advance, advance
from penstock_metering.core.sweeping import STATES
from penstock_metering.core.tenancies import Late
from penstock_metering.devices import tables
from penstock_metering.devices.energy import add_slices
from penstock_metering.devices.facts import (
    LINES_AT_ONCE_MAX,
    Background,
    FactReader,
    read_background,
)
from penstock_metering.ledger import schema
from penstock_metering.ledger.prepared import Prepared

NODES_AT_ONCE_MAX = 50
LINES_AT_ONCE = 20_000
"""In one transaction, so that what arrives meanwhile does not wait long."""
AGES_MS = (0, 15 * 60_000, 4 * 3_600_000, 2 * 86_400_000, 32 * 86_400_000)
"""Of the older checkpoints, the oldest one between each two of these ages is kept."""
STRIDE_MS = 15 * 60_000
STRIDE_LEASES = 32
"""A checkpoint is made when so much time, or so many leases, lie behind the last one."""

Value = str | int | None

_dirty, _days = tables.dirty_device_days, tables.device_days
_checkpoints, _balances = tables.audit_checkpoints, tables.node_balances
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Checkpoint).decode
_of: sa.BindParameter[str] = sa.bindparam("of")
_SELECT_DIRTY = sa.select(_dirty.c.node).order_by(_dirty.c.node).limit(NODES_AT_ONCE_MAX)
_SELECT_NEWEST = Prepared(
    sa.select(_checkpoints.c.state)
    .where(_checkpoints.c.node == _of)
    .order_by(_checkpoints.c.upto_ms.desc())
    .limit(sa.literal_column("1"))
)
_SELECT_INSTANTS = Prepared(
    sa.select(_checkpoints.c.upto_ms)
    .where(_checkpoints.c.node == _of)
    .order_by(_checkpoints.c.upto_ms)
)
_DROP = Prepared(
    sa.delete(_checkpoints).where(
        _checkpoints.c.node == _of, _checkpoints.c.upto_ms >= sa.bindparam("since")
    )
)
_DELETE_DAYS = Prepared(
    sa.delete(_days).where(_days.c.node == _of, _days.c.day >= sa.bindparam("since"))
)
_INSERT_DAYS = Prepared(sa.insert(_days))
_DELETE_BALANCE = Prepared(sa.delete(_balances).where(_balances.c.node == _of))
_INSERT_BALANCE = Prepared(sa.insert(_balances))
_DELETE_CHECKPOINT = Prepared(
    sa.delete(_checkpoints).where(
        _checkpoints.c.node == _of, _checkpoints.c.upto_ms == sa.bindparam("at")
    )
)
_INSERT_CHECKPOINT = Prepared(sa.insert(_checkpoints))
_CLEAN = Prepared(sa.delete(_dirty).where(_dirty.c.node == _of))
_readers = {name: FactReader(name == "sqlite") for name in ("sqlite", "postgresql")}


def step(connection: sa.Connection, now_ms: int = 0) -> bool:
    """Derive some nodes; whether there may be more to do."""
    nodes = list(connection.execute(_SELECT_DIRTY).scalars())
    if not nodes:
        return False
    bases = _newest_of(connection, nodes)
    background = read_background(connection, bases)
    outcome = Outcome()
    for node, base in bases.items():
        if not _derive(connection, node, base, background, outcome):
            break
        if outcome.lines > LINES_AT_ONCE:
            break
    outcome.write(connection)
    return True


def derive_all(connection: sa.Connection) -> None:
    """Until nothing is marked."""
    while step(connection):
        pass


def unaccounted_ms(connection: sa.Connection) -> int:
    """What ledger and counters differ by, each node up to its newest counters, in GPU-ms."""
    wrong = _balances.c.unaccounted_milli_ms
    found = int(connection.execute(sa.select(sa.func.sum(wrong)).where(wrong != 0)).scalar() or 0)
    return -(-found // GPU_MILLI_WHOLE)


def forget(connection: sa.Connection) -> None:
    """Drop all that is derived and mark every node: deriving brings the same again."""
    for table in (_days, _checkpoints, _balances, tables.device_energy, _dirty):
        connection.execute(sa.delete(table))
    known = sa.union(sa.select(schema.node_changes.c.node), sa.select(schema.usage_batches.c.node))
    connection.execute(sa.insert(_dirty).from_select(["node"], known))


def _derive(
    connection: sa.Connection, node: str, base: Checkpoint, background: Background, out: Outcome
) -> bool:
    """Whether that is all there is of the node."""
    reader, lines_max = _readers[connection.dialect.name], LINES_AT_ONCE_MAX
    at_most: int | None = lines_max
    while True:
        facts = reader.read(connection, node, base, background, at_most)
        out.lines += len(facts.lines)
        try:
            made = advance(base, facts)
        except Late:
            at_most = None  # what is late may lie behind any number of lines
            _DROP.run(connection, of=node, since=base.upto_ms)
            base = _newest(connection, node)
            background = read_background(connection, {node: base})
            continue
        if facts.is_whole or made.checkpoint is not None:
            break
        at_most = None
    new = made.checkpoint
    if new is not None and (
        not facts.is_whole
        or new.upto_ms - base.upto_ms >= STRIDE_MS
        or len(facts.leases) >= STRIDE_LEASES
    ):
        out.keep(connection, node, new)
    if facts.is_whole:
        out.take(node, made, add_slices(connection, node))
    return facts.is_whole


class Outcome(msgspec.Struct):
    """What some nodes come to, written together."""

    lines: int = 0
    nodes: list[dict[str, Value]] = []
    days: list[dict[str, Value]] = []
    balances: list[dict[str, Value]] = []
    checkpoints: list[dict[str, Value]] = []
    surplus: list[dict[str, Value]] = []

    def take(self, node: str, made: Advance, slices_to: int) -> None:
        self.nodes.append({"of": node, "since": made.first_day})
        for row in made.days:
            spent = dict(zip(STATES, row.milli_ms, strict=True))
            of_row: dict[str, Value] = {
                "node": node,
                "device": row.device,
                "day": row.day,
                "site": row.site,
            }
            self.days.append({**of_row, "energy_sold_mj": row.energy_sold_mj, **spent})
        self.balances.append(
            {
                "node": node,
                "upto_ms": max(made.balance.ends_ms.values(), default=0),
                "slices_to": slices_to,
                "unaccounted_milli_ms": made.balance.totals.unaccounted_milli_ms,
                "balance": _encode(made.balance).decode(),
            }
        )

    def keep(self, connection: sa.Connection, node: str, made: Checkpoint) -> None:
        instants = list(_SELECT_INSTANTS.run(connection, of=node).scalars())
        state = _encode(made).decode()
        self.checkpoints.append({"node": node, "upto_ms": made.upto_ms, "state": state})
        surplus = _surplus(instants, made.upto_ms)
        self.surplus += [{"of": node, "at": upto_ms} for upto_ms in surplus]

    def write(self, connection: sa.Connection) -> None:
        _DELETE_DAYS.run_many(connection, self.nodes)
        _INSERT_DAYS.run_many(connection, self.days)
        _DELETE_BALANCE.run_many(connection, self.nodes)
        _INSERT_BALANCE.run_many(connection, self.balances)
        _DELETE_CHECKPOINT.run_many(connection, self.surplus)
        _INSERT_CHECKPOINT.run_many(connection, self.checkpoints)
        _CLEAN.run_many(connection, self.nodes)


def _newest(connection: sa.Connection, node: str) -> Checkpoint:
    state = _SELECT_NEWEST.run(connection, of=node).scalar()
    return Checkpoint() if state is None else _decode(state)


def _newest_of(connection: sa.Connection, nodes: Sequence[str]) -> dict[str, Checkpoint]:
    newest = (
        sa.select(_checkpoints.c.node, sa.func.max(_checkpoints.c.upto_ms).label("upto_ms"))
        .where(_checkpoints.c.node.in_(nodes))
        .group_by(_checkpoints.c.node)
        .subquery()
    )
    same = sa.and_(_checkpoints.c.node == newest.c.node, _checkpoints.c.upto_ms == newest.c.upto_ms)
    rows = connection.execute(
        sa.select(_checkpoints.c.node, _checkpoints.c.state).join(newest, same)
    )
    known = {node: _decode(state) for node, state in rows.all()}
    return {node: known.get(node) or Checkpoint() for node in nodes}


def _surplus(instants: Sequence[int], newest_ms: int) -> list[int]:
    """Of ascending instants those that are not the oldest of their age."""
    taken: set[int] = set()
    surplus = []
    for upto_ms in instants:
        age = sum(newest_ms - upto_ms > bound for bound in AGES_MS)
        if age in taken:
            surplus.append(upto_ms)
        taken.add(age)
    return surplus
