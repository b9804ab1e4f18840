"""What ended just before the host lost its power?

An order and its end need not be on the agent's disk when they are told; the reaper has both on its
own. What is recalled is told and counted once more, exactly as it was, in the boot it was of. It
does not know where it is read.
"""

from __future__ import annotations

from penstock_node_agent.core import attempts, endings
from penstock_node_agent.core.events import Recalled
from penstock_node_agent.core.instructions import Instruction
from penstock_node_agent.core.state import RUNNING, SPAWNING, UNBEGUN, Lease, Spool, State


def recall(state: State, event: Recalled, todo: list[Instruction]) -> None:
    """Before the new boot is begun. What the journal knows better changes nothing."""
    order = event.order
    lease = state.leases.get(order.key)
    if lease is None:
        if order.lease_seq <= state.as_of:
            return  # it was over and dropped
        lease = Lease(key=order.key, order=order, received_ns=event.received_ns)
        state.leases[order.key] = lease
        state.current[f"{order.job_id}/{order.rank}"] = order.key
    if lease.stage in UNBEGUN:
        _give_back_slot(state, lease, event.slot)
    if lease.stage == SPAWNING and event.began_ns is not None:
        attempts.began(state, lease, event.began_ns)
    if lease.stage in (SPAWNING, RUNNING):
        endings.ended(state, lease, event.end)
        if lease.untold is None:
            endings.close(state, lease, event.end.gone_ns or event.end.at_ns, todo)


def _give_back_slot(state: State, lease: Lease, slot: int) -> None:
    """It was spawned; where it has written is its own."""
    order = lease.order
    lease.stage, lease.slot, lease.unready = SPAWNING, slot, False
    if slot in state.slots_free:
        state.slots_free.remove(slot)
    state.slots_dirty.pop(slot, None)
    state.slots = max(state.slots, slot + 1)
    state.spools[lease.key] = Spool(
        slot=slot,
        tenant=order.tenant,
        job_id=order.job_id,
        attempt=order.attempt,
        rank=order.rank,
    )
