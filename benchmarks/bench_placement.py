"""How fast does the placement core decide?

Decisions a second on a fleet of OpenB's size and on 10,000 nodes with 8 devices each, filled to the
brim; the time for a shape never seen before on the full fleet; what a new workload costs; and how
long a process needs from its start to its first decision. For the record: `python
benchmarks/bench_placement.py`.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from collections.abc import Sequence

from measure.report import emit, say

from penstock_scheduler.core.packing.fleet import empty_node
from penstock_scheduler.core.packing.packer import Packer
from penstock_scheduler.core.packing.policies import DEFAULT, POLICIES
from penstock_scheduler.core.packing.shapes import PackShape
from penstock_scheduler.core.packing.workload import count_shapes, workload_of

SEED = 1
FLEETS = ((1_213, 5), (10_000, 8))
"""(nodes, devices a node)."""
SHARES = (810, 470, 320, 650, 230, 460, 590, 160, 550, 220, 370)
SHAPES = 90
INFLATE = 1.3
UNSEEN = 50
STARTS = 5
FIRST_DECISION = """
from penstock_scheduler.core.packing.fleet import empty_node
from penstock_scheduler.core.packing.packer import Packer
from penstock_scheduler.core.packing.shapes import PackShape
from penstock_scheduler.core.packing.workload import count_shapes, workload_of
shape = PackShape(1000, 1000, 1, 500)
packer = Packer(workload=workload_of(count_shapes([shape]), {"A": 80_000}))
for number in range(10_000):
    packer.put(f"node-{number:05}", empty_node(96_000, 400_000, [("A", 80_000)] * 8))
packer.take(packer.choose(shape), shape)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", choices=list(POLICIES), default=DEFAULT.name)
    policy = parser.parse_args().policy
    for nodes, devices in FLEETS:
        measure(policy, nodes, devices)
    measure_start()


def measure(policy: str, nodes: int, devices: int) -> None:
    say(f"{policy}: {nodes} nodes with {devices} devices")
    draws = random.Random(SEED)
    shapes, weights = some_shapes(draws)
    capacity = nodes * devices * 1000
    known = draws.choices(shapes, weights, k=10_000)
    packer = Packer(
        POLICIES[policy], workload_of(count_shapes(known), {"A": capacity // 1000}), seed=SEED
    )
    for number in range(nodes):
        packer.put(
            f"node-{number:05}", empty_node(12_000 * devices, 10**6, [("A", None)] * devices)
        )
    order = []
    asked = 0
    while asked < INFLATE * capacity:
        order += draws.choices(shapes, weights, k=1_000)
        asked += sum(shape.asked_milli for shape in order[-1_000:])
    packer.choose(order[0])
    begun_s = time.perf_counter()
    placed = 0
    for shape in order:
        choice = packer.choose(shape)
        if choice is not None:
            packer.take(choice, shape)
            placed += 1
    spent_s = time.perf_counter() - begun_s
    emit(
        bench="placement",
        what="decisions",
        policy=policy,
        nodes=nodes,
        devices=nodes * devices,
        decisions=len(order),
        placed=placed,
        decisions_per_s=round(len(order) / spent_s),
    )
    measure_unseen(packer, nodes)
    measure_learning(packer, nodes, known)


def measure_unseen(packer: Packer, nodes: int) -> None:
    took_ms = []
    for number in range(UNSEEN):
        shape = PackShape(1_001 + number, 1_000, 1, 100 + number)
        begun_s = time.perf_counter()
        packer.choose(shape)
        took_ms.append((time.perf_counter() - begun_s) * 1e3)
    took_ms.sort()
    emit(
        bench="placement",
        what="shape never seen before",
        nodes=nodes,
        p50_ms=round(took_ms[UNSEEN // 2], 3),
        max_ms=round(took_ms[-1], 3),
    )


def measure_learning(packer: Packer, nodes: int, known: Sequence[PackShape]) -> None:
    begun_s = time.perf_counter()
    workload = workload_of(count_shapes(known), {"A": 1})
    priced_s = time.perf_counter()
    packer.expect(workload)
    taken_s = time.perf_counter()
    emit(
        bench="placement",
        what="a new workload",
        nodes=nodes,
        prices_ms=round((priced_s - begun_s) * 1e3, 2),
        expect_ms=round((taken_s - priced_s) * 1e3, 2),
    )


def measure_start() -> None:
    """From nothing to the first decision among 10,000 nodes; the first may compile."""
    command = [sys.executable, "-c", FIRST_DECISION]
    took_s = []
    for _ in range(1 + STARTS):
        begun_s = time.perf_counter()
        subprocess.run(command, check=True)
        took_s.append(time.perf_counter() - begun_s)
    emit(
        bench="placement",
        what="start to first decision",
        nodes=10_000,
        first_s=round(took_s[0], 2),
        warm_s=round(sorted(took_s[1:])[STARTS // 2], 2),
    )


def some_shapes(draws: random.Random) -> tuple[list[PackShape], list[float]]:
    """Half of the jobs take a device, most others a share, some several, some none."""
    shapes, weights = [], []
    for number in range(SHAPES):
        cpu_milli = draws.choice((1_000, 2_000, 4_000, 6_000, 8_000, 11_000, 12_000))
        memory_mib = draws.choice((4_000, 16_000, 32_000))
        if number % 10 < 4:
            shapes.append(PackShape(cpu_milli, memory_mib, 1, 1000))
        elif number % 10 < 8:
            shapes.append(PackShape(cpu_milli // 2, memory_mib, 1, draws.choice(SHARES)))
        elif number % 10 < 9:
            shapes.append(PackShape(cpu_milli, memory_mib))
        else:
            gpus = draws.choice((2, 4, 8))
            shapes.append(PackShape(cpu_milli * gpus, memory_mib, gpus, 1000))
        weights.append(draws.random() ** 3 * (0.1 if number % 10 == 9 else 1.0))
    return shapes, weights


if __name__ == "__main__":
    main()
