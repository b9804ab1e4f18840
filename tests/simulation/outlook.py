"""Where would a scheduler place what is asked next, and would its successor do the same?

Asks the one that leads, which has brought its view up to date all along; one begun anew from its
snapshot, which computes everything afresh and without machine code; and one that has folded the
whole journal. It does not judge what they say.
"""

from __future__ import annotations

import hashlib

from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.packing.shapes import PackShape
from tests.checkers.history import History
from tests.checkers.leases import surviving

PROBES = (
    PackShape(100, 0),
    PackShape(100, 0, 1, 300),
    PackShape(4_000, 1_000, 1, 600, 20_000),
    PackShape(100, 0, 1, 1000),
    PackShape(100, 0, 1, 1000, None, ("A100", "L4")),
    PackShape(4_000, 0, 2, 1000),
    PackShape(100, 0, 8, 1000),
)
PLACES = 3
"""So many of the best for each."""


def outlooks(leader: SchedulerCore, history: History) -> dict[str, tuple[str, ...]]:
    """Line by line, of each copy; the leader first."""
    anew = SchedulerCore(machine_code=False)
    anew.restore(leader.snapshot())
    found = {"the leader": _outlook(leader), "one begun anew": _outlook(anew)}
    if not history.lossy_broker:
        found["one that has read the journal"] = _outlook(_folded(history))
    return found


def _folded(history: History) -> SchedulerCore:
    core = SchedulerCore()
    for seen in surviving(history.jobs_entries):
        for fact in seen.entry.facts:
            core.apply(fact, seen.entry.seq, seen.entry.now_ns)
    return core


def _outlook(core: SchedulerCore) -> tuple[str, ...]:
    """What it believes to be free, what it expects, its first choices, and all that it knows."""
    packer = core.state.capacity.packer
    rooms = (f"{name} has {packer.fleet.room(name)}" for name in sorted(packer.fleet.columns))
    choices = (f"{shape} goes to {packer.ranking(shape, PLACES)}" for shape in PROBES)
    known = hashlib.sha256(core.snapshot()).hexdigest()
    return (*rooms, f"expected is {packer.workload}", *choices, f"all in all it is {known}")
