"""How many jobs a second does the scheduler's service place, and are they where they should be?

A broker, one scheduler process, and nodes that agree to everything. Jobs of a trace (or made up)
are submitted in a seed's order; from the journal come when each was granted and where, and that is
compared with the simulator. Then the scheduler is killed and started again, and as often once more.
`python benchmarks/bench_placements.py --nodes NODES.csv --jobs JOBS.csv`; for recovery of a large
fleet: `--count 10000 --live 100000`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from measure.report import emit, say

from penstock_bus.nats import connect
from penstock_bus.port import Message
from penstock_contracts.ids import ROOT, ulid
from penstock_contracts.jobs import JobSpec
from penstock_contracts.journal import JobFact, LeaseGranted
from penstock_contracts.leases import DesiredAck, NodeDesired
from penstock_contracts.nodes import Device, Heartbeat, NodeDescription, NodeFact, NodeRegistered
from penstock_mesh.nats_server import find_server
from penstock_mesh.preparation import make_storage
from penstock_scheduler.core.packing.fleet import empty_node
from penstock_scheduler.core.packing.packer import Choice
from penstock_scheduler.core.packing.shapes import PackShape
from penstock_scheduler.simulate.arrivals import inflated
from penstock_scheduler.simulate.expectations import LIST, known_workload
from penstock_scheduler.simulate.placement import packer_for
from penstock_scheduler.simulate.traces import Nodes, read_jobs, read_nodes

NODES_PER_ENTRY = 100
PER_MESSAGE = 100
PATIENCE_S = 300.0
STARTS = 3
BEAT_S = 1.0
JOBS_HEAD = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec"
CONFIG = """
port: {port}
max_payload: 8388608
jetstream: {{ store_dir: "{directory}", sync_interval: 10s }}
"""
_encode = msgspec.json.encode
_desired = msgspec.json.Decoder(NodeDesired)


class _Entry(msgspec.Struct):
    facts: list[JobFact]


class _Nodes(msgspec.Struct):
    facts: list[NodeFact]


_entry = msgspec.json.Decoder(_Entry)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=Path, help="CSV in the columns of OpenB")
    parser.add_argument("--jobs", type=Path, help="CSV in the columns of OpenB")
    parser.add_argument("--count", type=int, default=1_213, help="nodes, when none are given")
    parser.add_argument("--live", type=int, default=8_000, help="jobs, when none are given")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--inflate", type=float, default=1.3)
    arguments = parser.parse_args()
    if arguments.nodes is None:
        nodes, jobs = made_up(arguments.count, arguments.live)
        order = jobs
    else:
        nodes = read_nodes(arguments.nodes)
        jobs = read_jobs(arguments.jobs, nodes)
        order = inflated(jobs, arguments.seed, nodes.capacity_milli, arguments.inflate)
    with tempfile.TemporaryDirectory() as directory, a_broker(Path(directory)) as url:
        asyncio.run(measure(Path(directory), url, nodes, jobs, order))


def made_up(count: int, live: int) -> tuple[Nodes, list[PackShape]]:
    """Nodes of eight devices, and so many jobs, of 50 shapes, that all find room."""
    room = empty_node(96_000, 400_000, [("A", 80_000)] * 8)
    draws = random.Random(1)
    shapes = [
        PackShape(100 * draws.randrange(1, 20), 1_000, 1, 10 * draws.randrange(10, 50))
        for _ in range(50)
    ]
    names = [f"node-{number:05}" for number in range(count)]
    nodes = Nodes(dict.fromkeys(names, room), {"A": 8 * count}, 8_000 * count)
    return nodes, draws.choices(shapes, k=live)


@contextmanager
def a_broker(directory: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = directory / "nats.conf"
    config.write_text(CONFIG.format(port=port, directory=directory), "ascii")
    with open(os.devnull, "wb") as nothing:
        broker = subprocess.Popen(
            [find_server(), "-c", config],
            stdout=nothing,
            stderr=nothing,
            env=os.environ | {"GOMAXPROCS": "1"},
        )
    try:
        yield f"nats://127.0.0.1:{port}"
    finally:
        broker.kill()
        broker.wait()


class World:
    """Nodes that agree to everything, and what the journal says."""

    def __init__(self, bus: Any, nodes: Nodes) -> None:
        self.bus = bus
        self.nodes = nodes
        self.granted: dict[str, Choice] = {}
        self.first_ns = self.last_ns = self.entries = self.bytes = 0
        self.as_of = dict.fromkeys(nodes.rooms, 0)

    async def join(self) -> None:
        await self.bus.subscribe(f"{ROOT}.node.*.desired", self._agree)
        facts = [NodeRegistered(described(name, self.nodes)) for name in self.nodes.rooms]
        for first in range(0, len(facts), NODES_PER_ENTRY):
            entry = _encode(_Nodes(list(facts[first : first + NODES_PER_ENTRY])))
            await self.bus.append(f"{ROOT}.journal.nodes", entry)

    def _agree(self, message: Message) -> None:
        desired = _desired.decode(message.payload)
        self.as_of[message.subject.split(".")[-2]] = desired.as_of
        self.bus.respond_nowait(message, _encode(DesiredAck(desired.as_of)))

    def beat(self) -> None:
        for name, as_of in self.as_of.items():
            beat = Heartbeat(node=name, boot_id="b", sent_boot_ns=1, as_of=as_of, digest="")
            self.bus.publish_nowait(f"{ROOT}.node.{name}.heartbeat", _encode(beat))

    async def submit(self, order: Sequence[PackShape]) -> list[str]:
        now_ms = time.time_ns() // 1_000_000
        specs = [a_spec(now_ms, number, shape) for number, shape in enumerate(order)]
        for first in range(0, len(specs), PER_MESSAGE):
            jobs = {"jobs": specs[first : first + PER_MESSAGE]}
            await self.bus.append(f"{ROOT}.request.job.bench.submit", _encode(jobs))
        return [spec.job_id for spec in specs]

    async def follow(self, count: int) -> None:
        """Reads the journal until so many grants are there."""
        reader = await self.bus.reader("JOBS", after_seq=0)
        while len(self.granted) < count:
            for message in await reader.next_batch():
                facts = _entry.decode(message.payload).facts
                grants = [fact for fact in facts if isinstance(fact, LeaseGranted)]
                for grant in grants:
                    (rank,) = grant.ranks
                    devices = tuple(int(uuid.rpartition("/")[2]) for uuid in rank.devices)
                    self.granted[grant.job_id] = Choice(rank.node, devices)
                if grants:
                    self.first_ns = self.first_ns or message.time_ns
                    self.last_ns = message.time_ns
                    self.entries += 1
                    self.bytes += len(message.payload)


def described(name: str, nodes: Nodes) -> NodeDescription:
    room = nodes.rooms[name]
    devices = tuple(
        Device(uuid=f"{name}/{index}", index=index, model=kind[0], memory_mib=kind[1])
        for index, kind in enumerate(room.devices)
        if kind is not None
    )
    return NodeDescription(
        node=name, boot_id="b", joined_ms=1, cpu_milli=room.cpu_milli,
        memory_mib=room.memory_mib, devices=devices,
    )  # fmt: skip


def a_spec(now_ms: int, number: int, shape: PackShape) -> JobSpec:
    return JobSpec(
        job_id=ulid(now_ms, number), command=("true",), gpus=shape.gpus,
        gpu_milli=shape.gpu_milli or 1000, gpu_models=shape.models, cpu_milli=shape.cpu_milli,
        memory_mib=shape.memory_mib,
    )  # fmt: skip


async def measure(
    directory: Path, url: str, nodes: Nodes, jobs: Sequence[PackShape], order: list[PackShape]
) -> None:
    bus = await connect(url, name="bench")
    await make_storage(bus)
    workload = directory / "jobs.csv"
    rows = (
        f"job,{job.cpu_milli},{job.memory_mib},{job.gpus},{job.gpu_milli},{'|'.join(job.models)}"
        for job in jobs
    )
    workload.write_text("\n".join((JOBS_HEAD, *rows)) + "\n", "ascii")
    expected, reference_s = simulated(nodes, jobs, order)
    placed = len(order) - expected.count(None)
    world = World(bus, nodes)
    await world.join()
    scheduler = await started(bus, directory, url, workload, "start")
    await asyncio.sleep(5)  # prices are made when the fleet has settled
    say(f"{len(order)} jobs on {len(nodes.rooms)} nodes")
    cpu_s = cpu_of(scheduler.pid)
    began_ns = time.time_ns()
    following = asyncio.ensure_future(world.follow(placed))
    ids = await world.submit(order)
    await asyncio.wait_for(following, PATIENCE_S)
    spent_s = (world.last_ns - began_ns) / 1e9
    emit(
        bench="placements",
        nodes=len(nodes.rooms),
        devices=sum(nodes.models.values()),
        jobs=len(order),
        placed=placed,
        placements_per_s=round(placed / spent_s),
        scheduler_cpu_us=round((cpu_of(scheduler.pid) - cpu_s) * 1e6 / placed),
        entries=world.entries,
        journal_bytes=round(world.bytes / placed),
        same_as_simulated=[world.granted.get(job_id) for job_id in ids] == expected,
        simulator_decisions_per_s=round(len(order) / reference_s),
    )
    for how in (*[signal.SIGKILL] * STARTS, signal.SIGTERM):
        scheduler.send_signal(how)
        scheduler.wait()
        scheduler = await started(bus, directory, url, workload, f"start after {how.name}")
    scheduler.kill()
    scheduler.wait()
    await bus.close()


def simulated(
    nodes: Nodes, jobs: Sequence[PackShape], order: Sequence[PackShape]
) -> tuple[list[Choice | None], float]:
    packer = packer_for(nodes, "penstock", 0)
    packer.expect(known_workload(LIST, jobs, nodes))
    packer.choose(order[0])
    began_s = time.perf_counter()
    choices = []
    for shape in order:
        choice = packer.choose(shape)
        if choice is not None:
            packer.take(choice, shape)
        choices.append(choice)
    return choices, time.perf_counter() - began_s


async def started(
    bus: Any, directory: Path, url: str, workload: Path, what: str
) -> subprocess.Popen[bytes]:
    """A scheduler that answers; says how long that took."""
    began_s = time.perf_counter()
    process = a_process(directory, url, workload)
    while True:
        try:
            asked = _encode({"limit": 1})
            await bus.request(f"{ROOT}.query.scheduler.jobs", asked, timeout_s=1.0)
            break
        except Exception as error:
            if process.poll() is not None:
                raise RuntimeError((directory / "scheduler.log").read_text()) from error
            await asyncio.sleep(0.02)
    emit(
        bench="placements",
        what=f"{what} to first answer",
        seconds=round(time.perf_counter() - began_s, 2),
        cpu_s=round(cpu_of(process.pid), 2),
    )
    return process


def a_process(directory: Path, url: str, workload: Path) -> subprocess.Popen[bytes]:
    command = ["-m", "penstock_client", "scheduler", "--url", url, "--workload", str(workload)]
    with open(directory / "scheduler.log", "ab") as log:
        return subprocess.Popen([sys.executable, *command], stdout=log, stderr=log)


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
