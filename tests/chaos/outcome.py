"""What came of a run?

Waits until the mesh has drained, asks it for its audits, completes the history, has the checkers
judge it and counts. It does not know what was done to the mesh beyond what the history says.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from chaos.load import Load, boottime_ns
from chaos.mesh import ChaosMesh
from chaos.observer import Observer, add_unwitnessed
from penstock_bus.nats import NatsBus
from penstock_client.checking import Report, check
from penstock_contracts.journal import (
    JobFinished,
    JobRejected,
    JobSubmitted,
    LeaseGranted,
    RankReleased,
)
from penstock_metering.ledger.database import Database
from tests.checkers.history import Ending, History
from tests.checkers.observation import ledger_lines
from tests.checkers.story import story_of
from tests.checkers.verdict import judge

DRAIN_TIMEOUT_S = 240.0
POLL_S = 0.5
CHECK_TRIES = 8
CHECK_PAUSE_S = 2.0
STORIES_MAX = 5
LOST = ("request_lost", "job_endless", "job_live")
DOUBLED = ("ran_twice", "accepted_twice")


async def drain(history: History, ending: Ending) -> None:
    """Until every job has ended, every rank is released and nothing runs; or too long."""
    history.ending = ending
    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    while time.monotonic() < deadline:
        await asyncio.sleep(POLL_S)
        running = any(run.ended_ns is None for run in history.runs)
        if not running and not any(_left(history)):
            ending.drained_ns = boottime_ns()
            break
    live, leases = _left(history)
    ending.live_jobs, ending.leases = tuple(sorted(live)), tuple(sorted(leases))


def _left(history: History) -> tuple[set[str], set[str]]:
    """Jobs without an end and ranks without a release, by the journal."""
    live: set[str] = set()
    leases: set[str] = set()
    for seen in history.jobs_entries:
        for fact in seen.entry.facts:
            if isinstance(fact, JobSubmitted):
                live.add(fact.spec.job_id)
            elif isinstance(fact, JobFinished | JobRejected):
                live.discard(fact.job_id)
            elif isinstance(fact, LeaseGranted):
                leases |= {f"{fact.job_id}/{fact.attempt}/{place.rank}" for place in fact.ranks}
            elif isinstance(fact, RankReleased):
                leases.discard(f"{fact.job_id}/{fact.attempt}/{fact.rank}")
    return live, leases


async def audit(user: NatsBus, ending: Ending) -> Report:
    """The mesh's own accounts; asked again while somebody is still coming back."""
    report = await check(user)
    for _ in range(CHECK_TRIES):
        if report.ok:
            break
        await asyncio.sleep(CHECK_PAUSE_S)
        report = await check(user)
    ending.scheduler, ending.inventory = report.scheduler, report.inventory
    ending.metering = report.metering
    return report


def verdict(
    history: History, mesh: ChaosMesh, load: Load, observer: Observer, report: Report
) -> dict[str, Any]:
    """What the checkers and the audits say; stories of what was broken go to a file."""
    history.ledger = ledger_lines(Database(f"sqlite:///{mesh.ledger}"))
    unwitnessed = add_unwitnessed(history)
    specs = {s.job_id: s.spec for s in history.submissions if s.spec is not None}
    for run in history.runs:
        if run.job_id in specs:
            run.gpu_milli = specs[run.job_id].gpu_milli
    violations = [found for several in judge(history).values() for found in several]
    _write_stories(history, violations, mesh.root / "stories.json")
    codes = Counter(violation.code for violation in violations)
    return {
        "jobs": load.asked,
        "runs": len(history.runs),
        "unwitnessed": unwitnessed,
        "cancels": len(history.cancels),
        "requests_unanswered": load.unanswered,
        "drained": history.ending is not None and history.ending.drained_ns is not None,
        "lost": sum(codes[code] for code in LOST),
        "doubled": sum(codes[code] for code in DOUBLED),
        "overlapping_holders": codes["device_shared"],
        "unaccounted_ms": report.unaccounted_ms,
        "violations": dict(codes),
        "check_ok": report.ok,
        "check_findings": {k: [f.sentence for f in v] for k, v in report.findings.items() if v},
        "scheduler_terms": len({seen.entry.term for seen in history.jobs_entries}),
        "failover_s": failovers(observer.placed),
    }


def _write_stories(history: History, violations: list[Any], path: Path) -> None:
    stories = [[found.sentence, *story_of(history, found)] for found in violations[:STORIES_MAX]]
    path.write_bytes(msgspec.json.format(msgspec.json.encode(stories)))


def failovers(placed: list[tuple[int, int]]) -> dict[str, float]:
    """Seconds from the last placement of one term to the first of the next: an upper bound of what
    a change of scheduler costs."""
    gaps = sorted(
        (later[0] - before[0]) / 1e9
        for before, later in itertools.pairwise(placed)
        if later[1] != before[1]
    )
    if not gaps:
        return {}
    return {"p50": round(gaps[len(gaps) // 2], 2), "max": round(gaps[-1], 2), "count": len(gaps)}
