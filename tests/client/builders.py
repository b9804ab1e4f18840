"""How are the objects of client tests made? The only place where they are."""

from __future__ import annotations

import itertools
from typing import Any

from penstock_contracts.ids import ulid
from penstock_contracts.jobs import JobSpec
from penstock_contracts.nodes import Device, NodeDescription, NodeView
from penstock_contracts.queries import (
    DeviceUse,
    InventoryAudit,
    JobView,
    MeteringAudit,
    NodeUse,
    SchedulerAudit,
)

NOW_MS = 1_800_000_000_000
_numbers = itertools.count(1)


def a_job_id() -> str:
    return ulid(NOW_MS, next(_numbers))


def a_spec(**changes: Any) -> JobSpec:
    return JobSpec(**{"job_id": a_job_id(), "command": ("true",), **changes})


def a_view(**changes: Any) -> JobView:
    values: dict[str, Any] = {
        "job_id": a_job_id(),
        "tenant": "acme",
        "state": "running",
        "attempt": 1,
        "submitted_ms": NOW_MS,
    }
    values |= changes
    values.setdefault("spec", a_spec(job_id=values["job_id"]))
    return JobView(**values)


def a_node_view(name: str = "node-a", **changes: Any) -> NodeView:
    description = NodeDescription(
        node=name,
        boot_id="boot-1",
        joined_ms=NOW_MS,
        cpu_milli=16_000,
        memory_mib=131_072,
        devices=(Device(uuid=f"GPU-{name}-0", index=0, model="H100", memory_mib=81_559),),
    )
    return NodeView(**{"description": description, "liveness": "alive", **changes})


def a_node_use(name: str = "node-a", **changes: Any) -> NodeUse:
    values: dict[str, Any] = {
        "node": name,
        "schedulable": True,
        "liveness": "alive",
        "cordoned": False,
        "draining": False,
        "cpu_milli": 16_000,
        "cpu_milli_free": 15_900,
        "memory_mib": 131_072,
        "memory_mib_free": 131_000,
        "devices": (DeviceUse(f"GPU-{name}-0", "H100", 500, True),),
        "leases": 1,
    }
    return NodeUse(**{**values, **changes})


def a_scheduler_audit(**changes: Any) -> SchedulerAudit:
    values: dict[str, Any] = {
        "seq": 40,
        "nodes_seq": 6,
        "accepted": 3,
        "live": 1,
        "finished": {"succeeded": 2},
        "leases": 1,
        "findings": (),
    }
    return SchedulerAudit(**{**values, **changes})


def an_inventory_audit(**changes: Any) -> InventoryAudit:
    return InventoryAudit(**{"seq": 7, "nodes": 1, "devices": 1, "findings": (), **changes})


def a_metering_audit(**changes: Any) -> MeteringAudit:
    values: dict[str, Any] = {
        "jobs_seq": 40,
        "nodes_seq": 7,
        "watermark_ms": NOW_MS,
        "accepted": 3,
        "finished": {"succeeded": 2},
        "unaccounted_ms": 0,
        "device_milli_ms": {"sold_used": 600, "free": 400},
        "capacity_milli_ms": 1000,
        "silent": (),
        "findings": (),
    }
    return MeteringAudit(**{**values, **changes})
