"""How does one lease go through its life on a node?

held → prepared → spawning → running → ended → over, forward only; what each step owes is appended
to the state's reports and usage. Only `machine.handle` calls these. It does not know where events
come from.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.bounds import cut
from penstock_contracts.leases import (
    PREPARE,
    RUN,
    STOP,
    Declined,
    Exited,
    LeaseOrder,
    Prepared,
    Released,
    Rendezvous,
    Started,
)
from penstock_node_agent.core.devices import fault_of
from penstock_node_agent.core.events import Ended
from penstock_node_agent.core.instructions import Clear, FindPort, Instruction, Ship, Spawn, Stop
from penstock_node_agent.core.state import (
    ENDED,
    HELD,
    OVER,
    PREPARED,
    RUNNING,
    SPAWNING,
    Lease,
    Spool,
    State,
)
from penstock_node_agent.core.telling import LOST, step_of, tell, tell_forgotten, tell_preparing
from penstock_node_agent.core.turns import must_wait
from penstock_node_agent.core.usage import close_segment

CANCELLED = "cancelled"
DEVICE_FAILED = "device_failed"


def take(
    state: State, order: LeaseOrder, at_ns: int, contact_ns: int, todo: list[Instruction]
) -> None:
    """Hold the lease as ordered. An attempt older than the one that is known changes nothing; one
    that is not known, though it has begun or was granted before what is held now, has been here and
    is over: it is never begun again. While the reaper still ends something of it, it is not taken.
    """
    key = order.key
    lease = state.leases.get(key)
    if lease is None:
        if key in state.strays:
            return
        if order.begun or order.lease_seq <= state.as_of:
            tell_forgotten(state, order, at_ns)
            return
        who = f"{order.job_id}/{order.rank}"
        other = state.leases.get(state.current.get(who, ""))
        if other is not None:
            if other.order.lease_seq > order.lease_seq:
                return
            drop(state, other.key, todo)
        lease = Lease(key=key, order=order, received_ns=at_ns)
        state.leases[key] = lease
        state.current[who] = key
        fault = fault_of(state.devices, order.devices)
        if fault is not None and order.phase != STOP:
            decline(state, lease, *fault, at_ns)
            return
    lease.desired, lease.contact_ns = True, max(lease.contact_ns, contact_ns)
    if lease.stage not in (ENDED, OVER):
        # what runs is measured on its axis: that does not move, whatever is said later
        lease.order = msgspec.structs.replace(order, granted_ns=lease.order.granted_ns)
        _advance(state, lease, at_ns, todo)


def drop(state: State, key: str, todo: list[Instruction]) -> None:
    """The scheduler wants it no more: what runs is stopped, then it is forgotten."""
    lease = state.leases.get(key)
    if lease is None:
        return
    lease.desired = False
    if lease.stage in (SPAWNING, RUNNING):
        _stop(lease, lease.order.stop_reason or CANCELLED, todo)
    elif lease.stage in (HELD, PREPARED, OVER):
        lease.stage = OVER
        _forget(state, lease)


def _advance(state: State, lease: Lease, at_ns: int, todo: list[Instruction]) -> None:
    order = lease.order
    if order.phase == PREPARE and lease.stage == HELD:
        if order.rank == 0 and order.ranks > 1:
            todo.append(FindPort(lease.key))
        else:
            prepared(state, lease, at_ns, None)
    elif order.phase == RUN and lease.stage in (HELD, PREPARED):
        if must_wait(state, lease, at_ns):
            if lease.key not in state.waiting:
                state.waiting.append(lease.key)
            return
        lease.stage = SPAWNING
        lease.slot = _take_slot(state)
        state.spools[lease.key] = Spool(
            slot=lease.slot,
            tenant=order.tenant,
            job_id=order.job_id,
            attempt=order.attempt,
            rank=order.rank,
        )
        todo.append(Spawn(lease.key))
    elif order.phase == STOP:
        if lease.stage in (HELD, PREPARED):
            _end_unrun(state, lease, at_ns)
        else:
            _stop(lease, order.stop_reason or CANCELLED, todo)


def prepared(state: State, lease: Lease, at_ns: int, port: int | None) -> None:
    """This rank could start; with a port, it says where rank 0 will listen."""
    lease.stage, lease.port = PREPARED, port
    tell_preparing(state, lease)
    where = None
    if port is not None:
        where = Rendezvous(state.advertise_address, port)
    tell(state, lease, Prepared(**step_of(lease, lease.axis_ms(at_ns)), rendezvous=where))


def decline(state: State, lease: Lease, code: str, message: str, at_ns: int) -> None:
    """The node cannot take it, and holds nothing of it."""
    lease.stage = OVER
    item = Declined(**step_of(lease, lease.axis_ms(at_ns)), code=code, message=cut(message))
    tell(state, lease, item)
    _forget(state, lease)


def began(state: State, lease: Lease, at_ns: int) -> None:
    """The reaper's stamp begins the running time."""
    lease.stage = RUNNING
    lease.began_ms = lease.open_ms = lease.axis_ms(at_ns)
    tell_preparing(state, lease)
    tell(state, lease, Started(**step_of(lease, lease.began_ms)))


def ended(state: State, lease: Lease, event: Ended) -> None:
    """The reaper's stamp ends the running time. Of an attempt whose end nobody saw only what is
    known is counted."""
    lease.stage = ENDED
    at_ms = max(lease.axis_ms(event.at_ns), lease.open_ms)
    seen = event.code is not None or event.signal is not None
    if lease.began_ms is not None and (seen or event.reason != LOST):
        close_segment(state, lease, at_ms, last=True)
    tell_preparing(state, lease)
    message = event.message
    if event.reason == DEVICE_FAILED:
        message = message or lease.fault
    item = Exited(
        **step_of(lease, at_ms),
        reason=event.reason,
        exit_code=event.code,
        signal=event.signal,
        started_ms=lease.began_ms,
        message=cut(message),
        log_bytes={"stdout": event.out_bytes, "stderr": event.err_bytes},
        segments=lease.segments,
    )
    tell(state, lease, item)
    spool = state.spools.get(lease.key)
    if spool is not None:
        spool.out_final, spool.err_final = event.out_bytes, event.err_bytes


def released(state: State, lease: Lease, at_ns: int, todo: list[Instruction]) -> None:
    """Nothing of it is left on the node."""
    at_ms = max(lease.axis_ms(at_ns), lease.open_ms)
    lease.stage = OVER
    tell(state, lease, Released(**step_of(lease, at_ms)))
    if not free_spool(state, lease.key, todo):
        todo.append(Ship(lease.key))
    _forget(state, lease)
    _begin_waiting(state, at_ns, todo)


def end_unspawned(state: State, lease: Lease, at_ns: int, todo: list[Instruction]) -> None:
    """It was stopped before the reaper had heard of it."""
    ended(state, lease, Ended(at_ns=at_ns, key=lease.key, reason=lease.stopping))
    released(state, lease, at_ns, todo)


def lose(
    state: State,
    lease: Lease,
    todo: list[Instruction],
    spool_bytes: tuple[int, int] | None = None,
) -> None:
    """Nobody can know any more how it ended; nothing of it is here. Instants are the last known
    ones."""
    known_ms = max(lease.open_ms, lease.order.granted_ns // 1_000_000)
    known_ns = known_ms * 1_000_000 - lease.order.granted_ns + lease.received_ns
    if lease.stage in (SPAWNING, RUNNING):
        spool = state.spools[lease.key]
        spool.lost = True
        out, err = spool_bytes or (spool.out, spool.err)
        ended(
            state,
            lease,
            Ended(
                at_ns=known_ns,
                key=lease.key,
                reason=LOST,
                out_bytes=max(out, spool.out),
                err_bytes=max(err, spool.err),
            ),
        )
    if lease.stage == ENDED:
        released(state, lease, known_ns, todo)
    elif lease.stage in (HELD, PREPARED):
        _end_unrun(state, lease, known_ns, LOST)


def leave_bad_devices(state: State, at_ns: int, todo: list[Instruction]) -> None:
    """What holds a device that is gone or sick ends, and is not blamed for it."""
    for lease in list(state.leases.values()):
        fault = fault_of(state.devices, lease.order.devices)
        if fault is None:
            continue
        if lease.stage in (HELD, PREPARED):
            decline(state, lease, *fault, at_ns)
        elif lease.stage in (SPAWNING, RUNNING) and not lease.stopping:
            lease.fault = fault[1]
            _stop(lease, DEVICE_FAILED, todo)


def end_held(state: State, at_ns: int) -> None:
    """The node stops: what has not begun will not."""
    for lease in list(state.leases.values()):
        if lease.stage in (HELD, PREPARED):
            _end_unrun(state, lease, at_ns, "stopped")


def free_spool(state: State, key: str, todo: list[Instruction]) -> bool:
    """Give the slot back once all output is stored and nothing can write any more. One that has
    had output is not used again: after a power loss it could have it again, as another's."""
    spool = state.spools.get(key)
    lease = state.leases.get(key)
    alive = lease is not None and lease.stage != OVER
    if spool is None or alive or not spool.delivered:
        return spool is None
    del state.spools[key]
    silent = not (spool.out_final or spool.err_final or spool.lost)
    state.slots_dirty[spool.slot] = silent
    todo.append(Clear(spool.slot, silent))
    return True


def _end_unrun(state: State, lease: Lease, at_ns: int, reason: str = "") -> None:
    lease.stage = OVER
    step = step_of(lease, lease.axis_ms(at_ns))
    reason = reason or lease.order.stop_reason or CANCELLED
    tell(state, lease, Exited(**step, reason=reason), Released(**step))
    _forget(state, lease)


def _stop(lease: Lease, reason: str, todo: list[Instruction]) -> None:
    if not lease.stopping:
        lease.stopping = reason
        todo.append(Stop(lease.key, reason, lease.order.grace_s))


def _forget(state: State, lease: Lease) -> None:
    """An ended lease stays, so that a repeated order is known, until the scheduler drops it."""
    key = lease.key
    if lease.desired or lease.stage != OVER:
        return
    del state.leases[key]
    who = f"{lease.order.job_id}/{lease.order.rank}"
    if state.current.get(who) == key:
        del state.current[who]


def _begin_waiting(state: State, at_ns: int, todo: list[Instruction]) -> None:
    """A device has become free: begin what waited for it."""
    waiting, state.waiting = state.waiting, []
    for key in waiting:
        lease = state.leases.get(key)
        if lease is not None and lease.desired and lease.stage in (HELD, PREPARED):
            _advance(state, lease, at_ns, todo)


def _take_slot(state: State) -> int:
    if state.slots_free:
        return state.slots_free.pop()
    state.slots += 1
    return state.slots - 1
