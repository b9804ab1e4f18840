"""May a lease begin now?

The scheduler grants a device only when its release is proven. Should it ever be wrong (its journal
was cut, an operator vouched too early), the host itself starts nothing on a device before what was
there is gone. Nor does it start what the scheduler may have given up: an order with a
`disconnect_s` that has lain unread for so long, be it in the socket of a host that slept, waits for
another, which says that it still stands. It does not know why an order came.
"""

from __future__ import annotations

from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_node_agent.core.state import ENDED, FINISHING, RUNNING, SPAWNING, Lease, State

SECOND_NS = 1_000_000_000
BUSY = (SPAWNING, RUNNING, ENDED, FINISHING)


def must_wait(state: State, lease: Lease, at_ns: int) -> bool:
    """Until a device is released, or an order comes that is fresh."""
    return is_taken(state, lease) or is_overdue(lease, at_ns)


def is_overdue(lease: Lease, at_ns: int) -> bool:
    """Whether contact, as the last order knew it, is lost for longer than work may go on: then the
    reaper would refuse it."""
    order = lease.order
    if order.disconnect_s is None:
        return False
    disconnect_ns = order.disconnect_s * SECOND_NS
    lead_ns = disconnect_ns - min(order.grace_s * SECOND_NS, disconnect_ns // 2)
    return at_ns >= lease.contact_ns + lead_ns


def is_taken(state: State, lease: Lease) -> bool:
    """Whether a device of the lease has no room for it now, counted from what is on this host."""
    order = lease.order
    for uuid in order.devices:
        used = sum(
            other.order.gpu_milli
            for other in state.leases.values()
            if other.stage in BUSY and uuid in other.order.devices
        )
        if used + order.gpu_milli > GPU_MILLI_WHOLE:
            return True
    return False
