"""What follows when a reaper has told all it knows?

It and the state are brought together, level-triggered, whatever was under way before: after a
restart of the agent, of the reaper, or of both. It does not know which of them began anew.
"""

from __future__ import annotations

from penstock_contracts.leases import PREPARE
from penstock_node_agent.core import attempts, endings, paid
from penstock_node_agent.core.description import describe_anew
from penstock_node_agent.core.events import ReaperReady
from penstock_node_agent.core.instructions import (
    Clear,
    FindPort,
    Finish,
    Forget,
    Instruction,
    Ship,
    Spawn,
    Stop,
)
from penstock_node_agent.core.state import (
    ENDED,
    FINISHING,
    HELD,
    OVER,
    PREPARED,
    READYING,
    RUNNING,
    SPAWNING,
    Lease,
    State,
)


def take_stock(state: State, event: ReaperReady, todo: list[Instruction]) -> None:
    """Bring the new reaper and the state together: level-triggered, whatever was under way
    before."""
    state.ready = True
    state.reaper_offers, state.reaper_facts = event.offers, event.facts
    describe_anew(state)
    known = set(event.keys)
    state.strays = [key for key in state.strays if key in known]
    for lease in list(state.leases.values()):
        _reconcile(state, lease, event.at_ns, todo, known=lease.key in known)
    attempts.begin_waiting(state, event.at_ns, todo)
    for key in event.keys:
        if key not in state.leases or state.leases[key].stage == OVER:
            todo += (Stop(key, "cancelled", 0), Forget(key))
    todo.extend(Ship(key) for key in state.spools)
    todo.extend(Clear(slot, silent) for slot, silent in state.slots_dirty.items())


def _reconcile(
    state: State, lease: Lease, at_ns: int, todo: list[Instruction], *, known: bool
) -> None:
    key = lease.key
    if known:
        paid.extend(lease, todo)
    if lease.stage == SPAWNING and not known:
        if lease.stopping:
            endings.end_unspawned(state, lease, at_ns, todo)
        elif endings.is_attended(state, lease.order):
            attempts.make_ready_again(lease, todo)
        else:
            todo.append(Spawn(key))
    elif lease.stage in (RUNNING, ENDED) and not known:
        endings.lose(state, lease, todo)
    elif lease.stage in (SPAWNING, RUNNING) and lease.stopping:
        todo.append(Stop(key, lease.stopping, lease.order.grace_s, lease.order.stop_signal))
    elif lease.stage == FINISHING:
        if not known and lease.gone_ns is None:
            endings.lose(state, lease, todo)
        else:
            todo.append(Finish(key))
    elif lease.stage == READYING or (lease.stage == PREPARED and lease.slot is not None):
        attempts.make_ready_again(lease, todo)
    elif lease.stage == HELD and lease.order.phase == PREPARE and key not in state.waiting:
        todo.append(FindPort(key))
