"""Which orders and events do tests of the node agent give?

The only place where they are made. It does not know who takes them.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

from penstock_contracts.ids import ulid
from penstock_contracts.leases import RUN, LeaseOrder, NodeDesired
from penstock_contracts.nodes import Device
from penstock_node_agent.core.events import AgentStarted, Ended, Ordered, ReaperReady
from penstock_node_agent.core.machine import handle
from penstock_node_agent.core.state import State

_numbers = itertools.count(1)
BASE_MS = 1_700_000_000_000


def an_order(**changes: Any) -> LeaseOrder:
    """A single-rank job that runs `true`; every call is another job."""
    number = next(_numbers)
    values: dict[str, Any] = {
        "lease_seq": number,
        "job_id": ulid(BASE_MS + number, number),
        "tenant": "acme",
        "attempt": 1,
        "rank": 0,
        "phase": RUN,
        "granted_ns": BASE_MS * 1_000_000 + number,
        "command": ("true",),
    }
    return LeaseOrder(**{**values, **changes})


def a_shell_order(script: str, **changes: Any) -> LeaseOrder:
    """A job that runs a shell script, granted now."""
    changes.setdefault("granted_ns", time.time_ns())
    return an_order(command=("/bin/sh", "-c", script), **changes)


SECOND_NS = 1_000_000_000
DEVICES = tuple(Device(uuid=f"D{index}", index=index, model="H100") for index in range(4))


def started(*more: Device, boot_id: str = "B1", at_ns: int = 1, **changes: Any) -> AgentStarted:
    """An agent's start on a host with devices D0 to D3."""
    values: dict[str, Any] = {
        "wall_ms": BASE_MS,
        "cpu_milli": 64_000,
        "memory_mib": 1_000,
        "devices": DEVICES + more,
        "advertise_address": "10.0.0.1",
    }
    return AgentStarted(boot_id=boot_id, at_ns=at_ns, **{**values, **changes})


def a_node(*more: Device) -> State:
    """A node that is ready for orders."""
    state = State(node="n1")
    handle(state, started(*more))
    handle(state, ReaperReady(at_ns=2))
    return state


def ordered(*orders: LeaseOrder, as_of: int = 1, **changes: Any) -> Ordered:
    """A desired state that was accepted at 10 s."""
    desired = NodeDesired(as_of=as_of, leases=orders, **changes)
    return Ordered(at_ns=10 * SECOND_NS, desired=desired)


def an_end(order: LeaseOrder, *, at_ns: int, **changes: Any) -> Ended:
    """The reaper's word that the order's process has exited with 0 and left nothing."""
    values: dict[str, Any] = {"reason": "exited", "code": 0, "gone_ns": at_ns}
    return Ended(key=order.key, at_ns=at_ns, **{**values, **changes})
