"""What is the reaper told of an attempt beyond its command: limits, a user of its own, paid time?

Only what an order asks for: a plain one adds nothing. It does not know how the reaper does it.
"""

from __future__ import annotations

from typing import Any

from penstock_contracts.leases import LeaseOrder


def limits_of(order: LeaseOrder) -> dict[str, Any]:
    """`cpu_milli` is a share, and goes with the limits that need a group of their own."""
    limits: dict[str, Any] = {}
    if order.memory_limit_mib is not None:
        limits["memory_mib"] = order.memory_limit_mib
    if order.pids_max is not None:
        limits["pids_max"] = order.pids_max
    if limits or order.container is not None:
        limits["cpu_milli"] = order.cpu_milli
    if order.paid_ms is not None:
        limits["paid_ms"] = order.paid_ms
    if order.user:
        limits["user"] = order.user
    if order.rlimits:
        limits["rlimits"] = order.rlimits
    if order.private_tmp:
        limits["private_tmp"] = True
    return limits
