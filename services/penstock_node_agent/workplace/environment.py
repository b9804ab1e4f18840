"""What does a job see in its environment?

The job's own variables over a minimal base, and Penstock's over both. It does not know how the
process is started.
"""

from __future__ import annotations

import os

from penstock_contracts.ids import traceparent
from penstock_contracts.leases import LeaseOrder

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def base_environment() -> dict[str, str]:
    """What every job of this agent gets; nothing of the agent's own settings or credentials."""
    return {
        "PATH": os.environ.get("PATH") or PATH,
        "HOME": os.environ.get("HOME") or "/",
        "LANG": os.environ.get("LANG") or "C.UTF-8",
    }


def job_environment(
    base: dict[str, str],
    key: str,
    order: LeaseOrder,
    *,
    node: str,
    visible_devices: str,
    visible_variable: str = "CUDA_VISIBLE_DEVICES",
) -> dict[str, str]:
    """`visible_devices`: the driver's name for the order's devices, empty for none, and the
    variable by which a job is shown them. Another user has a home of its own, which the reaper
    knows."""
    if order.user:
        base = {name: value for name, value in base.items() if name != "HOME"}
    env = {
        **base,
        **order.env,
        "PENSTOCK_JOB_ID": order.job_id,
        "PENSTOCK_TENANT": order.tenant,
        "PENSTOCK_ATTEMPT": str(order.attempt),
        "PENSTOCK_NODE": node,
        "PENSTOCK_LEASE": key,
        "RANK": str(order.rank),
        "WORLD_SIZE": str(order.ranks),
        "LOCAL_RANK": str(order.local_rank),
        visible_variable: visible_devices,
        "TRACEPARENT": traceparent(order.job_id, order.attempt, "execute"),
    }
    if order.rendezvous is not None:
        env["MASTER_ADDR"] = order.rendezvous.address
        env["MASTER_PORT"] = str(order.rendezvous.port)
    return env
