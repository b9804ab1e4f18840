"""How fast, how steady and how large is the whole mesh on this machine?

Submit to process started on an idle mesh; no-op jobs a second with one GPU slot each, from the
request to the ledger; many jobs in a row; CPU and memory of each process. The instant "process
started" is written by the job itself. Each job is a real process; each run ends with an audit.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import time
from pathlib import Path

import uvloop
from measure import processes
from measure.load import Load, ulid
from measure.mesh import PENSTOCK, Mesh, a_mesh
from measure.report import emit, say, spread
from measure.stamp import read_stamps, stamping_command

BUILD = Path(__file__).resolve().parent.parent / "build"
FLEETS = {8: "1x8xH100", 32: "4x8xH100", 128: "16x8xH100"}
STEADY_SLOTS = 32
STEADY_WINDOW_JOBS = 2_000
WARMUP_JOBS = 300
HELP_RUNS = 20
FACTS = ("placed", "running", "succeeded", "failed")


def main() -> None:
    arguments = parse()
    emit(
        bench="pipeline",
        what="machine",
        cores=os.cpu_count(),
        kernel=platform.release(),
        python=platform.python_version(),
        load_before=os.getloadavg()[0],
        true_us=round(processes.cost_of_true_us(), 1),
    )
    emit(
        bench="pipeline",
        system="penstock",
        what="help",
        **spread(processes.help_ms(PENSTOCK, HELP_RUNS)),
    )
    if "latency" in arguments.parts:
        with a_mesh(FLEETS[8]) as mesh:
            report_memory(mesh, "idle", jobs=0)
            uvloop.run(measure_latency(mesh, arguments.samples))
    if "rate" in arguments.parts:
        for slots in arguments.slots:
            with a_mesh(FLEETS[slots]) as mesh:
                uvloop.run(measure_rate(mesh, slots, arguments.jobs))
    if "steady" in arguments.parts:
        with a_mesh(FLEETS[STEADY_SLOTS]) as mesh:
            uvloop.run(measure_steadiness(mesh, arguments.row))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    numbers = os.environ.get
    parser.add_argument("--quick", action="store_true", help="a tenth of the counts")
    parser.add_argument("--samples", type=int, default=int(numbers("BENCH_SAMPLES", "1000")))
    parser.add_argument("--jobs", type=int, default=int(numbers("BENCH_JOBS", "6000")))
    parser.add_argument("--row", type=int, default=int(numbers("BENCH_ROW", "20000")))
    parser.add_argument("--slots", type=int, nargs="*", choices=FLEETS, default=list(FLEETS))
    parts = ("latency", "rate", "steady")
    parser.add_argument("--parts", nargs="*", choices=parts, default=list(parts))
    arguments = parser.parse_args()
    if arguments.quick:
        for name in ("samples", "jobs", "row"):
            setattr(arguments, name, getattr(arguments, name) // 10)
    return arguments


async def measure_latency(mesh: Mesh, samples: int) -> None:
    """One job at a time, each submitted once the one before has ended."""
    say(f"latency: {samples} jobs one after another")
    stamp, file = stamping_command(BUILD), mesh.home / "stamps"
    load = await Load.connect(mesh.nats_url, mesh.creds, FACTS)
    submitted_ns: dict[str, int] = {}
    warmup = samples // 10
    for number in range(warmup + samples):
        job_id = ulid()
        command = [*stamp, str(file), job_id]
        submitted_ns[job_id] = time.time_ns()
        await load.publish({"job_id": job_id, "command": command, "gpus": 1})
        await load.until_ended(number + 1)
    await load.close()
    measured = list(submitted_ns)[warmup:]
    instants = {"process_started": read_stamps(file)}
    for fact in ("placed", "running", "succeeded"):
        instants[f"heard_{fact}"] = {job: at[fact] for job, at in load.arrived_ns.items()}
    for name, at_ns in instants.items():
        delays_ms = [(at_ns[job] - submitted_ns[job]) / 1e6 for job in measured]
        what = "submit_to_started" if name == "process_started" else f"submit_to_{name}"
        emit(bench="pipeline", system="penstock", what=what, **spread(delays_ms))
    report_audit(mesh, samples)


async def measure_rate(mesh: Mesh, slots: int, jobs: int) -> None:
    """As many no-op jobs as the mesh takes, with a bounded number waiting."""
    say(f"rate: {jobs} jobs on {slots} slots")
    load = await Load.connect(mesh.nats_url, mesh.creds, ())
    await load.run(WARMUP_JOBS, WARMUP_JOBS, ["/bin/true"])
    roles = processes.members(mesh.mark)
    before, own_before_s = processes.costs(roles), time.process_time()
    ends_ns = await load.run(jobs, max(512, 4 * slots), ["/bin/true"])
    own_us = (time.process_time() - own_before_s) * 1e6
    settle_began = time.perf_counter()
    mesh.check()
    settled_s = time.perf_counter() - settle_began
    after = processes.costs(roles)
    await load.close()
    emit(
        bench="pipeline",
        system="penstock",
        what="noop_jobs_per_s",
        slots=slots,
        jobs=jobs,
        jobs_per_s=round(jobs / (ends_ns[-1] / 1e9), 1),
        jobs_per_s_to_audited_ledger=round(jobs / (ends_ns[-1] / 1e9 + settled_s), 1),
        durable=True,
        cpu_us_per_job=processes.cost_by_role(roles, before, after, jobs),
        client_cpu_us_per_job=round(own_us / jobs, 1),
    )
    report_memory(mesh, f"after {jobs} jobs on {slots} slots", jobs=jobs)


async def measure_steadiness(mesh: Mesh, jobs: int) -> None:
    """Many jobs in a row: the rate of each window of them, and what the services weigh after it."""
    say(f"steady: {jobs} jobs on {STEADY_SLOTS} slots")
    load = await Load.connect(mesh.nats_url, mesh.creds, ())
    await load.run(WARMUP_JOBS, WARMUP_JOBS, ["/bin/true"])
    ends_ns = await load.run(jobs, 512, ["/bin/true"])
    await load.close()
    window = min(STEADY_WINDOW_JOBS, jobs // 4)
    marks = [0, *ends_ns[window - 1 :: window]]
    rates = [round(window / ((b - a) / 1e9), 1) for a, b in itertools.pairwise(marks)]
    emit(
        bench="pipeline",
        system="penstock",
        what="jobs_in_a_row",
        slots=STEADY_SLOTS,
        jobs=jobs,
        jobs_per_s=round(jobs / (ends_ns[-1] / 1e9), 1),
        window_jobs=window,
        window_jobs_per_s=rates,
        last_to_first=round(rates[-1] / rates[0], 3),
    )
    report_memory(mesh, f"after {jobs} jobs in a row", jobs=jobs)
    report_audit(mesh, jobs)


def report_memory(mesh: Mesh, when: str, jobs: int) -> None:
    """Resident and proportional set size by role; agents and reapers as their average."""
    by_role: dict[str, list[dict[str, float]]] = {}
    for pid, role in processes.members(mesh.mark).items():
        by_role.setdefault(role, []).append(processes.memory_mib(pid))
    roles: dict[str, dict[str, float]] = {}
    for role, sizes in sorted(by_role.items()):
        known = [size for size in sizes if size]
        roles[role] = {"processes": len(sizes)}
        for name in ("rss_mib", "pss_mib") if known else ():
            roles[role][name] = round(sum(size[name] for size in known) / len(known), 1)
    emit(bench="pipeline", system="penstock", what="memory", when=when, jobs=jobs, roles=roles)


def report_audit(mesh: Mesh, jobs: int) -> None:
    report = mesh.check()
    emit(
        bench="pipeline",
        system="penstock",
        what="check",
        jobs=jobs,
        unaccounted_ms=report["unaccounted_ms"],
    )


if __name__ == "__main__":
    main()
