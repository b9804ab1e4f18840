"""Does one job's output at 100 MB/s slow another job's facts, and what does it cost?

On one mesh, one after the other: short jobs one at a time on an idle mesh, then the same while one
more job writes at a steady rate, then idle again. Told: submit to process started and to the fact
`running`, how much of the output the broker stored, what waited on disk, and everybody's memory.
Each run ends with an audit. For the record: `python benchmarks/bench_logs.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

import uvloop
from measure.load import Load, ulid
from measure.mesh import Mesh, a_mesh
from measure.processes import costs, members
from measure.report import emit, percentile, say, spread
from measure.stamp import read_stamps, stamping_command
from scale.watch import administrator

from penstock_bus.nats import NatsBus

BUILD = Path(__file__).resolve().parent.parent / "build"
MB = 1_000_000
WARMUP_JOBS = 100
PAUSE_S = 0.005
POLL_S = 0.25
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20
FACTS = ("running", "succeeded", "failed")
WRITER = """
import os, sys, time
rate, piece = int(sys.argv[1]), int(sys.argv[2])
line = b"%099d\\n" % 0
data, began, sent = line * (piece // len(line)), time.monotonic(), 0
while not os.path.exists(sys.argv[3]):
    due = int((time.monotonic() - began) * rate) - sent
    if due < len(data):
        time.sleep((len(data) - due) / rate)
        continue
    os.write(1, data)
    sent += len(data)
"""


class Memory:
    """The largest resident sizes seen, by role. Read from statm: the exact count of smaps walks all
    pages of a process, which both it and this one would feel."""

    def __init__(self, roles: dict[int, str]) -> None:
        self._roles = roles
        self.largest_mib: dict[str, float] = {}

    async def watch(self) -> None:
        while True:
            for pid, role in self._roles.items():
                size = resident_mib(pid)
                self.largest_mib[role] = max(size, self.largest_mib.get(role, 0.0))
            await asyncio.sleep(POLL_S)


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return round(pages * PAGE_MIB, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=2000, help="jobs of each part")
    parser.add_argument("--mb-per-s", type=int, default=100)
    arguments = parser.parse_args()
    with a_mesh("1x8xH100") as mesh:
        uvloop.run(measure(mesh, arguments.samples, arguments.mb_per_s * MB))


async def measure(mesh: Mesh, samples: int, bytes_per_s: int) -> None:
    load = await Load.connect(mesh.nats_url, mesh.creds, FACTS)
    bus = await administrator(mesh)
    try:
        await short_jobs(mesh, load, WARMUP_JOBS)
        before = await short_jobs(mesh, load, samples)
        loaded = await beside_a_writer(mesh, load, bus, samples, bytes_per_s)
        after = await short_jobs(mesh, load, samples)
    finally:
        await load.close()
        await bus.close()
    parts = {"idle": before, "writing": loaded, "idle_again": after}
    for when, latencies in parts.items():
        for what, took_ms in latencies.items():
            emit(bench="logs", what=f"submit_to_{what}", when=when, **spread(took_ms))
    for what in before:
        idle_ms = percentile(before[what] + after[what], 99)
        emit(
            bench="logs",
            what=f"submit_to_{what}",
            p99_writing_to_idle=round(percentile(loaded[what], 99) / idle_ms, 2),
        )
    emit(bench="logs", what="check", unaccounted_ms=mesh.check()["unaccounted_ms"])


async def short_jobs(mesh: Mesh, load: Load, samples: int) -> dict[str, list[float]]:
    """One at a time, each submitted a moment after the one before has ended."""
    say(f"{samples} jobs one after another")
    stamp, file = stamping_command(BUILD), mesh.home / "stamps"
    submitted_ns: dict[str, int] = {}
    for _ in range(samples):
        job_id, done = ulid(), len(load.ended_ns)
        submitted_ns[job_id] = time.time_ns()
        command = [*stamp, str(file), job_id]
        await load.publish({"job_id": job_id, "command": command, "gpus": 1})
        await load.until_ended(done + 1)
        await asyncio.sleep(PAUSE_S)
    started_ns = read_stamps(file)
    return {
        "started": [(started_ns[job] - at_ns) / 1e6 for job, at_ns in submitted_ns.items()],
        "heard_running": [
            (load.arrived_ns[job]["running"] - at_ns) / 1e6 for job, at_ns in submitted_ns.items()
        ],
    }


async def beside_a_writer(
    mesh: Mesh, load: Load, bus: NatsBus, samples: int, bytes_per_s: int
) -> dict[str, list[float]]:
    roles = members(mesh.mark)
    memory = Memory(roles)
    watching = asyncio.ensure_future(memory.watch())
    stored_bytes, used = (await bus.stream_state("LOGS")).bytes, costs(roles)
    job_id, began, done = ulid(), time.monotonic(), len(load.ended_ns)
    enough = mesh.home / "enough"
    command = [sys.executable, "-c", WRITER, str(bytes_per_s), str(MB), str(enough)]
    await load.submit([{"job_id": job_id, "command": command, "gpus": 1}])
    await load.until_heard("running", [job_id])
    latencies = await short_jobs(mesh, load, samples)
    took_s = time.monotonic() - began
    now_bytes, after = (await bus.stream_state("LOGS")).bytes, costs(roles)
    spools = sum(path.stat().st_blocks * 512 for path in mesh.data.glob("nodes/*/spool/*"))
    watching.cancel()
    enough.touch()
    await load.until_ended(done + samples + 1)
    emit(
        bench="logs",
        what="output",
        wanted_mb_per_s=bytes_per_s // MB,
        stored_mb_per_s=round((now_bytes - stored_bytes) / MB / took_s, 1),
        seconds=round(took_s, 1),
        spool_mib_at_the_end=round(spools / 2**20, 1),
        largest_rss_mib=memory.largest_mib,
        cores={
            role: round((after[pid].own_us - used[pid].own_us) / took_s / 1e6, 3)
            for pid, role in roles.items()
            if pid in after and pid in used
        },
    )
    return latencies


if __name__ == "__main__":
    main()
