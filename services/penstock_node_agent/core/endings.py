"""How does a lease come to its end on a node?

What ran: ended → [finishing] → over, by the reaper's stamps. What never began: over at once, or
when what was made for it is taken away. An end is told when its outputs are stored, a release when
nothing is left. Only the machine and `attempts` call these. It does not know why it ends.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.bounds import cut
from penstock_contracts.leases import Declined, Exited, LeaseOrder, Released
from penstock_node_agent.core.devices import fault_of
from penstock_node_agent.core.events import Ended, Finished
from penstock_node_agent.core.instructions import Clear, Finish, Instruction, Ship
from penstock_node_agent.core.state import (
    ENDED,
    FINISHING,
    OVER,
    RUNNING,
    SPAWNING,
    Lease,
    State,
)
from penstock_node_agent.core.telling import LOST, step_of, tell, tell_preparing
from penstock_node_agent.core.usage import close_segment

DEVICE_FAILED = "device_failed"
OUTPUT_FAILED = "output_failed"
NOT_STORED = "its host went down before its outputs were stored"


def is_attended(state: State, order: LeaseOrder) -> bool:
    """Whether anything is to be done for the lease before it begins and after it has ended."""
    return bool(
        order.inputs
        or order.outputs
        or order.secrets
        or order.container is not None
        or (state.checks and order.devices)
    )


def ended(state: State, lease: Lease, event: Ended) -> None:
    """The reaper's stamp ends the running time. Of an attempt whose end nobody saw only what is
    known is counted."""
    lease.stage, lease.gone_ns = ENDED, event.gone_ns
    at_ms = max(lease.axis_ms(event.at_ns), lease.open_ms)
    seen = event.code is not None or event.signal is not None
    if lease.began_ms is not None and (seen or event.reason != LOST):
        close_segment(state, lease, at_ms, last=True)
    tell_preparing(state, lease)
    reason, message = _cause(state, lease, event)
    out_bytes, err_bytes = event.out_bytes, event.err_bytes
    spool = state.spools.get(lease.key)
    if spool is not None:
        if event.reason != LOST:
            out_bytes = spool.length("stdout", out_bytes)
            err_bytes = spool.length("stderr", err_bytes)
        spool.out_final, spool.err_final = out_bytes, err_bytes
        spool.lost |= event.gone_ns is None  # what is left of it may write more
    item = Exited(
        **step_of(lease, at_ms),
        reason=reason,
        exit_code=event.code,
        signal=event.signal,
        started_ms=lease.began_ms,
        message=cut(message),
        log_bytes={"stdout": out_bytes, "stderr": err_bytes},
        segments=lease.segments,
    )
    if lease.order.outputs and lease.began_ms is not None:
        lease.untold = item
    else:
        tell(state, lease, item)


def _cause(state: State, lease: Lease, event: Ended) -> tuple[str, str]:
    """Why it ended, and what is said of it. What fails on a device that has failed was not at
    fault, whichever of the two was noticed first; what fails after an error of its device that is
    no fault of the device is told of it."""
    reason, message = event.reason, event.message
    failed = reason in ("exited", "signalled") and event.code != 0
    if not failed and reason != DEVICE_FAILED:  # asked to end, it may have ended well
        return reason, message
    fault = fault_of(state.devices, lease.order.devices, at_work=True)
    if fault is not None:
        return DEVICE_FAILED, message or fault[1]
    return reason, message or lease.fault


def finish(state: State, lease: Lease, todo: list[Instruction]) -> None:
    """Its process is gone: what is to be done after it begins."""
    if lease.stage == ENDED and is_attended(state, lease.order):
        lease.stage = FINISHING
        todo.append(Finish(lease.key))


def gone(state: State, lease: Lease, at_ns: int, todo: list[Instruction]) -> None:
    """Nothing of its processes is left."""
    if lease.stage == ENDED:
        lease.gone_ns = at_ns
        close(state, lease, at_ns, todo)
    elif lease.stage == FINISHING and lease.gone_ns is None:
        lease.gone_ns = at_ns
        todo.append(Finish(lease.key))


def finished(state: State, lease: Lease, event: Finished, todo: list[Instruction]) -> None:
    """Its outputs are stored. It is over once its processes are gone and its devices free."""
    if lease.stage != FINISHING:
        return
    end = lease.untold
    if isinstance(end, Exited) and lease.began_ms is not None:
        end = msgspec.structs.replace(end, outputs=event.outputs)
        lease.untold = _failed(end, event.message) if event.code else end
        _tell_end(state, lease)
    if lease.gone_ns is not None and not event.held:
        close(state, lease, event.at_ns, todo)


def close(state: State, lease: Lease, at_ns: int, todo: list[Instruction]) -> None:
    """Nothing of it is here any more. Only what was told to have ended is told to be released."""
    at_ms = max(lease.axis_ms(at_ns), lease.open_ms)
    lease.stage = OVER
    _tell_end(state, lease)
    if any(isinstance(item, Exited) for item in lease.tale):
        tell(state, lease, Released(**step_of(lease, at_ms)))
    if not free_spool(state, lease.key, todo):
        todo.append(Ship(lease.key))
    forget(state, lease)


def leave(
    state: State,
    lease: Lease,
    at_ns: int,
    end: Exited | Declined | None,
    todo: list[Instruction],
) -> None:
    """What has not begun never will. `end` is told when nothing of it is left; None: nobody asks
    any more."""
    lease.untold = end
    spool = state.spools.get(lease.key)
    if spool is None:
        close(state, lease, at_ns, todo)
        return
    lease.stage, lease.gone_ns, lease.unready = FINISHING, at_ns, False
    spool.out_final = spool.err_final = 0
    todo.append(Finish(lease.key))


def unrun(lease: Lease, at_ns: int, reason: str, message: str = "") -> Exited:
    """The end of what has not begun."""
    return Exited(**step_of(lease, lease.axis_ms(at_ns)), reason=reason, message=cut(message))


def declined(lease: Lease, at_ns: int, code: str, message: str) -> Declined:
    """The node cannot take it."""
    return Declined(**step_of(lease, lease.axis_ms(at_ns)), code=code, message=cut(message))


def end_unspawned(state: State, lease: Lease, at_ns: int, todo: list[Instruction]) -> None:
    """It was stopped before the reaper had heard of it."""
    event = Ended(at_ns=at_ns, key=lease.key, reason=lease.stopping, gone_ns=at_ns)
    ended(state, lease, event)
    finish(state, lease, todo)
    gone(state, lease, at_ns, todo)


def lose(state: State, lease: Lease, todo: list[Instruction]) -> None:
    """The reaper of this boot does not know it any more, and nothing of it runs."""
    if lease.stage == RUNNING:
        _lose_end(state, lease, None)
        finish(state, lease, todo)
    gone(state, lease, _known_ns(lease), todo)


def lose_with_boot(
    state: State, lease: Lease, todo: list[Instruction], spool_bytes: tuple[int, int] | None
) -> None:
    """The host has booted again: nothing of it is here, and nobody can know any more how it ended.
    Instants are the last known ones."""
    if lease.stage == OVER:
        return
    if lease.stage in (SPAWNING, RUNNING):
        _lose_end(state, lease, spool_bytes)
    elif lease.unbegun:
        lease.untold = unrun(lease, _known_ns(lease), LOST)
        spool = state.spools.get(lease.key)
        if spool is not None:
            spool.out_final = spool.err_final = 0
    elif isinstance(lease.untold, Exited) and any(one.required for one in lease.order.outputs):
        lease.untold = _failed(lease.untold, NOT_STORED)
    close(state, lease, _known_ns(lease), todo)


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


def forget(state: State, lease: Lease) -> None:
    """An ended lease stays, so that a repeated order is known, until the scheduler drops it."""
    key = lease.key
    if lease.desired or lease.stage != OVER:
        return
    del state.leases[key]
    who = f"{lease.order.job_id}/{lease.order.rank}"
    if state.current.get(who) == key:
        del state.current[who]


def _tell_end(state: State, lease: Lease) -> None:
    if lease.untold is not None:
        tell(state, lease, lease.untold)
        lease.untold = None


def _failed(end: Exited, message: str) -> Exited:
    """An attempt that went well has failed without its outputs; one that failed has failed."""
    if end.reason != "exited" or end.exit_code != 0:
        return end
    return msgspec.structs.replace(end, reason=OUTPUT_FAILED, message=cut(message))


def _lose_end(state: State, lease: Lease, spool_bytes: tuple[int, int] | None) -> None:
    spool = state.spools[lease.key]
    spool.lost = True
    out, err = spool_bytes or (spool.out, spool.err)
    end = Ended(
        at_ns=_known_ns(lease),
        key=lease.key,
        reason=LOST,
        out_bytes=max(out, spool.out),
        err_bytes=max(err, spool.err),
        gone_ns=_known_ns(lease),
    )
    ended(state, lease, end)


def _known_ns(lease: Lease) -> int:
    """The last instant that is known of it."""
    return lease.boot_ns(max(lease.open_ms, lease.order.granted_ns // 1_000_000))
