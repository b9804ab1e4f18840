"""Does the service place as the simulator does, job by job?"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from packing.live_scheduler import live_scheduler
from penstock_bus import memory
from penstock_bus.memory_broker import MemoryBroker
from penstock_bus.port import Bus
from penstock_scheduler.core.packing.fleet import empty_node
from penstock_scheduler.core.packing.packer import Choice, Packer
from penstock_scheduler.core.packing.shapes import PackShape
from penstock_scheduler.core.packing.workload import count_shapes
from penstock_scheduler.core.placing.expectation import expected_shapes
from penstock_scheduler.simulate.arrivals import inflated
from penstock_scheduler.simulate.expectations import (
    LIST,
    ONLINE,
    Expectations,
    known_workload,
)
from penstock_scheduler.simulate.placement import packer_for
from penstock_scheduler.simulate.traces import Nodes

SEED = 42
INFLATE = 1.1
GPUS = {"T4": 2, "P100": 2, "V100M32": 8, "G2": 8, "G3": 4}
SHARES = (230, 320, 370, 460, 470, 590, 650, 810)

Connect = Callable[[], Awaitable[Sequence[Bus]]]


def a_fleet(count: int) -> Nodes:
    """Nodes of several models in the proportions of a production trace, some without devices."""
    draws = random.Random(SEED)
    rooms, models = {}, Counter[str]()
    for number in range(count):
        model = draws.choice((*GPUS, ""))
        gpus = GPUS.get(model, 0)
        cores = draws.choice((6, 8, 12)) * max(gpus, 2)
        rooms[f"node-{number:04}"] = empty_node(cores * 1000, cores * 4096, [(model, None)] * gpus)
        if gpus:
            models[model] += gpus
    return Nodes(rooms, dict(models), 1000 * sum(models.values()))


def some_jobs(count: int) -> list[PackShape]:
    """Shares, whole devices, several devices, and none; some for certain models only."""
    draws = random.Random(SEED)
    jobs = []
    for _ in range(count):
        cores = draws.choice((1, 2, 4, 6, 8, 11))
        models = draws.choice(((), (), (), ("T4",), ("G2", "V100M32")))
        kind = draws.random()
        if kind < 0.3:
            jobs.append(PackShape(cores * 1000, cores * 2048, 1, 1000, None, models))
        elif kind < 0.8:
            milli = draws.choice(SHARES)
            jobs.append(PackShape(cores * 500, cores * 1024, 1, milli, None, models))
        elif kind < 0.88:
            gpus = draws.choice((2, 4, 8))
            jobs.append(PackShape(gpus * 3000, gpus * 8192, gpus, 1000))
        else:
            jobs.append(PackShape(cores * 1000, cores * 4096))
    return jobs


def simulated(
    nodes: Nodes, order: Sequence[PackShape], jobs: Sequence[PackShape], mode: str
) -> list[Choice | None]:
    """Where the simulator puts each job."""
    packer: Packer = packer_for(nodes, "penstock", SEED)
    refused: Counter[PackShape] = Counter()
    known = known_workload(mode, jobs, nodes)
    expectations = Expectations(packer, nodes, known, refused.items)
    choices = []
    for shape in order:
        expectations.see(shape)
        choice = packer.choose(shape)
        if choice is None:
            refused[shape] += 1
        else:
            packer.take(choice, shape)
        choices.append(choice)
    return choices


@pytest.fixture(params=("memory", "nats"))
def connect(request: pytest.FixtureRequest) -> Connect:
    """Two clients of one broker: one is ours, one the scheduler's."""
    if request.param == "memory":
        broker = MemoryBroker(time.time_ns)

        async def twins() -> Sequence[Bus]:
            return [await memory.connect(broker, name=name) for name in ("outside", "scheduler")]

        return twins
    make = request.getfixturevalue("bus_factory")

    async def real() -> Sequence[Bus]:
        return [await make(name) for name in ("outside", "scheduler")]

    return real


@pytest.mark.parametrize("mode", [LIST, ONLINE])
async def test_the_service_places_every_job_where_the_simulator_does(
    mode: str, connect: Connect, eventually: Callable[..., Awaitable[Any]]
) -> None:
    nodes, jobs = a_fleet(120), some_jobs(600)
    order = inflated(jobs, SEED, nodes.capacity_milli, INFLATE)
    expected = simulated(nodes, order, jobs, mode)
    assert None in expected, "some find no room"
    given = expected_shapes(count_shapes(jobs)) if mode == LIST else None
    async with live_scheduler(await connect(), nodes, eventually, workload=given) as live:
        ids = []
        for number, shape in enumerate(order):
            ids.append(await live.submit(number, shape))
            if mode == ONLINE:  # what is learned depends on who came before
                await eventually(lambda n=number: len(live.submitted) > n)
        await eventually(lambda: len(live.granted) == len(order) - expected.count(None), 30.0)
        await eventually(lambda: len(live.submitted) == len(order))
    assert [live.granted.get(job_id) for job_id in ids] == expected
    assert (len(live.expected) > 5) == (mode == ONLINE)
