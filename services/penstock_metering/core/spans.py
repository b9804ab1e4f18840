"""Which spans does a job's trace consist of?

Derives them from the facts of the JOBS journal alone: five phases per attempt (queue, place,
prepare, execute, settle) under one root, each when it ends, the root last. Ids and instants follow
from the facts, so that reading them again gives the same spans. It does not know how spans travel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from penstock_contracts.jobs import REJECTED
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
)

ROOT_PHASE = "job"
QUEUE, PLACE, PREPARE, EXECUTE, SETTLE = PHASES = (
    "queue", "place", "prepare", "execute", "settle",
)  # fmt: skip
NS_PER_MS = 1_000_000

RESULTS = {
    "succeeded": "success",
    "failed": "failure",
    "timed_out": "timeout",
    "cancelled": "cancellation",
    "rejected": "skip",
    "lost": "error",
    "preempted": "cancellation",
    "stopped": "cancellation",
}
"""States and outcomes in the words of OpenTelemetry's CI/CD convention."""

Value = str | int


class SpanRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One ended span. `phase` is its name; `job` is the root (attempt 0), parent of the others."""

    job_id: str
    attempt: int
    phase: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Value]
    failed: bool = False


class _Attempt(msgspec.Struct):
    """`at_phase` indexes the phase that began at `mark_ns`."""

    number: int
    mark_ns: int
    nodes: str
    running_ranks: set[int]
    held_ranks: set[int]
    at_phase: int = 1
    end_ns: int = 0
    exit_code: int | None = None


class _Job(msgspec.Struct):
    first_seq: int
    job_id: str
    tenant: str
    name: str
    start_ns: int
    last_ns: int
    queued_from_ns: int | None
    next_attempt: int = 1
    attempts: dict[int, _Attempt] = {}
    result: str = ""
    exit_code: int | None = None


class SpanFold:
    """`apply` returns the spans that ended with an entry."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Job] = {}
        self._ended: list[SpanRecord] = []

    def apply(self, seq: int, now_ns: int, facts: Iterable[Any]) -> list[SpanRecord]:
        for fact in facts:
            fold = _FOLDS.get(type(fact))
            if fold is not None:
                fold(self, seq, now_ns, fact)
        ended, self._ended = self._ended, []
        return ended

    @property
    def needed_from_seq(self) -> int | None:
        """The entry at which the oldest job that is not over began; None = none is."""
        oldest = next(iter(self._jobs.values()), None)
        return None if oldest is None else oldest.first_seq

    def _submitted(self, seq: int, now_ns: int, fact: JobSubmitted) -> None:
        spec = fact.spec
        self._jobs.setdefault(
            spec.job_id,
            _Job(seq, spec.job_id, fact.tenant, spec.name, now_ns, now_ns, now_ns),
        )

    def _granted(self, seq: int, now_ns: int, fact: LeaseGranted) -> None:
        job = self._jobs.get(fact.job_id)
        if job is None:
            return
        job.next_attempt = fact.attempt
        self._leave_queue(job, now_ns)
        ranks = {place.rank for place in fact.ranks}
        nodes = ",".join(sorted({place.node for place in fact.ranks}))
        job.attempts[fact.attempt] = _Attempt(fact.attempt, now_ns, nodes, ranks, set(ranks))

    def _preparing(self, seq: int, now_ns: int, fact: AttemptPreparing) -> None:
        self._reach(fact.job_id, fact.attempt, PREPARE, fact.at_ms * NS_PER_MS)

    def _running(self, seq: int, now_ns: int, fact: AttemptRunning) -> None:
        self._reach(fact.job_id, fact.attempt, EXECUTE, fact.at_ms * NS_PER_MS)

    def _exited(self, seq: int, now_ns: int, fact: RankExited) -> None:
        job = self._jobs.get(fact.job_id)
        attempt = job and job.attempts.get(fact.attempt)
        if attempt and fact.rank in attempt.running_ranks:
            if not attempt.exit_code:
                attempt.exit_code = fact.exit_code
            self._rank_ended(fact.job_id, attempt, fact.rank, fact.at_ms * NS_PER_MS)

    def _released(self, seq: int, now_ns: int, fact: RankReleased) -> None:
        job = self._jobs.get(fact.job_id)
        attempt = job and job.attempts.get(fact.attempt)
        if not job or not attempt:
            return
        at_ns = now_ns if fact.at_ms is None else fact.at_ms * NS_PER_MS
        self._rank_ended(fact.job_id, attempt, fact.rank, at_ns)
        attempt.held_ranks.discard(fact.rank)
        attempt.end_ns = max(attempt.end_ns, at_ns)
        if not attempt.held_ranks:
            self._advance(job, attempt, len(PHASES), attempt.end_ns)
            del job.attempts[fact.attempt]
            self._close(job)

    def _attempt_ended(self, seq: int, now_ns: int, fact: AttemptEnded) -> None:
        job = self._jobs.get(fact.job_id)
        if job is not None:
            job.queued_from_ns = now_ns
            job.next_attempt = fact.attempt + 1

    def _finished(self, seq: int, now_ns: int, fact: JobFinished) -> None:
        result = "error" if fact.lost_before and fact.exit_code is None else RESULTS.get(fact.state)
        self._end(fact.job_id, now_ns, result or "error", fact.exit_code)

    def _rejected(self, seq: int, now_ns: int, fact: JobRejected) -> None:
        self._end(fact.job_id, now_ns, RESULTS[REJECTED], None)

    def _end(self, job_id: str, now_ns: int, result: str, exit_code: int | None) -> None:
        job = self._jobs.get(job_id)
        if job is not None:
            self._leave_queue(job, now_ns)
            job.result, job.exit_code = result, exit_code
            job.last_ns = max(job.last_ns, now_ns)
            self._close(job)

    def _leave_queue(self, job: _Job, now_ns: int) -> None:
        if job.queued_from_ns is not None:
            start_ns, job.queued_from_ns = job.queued_from_ns, None
            self._emit(job, job.next_attempt, QUEUE, start_ns, now_ns, {})

    def _reach(self, job_id: str, number: int, phase: str, at_ns: int) -> None:
        job = self._jobs.get(job_id)
        attempt = job and job.attempts.get(number)
        if job and attempt:
            self._advance(job, attempt, PHASES.index(phase), at_ns)

    def _rank_ended(self, job_id: str, attempt: _Attempt, rank: int, at_ns: int) -> None:
        attempt.running_ranks.discard(rank)
        attempt.end_ns = max(attempt.end_ns, at_ns)
        if not attempt.running_ranks:
            self._reach(job_id, attempt.number, SETTLE, attempt.end_ns)

    def _advance(self, job: _Job, attempt: _Attempt, to_phase: int, at_ns: int) -> None:
        """End every phase before `to_phase`. One that was passed over took no time."""
        while attempt.at_phase < to_phase:
            end_ns = max(attempt.mark_ns, at_ns)
            attributes: dict[str, Value] = {"penstock.nodes": attempt.nodes}
            if PHASES[attempt.at_phase] == EXECUTE and attempt.exit_code is not None:
                attributes["process.exit.code"] = attempt.exit_code
            phase = PHASES[attempt.at_phase]
            self._emit(job, attempt.number, phase, attempt.mark_ns, end_ns, attributes)
            attempt.mark_ns = end_ns
            attempt.at_phase += 1

    def _emit(
        self,
        job: _Job,
        attempt: int,
        phase: str,
        start_ns: int,
        end_ns: int,
        attributes: dict[str, Value],
    ) -> None:
        job.last_ns = max(job.last_ns, end_ns)
        own: dict[str, Value] = {
            "penstock.job.id": job.job_id,
            "penstock.tenant": job.tenant,
            "penstock.attempt": attempt,
        }
        self._ended.append(
            SpanRecord(
                job_id=job.job_id,
                attempt=attempt,
                phase=phase,
                start_ns=start_ns,
                end_ns=end_ns,
                attributes=own | attributes,
                failed=phase == EXECUTE and attributes.get("process.exit.code", 0) != 0,
            )
        )

    def _close(self, job: _Job) -> None:
        """The root, once the job has ended and nothing of it is held any more."""
        if not job.result or job.attempts:
            return
        del self._jobs[job.job_id]
        attributes: dict[str, Value] = {
            "penstock.job.id": job.job_id,
            "penstock.tenant": job.tenant,
            "cicd.pipeline.result": job.result,
        }
        if job.name:
            attributes["cicd.pipeline.name"] = job.name
        if job.exit_code is not None:
            attributes["process.exit.code"] = job.exit_code
        self._ended.append(
            SpanRecord(
                job_id=job.job_id,
                attempt=0,
                phase=ROOT_PHASE,
                start_ns=job.start_ns,
                end_ns=job.last_ns,
                attributes=attributes,
                failed=job.result in ("failure", "error", "timeout"),
            )
        )


_FOLDS: dict[type, Callable[[SpanFold, int, int, Any], None]] = {
    JobSubmitted: SpanFold._submitted,
    JobRejected: SpanFold._rejected,
    LeaseGranted: SpanFold._granted,
    AttemptPreparing: SpanFold._preparing,
    AttemptRunning: SpanFold._running,
    RankExited: SpanFold._exited,
    RankReleased: SpanFold._released,
    AttemptEnded: SpanFold._attempt_ended,
    JobFinished: SpanFold._finished,
}
