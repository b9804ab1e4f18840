"""What became of each job, and who held which device when?

Folds the facts of the JOBS journal into job and lease rows. Keeps in memory only what is not over,
collects what changed for the next commit, and notes what must never happen. It does not know how
rows are stored, nor what use costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from penstock_contracts.jobs import (
    GPU_MILLI_WHOLE,
    PLACED,
    PREPARING,
    QUEUED,
    REJECTED,
    RUNNING,
    TERMINAL,
)
from penstock_contracts.journal import (
    AttemptEnded,
    AttemptPreparing,
    AttemptRunning,
    JobFinished,
    JobRejected,
    JobSubmitted,
    LeaseGranted,
    RankExited,
    RankReleased,
    RankStarted,
    StartsExpected,
)
from penstock_metering.core.rows import Anomaly, JobRow, LeaseKey, LeaseRow

NS_PER_MS = 1_000_000
UNREAD = "unread"
"""Instead of a job's state, or of what proved a release: it stood in entries that are missing."""
_encode = msgspec.json.Encoder().encode


class Stray(msgspec.Struct, frozen=True):
    """What may happen only to a live job happened to one that ended, or that was never read of."""

    seq: int
    job_id: str
    fact: str


class History:
    """`apply` is the only way in; `take_changes` empties what the next commit must store."""

    def __init__(
        self,
        jobs: Iterable[JobRow] = (),
        leases: Iterable[LeaseRow] = (),
        unread_to_seq: int = 0,
    ) -> None:
        """`unread_to_seq`: up to where entries are missing (0 = none): how what was open then
        ended is perhaps not known."""
        self._unread_to_seq = unread_to_seq
        self._jobs: dict[str, JobRow] = {job.job_id: job for job in jobs}
        self._leases: dict[str, dict[tuple[int, int], LeaseRow]] = {}
        self._held_milli: dict[tuple[str, str], int] = {}
        self._changed_jobs: dict[str, JobRow] = {}
        self._changed_leases: dict[LeaseKey, LeaseRow] = {}
        self._anomalies: list[Anomaly] = []
        self._strays: list[Stray] = []
        self._released_now: dict[tuple[str, int, int], LeaseRow] = {}
        for lease in leases:
            self._leases.setdefault(lease.job_id, {})[lease.attempt, lease.rank] = lease
            self._hold(lease)

    @property
    def live_jobs(self) -> int:
        return len(self._jobs)

    @property
    def open_leases(self) -> int:
        return sum(map(len, self._leases.values()))

    def apply(self, seq: int, now_ns: int, facts: Iterable[Any]) -> None:
        """Fold one entry: `seq` is its place in JOBS, `now_ns` its instant."""
        now_ms = now_ns // NS_PER_MS
        self._released_now.clear()
        for fact in facts:
            fold = _FOLDS.get(type(fact))
            if fold is not None:
                fold(self, seq, now_ms, fact)

    def miss(self, upto_seq: int) -> None:
        """Entries up to `upto_seq` are gone unread: what is open now may have ended in them."""
        self._unread_to_seq = upto_seq
        for job in self._jobs.values():
            job.state = UNREAD
            self._changed_jobs[job.job_id] = job

    def take_changes(
        self,
    ) -> tuple[list[JobRow], list[LeaseRow], list[Anomaly], list[Stray]]:
        """Rows to write, in the order they first changed, and what was noted on the way."""
        changes = (
            list(self._changed_jobs.values()),
            list(self._changed_leases.values()),
            self._anomalies,
            self._strays,
        )
        self._changed_jobs, self._changed_leases = {}, {}
        self._anomalies, self._strays = [], []
        return changes

    def _submitted(self, seq: int, now_ms: int, fact: JobSubmitted) -> None:
        job_id = fact.spec.job_id
        if job_id in self._jobs:
            self._note(seq, "job_accepted_twice", f"job {job_id} was accepted twice")
            return
        self._jobs[job_id] = self._changed_jobs[job_id] = JobRow(
            job_id=job_id,
            tenant=fact.tenant,
            spec=_encode(fact.spec).decode(),
            submitted_seq=seq,
            submitted_ms=now_ms,
        )

    def _rejected(self, seq: int, now_ms: int, fact: JobRejected) -> None:
        job = self._live(seq, fact.job_id, "rejected")
        if job is not None:
            job.reason, job.message = fact.refusal.code, fact.refusal.message
            self._end(seq, now_ms, job, REJECTED)

    def _granted(self, seq: int, now_ms: int, fact: LeaseGranted) -> None:
        job = self._live(seq, fact.job_id, "placed")
        if job is None:
            return
        job.state, job.attempt, job.placed_ms, job.started_ms = PLACED, fact.attempt, now_ms, None
        leases = self._leases.setdefault(fact.job_id, {})
        for place in fact.ranks:
            lease = LeaseRow(
                lease_seq=seq,
                job_id=fact.job_id,
                rank=place.rank,
                tenant=job.tenant,
                attempt=fact.attempt,
                node=place.node,
                devices=place.devices,
                gpu_milli=fact.gpu_milli,
                cpu_milli=fact.cpu_milli,
                granted_ms=now_ms,
                project=fact.project,
                tier=fact.tier,
                site=place.site,
                memory_mib=fact.memory_mib,
            )
            self._end_unread(seq, lease)
            leases[fact.attempt, place.rank] = lease
            self._changed_leases[lease.key] = lease
            self._hold(lease, seq)

    def _preparing(self, seq: int, now_ms: int, fact: AttemptPreparing) -> None:
        job = self._jobs.get(fact.job_id)
        if job is not None and job.attempt == fact.attempt:
            self._changed_jobs[job.job_id] = job
            job.state = PREPARING

    def _running(self, seq: int, now_ms: int, fact: AttemptRunning) -> None:
        job = self._jobs.get(fact.job_id)
        if job is not None and job.attempt == fact.attempt:
            self._changed_jobs[job.job_id] = job
            job.state, job.started_ms = RUNNING, fact.at_ms

    def _attempt_ended(self, seq: int, now_ms: int, fact: AttemptEnded) -> None:
        job = self._live(seq, fact.job_id, "attempt_ended")
        if job is not None:
            job.state = QUEUED
            job.expected_ms = job.estimated_ms = None

    def _expected(self, seq: int, now_ms: int, fact: StartsExpected) -> None:
        for start in fact.starts:
            job = self._jobs.get(start.job_id)
            if job is not None and job.state == QUEUED:
                self._changed_jobs[job.job_id] = job
                job.expected_ms, job.estimated_ms = start.start_ms, now_ms

    def _finished(self, seq: int, now_ms: int, fact: JobFinished) -> None:
        job = self._live(seq, fact.job_id, "finished")
        if job is None:
            return
        job.attempt, job.exit_code, job.signal = fact.attempt, fact.exit_code, fact.signal
        job.reason, job.message, job.log_bytes = fact.reason, fact.message, fact.log_bytes
        self._end(seq, now_ms, job, fact.state)

    def _rank_started(self, seq: int, now_ms: int, fact: RankStarted) -> None:
        lease = self._lease(fact.job_id, fact.attempt, fact.rank)
        if lease is not None:
            lease.started_ms = fact.at_ms

    def _rank_exited(self, seq: int, now_ms: int, fact: RankExited) -> None:
        lease = self._lease(fact.job_id, fact.attempt, fact.rank)
        if lease is not None:
            lease.exited_ms, lease.exit_code = fact.at_ms, fact.exit_code
            lease.signal, lease.reason, lease.outputs = fact.signal, fact.reason, fact.outputs
            # Of a silent node's attempt the scheduler says only that it is lost.
            given_up = fact.reason == "lost" and fact.started_ms is None
            lease.segments = None if given_up else fact.segments
            if fact.started_ms is not None:
                lease.started_ms = fact.started_ms

    def _rank_released(self, seq: int, now_ms: int, fact: RankReleased) -> None:
        lease = self._lease(fact.job_id, fact.attempt, fact.rank)
        if lease is None or lease.released_seq is not None:
            return
        released_ms = now_ms if fact.at_ms is None else fact.at_ms
        self._release(seq, released_ms, lease, fact.evidence)

    def _release(self, seq: int, at_ms: int, lease: LeaseRow, evidence: str) -> None:
        lease.released_ms, lease.released_seq, lease.evidence = at_ms, seq, evidence
        self._changed_leases[lease.key] = lease
        self._released_now[lease.job_id, lease.attempt, lease.rank] = lease
        leases = self._leases[lease.job_id]
        del leases[lease.attempt, lease.rank]
        if not leases:
            del self._leases[lease.job_id]
        for uuid in lease.devices:
            self._held_milli[lease.node, uuid] -= lease.gpu_milli

    def _end_unread(self, seq: int, successor: LeaseRow) -> None:
        """A device is granted once at a time: who seemed to hold it must have been released in
        entries that are missing."""
        if not any(self._held_milli.get((successor.node, uuid)) for uuid in successor.devices):
            return
        for leases in list(self._leases.values()):
            for lease in list(leases.values()):
                shared = lease.node == successor.node and not set(lease.devices).isdisjoint(
                    successor.devices
                )
                if shared and lease.lease_seq <= self._unread_to_seq:
                    self._release(seq, successor.granted_ms, lease, UNREAD)

    def _live(self, seq: int, job_id: str, fact: str) -> JobRow | None:
        """The job, which must be live for this to happen to it."""
        job = self._jobs.get(job_id)
        if job is None:
            self._strays.append(Stray(seq, job_id, fact))
        else:
            self._changed_jobs[job_id] = job
        return job

    def _lease(self, job_id: str, attempt: int, rank: int) -> LeaseRow | None:
        """A lease that is open, or was released in this same entry. What comes later about a rank
        that is released (a report repeated, an agent back after a fence) changes nothing."""
        lease = self._leases.get(job_id, {}).get((attempt, rank))
        if lease is None:
            lease = self._released_now.get((job_id, attempt, rank))
        if lease is not None:
            self._changed_leases[lease.key] = lease
        return lease

    def _end(self, seq: int, now_ms: int, job: JobRow, state: str) -> None:
        if state not in TERMINAL:
            self._note(seq, "not_terminal", f"job {job.job_id} ended in {state!r}, which is no end")
        job.state, job.finished_seq, job.finished_ms = state, seq, now_ms
        del self._jobs[job.job_id]

    def _hold(self, lease: LeaseRow, seq: int = 0) -> None:
        """Count the lease on its devices. `seq` 0: it was counted before, as it was granted."""
        for uuid in lease.devices:
            held = self._held_milli.get((lease.node, uuid), 0) + lease.gpu_milli
            self._held_milli[lease.node, uuid] = held
            if held > GPU_MILLI_WHOLE and seq:
                self._note(
                    seq,
                    "leases_overlap",
                    f"device {uuid} of {lease.node} was leased {held} of {GPU_MILLI_WHOLE} "
                    f"milli-GPU at once when job {lease.job_id} got it",
                )

    def _note(self, seq: int, code: str, sentence: str) -> None:
        self._anomalies.append(Anomaly("JOBS", seq, code, sentence))


_FOLDS: dict[type, Callable[[History, int, int, Any], None]] = {
    JobSubmitted: History._submitted,
    JobRejected: History._rejected,
    LeaseGranted: History._granted,
    AttemptPreparing: History._preparing,
    AttemptRunning: History._running,
    AttemptEnded: History._attempt_ended,
    JobFinished: History._finished,
    RankStarted: History._rank_started,
    RankExited: History._rank_exited,
    RankReleased: History._rank_released,
    StartsExpected: History._expected,
}
"""Facts that change history; the others are for the scheduler's own recovery."""
