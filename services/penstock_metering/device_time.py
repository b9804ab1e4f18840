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
from sqlalchemy.dialects import postgresql, sqlite

from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_metering import schema
from penstock_metering import schema_device_time as tables
from penstock_metering.core.checkpoints import Checkpoint
from penstock_metering.core.node_time import Advance, advance
from penstock_metering.core.sweeping import STATES
from penstock_metering.core.tenancies import Late
from penstock_metering.device_energy import add_slices
from penstock_metering.device_facts import (
    LINES_AT_ONCE_MAX,
    Background,
    FactReader,
    read_background,
)

NODES_AT_ONCE_MAX = 50
LINES_AT_ONCE = 20_000
"""In one transaction, so that what arrives meanwhile does not wait long."""
AGES_MS = (0, 15 * 60_000, 4 * 3_600_000, 2 * 86_400_000, 32 * 86_400_000)
"""Of the older checkpoints, the oldest one between each two of these ages is kept."""
STRIDE_MS = 15 * 60_000
STRIDE_LEASES = 32
"""A checkpoint is made when so much time, or so many leases, lie behind the last one."""

_dirty, _days = tables.dirty_device_days, tables.device_days
_checkpoints, _balances = tables.audit_checkpoints, tables.node_balances
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Checkpoint).decode
_readers = {name: FactReader(name == "sqlite") for name in ("sqlite", "postgresql")}


def step(connection: sa.Connection, now_ms: int = 0) -> bool:
    """Derive some nodes; whether there may be more to do."""
    nodes = connection.execute(
        sa.select(_dirty.c.node).order_by(_dirty.c.node).limit(NODES_AT_ONCE_MAX)
    ).scalars()
    background: Background | None = None
    lines = 0
    derived: list[str] = []
    for node in list(nodes):
        background = background or read_background(connection)
        taken, is_whole = _derive(connection, node, background)
        lines += taken
        if is_whole:
            derived.append(node)
        if not is_whole or lines > LINES_AT_ONCE:
            break
    if derived:
        connection.execute(sa.delete(_dirty).where(_dirty.c.node.in_(derived)))
    return background is not None


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


def _derive(connection: sa.Connection, node: str, background: Background) -> tuple[int, bool]:
    """How many lines that took, and whether it is done."""
    lines_max: int | None = LINES_AT_ONCE_MAX
    reader, lines = _readers[connection.dialect.name], 0
    while True:
        base = _newest(connection, node)
        facts = reader.read(connection, node, base, background, lines_max)
        lines += len(facts.lines)
        try:
            made = advance(base, facts)
        except Late:
            lines_max = None  # what is late may lie behind any number of lines
            connection.execute(
                sa.delete(_checkpoints).where(
                    _checkpoints.c.node == node, _checkpoints.c.upto_ms >= base.upto_ms
                )
            )
            continue
        if not facts.is_whole and made.checkpoint is None:
            lines_max = None
            continue
        break
    if made.checkpoint is not None:
        new = made.checkpoint
        passed_ms = new.upto_ms - base.upto_ms
        if not facts.is_whole or passed_ms >= STRIDE_MS or len(facts.leases) >= STRIDE_LEASES:
            _keep(connection, node, new)
    if facts.is_whole:
        _write(connection, node, made)
    return lines, facts.is_whole


def _newest(connection: sa.Connection, node: str) -> Checkpoint:
    state = connection.execute(
        sa.select(_checkpoints.c.state)
        .where(_checkpoints.c.node == node)
        .order_by(_checkpoints.c.upto_ms.desc())
        .limit(1)
    ).scalar()
    return Checkpoint() if state is None else _decode(state)


def _keep(connection: sa.Connection, node: str, made: Checkpoint) -> None:
    instants = list(
        connection.execute(
            sa.select(_checkpoints.c.upto_ms)
            .where(_checkpoints.c.node == node)
            .order_by(_checkpoints.c.upto_ms)
        ).scalars()
    )
    values = {"node": node, "upto_ms": made.upto_ms, "state": _encode(made).decode()}
    connection.execute(sa.insert(_checkpoints).values(**values))
    surplus = _surplus(instants, made.upto_ms)
    if surplus:
        connection.execute(
            sa.delete(_checkpoints).where(
                _checkpoints.c.node == node, _checkpoints.c.upto_ms.in_(surplus)
            )
        )


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


def _write(connection: sa.Connection, node: str, made: Advance) -> None:
    connection.execute(sa.delete(_days).where(_days.c.node == node, _days.c.day >= made.first_day))
    if made.days:
        connection.execute(
            sa.insert(_days),
            [
                {
                    "node": node,
                    "device": row.device,
                    "day": row.day,
                    "site": row.site,
                    "energy_sold_mj": row.energy_sold_mj,
                    **dict(zip(STATES, row.milli_ms, strict=True)),
                }
                for row in made.days
            ],
        )
    slices_to = connection.execute(
        sa.select(_balances.c.slices_to).where(_balances.c.node == node)
    ).scalar()
    slices_to = add_slices(connection, node, slices_to or 0)
    values = {
        "node": node,
        "upto_ms": max(made.balance.ends_ms.values(), default=0),
        "slices_to": slices_to,
        "unaccounted_milli_ms": made.balance.totals.unaccounted_milli_ms,
        "balance": _encode(made.balance).decode(),
    }
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(
        insert(_balances)
        .values(**values)
        .on_conflict_do_update(
            index_elements=["node"],
            set_={name: value for name, value in values.items() if name != "node"},
        )
    )
