"""Did each accepted job end once, and only after it was asked for?

Follows every request from its acknowledgement to one terminal state: nothing lost, doubled or made
up, no rank of an attempt run twice, no job going on behind its end. It does not ask where the work
ran, nor under which lease.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from penstock_contracts.journal import (
    AttemptEnded,
    AttemptPreparing,
    AttemptRunning,
    CancelRequested,
    GangReady,
    JobFinished,
    JobRejected,
    JobSubmitted,
    LeaseGranted,
    RankExited,
    RankPrepared,
    RankStarted,
    RequestRefused,
    StopRequested,
)
from tests.checkers.history import History, Run, Violation
from tests.checkers.leases import Job, facts_of, fold_journal

OF_LIVE_JOBS = (
    LeaseGranted, CancelRequested, AttemptPreparing, RankPrepared, GangReady, RankStarted,
    AttemptRunning, RankExited, StopRequested, AttemptEnded,
)  # fmt: skip
RETRIED = ("failed", "lost")
DEVICE_FAILURES_MAX = 3
"""So many attempts that a device has ended cost no retry."""
OWN_ENDS = ("exited", "signalled", "out_of_memory")
"""Reasons of a failure that lie with the program, not with the mesh."""
ENDED = ("reaper", "leftover")
"""By whom what a program has saved is no success."""
ENDS_OF_THE_MESH = (
    "lost", "disconnected", "declined", "spawn_failed", "prepare_failed", "device_failed",
    "budget", "cannot_start",
)  # fmt: skip
"""Other reasons for which an attempt may fail."""


def check_once(history: History) -> list[Violation]:
    """Everything that was lost, doubled, made up, or went on after its end."""
    jobs = fold_journal(history).jobs
    found = [*_Lives().walk(history), *_ran_twice(history.runs), *_made_up(history, jobs)]
    found += _wrong_ends(jobs)
    found += _untrue_ends(history, jobs)
    if history.ending is not None and not history.lossy_broker:
        found += _unanswered(history, jobs)
    return found


class _Lives:
    """Each job's life, fact by fact."""

    def __init__(self) -> None:
        self.attempt: dict[str, int] = {}
        self.over: set[str] = set()
        self.cancelled: set[str] = set()
        self.placed: set[str] = set()
        self.exited: set[tuple[str, int, int]] = set()
        self.found: list[Violation] = []

    def walk(self, history: History) -> list[Violation]:
        for at_ns, seq, fact in facts_of(history.jobs_entries):
            if isinstance(fact, JobSubmitted):
                job_id = fact.spec.job_id
                if job_id in self.attempt:
                    self._note(at_ns, job_id, "accepted_twice", f"accepted again by JOBS {seq}")
                self.attempt[job_id] = 1
            elif isinstance(fact, OF_LIVE_JOBS):
                self._live(at_ns, seq, fact)
            elif isinstance(fact, JobFinished | JobRejected):
                self._end(at_ns, seq, fact.job_id)
        return self.found

    def _live(self, at_ns: int, seq: int, fact: Any) -> None:
        job_id, what = fact.job_id, type(fact).__name__
        if job_id in self.over or job_id not in self.attempt:
            self._note(at_ns, job_id, "fact_after_end", f"JOBS {seq} has {what} of no live job")
            return
        if isinstance(fact, CancelRequested):
            self.cancelled.add(job_id)
            return
        if fact.attempt != self.attempt[job_id]:
            sentence = f"JOBS {seq} has {what} of attempt {fact.attempt}, not the present one"
            self._note(at_ns, job_id, "fact_of_other_attempt", sentence)
        if isinstance(fact, LeaseGranted):
            self._grant(at_ns, seq, job_id)
        elif isinstance(fact, AttemptEnded):
            self.attempt[job_id] = fact.attempt + 1
            self.placed.discard(job_id)
        elif isinstance(fact, RankExited):
            key = (job_id, fact.attempt, fact.rank)
            if key in self.exited:
                self._note(at_ns, job_id, "exited_twice", f"JOBS {seq} ends a rank again")
            self.exited.add(key)

    def _grant(self, at_ns: int, seq: int, job_id: str) -> None:
        if job_id in self.cancelled:
            self._note(at_ns, job_id, "placed_after_cancel", f"JOBS {seq} places a cancelled job")
        if job_id in self.placed:
            self._note(at_ns, job_id, "placed_twice", f"JOBS {seq} places a job that has a place")
        self.placed.add(job_id)

    def _end(self, at_ns: int, seq: int, job_id: str) -> None:
        if job_id in self.over:
            self._note(at_ns, job_id, "ended_twice", f"JOBS {seq} ends a job that had ended")
        elif job_id not in self.attempt:
            self._note(at_ns, job_id, "ended_unknown", f"JOBS {seq} ends a job never accepted")
        self.over.add(job_id)

    def _note(self, at_ns: int, job_id: str, code: str, sentence: str) -> None:
        found = Violation(code=code, sentence=f"{job_id}: {sentence}", job_id=job_id, at_ns=at_ns)
        self.found.append(found)


def _ran_twice(runs: list[Run]) -> list[Violation]:
    seen: dict[tuple[str, int, int], Run] = {}
    found = []
    for run in sorted(runs, key=lambda run: run.began_ns):
        first = seen.setdefault((run.job_id, run.attempt, run.rank), run)
        if first is not run:
            sentence = (
                f"rank {run.rank} of attempt {run.attempt} of job {run.job_id} ran on"
                f" {first.node} and again on {run.node}"
            )
            found.append(
                Violation(
                    code="ran_twice", sentence=sentence, job_id=run.job_id, node=run.node,
                    at_ns=run.began_ns,
                )
            )  # fmt: skip
    return found


def _made_up(history: History, jobs: dict[str, Job]) -> list[Violation]:
    """Jobs that nobody asked for, or not like that. The id of what was refused is free: who sends a
    damaged copy of that under it is taken at his word."""
    free = {
        item.job_id
        for _, _, fact in facts_of(history.jobs_entries)
        if isinstance(fact, RequestRefused)
        for item in fact.items
    }
    asked = {(s.tenant, s.job_id): [] for s in history.submissions}
    for submission in history.submissions:
        asked[submission.tenant, submission.job_id].append(submission.spec)
    found = []
    for job in jobs.values():
        specs = asked.get((job.tenant, job.job_id))
        if specs is None and job.job_id not in free:
            sentence = f"job {job.job_id} of {job.tenant} was accepted, but nobody asked for it"
            found.append(_of(job, "made_up", sentence))
        elif specs is not None and job.spec not in specs:
            sentence = f"job {job.job_id} is not what {job.tenant} asked for"
            found.append(_of(job, "spec_changed", sentence))
    return found


def _wrong_ends(jobs: dict[str, Job]) -> list[Violation]:
    found = []
    for job in jobs.values():
        if job.cancel_ns is not None and job.end is not None and job.state != "cancelled":
            sentence = f"job {job.job_id} was cancelled in time, but ended {job.state}"
            found.append(_of(job, "cancel_forgotten", sentence))
        if job.state == "cancelled" and job.cancel_ns is None:
            sentence = f"job {job.job_id} ended cancelled, but nobody had asked for it"
            found.append(_of(job, "cancel_made_up", sentence))
        retries = sum(returned.outcome in RETRIED for returned in job.returns)
        of_devices = sum(returned.reason == "device_failed" for returned in job.returns)
        retries -= min(of_devices, DEVICE_FAILURES_MAX)
        if retries > job.spec.retries:
            sentence = f"job {job.job_id} was retried {retries} times, {job.spec.retries} allowed"
            found.append(_of(job, "retried_too_often", sentence))
        by_device = isinstance(job.end, JobFinished) and job.end.reason == "device_failed"
        if by_device and job.state == "failed" and of_devices < DEVICE_FAILURES_MAX:
            sentence = f"job {job.job_id} failed for a device, as only {of_devices} before"
            found.append(_of(job, "not_retried_elsewhere", sentence))
    return found


def _untrue_ends(history: History, jobs: dict[str, Job]) -> list[Violation]:
    """A job that succeeded has run, every rank of its last attempt, to exit code 0; one that failed
    by itself was not ended by the mesh, which has to say why it ends what nobody cancelled."""
    ranks: dict[tuple[str, int], dict[int, Run]] = {}
    by_itself: set[tuple[str, int]] = set()
    for run in history.runs:
        ranks.setdefault((run.job_id, run.attempt), {})[run.rank] = run
        if run.ended_by == "itself":
            by_itself.add((run.job_id, run.attempt))
    found = []
    for job in jobs.values():
        if not isinstance(job.end, JobFinished):
            continue
        runs, code = ranks.get((job.job_id, job.end.attempt), {}), job.end.exit_code
        ran = {r: None if run.ended_by in ENDED else run.exit_code for r, run in runs.items()}
        if job.state == "succeeded" and ran != dict.fromkeys(range(job.spec.ranks), 0):
            sentence = f"job {job.job_id} is said to have succeeded; what ran ended with {ran}"
            found.append(_of(job, "untrue_success", sentence))
        elif code is not None and not any(r.ended_with(code, None) for r in runs.values()):
            sentence = f"job {job.job_id} is said to have ended with {code}, not {ran}"
            found.append(_of(job, "untrue_exit", sentence))
        if job.state == "failed":
            own = job.end.reason in OWN_ENDS and (job.job_id, job.end.attempt) in by_itself
            if not own and job.end.reason not in ENDS_OF_THE_MESH:
                sentence = f"job {job.job_id} failed ({job.end.reason}), but not by itself"
                found.append(_of(job, "failed_for_nothing", sentence))
    return found


def _unanswered(history: History, jobs: dict[str, Job]) -> list[Violation]:
    """Requests whose acknowledgement came, and of which the mesh never spoke again."""
    refused: Counter[int] = Counter()
    cancels: set[int] = set()
    for _, _, fact in facts_of(history.jobs_entries):
        if isinstance(fact, RequestRefused):
            refused[fact.request_seq] += 1
        elif isinstance(fact, CancelRequested):
            cancels.add(fact.request_seq)
    found = [
        Violation(code="answered_twice", sentence=f"REQUESTS {seq} was refused {count} times")
        for seq, count in sorted(refused.items())
        if count > 1
    ]
    for asked in history.submissions:
        job = jobs.get(asked.job_id)
        known = job is not None and job.tenant == asked.tenant and asked.spec is not None
        if asked.request_seq is not None and not known and asked.request_seq not in refused:
            sentence = f"REQUESTS {asked.request_seq}, job {asked.job_id}, was never answered"
            found.append(
                Violation(
                    code="request_lost", sentence=sentence, job_id=asked.job_id, at_ns=asked.at_ns
                )
            )
    for cancel in history.cancels:
        seq, job = cancel.request_seq, jobs.get(cancel.job_id)
        heard = seq in cancels or seq in refused or (job is not None and job.cancel_ns is not None)
        if seq is not None and not heard:
            sentence = f"REQUESTS {seq}, the cancel of job {cancel.job_id}, was never answered"
            found.append(
                Violation(
                    code="cancel_lost", sentence=sentence, job_id=cancel.job_id, at_ns=cancel.at_ns
                )
            )
    return found


def _of(job: Job, code: str, sentence: str) -> Violation:
    return Violation(
        code=code, sentence=sentence, job_id=job.job_id, at_ns=job.ended_ns or job.submitted_ns
    )
