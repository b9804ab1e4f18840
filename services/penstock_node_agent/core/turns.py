"""Whose turn is it on a device?

The scheduler grants a device only when its release is proven. Should it ever be wrong (its journal
was cut, an operator vouched too early), the host itself starts nothing on a device before what was
there is gone. It does not know why an order came.
"""

from __future__ import annotations

from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_node_agent.core.state import ENDED, RUNNING, SPAWNING, Lease, State


def is_taken(state: State, lease: Lease) -> bool:
    """Whether a device of the lease has no room for it now, counted from what is on this host."""
    order = lease.order
    for uuid in order.devices:
        used = sum(
            other.order.gpu_milli
            for other in state.leases.values()
            if other.stage in (SPAWNING, RUNNING, ENDED) and uuid in other.order.devices
        )
        if used + order.gpu_milli > GPU_MILLI_WHOLE:
            return True
    return False
