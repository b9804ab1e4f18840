"""Was each fault of a device seen for what it was, and no other device blamed?

Lays what the devices really had beside what ran on them, what their nodes said of them and how
attempts are said to have ended. It does not ask who held a device, nor what was billed for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_contracts.nodes import NodeRegistered
from tests.checkers.history import DeviceFault, Fault, History, Run, Violation
from tests.checkers.leases import Lease, fold_journal

MEMORY_HELD = "memory_held"
DEVICE_FAILED = "device_failed"
RELEASE_CHECK = "release_check"
SECOND_NS = 1_000_000_000
TOLD_NS_MAX = 20 * SECOND_NS
"""What the driver tells ends work at once; work takes its grace to end."""
SEEN_NS_MAX = 360 * SECOND_NS
"""What is only seen, when somebody looks next."""
WELL_NS_MAX = 600 * SECOND_NS
"""So long a device that is well again may be called sick."""
LATER = ("agent killed", "reaper killed")
"""They strike some steps later, at the latest after:"""
LATER_NS_MAX = 1_800 * SECOND_NS
SETTLED_NS = 60 * SECOND_NS
"""After a disturbance."""

Faults = dict[tuple[str, str], list[DeviceFault]]
"""By node and device."""


def check_devices(history: History) -> list[Violation]:
    """Every fault that was overlooked, made up or blamed on others."""
    faults: Faults = defaultdict(list)
    for fault in history.device_faults:
        faults[fault.node, fault.device].append(fault)
    found = _made_up(history, faults)
    for run in history.runs:
        found += _began_on_held_memory(run, faults)
        found += _went_on(history, run, faults)
    if not history.lossy_broker:
        found += _wrong_ends(history, faults)
    return found


def _made_up(history: History, faults: Faults) -> list[Violation]:
    found = []
    for seen in history.nodes_entries:
        for fact in seen.entry.facts:
            if not isinstance(fact, NodeRegistered):
                continue
            node = fact.description.node
            for device in fact.description.devices:
                had = faults.get((node, device.uuid), ())
                if not device.healthy and not any(f.began_ns <= seen.at_ns for f in had):
                    what = f"is called unhealthy ({device.health_code}), but has had no fault"
                    found.append(_of(node, device.uuid, "fault_made_up", what, seen.at_ns))
    return found


def _began_on_held_memory(run: Run, faults: Faults) -> list[Violation]:
    """Shares of a device are not looked at one by one."""
    if run.gpu_milli < GPU_MILLI_WHOLE:
        return []
    return [
        _of(
            run.node, device, "began_on_held_memory",
            f"had memory held by {fault.holder} when {run.job_id} began on it",
            run.began_ns, run.job_id,
        )
        for device in run.devices
        for fault in _held(faults, run.node, device, run.began_ns)
    ]  # fmt: skip


def _held(faults: Faults, node: str, device: str, at_ns: int) -> list[DeviceFault]:
    """Memory that is held there, on a device that can still be asked for it."""
    had = [f for f in faults.get((node, device), ()) if _lasts(f, at_ns)]
    if any(fault.kind != MEMORY_HELD for fault in had):
        return []
    return had


def _went_on(history: History, run: Run, faults: Faults) -> list[Violation]:
    """Work on a device that has failed is ended soon, by whoever is not disturbed in that."""
    found = []
    for fault in _of_run(run, faults):
        limit_ns = fault.began_ns + (TOLD_NS_MAX if fault.told else SEEN_NS_MAX)
        ends_ns = [run.ended_ns, None if fault.told else fault.ended_ns]
        went_on = all(end_ns is None or end_ns > limit_ns for end_ns in ends_ns)
        if went_on and _undisturbed(history, run, fault.began_ns, limit_ns):
            what = f"failed ({fault.kind}), and {run.job_id} went on on it"
            found.append(
                _of(run.node, fault.device, "fault_overlooked", what, fault.began_ns, run.job_id)
            )
    return found


def _of_run(run: Run, faults: Faults) -> Iterable[DeviceFault]:
    """What befell its devices while it ran."""
    for device in run.devices:
        for fault in faults.get((run.node, device), ()):
            begun = run.ended_ns is None or fault.began_ns < run.ended_ns
            if fault.kind != MEMORY_HELD and begun and run.began_ns <= fault.began_ns:
                yield fault


def _wrong_ends(history: History, faults: Faults) -> list[Violation]:
    journaled = fold_journal(history)
    runs = {(run.job_id, run.attempt, run.rank): run for run in history.runs}
    found = []
    for key, lease in journaled.leases.items():
        run = runs.get(key)
        found += _released_while_held(lease, run, faults)
        told = lease.exited
        if told is None:
            continue
        if told.reason == DEVICE_FAILED:
            found += _blamed(lease, faults)
        elif run is not None and run.ended_by == "device" and run.waited:
            found += _not_blamed(history, lease, run, faults)
    return found


def _released_while_held(lease: Lease, run: Run | None, faults: Faults) -> list[Violation]:
    at_ns = lease.released_ns
    if at_ns is None or lease.evidence != RELEASE_CHECK or run is None:
        return []
    if run.gpu_milli < GPU_MILLI_WHOLE:
        return []
    return [
        _of(
            run.node, device, "released_while_held",
            f"was released while memory of {run.job_id} was still held there", at_ns, run.job_id,
        )
        for device in run.devices
        for fault in _held(faults, run.node, device, at_ns)
        if fault.holder == (run.job_id, run.attempt, run.rank)
    ]  # fmt: skip


def _blamed(lease: Lease, faults: Faults) -> list[Violation]:
    """An attempt may end for a device only that has, or has had, a fault; and says which."""
    at_ns = lease.exited_ns or 0
    had = [
        fault
        for device in lease.devices
        for fault in faults.get((lease.node, device), ())
        if fault.began_ns <= at_ns
        and (fault.ended_ns is None or fault.ended_ns + WELL_NS_MAX >= lease.granted_ns)
    ]
    message = lease.exited.message if lease.exited is not None else ""
    if not had:
        code, what = "device_blamed", f"is blamed for the end of {lease.job_id}, but had no fault"
    elif not any(fault.device in message for fault in had):
        code, what = "device_unnamed", f"failed, but the end of {lease.job_id} says {message!r}"
    else:
        return []
    device = had[0].device if had else ",".join(lease.devices)
    return [_of(lease.node, device, code, what, at_ns, lease.job_id)]


def _not_blamed(history: History, lease: Lease, run: Run, faults: Faults) -> list[Violation]:
    """What crashed because its device failed is not to blame, if its node could know."""
    ended_ns = run.ended_ns or 0
    for fault in _of_run(run, faults):
        if fault.told and _undisturbed(history, run, fault.began_ns, ended_ns + SECOND_NS):
            reason = lease.exited.reason if lease.exited is not None else ""
            what = f"failed ({fault.kind}); the end of {run.job_id} is called {reason}"
            return [_of(run.node, fault.device, "device_not_blamed", what, ended_ns, run.job_id)]
    return []


def _undisturbed(history: History, run: Run, begin_ns: int, end_ns: int) -> bool:
    """Whether nothing befell the node that could keep its agent and reaper from acting."""
    return run.waited and not any(
        _disturbs(fault, begin_ns, end_ns) for fault in history.faults if fault.node == run.node
    )


def _disturbs(fault: Fault, begin_ns: int, end_ns: int) -> bool:
    if not fault.kind.startswith(("agent", "reaper", "host")) or fault.at_ns > end_ns:
        return False
    until_ns = fault.at_ns if fault.until_ns is None else fault.until_ns
    if fault.kind in LATER:
        until_ns += LATER_NS_MAX
    return until_ns + SETTLED_NS >= begin_ns


def _lasts(fault: DeviceFault, at_ns: int) -> bool:
    return fault.began_ns <= at_ns and (fault.ended_ns is None or at_ns < fault.ended_ns)


def _of(
    node: str, device: str, code: str, what: str, at_ns: int, job_id: str | None = None
) -> Violation:
    return Violation(
        code=code,
        sentence=f"device {device} of {node} {what}",
        job_id=job_id,
        node=node,
        device=device,
        at_ns=at_ns,
    )
