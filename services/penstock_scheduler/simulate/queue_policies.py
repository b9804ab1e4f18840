"""Which policies of the queue can be tried by name?

Those that a pool may have, two yardsticks between which they lie, and one that a mesh has. It does
not know how one goes.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from penstock_contracts.queue_faults import policy_faults
from penstock_contracts.queue_policy import DEFAULT_POOL, PolicyVersion, Pool, QueuePolicy
from penstock_scheduler.simulate.tables import BadTable

PENSTOCK = "penstock"
NAMES: dict[str, Pool] = {
    PENSTOCK: Pool(name=DEFAULT_POOL),
    "fifo": Pool(name=DEFAULT_POOL, order="fifo", backfill="none", preempt="none"),
    "sjf": Pool(name=DEFAULT_POOL, order="fifo", backfill="none", preempt="none"),
    "skip": Pool(name=DEFAULT_POOL, order="skip", backfill="none", preempt="none"),
    "hold": Pool(name=DEFAULT_POOL, order="hold", backfill="none", preempt="none"),
    "tiered": Pool(name=DEFAULT_POOL, order="tiered", backfill="none", preempt="none"),
    "easy": Pool(name=DEFAULT_POOL, order="fifo", backfill="easy", preempt="none"),
    "conservative": Pool(name=DEFAULT_POOL, order="fifo", backfill="conservative", preempt="none"),
}
"""`penstock` is what a pool has that says nothing. `sjf` knows how long each job takes: strictly,
the shortest first."""


def knows(name: str) -> bool:
    """Whether the order is an oracle's."""
    return name == "sjf"


def named(name: str, *, preempt: bool) -> QueuePolicy:
    """One pool of all nodes. `preempt`: where short ones go first, what has much more to do yields
    to them."""
    pool = NAMES[name]
    if preempt and pool.order == "tiered":
        pool = msgspec.structs.replace(pool, preempt="all")
    return QueuePolicy(pools=(pool,))


def preempts(name: str) -> bool:
    return NAMES[name].order == "tiered"


def read(path: Path) -> QueuePolicy:
    """A policy as `penstock queue --json` and the mesh's own answers have it. Raises BadTable."""
    try:
        data = path.read_bytes()
    except OSError as error:
        said = f"{path}: cannot be read: {error.strerror}"
        raise BadTable("unreadable_file", said) from error
    return decoded(data, str(path))


def decoded(data: bytes, said: str) -> QueuePolicy:
    """The policy alone, or with its version around it. Raises BadTable."""
    try:
        if b'"policy"' in data:
            policy = msgspec.json.decode(data, type=PolicyVersion).policy
        else:
            policy = msgspec.json.decode(data, type=QueuePolicy)
    except msgspec.DecodeError as error:
        raise BadTable("bad_value", f"{said}: is no policy: {error}") from error
    for fault in policy_faults(policy):
        at = f"{fault.part}[{fault.index}].{fault.field}"
        raise BadTable(fault.code, f"{said}: {at}: {fault.sentence}", fault.field)
    return policy
