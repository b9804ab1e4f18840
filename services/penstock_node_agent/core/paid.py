"""For how much running time of a lease is paid, as far as its host knows?

The reaper keeps to it, with or without anybody else; here it only ever grows. It does not know
prices, nor what becomes of work whose time is used up.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.bounds import BIGINT_MAX
from penstock_contracts.leases import LeaseOrder
from penstock_contracts.work import PAID_TIME
from penstock_node_agent.core.instructions import Extend, Instruction
from penstock_node_agent.core.state import RUNNING, SPAWNING, Lease, State

UNBOUNDED = BIGINT_MAX
"""What had a bound has none any more."""


def refusal_of(state: State, order: LeaseOrder) -> tuple[str, str] | None:
    """Why an order with a bound is not taken: a reaper that outlived an upgrade may know of
    none."""
    if order.paid_ms is None or PAID_TIME in state.reaper_offers:
        return None
    return "no_paid_time", "this node's reaper is of a version that bounds no running time"


def grown(held: LeaseOrder, order: LeaseOrder) -> LeaseOrder:
    """The newer order, with the more generous of the two bounds."""
    if held.paid_ms is None or order.paid_ms is None:
        paid_ms = None if held.paid_ms is None else UNBOUNDED
    else:
        paid_ms = max(held.paid_ms, order.paid_ms)
    return msgspec.structs.replace(order, paid_ms=paid_ms)


def extend(lease: Lease, todo: list[Instruction]) -> None:
    """Have the reaper know what the lease knows."""
    if lease.stage in (SPAWNING, RUNNING) and lease.order.paid_ms is not None:
        todo.append(Extend(lease.key, lease.order.paid_ms))
