"""What happens when ten times as much is submitted as the mesh can run?

One tenant floods; another submits a little now and then; nodes are simulated, so that only the
control plane is loaded. Memory of every process over time, refusals and their codes, cancels,
start latency of the calm tenant, liveness, the time until all is as before; and whether every
accepted job ended. For the record: `python benchmarks/bench_overload.py --minutes 5`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop
from measure.report import emit, say, spread
from scale.control_plane import ControlPlane, a_control_plane, resident
from scale.fleet import Fleet, a_fleet, creds_for_all_nodes
from scale.flood import CALM, FLOOD, Tenants
from scale.watch import administrator, follow_nodes, stream_sizes

from penstock_bus.nats import NatsBus

DEVICES = 8
JOB_S = 1.0
QUICK_S = 6.0
BASELINE_S = 3.0
CALM_EVERY_S = 0.25
CANCEL_EVERY_S = 0.5
PROBE_S = 0.05
SAMPLE_S = 1.0
CURVE_POINTS = 30
DRAIN_S_MAX = 1_200.0


def main() -> None:
    arguments = parse()
    emit(bench="overload", what="machine", cores=os.cpu_count(), load_before=os.getloadavg()[0])
    with a_control_plane() as plane:
        creds = creds_for_all_nodes(plane.data)
        with a_fleet(plane.nats_url, creds, nodes=arguments.nodes, devices=DEVICES) as fleet:
            fleet.ask(do="join")
            uvloop.run(measure(plane, fleet, arguments))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, help="of overload; default: a few seconds")
    parser.add_argument("--nodes", type=int, default=25, help="each runs eight jobs a second")
    parser.add_argument("--factor", type=float, default=10.0, help="of what the mesh can run")
    parser.add_argument("--help-nodes", type=int, default=150, help="that join afterwards")
    return parser.parse_args()


async def measure(plane: ControlPlane, fleet: Fleet, arguments: argparse.Namespace) -> None:
    capacity = fleet.nodes * DEVICES / JOB_S
    overload_s = QUICK_S if arguments.minutes is None else arguments.minutes * 60
    admin = await administrator(plane)
    tenants = await Tenants.connect(plane)
    watch = Watch(plane, admin, tenants)
    try:
        calm = asyncio.ensure_future(every(CALM_EVERY_S, lambda: tenants.run_one(CALM, 0.0)))
        await asyncio.sleep(BASELINE_S)
        tenants.begin_phase("overload")
        say(f"{capacity * arguments.factor:g} jobs/s for {overload_s:g} s; {capacity:g} can run")
        cancels = asyncio.ensure_future(every(CANCEL_EVERY_S, tenants.cancel_one))
        began, done_before = time.monotonic(), tenants.ended[FLOOD]
        await tenants.flood(capacity * arguments.factor, overload_s, JOB_S)
        flooded_s = time.monotonic() - began
        ran = tenants.ended[FLOOD] - done_before
        cancels.cancel()
        tenants.begin_phase("after")
        recovery = await recover(tenants)
        report_overload(tenants, flooded_s, capacity, ran, recovery)
        audit = await drain(plane, tenants, calm, arguments.help_nodes)
    finally:
        await watch.stop()
    await watch.report(audit, fleet.stats())
    await tenants.close()
    await admin.close()


async def recover(tenants: Tenants) -> dict[str, Any]:
    """How soon after the flood a job of the flooding tenant is accepted again."""
    began = time.monotonic()
    tries = 1
    while not await tenants.probe(JOB_S):
        tries += 1
        await asyncio.sleep(PROBE_S)
    return {"accepted_again_s": round(time.monotonic() - began, 2), "tries": tries}


def report_overload(
    tenants: Tenants, flooded_s: float, capacity: float, ran: int, recovery: dict[str, Any]
) -> None:
    flood = tenants.of[FLOOD]
    emit(
        bench="overload",
        what="overload",
        seconds=round(flooded_s, 1),
        capacity_jobs_per_s=capacity,
        submitted_jobs_per_s=round(flood.submitted / flooded_s),
        submitted=flood.submitted,
        not_stored=flood.unstored,
        acknowledged=flood.acknowledged,
        refused=len(flood.refused),
        refused_by_code=dict(sorted(flood.codes.items())),
        ran_jobs_per_s=round(ran / flooded_s, 1),
        first_refusal_after_s=flood.first_refusal_s,
        recovery=recovery,
        cancel_latency=spread(flood.cancel_ms) if flood.cancel_ms else None,
        cancels_refused=flood.cancels_refused,
        calm_refused=len(tenants.of[CALM].refused),
    )


async def drain(
    plane: ControlPlane, tenants: Tenants, calm: asyncio.Future[None], help_nodes: int
) -> dict[str, Any]:
    """More nodes join, what was accepted runs, and the audit says what it finds."""
    waiting = tenants.unfinished
    say(f"{waiting} jobs wait; {help_nodes} nodes join")
    began = time.monotonic()
    creds = plane.data / "creds" / "all-nodes.creds"
    with a_fleet(plane.nats_url, creds, nodes=help_nodes, devices=DEVICES, label="help") as helpers:
        await asyncio.to_thread(helpers.ask, do="join")
        await tenants.until_finished(DRAIN_S_MAX)
        took_s = time.monotonic() - began
        tenants.begin_phase("drained")
        await asyncio.sleep(BASELINE_S)
        calm.cancel()
        await tenants.until_finished(DRAIN_S_MAX)
        emit(
            bench="overload",
            what="drained",
            jobs=waiting,
            seconds=round(took_s, 1),
            jobs_per_s=round(waiting / took_s, 1),
            lost=tenants.unfinished,
            ended_twice=tenants.ended_twice,
            calm_start_latency={
                phase: spread(took_ms) for phase, took_ms in tenants.of[CALM].start_ms.items()
            },
        )
        return await check(plane)


async def check(plane: ControlPlane) -> dict[str, Any]:
    _, code, out = await asyncio.to_thread(plane.run, "check", "--json")
    report = json.loads(out) if out else {}
    return {
        "clean": code == 0,
        "accepted": (report.get("scheduler") or {}).get("accepted"),
        "finished": (report.get("metering") or {}).get("finished"),
        "unaccounted_ms": report.get("unaccounted_ms"),
        "findings": report.get("findings") if code else {},
    }


async def every(period_s: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Begin one each period, also while earlier ones are under way."""
    running: set[asyncio.Future[None]] = set()
    while True:
        task = asyncio.ensure_future(work())
        running.add(task)
        task.add_done_callback(running.discard)
        await asyncio.sleep(period_s)


class Watch:
    """Memory of every process and the length of the line, sampled; changes of liveness."""

    def __init__(self, plane: ControlPlane, admin: NatsBus, tenants: Tenants) -> None:
        self._plane, self._admin, self._tenants = plane, admin, tenants
        self._curve: list[dict[str, Any]] = []
        self._liveness: dict[str, int] = {}
        self._began = time.monotonic()
        self._work = [
            asyncio.ensure_future(self._sample()),
            asyncio.ensure_future(follow_nodes(admin, 0, lambda: False, self._hear)),
        ]

    def _hear(self, fact: dict[str, Any]) -> None:
        if fact["fact"] == "node_liveness_changed":
            self._liveness[fact["liveness"]] = self._liveness.get(fact["liveness"], 0) + 1

    async def _sample(self) -> None:
        while True:
            usage = await asyncio.to_thread(self._plane.usage)
            self._curve.append(
                {
                    "s": round(time.monotonic() - self._began),
                    "unfinished": self._tenants.unfinished,
                    "rss_mib": resident(usage),
                }
            )
            await asyncio.sleep(SAMPLE_S)

    async def stop(self) -> None:
        for task in self._work:
            task.cancel()
        for result in await asyncio.gather(*self._work, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def report(self, audit: dict[str, Any], driver: dict[str, Any]) -> None:
        """`driver` says how late the nodes' own heartbeats were sent: for that nobody else is to
        blame."""
        step = max(1, len(self._curve) // CURVE_POINTS)
        peaks: dict[str, float] = {}
        for sample in self._curve:
            for role, rss_mib in sample["rss_mib"].items():
                peaks[role] = max(peaks.get(role, 0.0), rss_mib)
        emit(
            bench="overload",
            what="memory",
            rss_mib_first=self._curve[0]["rss_mib"],
            rss_mib_peak=peaks,
            rss_mib_last=self._curve[-1]["rss_mib"],
            stream_mib={
                name: round(size / 2**20, 1)
                for name, (_, size) in (await stream_sizes(self._admin)).items()
            },
            curve=self._curve[::step],
        )
        emit(bench="overload", what="audit", **audit)
        emit(bench="overload", what="liveness", changes=self._liveness, driver=driver)


if __name__ == "__main__":
    main()
