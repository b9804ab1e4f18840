"""What does a long line of waiting jobs cost, and how soon is a killed service back?

Jobs that want devices which one long job holds; then kill -9 and the time until the service answers
again; then every one is cancelled, so that as many ids are remembered. It does not know the nodes.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from measure.load import JOBS_PER_REQUEST, TENANT, Load, ulid
from measure.report import emit, say

from scale.control_plane import ControlPlane, resident
from scale.fleet import Fleet

ROOT = "penstock.v1"
REQUESTS_AT_ONCE = 16
CANCELS_AT_ONCE = 200
QUERY_S = 0.2
_CHEAP = {"scheduler": ("job", {"job_id": "unknown"}), "inventory": ("node", {"node": "unknown"})}
"""A question that costs nothing, so that only being there is measured."""
WAIT_S = 300.0
REFUSED_S = 0.5
POLL_S = 0.02


async def measure_backlog(plane: ControlPlane, fleet: Fleet, model: str, count: int) -> None:
    load = await Load.connect(plane.nats_url, plane.creds, ("running", "cancelled"))
    try:
        holder = await hold(load, model)
        ids = await queue(plane, load, model, count)
        for service in ("scheduler", "inventory"):
            await restart(plane, load, service, fleet.nodes, count)
        await cancel_all(plane, load, ids)
        await restart(plane, load, "scheduler", fleet.nodes, 0)
        await cancel(load, holder)
        await until(load, len(ids) + 1)
    finally:
        await load.close()


async def hold(load: Load, model: str) -> str:
    """One job on every device of the model, until it is cancelled."""
    job_id = ulid()
    spec = {"job_id": job_id, "command": ["sim"], "gpus": 8, "gpu_models": [model]}
    await load.submit([spec])
    while True:
        if "running" in load.arrived_ns.get(job_id, {}):
            return job_id
        await asyncio.sleep(POLL_S)


async def queue(plane: ControlPlane, load: Load, model: str, count: int) -> list[str]:
    ids = [ulid() for _ in range(count)]
    began = time.monotonic()
    say(f"{count} jobs get in line")
    limit = asyncio.Semaphore(REQUESTS_AT_ONCE)

    async def submit(part: list[str]) -> None:
        async with limit:
            await load.submit(
                [{"job_id": i, "command": ["sim"], "gpus": 1, "gpu_models": [model]} for i in part]
            )

    await asyncio.gather(
        *(submit(ids[at : at + JOBS_PER_REQUEST]) for at in range(0, count, JOBS_PER_REQUEST))
    )
    submitted_s = time.monotonic() - began
    await until_gauge(plane, "jobs_waiting", count)
    emit(
        bench="scale",
        what="queued",
        jobs=count,
        submitted_s=round(submitted_s, 2),
        in_line_s=round(time.monotonic() - began, 2),
        rss_mib=resident(plane.usage()),
        commands_ms=await commands(plane, ids[-1]),
    )
    return ids


async def commands(plane: ControlPlane, job_id: str) -> dict[str, int]:
    took = {}
    for arguments in (("jobs",), ("explain", job_id), ("check",)):
        took_ms, code, _ = await asyncio.to_thread(plane.run, *arguments, "--json")
        took[arguments[0] if code == 0 else f"{arguments[0]} (exit {code})"] = round(took_ms)
    return took


async def restart(plane: ControlPlane, load: Load, service: str, nodes: int, queued: int) -> None:
    """kill -9, and the time until its successor answers."""
    snapshots = plane.logged(service, "snapshot")
    plane.kill(service)
    began = time.monotonic()
    while True:
        if await answers(load, service):
            break
        await asyncio.sleep(POLL_S)
    back_s = time.monotonic() - began
    recovered = plane.logged(service, "recovered")[-1]
    emit(
        bench="scale",
        what="cold_start",
        service=service,
        nodes=nodes,
        jobs_waiting=queued,
        answers_after_s=round(back_s, 2),
        entries_replayed=recovered["seq"] - recovered["snapshot_seq"],
        last_snapshot=_of_snapshot(snapshots),
        rss_mib=resident(plane.usage()),
    )


def _of_snapshot(records: list[dict[str, Any]]) -> dict[str, Any] | None:
    if not records:
        return None
    slowest = max(record["encode_ms"] for record in records)
    last = records[-1]
    return {"bytes": last["bytes"], "encode_ms": last["encode_ms"], "encode_ms_max": slowest}


async def answers(load: Load, service: str) -> bool:
    what, unknown = _CHEAP[service]
    found = await load.ask(f"{ROOT}.query.{service}.{what}", unknown, QUERY_S)
    return found is not None and found["refusal"]["code"] != "unavailable"


async def cancel_all(plane: ControlPlane, load: Load, ids: list[str]) -> None:
    say(f"{len(ids)} jobs are cancelled")
    began = time.monotonic()
    limit = asyncio.Semaphore(CANCELS_AT_ONCE)

    async def one(job_id: str) -> int:
        async with limit:
            return await cancel(load, job_id)

    refusals = sum(await asyncio.gather(*(one(job_id) for job_id in ids)))
    requested_s = time.monotonic() - began
    await until(load, len(ids))
    emit(
        bench="scale",
        what="cancelled",
        jobs=len(ids),
        requested_s=round(requested_s, 2),
        ended_s=round(time.monotonic() - began, 2),
        refused_for_now=refusals,
        rss_mib=resident(plane.usage()),
    )


async def cancel(load: Load, job_id: str) -> int:
    """Until it is stored; how often the broker refused it, because the tenant's requests of this
    kind take up all their room until the next snapshot."""
    subject = f"{ROOT}.request.job.{TENANT}.cancel"
    refusals = 0
    while True:
        answer = await load.ask(subject, {"job_id": job_id}, 10.0)
        if answer is not None and answer.get("seq"):
            return refusals
        refusals += 1
        await asyncio.sleep(REFUSED_S)


async def until(load: Load, ended: int) -> None:
    deadline = time.monotonic() + WAIT_S
    while len(load.ended_ns) < ended:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(load.ended_ns)} of {ended} jobs have ended")
        await asyncio.sleep(POLL_S)


async def until_gauge(plane: ControlPlane, name: str, value: float) -> None:
    deadline = time.monotonic() + WAIT_S
    while True:
        metrics = await asyncio.to_thread(plane.metrics, "scheduler")
        if metrics.get(f"penstock_scheduler_{name}", 0.0) >= value:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"{name} does not reach {value}")
        await asyncio.sleep(POLL_S)
