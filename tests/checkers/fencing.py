"""Did anything happen under a lease that was not there yet, or not any more?

Lays what really ran beside the grants and releases of the journal; where the broker has lost
entries since, beside the grants that it ever held. It does not count how much of a device was used.
"""

from __future__ import annotations

from collections import defaultdict

from penstock_contracts.journal import RankStarted
from tests.checkers.history import History, Run, Violation
from tests.checkers.leases import Job, Journaled, Lease, ever_granted, facts_of, fold_journal

VOUCHED = ("fenced", "node_removed")
"""Evidence of an operator: the device is free because somebody said so."""
UNGUARDED = ("host suspended", "reaper frozen")
"""While this is done to a host, nothing on it can end an attempt whose contact is lost in time; nor
can anything when its reaper has died."""


def check_fencing(history: History) -> list[Violation]:
    """Every run, start and end that no lease stands for."""
    if history.lossy_broker:
        return _never_granted(history)
    journaled = fold_journal(history)
    runs = {(run.job_id, run.attempt, run.rank): run for run in history.runs}
    found: list[Violation] = []
    for run in history.runs:
        lease = journaled.leases.get((run.job_id, run.attempt, run.rank))
        if lease is None:
            found.append(_of(run, "ran_without_lease", "was never granted"))
            continue
        found += _beside_lease(history, run, lease)
        found += _beside_job(history, run, journaled.jobs.get(run.job_id))
    found += _attempts_at_once(history, journaled)
    found += _told_and_untrue(history, journaled, runs)
    return found


def _never_granted(history: History) -> list[Violation]:
    """A grant is in the journal before anything runs under it, lost or not; one that was lost may
    be given again, elsewhere."""
    grants = ever_granted(history)
    found = []
    for run in history.runs:
        leases = grants.get((run.job_id, run.attempt, run.rank), [])
        if not any(_stands_for(history, lease, run) for lease in leases):
            found.append(_of(run, "ran_without_lease", f"was never granted so on {run.node}"))
    return found


def _stands_for(history: History, lease: Lease, run: Run) -> bool:
    return (
        (lease.node, lease.devices) == (run.node, run.devices)
        and (not run.devices or lease.gpu_milli == run.gpu_milli)
        and run.lease_seq in (lease.lease_seq, None)
        and lease.granted_ns <= run.began_ns + history.late_ns
    )


def _beside_lease(history: History, run: Run, lease: Lease) -> list[Violation]:
    found = []
    if (run.node, run.devices) != (lease.node, lease.devices):
        where = f"ran on {run.node} {run.devices}, granted were {lease.node} {lease.devices}"
        found.append(_of(run, "ran_elsewhere", where))
    if run.devices and run.gpu_milli != lease.gpu_milli:
        found.append(_of(run, "ran_elsewhere", f"used {run.gpu_milli} of {lease.gpu_milli} milli"))
    if run.lease_seq is not None and run.lease_seq != lease.lease_seq:
        sentence = f"ran under lease {run.lease_seq}, granted was {lease.lease_seq}"
        found.append(_of(run, "ran_under_other_lease", sentence))
    if run.began_ns + history.late_ns < lease.granted_ns:
        found.append(_of(run, "ran_before_commit", "began before its grant was in the journal"))
    if lease.released_ns is None or lease.evidence in VOUCHED:
        return found
    if run.began_ns >= lease.released_ns:
        found.append(_of(run, "began_after_release", f"began after its {lease.evidence}"))
    elif run.ended_ns is None or run.ended_ns > lease.released_ns:
        sentence = f"still ran when its devices were freed ({lease.evidence})"
        found.append(_of(run, "released_while_running", sentence))
    return found


def _beside_job(history: History, run: Run, job: Job | None) -> list[Violation]:
    if job is None:
        return []
    next_ns = job.granted_ns.get(run.attempt + 1)
    if next_ns is not None and run.began_ns >= next_ns:
        return [_of(run, "began_after_successor", "began when the next attempt had its grant")]
    if job.ended_ns is not None and run.began_ns >= job.ended_ns:
        return [_of(run, "began_after_end", f"began when its job had ended {job.state}")]
    return []


def _attempts_at_once(history: History, journaled: Journaled) -> list[Violation]:
    """Two attempts of a job at the same time: only on a host that could not stop the older one."""
    by_job: dict[str, list[Run]] = defaultdict(list)
    for run in history.runs:
        by_job[run.job_id].append(run)
    found = []
    for runs in by_job.values():
        for older in runs:
            for newer in runs:
                together = older.ended_ns is None or older.ended_ns > newer.began_ns
                if older.attempt >= newer.attempt or not together:
                    continue
                lease = journaled.leases.get((older.job_id, older.attempt, older.rank))
                vouched = lease is not None and lease.evidence in VOUCHED
                if not vouched and not _unguarded(history, older, newer.began_ns):
                    sentence = f"still ran on {older.node} beside attempt {newer.attempt}"
                    found.append(_of(older, "attempts_at_once", sentence))
    return found


def _unguarded(history: History, run: Run, until_ns: int) -> bool:
    return not run.waited or any(
        fault.kind in UNGUARDED
        and fault.node == run.node
        and fault.at_ns <= until_ns
        and (fault.until_ns is None or fault.until_ns >= run.began_ns)
        for fault in history.faults
    )


def _told_and_untrue(
    history: History, journaled: Journaled, runs: dict[tuple[str, int, int], Run]
) -> list[Violation]:
    """Starts and ends that the journal tells of ranks that never ran, or ended otherwise."""
    found = []
    for at_ns, seq, fact in facts_of(history.jobs_entries):
        if isinstance(fact, RankStarted) and (fact.job_id, fact.attempt, fact.rank) not in runs:
            sentence = f"JOBS {seq} says that rank {fact.rank} of {fact.job_id} started"
            found.append(
                Violation(code="untrue_start", sentence=sentence, job_id=fact.job_id, at_ns=at_ns)
            )
    for key, lease in journaled.leases.items():
        told, run = lease.exited, runs.get(key)
        if told is None or (told.exit_code is None and told.signal is None):
            continue
        ended = run is not None and run.ended_ns is not None
        if not (ended and run is not None and run.ended_with(told.exit_code, told.signal)):
            really = None if run is None else (run.exit_code, run.signal)
            found.append(
                Violation(
                    code="untrue_end",
                    sentence=f"rank {lease.rank} of attempt {lease.attempt} of job {lease.job_id}"
                    f" ended with {really}, told was {(told.exit_code, told.signal)}",
                    job_id=lease.job_id,
                    node=lease.node,
                    at_ns=lease.exited_ns or 0,
                )
            )
    return found


def _of(run: Run, code: str, what: str) -> Violation:
    sentence = f"rank {run.rank} of attempt {run.attempt} of job {run.job_id} {what}"
    return Violation(
        code=code,
        sentence=sentence,
        job_id=run.job_id,
        node=run.node,
        device=run.devices[0] if run.devices else None,
        at_ns=run.began_ns,
    )
