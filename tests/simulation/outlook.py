"""Where would a scheduler place what is asked next, and would its successor do the same?

Asks the one that leads, which has brought its view up to date all along; one begun anew from its
snapshot, which computes everything afresh and without machine code; and one that has folded the
whole journal: at the end, and some times in mid-work what each would do next. It does not judge
what they say.
"""

from __future__ import annotations

import hashlib

import msgspec

from penstock_runtime.journaled import JournaledService
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.packing.shapes import PackShape
from tests.checkers.history import History
from tests.checkers.leases import surviving
from tests.checkers.queue_seen import Lookout

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


def lookout(
    service: JournaledService, history: History, now_ns: int, *, folded: bool
) -> Lookout | None:
    """In mid-work; None while something is being decided. `folded`: the whole journal is read for
    it, which takes a while."""
    leader: SchedulerCore = service.core
    if service.speculative:
        return None
    anew = SchedulerCore(machine_code=False)
    anew.restore(leader.snapshot())
    copies = {"the leader": leader, "one begun anew": anew}
    last = history.jobs_entries[-1].entry.seq if history.jobs_entries else 0
    if folded and not history.lossy_broker and last == service.last_seq:
        copies["one that has read the journal"] = _folded(history)
    for copy in copies.values():
        _hear(copy, leader)
    found = {name: _next(copy, now_ns, service.last_seq + 1) for name, copy in copies.items()}
    return Lookout(at_ns=now_ns, copies=found)


def _hear(copy: SchedulerCore, leader: SchedulerCore) -> None:
    """Who has heard which node is in no journal."""
    for name, node in leader.state.nodes.items():
        other = copy.state.nodes[name]
        if other.unheard != node.unheard:
            other.unheard = node.unheard
            copy.state.capacity.update(name, other)


def _next(core: SchedulerCore, now_ns: int, next_seq: int) -> tuple[str, ...]:
    """What it would decide, and all that it knows."""
    known = hashlib.sha256(core.snapshot()).hexdigest()
    facts = (msgspec.json.encode(fact).decode() for fact in core.settle(now_ns, next_seq))
    return (f"all in all it is {known}", *facts)


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
