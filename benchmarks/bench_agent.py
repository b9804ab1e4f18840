"""What do a node agent and its reaper cost, idle and with 64 running jobs?

A host with eight devices, simulated ones and then the real binding over the tests' NVML library:
CPU time by /proc over a minute, resident and proportional memory, wake-ups. Three times: no job;
64 jobs that sleep; 64 jobs that write a line a second. For the record: `python
benchmarks/bench_agent.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

import uvloop
from measure.load import Load, ulid
from measure.mesh import Mesh, a_home, a_mesh
from measure.processes import members, memory_mib
from measure.report import emit, say

DEVICES, JOBS = 8, 64
SETTLE_S = 5.0
ROLES = ("agent", "reaper")
WORK = {
    "64 jobs sleep": 'while [ ! -e "$0" ]; do sleep 5; done',
    "64 jobs write a line a second": 'while [ ! -e "$0" ]; do echo step; sleep 1; done',
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measurement")
    arguments = parser.parse_args()
    with a_mesh("1x8xH100") as mesh:
        uvloop.run(measure(mesh, "simulated", arguments.seconds))
    with a_home() as home:
        environment = nvml_environment(home)
        if environment is None:
            say("no C compiler: not measured with NVML")
            return
        with a_mesh("", environment) as mesh:
            uvloop.run(measure(mesh, "nvml", arguments.seconds))


def nvml_environment(directory: Path) -> dict[str, str] | None:
    """In which the NVML library of the tests is found, with eight devices; None where it cannot be
    built."""
    sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
    from nvml.library import build, write_script

    try:
        library = build(directory)
    except FileNotFoundError:
        return None
    script = directory / "nvml.script"
    write_script(script, DEVICES)
    return {"LD_LIBRARY_PATH": str(library.parent), "NVML_SCRIPT": str(script)}


async def measure(mesh: Mesh, driver: str, seconds: float) -> None:
    load = await Load.connect(mesh.nats_url, mesh.creds, ("running", "succeeded", "failed"))
    try:
        await report(mesh, driver, "no job", seconds)
        for number, (what, script) in enumerate(WORK.items()):
            enough = mesh.home / f"enough{number}"
            await run_jobs(load, script, enough)
            await report(mesh, driver, what, seconds)
            enough.touch()
            await load.until_ended(JOBS * (number + 1))
        await report(mesh, driver, "no job any more", seconds)
    finally:
        await load.close()
    emit(bench="agent", what="check", unaccounted_ms=mesh.check()["unaccounted_ms"])


async def run_jobs(load: Load, script: str, enough: Path) -> None:
    ids = [ulid() for _ in range(JOBS)]
    command = ["/bin/sh", "-c", script, str(enough)]
    share = {"gpus": 1, "gpu_milli": 125, "cpu_milli": 10}
    await load.submit([{"job_id": job_id, "command": command, **share} for job_id in ids])
    await load.until_heard("running", ids)


async def report(mesh: Mesh, driver: str, what: str, seconds: float) -> None:
    say(what)
    await asyncio.sleep(SETTLE_S)
    roles = {pid: role for pid, role in members(mesh.mark).items() if role in ROLES}
    used_ns, woken, began = cpu_ns(roles), wakeups(roles), time.monotonic()
    await asyncio.sleep(seconds)
    took_s = time.monotonic() - began
    after_ns, woken_after = cpu_ns(roles), wakeups(roles)
    percent = {
        role: round((after_ns[pid] - used_ns[pid]) / took_s / 1e7, 3) for pid, role in roles.items()
    }
    memory = {role: memory_mib(pid) for pid, role in roles.items()}
    emit(
        bench="agent",
        driver=driver,
        what=what,
        seconds=round(took_s, 1),
        percent_of_a_core=percent,
        percent_of_a_core_together=round(sum(percent.values()), 3),
        wakeups_per_s={
            role: round((woken_after[pid] - woken[pid]) / took_s, 1) for pid, role in roles.items()
        },
        memory_mib=memory,
        rss_mib_together=round(sum(size.get("rss_mib", 0.0) for size in memory.values()), 1),
    )


def cpu_ns(pids: dict[int, str]) -> dict[int, int]:
    """CPU time of all threads so far, as the scheduler counts it: exact, not in ticks."""
    return {
        pid: sum(
            int(file.read_text("ascii").split()[0])
            for file in Path(f"/proc/{pid}/task").glob("*/schedstat")
        )
        for pid in pids
    }


def wakeups(pids: dict[int, str]) -> dict[int, int]:
    """Voluntary context switches of all threads so far."""
    found: dict[int, int] = {}
    for pid in pids:
        statuses = Path(f"/proc/{pid}/task").glob("*/status")
        lines = [line for status in statuses for line in status.read_text("utf-8").splitlines()]
        name = "voluntary_ctxt_switches:"
        found[pid] = sum(int(line.split()[1]) for line in lines if line.startswith(name))
    return found


if __name__ == "__main__":
    main()
