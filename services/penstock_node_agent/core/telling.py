"""What is told of a lease?

Its reports, each kept until the scheduler drops the lease: what was acknowledged may still be lost
with the broker's disk, and is told again when the scheduler sends everything. It does not know what
happens to leases.
"""

from __future__ import annotations

from typing import Any

from penstock_contracts.leases import Exited, LeaseOrder, Preparing, Released, ReportItem
from penstock_node_agent.core.state import OVER, Lease, State

LOST = "lost"
FORGOTTEN = "its node has ended and forgotten it"


def tell(state: State, lease: Lease, *items: ReportItem) -> None:
    """The items leave with the next report."""
    state.reports.extend(items)
    lease.tale.extend(items)


def tell_preparing(state: State, lease: Lease) -> None:
    """Once, before anything else is told."""
    if not lease.told:
        lease.told = True
        tell(state, lease, Preparing(**step_of(lease, lease.axis_ms(lease.received_ns))))


def tell_again(state: State, key: str) -> None:
    """Somebody sends everything: what was told of this lease may have been lost after it was
    acknowledged."""
    lease = state.leases.get(key)
    if lease is not None and not any(item in lease.tale for item in state.reports):
        state.reports.extend(lease.tale)


def tell_forgotten(state: State, order: LeaseOrder, at_ns: int) -> None:
    """What was here and is over cannot be told in detail any more."""
    lease = Lease(key=order.key, order=order, received_ns=at_ns, stage=OVER)
    state.leases[lease.key] = lease
    state.current.setdefault(f"{order.job_id}/{order.rank}", lease.key)
    step = step_of(lease, lease.axis_ms(at_ns))
    tell(state, lease, Exited(**step, reason=LOST, message=FORGOTTEN), Released(**step))


def step_of(lease: Lease, at_ms: int) -> dict[str, Any]:
    """What every item about a lease says."""
    order = lease.order
    return {
        "job_id": order.job_id,
        "attempt": order.attempt,
        "rank": order.rank,
        "lease_seq": order.lease_seq,
        "at_ms": at_ms,
    }
