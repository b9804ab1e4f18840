"""What does the scheduler's state cost in memory and time, without anything around it?

The core alone: nodes of eight devices, jobs in line, ids remembered; how long a snapshot takes to
make and to read, a tick, a placement, a request that can never run. CPU time, so that it can be
measured beside other work. For the record: `python benchmarks/bench_scale_state.py --nodes 10000`.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure.report import emit

from penstock_contracts.ids import ulid
from penstock_contracts.jobs import JobSpec
from penstock_contracts.journal import JobSubmitted
from penstock_contracts.nodes import Device, NodeDescription, NodeRegistered
from penstock_inventory.core.fleet import Fleet
from penstock_inventory.core.presence import Presence
from penstock_runtime.rubbish import only_when_swept
from penstock_scheduler.core.events import JobsRequested, NodeChanged, Ticked
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.placing.placement import place
from penstock_scheduler.core.state import Shape, shape_of

DEVICES = 8
PER_NODE = 10
NOW_NS = 1_800_000_000_000_000_000
MIB = 2**20
REPEATS = 5
PAGE = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--queued", type=int, help="default: ten a node")
    parser.add_argument("--remembered", type=int, help="default: ten a node")
    arguments = parser.parse_args()
    queued = PER_NODE * arguments.nodes if arguments.queued is None else arguments.queued
    remembered = (
        PER_NODE * arguments.nodes if arguments.remembered is None else arguments.remembered
    )
    with only_when_swept():
        measure_scheduler(arguments.nodes, queued, remembered)
        measure_inventory(arguments.nodes)


def measure_scheduler(nodes: int, queued: int, remembered: int) -> None:
    core = SchedulerCore()
    memory = {}
    memory["node_bytes"] = grown(lambda: add_nodes(core, nodes), nodes)
    memory["queued_job_bytes"] = grown(lambda: add_jobs(core, queued), queued)
    memory["remembered_id_bytes"] = grown(lambda: remember(core, remembered), remembered)
    data = core.snapshot()
    silence = dict.fromkeys(core.state.nodes, 0)
    later_ns = NOW_NS + 10_000_000_000
    one, gang = a_shape(gpus=1), a_shape(gpus=8, ranks=min(8, nodes))
    hopeless = [a_job(1_000_000 + i, gpus=9, memory_mib=i) for i in range(1_000)]
    emit(
        bench="scale_state",
        service="scheduler",
        nodes=nodes,
        queued=queued,
        remembered=remembered,
        memory=memory,
        snapshot_bytes=len(data),
        snapshot_ms=cpu_ms(core.snapshot),
        restore_ms=cpu_ms(lambda: SchedulerCore().restore(data)),
        tick_ms=cpu_ms(lambda: core.decide(Ticked(silence, 1), later_ns, 2)),
        place_one_ms=cpu_ms(lambda: place(one, core.state.nodes, core.state.capacity)),
        place_gang_ms=cpu_ms(lambda: place(gang, core.state.nodes, core.state.capacity)),
        thousand_impossible_jobs_ms=cpu_ms(
            lambda: core.decide(JobsRequested("t", 1, tuple(hopeless)), later_ns, 2), 1
        ),
    )


def measure_inventory(nodes: int) -> None:
    fleet, presence = Fleet(), Presence(suspect_after_ms=3_000, lost_after_ms=10_000)
    for number in range(nodes):
        fleet.apply(NodeRegistered(a_node(number)), 1, NOW_NS)
    presence.match(fleet.nodes, 0)
    names = list(fleet.nodes)
    data = fleet.snapshot()
    emit(
        bench="scale_state",
        service="inventory",
        nodes=nodes,
        snapshot_bytes=len(data),
        snapshot_ms=cpu_ms(fleet.snapshot),
        restore_ms=cpu_ms(lambda: Fleet().restore(data)),
        judge_ms=cpu_ms(lambda: presence.judge(fleet.nodes, 1_000_000_000)),
        hear_all_ms=cpu_ms(lambda: [presence.hear(name, 1) for name in names]),
    )


def add_nodes(core: SchedulerCore, count: int) -> None:
    for number in range(count):
        for fact in core.decide(NodeChanged(NodeRegistered(a_node(number))), NOW_NS, 1):
            core.apply(fact, 1, NOW_NS)


def add_jobs(core: SchedulerCore, count: int) -> None:
    """Nothing settles here, so they wait."""
    for number in range(count):
        spec = a_job(number, gpus=1, gpu_models=("H100",))
        core.apply(JobSubmitted("tenant", number, f"{number:032x}", spec), 2, NOW_NS)


def remember(core: SchedulerCore, count: int) -> None:
    draw = random.Random(1)
    for _ in range(count):
        core.state.remembered[ulid(NOW_NS // 1_000_000, draw.getrandbits(80))] = (
            f"{draw.getrandbits(128):032x}"
        )


def a_node(number: int) -> NodeDescription:
    name = f"n{number:05d}"
    devices = tuple(
        Device(uuid=f"GPU-{name}-{index:04d}-0000-000000000000", index=index, model="H100",
               memory_mib=81_920, numa_node=index // 4, link_domain=f"{name}-0")
        for index in range(DEVICES)
    )  # fmt: skip
    return NodeDescription(
        node=name,
        boot_id="00000000-0000-4000-8000-000000000000",
        joined_ms=NOW_NS // 1_000_000,
        cpu_milli=64_000,
        memory_mib=512_000,
        devices=devices,
    )


def a_job(number: int, **fields: Any) -> JobSpec:
    return JobSpec(job_id=ulid(NOW_NS // 1_000_000, number), command=("python", "x.py"), **fields)


def a_shape(**fields: Any) -> Shape:
    return shape_of(a_job(0, **fields))


def cpu_ms(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """The shortest CPU time of some runs."""
    took = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        took.append((time.process_time() - began) * 1e3)
    return round(min(took), 3)


def grown(work: Callable[[], object], count: int) -> int:
    """Resident bytes each of `count` things takes up."""
    gc.collect()
    before = resident_bytes()
    work()
    return round((resident_bytes() - before) / max(1, count))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * PAGE


if __name__ == "__main__":
    main()
