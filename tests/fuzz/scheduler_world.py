"""In which state is the scheduler when bad input arrives?

A small mesh with a job in every state, as the core's own driver makes it, restored from a snapshot
for each block. It does not know what is done to it.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from penstock_contracts.asks import Alternative
from penstock_contracts.ids import lease_key, ulid
from penstock_contracts.jobs import JobSpec
from penstock_contracts.leases import LeaseStep, Prepared, Preparing, Rendezvous, Started
from penstock_contracts.nodes import NodeCordoned, NodeLivenessChanged
from penstock_scheduler.core.events import NodeChanged
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.state import Lease
from scheduler.driver import EPOCH_NS, Driver, a_job, a_node

NOW_MS = EPOCH_NS // 1_000_000 + 60_000
NEXT_SEQ = 1_000
BOOT = "boot-1"
LABELS = {"site": "s1", "rack": "r1", "zone": "a"}


class World(NamedTuple):
    snapshot: bytes
    leases: tuple[Lease, ...]
    words: tuple[str | int, ...]


@cache
def world() -> World:
    """The state, what is leased in it, and the words a liar could use."""
    driver = Driver(
        a_node("n1", 8, labels=LABELS, link="n1/0"),
        a_node("n2", 4, model="A100", labels={**LABELS, "rack": "r2"}),
        a_node("n3", 2),
    )
    jobs = [_staged(driver, number, stage) for number, stage in enumerate(_STAGES, 1)]
    driver.feed(NodeChanged(NodeCordoned("n3", drain=True)))
    driver.feed(NodeChanged(NodeLivenessChanged("n2", "suspect", "silent")))
    leases = tuple(driver.core.state.leases.values())
    words: list[str | int] = [
        *(job.job_id for job in jobs),
        *(lease_key(lease.lease_seq, lease.job_id, lease.rank) for lease in leases),
        *sorted({lease.lease_seq for lease in leases}),
        *("acme", "other", "n1", "n2", "n3", "stranger", BOOT, "boot-0", "n1-0", "n2-1"),
        *(0, 1, 2, NOW_MS, NEXT_SEQ, NEXT_SEQ + 1_000_000),
        *(ulid(NOW_MS + offset, 77) for offset in (-8 * 86_400_000, 0, 3_600_000)),
        "cancelled", "lost", "signalled", "spawn_failed", "time_limit", "stopped", "disconnected",
    ]  # fmt: skip
    return World(driver.core.snapshot(), leases, tuple(words))


def restored() -> SchedulerCore:
    core = SchedulerCore()
    core.restore(world().snapshot)
    core.state.begin_to_speak()
    for node in list(core.state.nodes):
        core.state.hear(node)
    core.state.touches.take()
    return core


def step_of(lease: Lease) -> dict[str, Any]:
    """What every report about the lease says."""
    return {
        "job_id": lease.job_id,
        "attempt": lease.attempt,
        "rank": lease.rank,
        "lease_seq": lease.lease_seq,
        "at_ms": NOW_MS,
    }


_A100 = Alternative(gpus=1, gpu_models=("A100",), speed_milli=500)
_STAGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("running", {"gpus": 1, "gpu_models": ("B200",), "alternatives": (_A100,), "apart": "x"}),
    ("placed", {"gpus": 1}),
    ("preparing", {"gpus": 1, "disconnect_s": 30}),
    ("running", {"gpus": 1, "retries": 2, "time_limit_s": 60}),
    ("running", {"gpus": 1, "gpu_milli": 250}),
    ("prepared", {"ranks": 2, "gpus": 1}),
    ("running", {"ranks": 3, "gpus": 1, "retries": 1}),
    ("cancelled", {"gpus": 1, "grace_s": 30}),
    ("finished", {"gpus": 1}),
    ("withheld", {"gpus": 1, "disconnect_s": 5, "retries": 1}),
    ("waiting", {"gpus": 8, "priority": 9, "labels": {"team": "x"}, "env": {"A": "b"}}),
    ("waiting", {"ranks": 4, "gpus": 1, "gpu_models": ("A100",)}),
    ("waiting", {"ranks": 2, "gpus": 3, "near": "rack", "near_required": True}),
    ("waiting", {"ranks": 3, "gpus": 1, "spread": "rack", "node_labels": {"zone": "a"}}),
)


def _staged(driver: Driver, number: int, stage: tuple[str, dict[str, Any]]) -> JobSpec:
    wanted, fields = stage
    job = a_job(number, **fields)
    driver.submit(job)
    if wanted == "preparing":
        driver.report(Preparing, job)
    elif wanted == "prepared":
        driver.report(Prepared, job, 0, rendezvous=Rendezvous("10.0.0.1", 20_000))
    elif wanted in ("running", "cancelled", "finished", "withheld"):
        driver.start(job)
    if wanted == "cancelled":
        driver.cancel(job)
    elif wanted == "finished":
        driver.end(job)
    elif wanted == "withheld":
        grant, _ = driver.grant_of(job)
        driver.tick(20, {grant.ranks[0].node: driver.now_ns})
    return job


def steps(lease: Lease) -> list[LeaseStep]:
    """Every kind of report about a lease."""
    from penstock_contracts.leases import Declined, Exited, Released

    step = step_of(lease)
    where = Rendezvous("10.0.0.2", 20_001) if lease.rank == 0 else None
    return [
        Preparing(**step),
        Prepared(**step, rendezvous=where),
        Started(**step),
        Exited(**step, reason="exited", exit_code=0, started_ms=NOW_MS, log_bytes={"stdout": 4}),
        Exited(**step, reason="signalled", signal=9, segments=2, message="killed"),
        Exited(**step, reason="lost"),
        Released(**step),
        Declined(**step, code="no_port", message="no port is free"),
    ]
