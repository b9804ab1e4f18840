"""What does a control plane cost that has very many nodes, and how long does it take over them?

Simulated nodes, each with the agent's real core and a heartbeat a second, on a mesh as `penstock
up` runs it: join, idle cost per process, detection of silence, latency of commands, jobs while all
nodes are idle, and with a long line of waiting jobs: memory, snapshots, cold starts. For the
record: `python benchmarks/bench_scale.py --nodes 10000 --seconds 60`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from typing import Any

import uvloop
from measure.load import Load, ulid
from measure.report import emit, say, spread
from scale.backlog import measure_backlog, until_gauge
from scale.control_plane import JOURNALED, ControlPlane, a_control_plane, resident, shares
from scale.fleet import Fleet, a_fleet, creds_for_all_nodes
from scale.watch import administrator, follow_nodes, stream_sizes

from penstock_bus.nats import NatsBus

PARTS = ("idle", "liveness", "commands", "jobs", "backlog")
DEVICES = 8
SPECIAL = "L4"
"""A model of which only one node has devices: jobs that want it can be made to wait."""
SILENT_SHARE = 100
SILENT_MAX = 100
WINDOW_JOBS = 2_000
QUEUED_PER_NODE = 10
TIMEOUT_S = 300.0


def main() -> None:
    arguments = parse()
    emit(bench="scale", what="machine", cores=os.cpu_count(), load_before=os.getloadavg()[0])
    with a_control_plane() as plane:
        creds = creds_for_all_nodes(plane.data)
        emit(bench="scale", what="empty", rss_mib=resident(plane.usage()))
        say(f"starting {arguments.nodes} simulated nodes")
        with (
            a_fleet(
                plane.nats_url,
                creds,
                nodes=arguments.nodes,
                devices=DEVICES,
                drivers=arguments.drivers,
                connections=arguments.connections,
            ) as fleet,
            a_fleet(
                plane.nats_url, creds, nodes=1, devices=DEVICES, model=SPECIAL, label="special"
            ) as special,
        ):
            special.ask(do="join")
            uvloop.run(measure(plane, fleet, arguments))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long idleness is watched")
    parser.add_argument("--jobs", type=int, help="run on idle nodes; default: as many as nodes")
    parser.add_argument("--queued", type=int, help="in line at a restart; default: ten a node")
    parser.add_argument("--drivers", type=int, default=1, help="processes that are the nodes")
    parser.add_argument("--connections", type=int, default=8, help="per driver")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    if arguments.jobs is None:
        arguments.jobs = arguments.nodes
    if arguments.queued is None:
        arguments.queued = arguments.nodes * QUEUED_PER_NODE
    return arguments


async def measure(plane: ControlPlane, fleet: Fleet, arguments: argparse.Namespace) -> None:
    bus = await administrator(plane)
    try:
        await measure_join(plane, fleet, bus)
        if "idle" in arguments.parts:
            await measure_idle(plane, fleet, bus, arguments.seconds)
        if "liveness" in arguments.parts:
            await measure_liveness(fleet, bus)
        if "commands" in arguments.parts:
            await measure_commands(plane)
        if "jobs" in arguments.parts:
            await measure_jobs(plane, bus, arguments.jobs)
        if "backlog" in arguments.parts:
            await measure_backlog(plane, fleet, SPECIAL, arguments.queued)
        await report_check(plane)
        emit(bench="scale", what="driver", nodes=fleet.nodes, **fleet.stats())
    finally:
        await bus.close()


async def measure_join(plane: ControlPlane, fleet: Fleet, bus: NatsBus) -> None:
    """All nodes describe themselves at once; until each is registered and may get work."""
    registered: dict[str, int] = {}

    def hear(fact: dict[str, Any]) -> None:
        if fact["fact"] == "node_registered":
            registered[fact["description"]["node"]] = fact["at_ns"]

    following = asyncio.ensure_future(
        follow_nodes(bus, 0, lambda: len(registered) >= fleet.nodes + 2, hear)
    )
    answers = await asyncio.to_thread(lambda: fleet.ask(do="join"))
    began_ns = min(answer["began_ns"] for answer in answers)
    await asyncio.wait_for(following, TIMEOUT_S)
    await until_gauge(plane, "nodes", fleet.nodes + 2)
    known_ns = time.time_ns()
    emit(
        bench="scale",
        what="join",
        nodes=fleet.nodes,
        devices=fleet.nodes * DEVICES,
        described_s=seconds(max(answer["described_ns"] for answer in answers) - began_ns),
        registered_s=seconds(max(registered.values()) - began_ns),
        schedulable_s=seconds(known_ns - began_ns),
        rss_mib=resident(plane.usage()),
    )


async def measure_idle(plane: ControlPlane, fleet: Fleet, bus: NatsBus, for_s: float) -> None:
    await asyncio.sleep(2)
    fleet.stats()
    sizes, usage, at = await stream_sizes(bus), plane.usage(), time.monotonic()
    beats = fleet.stats()["beats"]
    written = await entry_bytes(plane)
    say(f"watching {fleet.nodes} idle nodes for {for_s:g} s")
    await asyncio.sleep(for_s)
    took_s = time.monotonic() - at
    now, later = plane.usage(), await stream_sizes(bus)
    stats = fleet.stats()
    cores = shares(usage, now, took_s)
    grown = {
        role: round((size - written[role]) * 3600 / took_s)
        for role, size in (await entry_bytes(plane)).items()
    }
    entries = {
        name: round((later[name][0] - sizes[name][0]) * 3600 / took_s)
        for name in ("JOBS", "NODES", "USAGE", "REPORTS")
    }
    emit(
        bench="scale",
        what="idle",
        nodes=fleet.nodes,
        seconds=round(took_s, 1),
        heartbeats_per_s=round((stats["beats"] - beats) / took_s),
        heartbeat_late_ms_max=stats["late_ms_max"],
        cores=cores,
        cores_together=round(sum(cores.values()), 3),
        rss_mib=resident(now),
        journal_bytes_per_hour=grown,
        messages_per_hour=entries,
    )


async def measure_liveness(fleet: Fleet, bus: NatsBus) -> None:
    """Some nodes fall silent at once; how long after its last heartbeat each is held for lost."""
    count = max(1, min(SILENT_MAX, fleet.nodes // SILENT_SHARE))
    after = (await bus.stream_state("NODES")).last_seq
    seen: dict[str, dict[str, int]] = {"suspect": {}, "lost": {}, "alive": {}}

    def hear(fact: dict[str, Any]) -> None:
        if fact["fact"] == "node_liveness_changed":
            seen[fact["liveness"]][fact["node"]] = fact["at_ns"]

    say(f"{count} nodes fall silent")
    last_ns: dict[str, int] = {}
    for answer in fleet.ask(do="silence", count=count):
        last_ns |= answer["last_beat_ns"]
    await asyncio.wait_for(
        follow_nodes(bus, after, lambda: len(seen["lost"]) >= len(last_ns), hear), TIMEOUT_S
    )
    wrongly = sorted(set(seen["suspect"]) - set(last_ns))
    after, back_ns = (await bus.stream_state("NODES")).last_seq, time.time_ns()
    seen["alive"].clear()
    fleet.ask(do="resume")
    await asyncio.wait_for(
        follow_nodes(bus, after, lambda: len(seen["alive"]) >= len(last_ns), hear), TIMEOUT_S
    )
    emit(
        bench="scale",
        what="liveness",
        nodes=fleet.nodes,
        silent=len(last_ns),
        suspect_after=spread([(seen["suspect"][n] - last_ns[n]) / 1e6 for n in sorted(last_ns)]),
        lost_after=spread([(seen["lost"][n] - last_ns[n]) / 1e6 for n in sorted(last_ns)]),
        alive_again_after=spread([(seen["alive"][n] - back_ns) / 1e6 for n in sorted(last_ns)]),
        suspected_wrongly=len(wrongly),
    )


async def measure_commands(plane: ControlPlane) -> None:
    for arguments in (("nodes", "--json"), ("jobs", "--json"), ("check", "--json")):
        runs = [await asyncio.to_thread(plane.run, *arguments) for _ in range(3)]
        emit(
            bench="scale",
            what="command",
            command="penstock " + " ".join(arguments),
            wall_ms=[round(took_ms) for took_ms, _, _ in runs],
            exit_codes=[code for _, code, _ in runs],
            output_bytes=len(runs[-1][2]),
        )


async def measure_jobs(plane: ControlPlane, bus: NatsBus, count: int) -> None:
    """One-GPU jobs that end at once, on nodes that are all idle."""
    load = await Load.connect(plane.nats_url, plane.creds, ("placed", "running", "succeeded"))
    try:
        await load.run(min(100, count), WINDOW_JOBS, ["sim", "0"])
        written, sizes = await entry_bytes(plane), await stream_sizes(bus)
        usage, at = plane.usage(), time.monotonic()
        say(f"{count} jobs on idle nodes")
        await load.run(count, WINDOW_JOBS, ["sim", "0"])
        took_s = time.monotonic() - at
        cores = shares(usage, plane.usage(), took_s)
        later = await stream_sizes(bus)
        grown = (await entry_bytes(plane))["scheduler"] - written["scheduler"]
        single = await latencies(load, 20)
    finally:
        await load.close()
    emit(
        bench="scale",
        what="jobs",
        jobs=count,
        jobs_per_s=round(count / took_s, 1),
        cores=cores,
        journal_bytes_per_job=round(grown / count),
        messages_per_job={
            name: round((later[name][0] - sizes[name][0]) / count, 2)
            for name in ("JOBS", "REPORTS", "USAGE", "FACTS")
        },
        submit_to_running=single,
    )


async def latencies(load: Load, count: int) -> dict[str, float | int]:
    """Submitted one after the other: from submission to the fact that it runs."""
    took_ms = []
    for _ in range(count):
        job = {"job_id": ulid(), "command": ["sim", "0"], "gpus": 1}
        began_ns, done = time.time_ns(), len(load.ended_ns)
        await load.submit([job])
        await load.until_ended(done + 1)
        took_ms.append((load.arrived_ns[job["job_id"]]["running"] - began_ns) / 1e6)
    return spread(took_ms)


async def report_check(plane: ControlPlane) -> None:
    took_ms, code, out = await asyncio.to_thread(plane.run, "check", "--json")
    report = json.loads(out) if out else {}
    emit(
        bench="scale",
        what="check",
        clean=code == 0,
        wall_ms=round(took_ms),
        unaccounted_ms=report.get("unaccounted_ms"),
        findings=report.get("findings") if code else {},
        rss_mib=resident(plane.usage()),
    )


async def entry_bytes(plane: ControlPlane) -> dict[str, float]:
    """Bytes that each journal's writer has appended since it started."""
    found = {}
    for role in JOURNALED:
        metrics = await asyncio.to_thread(plane.metrics, role)
        found[role] = metrics.get(f'penstock_{role}_events_total{{kind="entry_bytes"}}', 0.0)
    return found


def seconds(duration_ns: int) -> float:
    return round(duration_ns / 1e9, 3)


if __name__ == "__main__":
    main()
