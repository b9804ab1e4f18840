"""When can a node take work, and what is said when it cannot?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock_contracts.nodes import ALIVE, SUSPECT, Device, NodeDescription, NodeView
from penstock_contracts.queries import DeviceUse, NodeUse
from penstock_mesh.fleet import Node
from penstock_mesh.readiness import find_obstacles


def a_node(name: str = "n1", devices: int | None = 1) -> Node:
    return Node(
        name=name, driver="x", devices=devices, directory=Path("/x"), port_first=1, port_last=2
    )


def seen(name: str = "n1", devices: int = 1, **changes: Any) -> NodeView:
    description = NodeDescription(
        node=name,
        boot_id="b",
        joined_ms=0,
        cpu_milli=1,
        memory_mib=1,
        devices=tuple(Device(uuid=f"d{i}", index=i, model="H100") for i in range(devices)),
    )
    fields: dict[str, Any] = {"liveness": ALIVE, "seen_age_ms": 10} | changes
    return NodeView(description=description, **fields)


def used(name: str = "n1", devices: int = 1, **changes: Any) -> NodeUse:
    fields: dict[str, Any] = {
        "schedulable": True,
        "liveness": ALIVE,
        "cordoned": False,
        "draining": False,
        "cpu_milli": 1,
        "cpu_milli_free": 1,
        "memory_mib": 1,
        "memory_mib_free": 1,
        "leases": 0,
    } | changes
    devices_used = tuple(
        DeviceUse(uuid=f"d{i}", model="H100", free_milli=1000, healthy=True) for i in range(devices)
    )
    return NodeUse(node=name, devices=devices_used, **fields)


def test_a_node_that_both_services_know_can_take_work() -> None:
    assert find_obstacles([a_node()], [seen(), seen("other")], [used()]) == []


@pytest.mark.parametrize("state", ["cordoned", "draining"])
def test_a_node_that_an_operator_took_out_does_not_hold_the_start_up(state: str) -> None:
    changes: dict[str, Any] = {"schedulable": False, state: True}
    use = used(**changes)
    assert find_obstacles([a_node()], [seen()], [use]) == []


@pytest.mark.parametrize(
    ("inventory", "scheduler", "why"),
    [
        (None, None, "inventory does not answer"),
        ([], None, "scheduler does not answer"),
        ([], [], "has not registered"),
        ([seen(liveness=SUSPECT)], [used()], "is not heard"),
        ([seen(seen_age_ms=None)], [used()], "is not heard"),
        ([seen(seen_age_ms=60_000)], [used()], "is not heard"),
        ([seen(devices=0)], [used()], "has not reported its devices"),
        ([seen()], [], "not known to the scheduler"),
        ([seen()], [used(liveness=SUSPECT)], "not known to the scheduler"),
        ([seen()], [used(devices=0)], "with other devices"),
        ([seen()], [used(schedulable=False)], "gets no work"),
    ],
)
def test_each_obstacle_is_named(
    inventory: list[NodeView] | None, scheduler: list[NodeUse] | None, why: str
) -> None:
    (obstacle,) = find_obstacles([a_node()], inventory, scheduler)
    assert why in obstacle


def test_what_is_said_before_the_start_is_done_never_contains_the_word() -> None:
    for inventory, scheduler in ((None, None), ([], None), ([], []), ([seen()], [])):
        assert "ready" not in " ".join(find_obstacles([a_node()], inventory, scheduler))
