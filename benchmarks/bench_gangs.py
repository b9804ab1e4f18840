"""How fast is a gang placed on ten thousand nodes?

Gangs with every kind of wish on half-full nodes of eight devices, in racks of twenty; the first of
each kind and the best of several; and how long it takes to say whether one could ever run. All in
CPU time, so that what else the machine does is no matter. For the record: `python
benchmarks/bench_gangs.py`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from measure.report import emit, say

from penstock_contracts.ids import ulid
from penstock_contracts.jobs import JobSpec
from penstock_contracts.journal import NodeImaged
from penstock_scheduler.core.placing.capacity import Capacity
from penstock_scheduler.core.placing.placement import fits_when_empty, place
from penstock_scheduler.core.state import Node, new_node, shape_of

NODES = 10_000
DEVICES = 8
NODES_PER_RACK = 20
RACKS_PER_SITE = 50
NODES_PER_LINK = 10
TIMES = 7
GANGS: tuple[dict[str, Any], ...] = (
    {"ranks": 8, "gpus": 2},
    {"ranks": 64, "gpus": 4},
    {"ranks": 8, "gpus": 1, "gpu_milli": 300},
    {"ranks": 16, "gpus": 2, "near": "rack", "near_required": True},
    {"ranks": 100, "gpus": 8, "near": "site"},
    {"ranks": 16, "gpus": 1, "near": "link"},
    {"ranks": 4, "gpus": 1, "near": "link", "spread": "node"},
    {"ranks": 64, "gpus": 1, "spread": "rack"},
    {"ranks": 8, "gpus": 2, "node_labels": {"zone": "a"}},
    {"ranks": 8, "gpus": 2, "apart": "x"},
    {"ranks": 4_096, "gpus": 1},
    {"ranks": 8_000, "cpu_milli": 100},
)


def main() -> None:
    say(f"{NODES} nodes with {DEVICES} devices, half of these free")
    draws = random.Random(1)
    nodes: dict[str, Node] = {}
    capacity = Capacity()
    for number in range(NODES):
        node = a_node(number, draws)
        nodes[node.image.node] = node
        capacity.update(node.image.node, node)
    _, packer_ms = timed(lambda: capacity.packer)
    _, topology_ms = timed(capacity.topology.empty)
    emit(nodes=NODES, packer_ms=round(packer_ms, 1), topology_ms=round(topology_ms, 1))
    for fields in GANGS:
        shape = shape_of(JobSpec(job_id=ulid(1, 1), command=("true",), **fields))
        placed = [timed(place, shape, nodes, capacity) for _ in range(TIMES)]
        _, ever_ms = timed(fits_when_empty, shape, capacity)
        found = placed[0][0]
        emit(
            gang=fields,
            nodes=0 if found is None else len({one.node for one in found.ranks}),
            first_ms=round(placed[0][1], 2),
            best_ms=round(min(ms for _, ms in placed), 2),
            could_ever_ms=round(ever_ms, 2),
        )


def a_node(number: int, draws: random.Random) -> Node:
    rack, name = number // NODES_PER_RACK, f"node-{number:05}"
    link = f"wide-{number // NODES_PER_LINK}" if number % 2 else name
    labels = {"rack": f"r{rack}", "site": f"s{rack // RACKS_PER_SITE}", "zone": "ab"[number % 2]}
    image = NodeImaged(
        node=name,
        boot_id="boot",
        cpu_milli=128_000,
        memory_mib=512_000,
        devices=tuple((f"{name}-{index}", "H100", 81_559) for index in range(DEVICES)),
        labels=labels,
        links=(link,) * DEVICES,
    )
    node = new_node(image)
    node.free = [draws.choice([0, 0, 300, 1000]) for _ in range(DEVICES)]
    node.cpu_free = draws.choice([500, 16_000, 64_000])
    return node


def timed(work: Callable[..., Any], *what: object) -> tuple[Any, float]:
    began = time.process_time()
    found = work(*what)
    return found, (time.process_time() - began) * 1000


if __name__ == "__main__":
    main()
