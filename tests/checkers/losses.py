"""Was anything called lost whose end was seen where it ran?

An end that a reaper has waited for is on its disk, and so it reaches the journal as it was, unless
its host, its disk or an operator came in between, or its job may be given up after a silence. So
does the end of what outlives its reaper. It does not compare what was told with what happened.
"""

from __future__ import annotations

from tests.checkers.fencing import VOUCHED
from tests.checkers.history import History, Run, Violation
from tests.checkers.leases import Lease, fold_journal

LOST = "lost"


def check_losses(history: History) -> list[Violation]:
    """Every end that was seen and is journalled as one that nobody saw. Not asked of journals with
    entries that could not be read: what stood there is given up for lost."""
    if history.undecodable:
        return []
    journaled = fold_journal(history)
    ends = {(boot.node, boot.boot_id): boot.ended_ns for boot in history.boots}
    found = []
    for run in history.runs:
        lease = journaled.leases.get((run.job_id, run.attempt, run.rank))
        known = run.waited or run.survives
        if not known or lease is None or lease.exited is None or lease.exited.reason != LOST:
            continue
        job = journaled.jobs.get(run.job_id)
        silence_ends_it = job is None or job.spec.disconnect_s is not None
        gone_ns = ends.get((run.node, run.boot_id))
        if silence_ends_it or lease.evidence in VOUCHED or _host_gone(gone_ns, lease):
            continue
        found.append(_of(run, lease))
    return found


def _host_gone(ended_ns: int | None, lease: Lease) -> bool:
    """A host that comes up anew is heard of beside what it owes from before."""
    return ended_ns is not None and lease.exited_ns is not None and ended_ns <= lease.exited_ns


def _of(run: Run, lease: Lease) -> Violation:
    end = f"exit code {run.exit_code}" if run.signal is None else f"signal {run.signal}"
    return Violation(
        code="end_untold",
        sentence=f"rank {run.rank} of attempt {run.attempt} of job {run.job_id} ended with {end} on"
        f" {run.node}, where that was seen; it is journalled as lost",
        job_id=run.job_id,
        node=run.node,
        at_ns=lease.exited_ns or 0,
    )
