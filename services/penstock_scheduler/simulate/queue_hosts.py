"""What do simulated hosts do with what they are told?

All at once: a job works from its grant on, for as long as its trace says, and what is asked to
yield ends in that instant. What a job has saved by then, as its spec says, it does not do again. It
does not know the scheduler, nor what is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Any

import msgspec

from penstock_contracts.journal import LeaseGranted
from penstock_contracts.leases import (
    Exited,
    Prepared,
    Released,
    Rendezvous,
    Started,
)
from penstock_scheduler.core.events import NodeReported
from penstock_scheduler.simulate.queue_jobs import BEGIN_MS, Fleet, TraceJob

SIGTERM = 15
PORT = 20_000
Step = Prepared | Started | Exited | Released


class Life(msgspec.Struct):
    """A job of the trace that has not ended. `done_ms`: of its work so much is done and saved;
    `pause_ms`: so much of an attempt goes by before it works on; `ran_ms`: all attempts."""

    job: TraceJob
    number: int
    attempt: int = 0
    begun_ms: int | None = None
    done_ms: int = 0
    pause_ms: int = 0
    ran_ms: int = 0
    yielded: int = 0
    grant: LeaseGranted | None = None
    lease_seq: int = 0


class Hosts:
    """Of one fleet. `lives`: by job. Times are ms after `BEGIN_MS`."""

    def __init__(self, fleet: Fleet, restart_ms: int) -> None:
        self.lives: dict[str, Life] = {}
        self._jobs = fleet.jobs
        self._restart_ms = restart_ms
        self._ends: list[tuple[int, int, str, int]] = []

    @property
    def next_end_ms(self) -> int | None:
        return self._ends[0][0] if self._ends else None

    def come(self, number: int) -> Life:
        """A job of the trace is submitted."""
        job = self._jobs[number]
        life = self.lives[job.spec.job_id] = Life(job, number)
        return life

    def take(self, grant: LeaseGranted, lease_seq: int) -> Life:
        """A job has got its place."""
        life = self.lives[grant.job_id]
        life.grant, life.lease_seq, life.attempt = grant, lease_seq, grant.attempt
        return life

    def stop(self, job_id: str, attempt: int, now_ms: int) -> None:
        """A job is asked to end."""
        heappush(self._ends, (now_ms, self.lives[job_id].number, job_id, attempt))

    def start(self, job_id: str, now_ms: int) -> Iterator[NodeReported]:
        """Every rank of the job begins."""
        life = self.lives[job_id]
        if life.grant is None:
            return
        ranks = len(life.grant.ranks)
        life.begun_ms = now_ms
        end_ms = now_ms + life.pause_ms + life.job.duration_ms - life.done_ms
        heappush(self._ends, (end_ms, life.number, job_id, life.attempt))
        if ranks > 1:
            for rank in range(ranks):
                where = Rendezvous("127.0.0.1", PORT) if rank == 0 else None
                yield _reported(life, Prepared, rank, now_ms, rendezvous=where)
        for rank in range(ranks):
            yield _reported(life, Started, rank, now_ms)

    def ending(self, now_ms: int) -> Iterator[Life]:
        """Whose work is done by now, or who was asked to end; `end` each of them."""
        while self._ends and self._ends[0][0] <= now_ms:
            _, _, job_id, attempt = heappop(self._ends)
            life = self.lives.get(job_id)
            if life is not None and life.attempt == attempt and life.begun_ms is not None:
                yield life

    def end(self, life: Life, now_ms: int) -> list[NodeReported]:
        """Every rank of the attempt ends and gives back what it held."""
        begun_ms = now_ms if life.begun_ms is None else life.begun_ms
        ran_ms = now_ms - begun_ms
        life.ran_ms += ran_ms
        how: dict[str, Any] = {"reason": "exited", "exit_code": 0}
        if life.done_ms + max(0, ran_ms - life.pause_ms) < life.job.duration_ms:
            how = {"reason": "signalled", "signal": SIGTERM}
            self._save(life, ran_ms)
        found: list[NodeReported] = []
        for rank in range(life.job.spec.ranks):
            started_ms = BEGIN_MS + begun_ms
            found.append(_reported(life, Exited, rank, now_ms, started_ms=started_ms, **how))
            found.append(_reported(life, Released, rank, now_ms))
        life.grant, life.begun_ms = None, None
        return found

    def _save(self, life: Life, ran_ms: int) -> None:
        spec, kept_ms = life.job.spec, 0
        if spec.checkpoint_signal:
            kept_ms = ran_ms
        elif spec.checkpoint_s is not None:
            kept_ms = ran_ms - ran_ms % (1000 * spec.checkpoint_s)
        life.done_ms += max(0, kept_ms - life.pause_ms)
        life.pause_ms = self._restart_ms if life.done_ms else 0


def _reported(life: Life, kind: type[Step], rank: int, now_ms: int, **fields: Any) -> NodeReported:
    grant = life.grant
    if grant is None:
        raise ValueError(f"job {life.job.spec.job_id} holds nothing to report of")
    item = kind(
        job_id=grant.job_id,
        attempt=grant.attempt,
        rank=rank,
        lease_seq=life.lease_seq,
        at_ms=BEGIN_MS + now_ms,
        **fields,
    )
    return NodeReported(grant.ranks[rank].node, "simulated", item)
