"""How does one lease go through its life on a node?

held → [readying] → prepared → spawning → running, forward only, and from there to its end
(`endings`); what each step owes is appended to the state's reports. Only `machine.handle` calls
these. It does not know where events come from.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_contracts.leases import (
    PREPARE,
    RUN,
    STOP,
    LeaseOrder,
    Prepared,
    Rendezvous,
    Started,
)
from penstock_contracts.work import FRACTIONS
from penstock_node_agent.core import endings, paid
from penstock_node_agent.core.description import refusal_of
from penstock_node_agent.core.devices import fault_of
from penstock_node_agent.core.events import Readied
from penstock_node_agent.core.instructions import FindPort, Instruction, Ready, Spawn, Stop
from penstock_node_agent.core.state import (
    ENDED,
    FINISHING,
    HELD,
    OVER,
    PREPARED,
    READYING,
    RUNNING,
    SPAWNING,
    UNBEGUN,
    Lease,
    Spool,
    State,
)
from penstock_node_agent.core.telling import step_of, tell, tell_forgotten, tell_preparing
from penstock_node_agent.core.turns import is_taken, must_wait

CANCELLED = "cancelled"
PREPARE_FAILED = "prepare_failed"
STOPPED = "stopped"


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
        fault = fault_of(state.devices, order.devices) or refusal_of(state)
        fault = fault or paid.refusal_of(state, order)
        enforced = order.gpu_enforced and order.gpu_milli < GPU_MILLI_WHOLE
        if fault is None and enforced and FRACTIONS not in state.own_offers:
            fault = "no_fractions", "this node holds nobody to a part of a device now"
        if fault is not None and order.phase != STOP:
            decline(state, lease, *fault, at_ns, todo)
            return
    lease.desired, lease.contact_ns = True, max(lease.contact_ns, contact_ns)
    if lease.stage not in (ENDED, FINISHING, OVER):
        # what runs is measured on its axis: that does not move, whatever is said later
        before, order = lease.order, paid.grown(lease.order, order)
        lease.order = msgspec.structs.replace(order, granted_ns=before.granted_ns)
        if order.paid_ms != before.paid_ms:
            paid.extend(lease, todo)
        _advance(state, lease, at_ns, todo)


def drop(state: State, key: str, todo: list[Instruction]) -> None:
    """The scheduler wants it no more: what runs is stopped, then it is forgotten."""
    lease = state.leases.get(key)
    if lease is None:
        return
    lease.desired = False
    if lease.unbegun:
        endings.leave(state, lease, lease.received_ns, None, todo)
    elif lease.stage in (SPAWNING, RUNNING):
        _stop(lease, lease.order.stop_reason or CANCELLED, todo)
    else:
        endings.forget(state, lease)


def _advance(state: State, lease: Lease, at_ns: int, todo: list[Instruction]) -> None:
    order = lease.order
    if order.phase == STOP:
        if lease.unbegun:
            reason = order.stop_reason or CANCELLED
            endings.leave(state, lease, at_ns, endings.unrun(lease, at_ns, reason), todo)
        else:
            _stop(lease, order.stop_reason or CANCELLED, todo)
    elif lease.unready:
        return
    elif lease.stage == HELD and endings.is_attended(state, order):
        if is_taken(state, lease):
            _wait(state, lease)
        else:
            _make_ready(state, lease, todo)
    elif order.phase == PREPARE and lease.stage in (HELD, READYING):
        if order.rank == 0 and order.ranks > 1:
            todo.append(FindPort(lease.key))
        else:
            prepared(state, lease, at_ns, None)
    elif order.phase == RUN and lease.stage in UNBEGUN:
        if must_wait(state, lease, at_ns):
            _wait(state, lease)
            return
        lease.stage = SPAWNING
        _take_slot(state, lease)
        todo.append(Spawn(lease.key))


def _make_ready(state: State, lease: Lease, todo: list[Instruction]) -> None:
    lease.stage = READYING
    _take_slot(state, lease)
    tell_preparing(state, lease)
    make_ready_again(lease, todo)


def make_ready_again(lease: Lease, todo: list[Instruction]) -> None:
    """What was got for it may be gone with the agent that got it."""
    lease.unready = True
    todo.append(Ready(lease.key))


def readied(state: State, lease: Lease, event: Readied, todo: list[Instruction]) -> None:
    """What it needs is there; or never will be, which ends it."""
    if not lease.unready:
        return
    lease.unready = False
    if event.code and event.blame == "node":
        decline(state, lease, event.code, event.message, event.at_ns, todo)
    elif event.code:
        message = f"{event.message} ({event.code})"
        end = endings.unrun(lease, event.at_ns, PREPARE_FAILED, message)
        endings.leave(state, lease, event.at_ns, end, todo)
    elif lease.stage == SPAWNING:
        todo.append(Spawn(lease.key))
    else:
        _advance(state, lease, event.at_ns, todo)


def prepared(state: State, lease: Lease, at_ns: int, port: int | None) -> None:
    """This rank could start; with a port, it says where rank 0 will listen."""
    lease.stage, lease.port = PREPARED, port
    tell_preparing(state, lease)
    where = None
    if port is not None:
        where = Rendezvous(state.advertise_address, port)
    tell(state, lease, Prepared(**step_of(lease, lease.axis_ms(at_ns)), rendezvous=where))


def decline(
    state: State, lease: Lease, code: str, message: str, at_ns: int, todo: list[Instruction]
) -> None:
    """The node cannot take it, and will hold nothing of it."""
    endings.leave(state, lease, at_ns, endings.declined(lease, at_ns, code, message), todo)


def began(state: State, lease: Lease, at_ns: int) -> None:
    """The reaper's stamp begins the running time."""
    lease.stage = RUNNING
    lease.began_ms = lease.open_ms = lease.axis_ms(at_ns)
    tell_preparing(state, lease)
    tell(state, lease, Started(**step_of(lease, lease.began_ms)))


def leave_bad_devices(state: State, at_ns: int, todo: list[Instruction]) -> None:
    """What holds a device that is gone or sick ends, and is not blamed for it."""
    for lease in list(state.leases.values()):
        fault = fault_of(state.devices, lease.order.devices, at_work=not lease.unbegun)
        if fault is None:
            continue
        if lease.unbegun:
            decline(state, lease, *fault, at_ns, todo)
        elif lease.stage in (SPAWNING, RUNNING) and not lease.stopping:
            lease.fault = fault[1]
            _stop(lease, endings.DEVICE_FAILED, todo)


def note_error(state: State, uuid: str, said: str) -> None:
    """A driver has told an error of a device, or of the one that instances are parts of: who fails
    now is told the first."""
    for lease in concerned(state, uuid):
        lease.fault = f"device {uuid}: {said}"


def concerned(state: State, uuid: str) -> list[Lease]:
    """Work on the device that has been told of no error yet."""
    parts = {device.uuid for device in state.devices.values() if device.parent == uuid}
    return [
        lease
        for lease in state.leases.values()
        if lease.stage in (SPAWNING, RUNNING)
        and not lease.fault
        and not parts.union((uuid,)).isdisjoint(lease.order.devices)
    ]


def end_held(state: State, at_ns: int, todo: list[Instruction]) -> None:
    """The node stops: what has not begun will not."""
    for lease in list(state.leases.values()):
        if lease.unbegun:
            endings.leave(state, lease, at_ns, endings.unrun(lease, at_ns, STOPPED), todo)


def begin_waiting(state: State, at_ns: int, todo: list[Instruction]) -> None:
    """A device may have become free: begin what waited for it."""
    waiting, state.waiting = state.waiting, []
    for key in waiting:
        lease = state.leases.get(key)
        if lease is not None and lease.desired and lease.stage in UNBEGUN:
            _advance(state, lease, at_ns, todo)


def _stop(lease: Lease, reason: str, todo: list[Instruction]) -> None:
    if not lease.stopping:
        lease.stopping = reason
        todo.append(Stop(lease.key, reason, lease.order.grace_s, lease.order.stop_signal))


def _wait(state: State, lease: Lease) -> None:
    if lease.key not in state.waiting:
        state.waiting.append(lease.key)


def _take_slot(state: State, lease: Lease) -> None:
    """Where it will write, unless it has a place already."""
    if lease.slot is not None:
        return
    if state.slots_free:
        lease.slot = state.slots_free.pop()
    else:
        lease.slot = state.slots
        state.slots += 1
    order = lease.order
    state.spools[lease.key] = Spool(
        slot=lease.slot,
        tenant=order.tenant,
        job_id=order.job_id,
        attempt=order.attempt,
        rank=order.rank,
    )
