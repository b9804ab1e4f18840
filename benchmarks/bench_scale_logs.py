"""How much output do jobs get out of one node, and what does it cost?

Real jobs of a real agent write as fast as they can; until the broker holds every byte. For the
record: `python benchmarks/bench_scale_logs.py --mib 1000`.
"""

from __future__ import annotations

import argparse
import asyncio
import time

import uvloop
from measure.load import Load, ulid
from measure.mesh import Mesh, a_mesh
from measure.processes import costs, members, memory_mib
from measure.report import emit, say
from scale.watch import administrator

from penstock_bus.nats import NatsBus

JOBS_AT_ONCE = (1, 8)
MIB = 2**20
POLL_S = 0.01
STORED_S_MAX = 120.0
ROLES = ("agent", "reaper", "nats-server")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=80, help="of output, all jobs together")
    arguments = parser.parse_args()
    with a_mesh("1x8xH100") as mesh:
        uvloop.run(measure(mesh, arguments.mib * MIB))


async def measure(mesh: Mesh, output_bytes: int) -> None:
    load = await Load.connect(mesh.nats_url, mesh.creds, ())
    bus = await administrator(mesh)
    try:
        for jobs in JOBS_AT_ONCE:
            await write(mesh, load, bus, jobs, output_bytes)
    finally:
        await load.close()
        await bus.close()


async def write(mesh: Mesh, load: Load, bus: NatsBus, jobs: int, output_bytes: int) -> None:
    say(f"{jobs} jobs write {output_bytes // MIB} MiB")
    roles = members(mesh.mark)
    used, stored = costs(roles), (await bus.stream_state("LOGS")).bytes
    began, done = time.monotonic(), len(load.ended_ns)
    command = ["head", "-c", str(output_bytes // jobs), "/dev/zero"]
    await load.submit([{"job_id": ulid(), "command": command, "gpus": 1} for _ in range(jobs)])
    await load.until_ended(done + jobs)
    ended_s = time.monotonic() - began
    while (await bus.stream_state("LOGS")).bytes - stored < output_bytes:
        if time.monotonic() - began > STORED_S_MAX:
            raise RuntimeError("not all output arrives")
        await asyncio.sleep(POLL_S)
    took_s = time.monotonic() - began
    after = costs(roles)
    emit(
        bench="scale_logs",
        jobs=jobs,
        mib=output_bytes // MIB,
        ended_s=round(ended_s, 2),
        stored_s=round(took_s, 2),
        mib_per_s=round(output_bytes / MIB / took_s, 1),
        cores={
            role: round(
                sum(
                    after[pid].own_us - used[pid].own_us
                    for pid in roles
                    if roles[pid] == role and pid in after and pid in used
                )
                / took_s
                / 1e6,
                2,
            )
            for role in ROLES
        },
        agent_rss_mib=max(
            memory_mib(pid).get("rss_mib", 0.0) for pid, role in roles.items() if role == "agent"
        ),
    )


if __name__ == "__main__":
    main()
