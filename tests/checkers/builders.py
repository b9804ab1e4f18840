"""What does a history look like in which every promise was kept?

Plays a small mesh by hand: a job that succeeds, a gang that fails once and then succeeds, a job
that is cancelled in line, one that can never run, one request of rubbish. Tests tamper with the
outcome. It knows no checker.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock_contracts.errors import Refusal
from penstock_contracts.ids import ulid
from penstock_contracts.jobs import JobSpec
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
    NodeImaged,
    RankExited,
    RankPlacement,
    RankPrepared,
    RankReleased,
    RankStarted,
    RefusedItem,
    RequestRefused,
)
from penstock_contracts.leases import Rendezvous
from penstock_contracts.public import JobEvent, RequestRefusal
from penstock_runtime.entries import Committed
from penstock_scheduler.public_facts import public_messages
from tests.checkers.endings import NODES, a_good_ending
from tests.checkers.history import (
    Boot,
    Cancel,
    CursorSeen,
    Entry,
    Fact,
    History,
    Line,
    LogChunk,
    Run,
    Submission,
)

SECOND_NS = 1_000_000_000
WALL_NS = 1_800_000_000 * SECOND_NS
"""Servers' wall clock at world time 0."""
BOOT_NS = 77 * SECOND_NS
"""Hosts' boot time at world time 0."""


class Mesh:
    """World time only moves on when it is told to."""

    def __init__(self) -> None:
        self.history = History()
        self.now_ns = SECOND_NS
        self.requests = 0
        self.jobs = 0
        self.facts = 0
        for node in NODES:
            self.history.boots.append(Boot(node=node, boot_id=f"boot-{node}", began_ns=0))
        self.commit("NODES")
        self.commit("JOBS")
        images = (
            NodeImaged(
                node=node,
                boot_id=f"boot-{node}",
                cpu_milli=8_000,
                memory_mib=64_000,
                devices=((f"{node}-a", "H100", 80_000), (f"{node}-b", "H100", 80_000)),
            )
            for node in NODES
        )
        self.commit("JOBS", *images)

    def commit(self, stream: str, *facts: Any) -> int:
        """Append an entry; returns its sequence."""
        history = self.history
        entries = history.jobs_entries if stream == "JOBS" else history.nodes_entries
        seq = len(entries) + 1
        entry = Committed(
            seq=seq,
            term=1,
            writer=f"writer-of-{stream}",
            entry_id=f"{stream}-{seq}",
            now_ns=WALL_NS + self.now_ns,
            cursors={"REQUESTS": self.requests} if stream == "JOBS" else {},
            facts=facts,
        )
        entries.append(Entry(at_ns=self.now_ns, entry=entry))
        if stream == "JOBS":
            self._publish(entry)
        self.now_ns += 1_000_000
        return seq

    def _publish(self, entry: Committed) -> None:
        for _, subject, payload, headers in public_messages(entry):
            kind: Any = RequestRefusal if ".refusal." in subject else JobEvent
            self.facts += 1
            self.history.facts.append(
                Fact(
                    stream_seq=self.facts,
                    subject=subject,
                    ce_id=headers["ce-id"],
                    event=msgspec.json.decode(payload, type=kind),
                )
            )

    def ask(self, **fields: Any) -> JobSpec:
        """A tenant submits a job and gets its acknowledgement; the scheduler has not read it."""
        self.jobs += 1
        spec = JobSpec(job_id=ulid(WALL_NS // 1_000_000, self.jobs), command=("work",), **fields)
        self._request(spec.job_id, spec)
        return spec

    def ask_rubbish(self) -> str:
        self.jobs += 1
        job_id = ulid(WALL_NS // 1_000_000, self.jobs)
        self._request(job_id, None)
        return job_id

    def _request(self, job_id: str, spec: JobSpec | None) -> None:
        self.requests += 1
        self.history.submissions.append(
            Submission(
                at_ns=self.now_ns,
                tenant="blue",
                job_id=job_id,
                request_seq=self.requests,
                spec=spec,
            )
        )

    def submitted(self, spec: JobSpec) -> JobSubmitted:
        return JobSubmitted("blue", self.requests, f"digest-{spec.job_id}", spec)

    def grant(self, spec: JobSpec, attempt: int) -> LeaseGranted:
        """One device of each of the first nodes, as many as there are ranks."""
        ranks = tuple(
            RankPlacement(rank, NODES[rank], (f"{NODES[rank]}-a",)) for rank in range(spec.ranks)
        )
        return LeaseGranted(
            job_id=spec.job_id, attempt=attempt, ranks=ranks, cpu_milli=100, tenant="blue"
        )

    def run(self, spec: JobSpec, attempt: int, lease_seq: int, codes: tuple[int, ...]) -> None:
        """Every rank prepares, runs for 90 s, exits with its code and is released."""
        job_id, ranks = spec.job_id, range(spec.ranks)
        self.commit("JOBS", AttemptPreparing(job_id, attempt, self._ms(), "blue"))
        if spec.ranks > 1:
            where = Rendezvous("10.0.0.1", 4_000)
            prepared = (RankPrepared(job_id, attempt, rank, where) for rank in ranks)
            self.commit("JOBS", *prepared, GangReady(job_id, attempt, where))
        runs = [self._begin(job_id, attempt, rank, lease_seq) for rank in ranks]
        started = [RankStarted(job_id, attempt, rank, self._ms()) for rank in ranks]
        running = AttemptRunning(job_id, attempt, self._ms(), "blue")
        self.commit("JOBS", *(started if spec.ranks > 1 else ()), running)
        self.now_ns += 90 * SECOND_NS
        for run, code in zip(runs, codes, strict=True):
            self._end(run, code, lease_seq)

    def _begin(self, job_id: str, attempt: int, rank: int, lease_seq: int) -> Run:
        run = Run(
            node=NODES[rank],
            boot_id=f"boot-{NODES[rank]}",
            tenant="blue",
            job_id=job_id,
            attempt=attempt,
            rank=rank,
            lease_seq=lease_seq,
            devices=(f"{NODES[rank]}-a",),
            began_ns=self.now_ns,
            began_boot_ns=self.now_ns + BOOT_NS,
        )
        self.history.runs.append(run)
        return run

    def _end(self, run: Run, code: int, lease_seq: int) -> None:
        run.ended_ns, run.ended_boot_ns = self.now_ns, self.now_ns + BOOT_NS
        run.waited, run.ended_by, run.exit_code = True, "itself", code
        run.output = {"stdout": b"hello world\n", "stderr": b""}
        run.written = {stream: len(output) for stream, output in run.output.items()}
        begin_ms, end_ms = self._ms(run.began_ns), self._ms()
        cut_ms = begin_ms + 60_000
        for seq, (t0_ms, t1_ms) in enumerate(((begin_ms, cut_ms), (cut_ms, end_ms))):
            self.history.ledger.append(
                Line(
                    lease_seq, run.job_id, run.rank, seq, run.devices[0], 1_000, t0_ms, t1_ms,
                    run.node, run.boot_id, seq + 1,
                )
            )  # fmt: skip
        key = (run.tenant, run.job_id, run.attempt, run.rank, "stdout")
        self.history.logs[key] = [LogChunk(0, b"hello "), LogChunk(6, b"world\n")]

    def exits(self, job_id: str, attempt: int) -> tuple[RankExited, ...]:
        own = (r for r in self.history.runs if (r.job_id, r.attempt) == (job_id, attempt))
        return tuple(
            RankExited(
                job_id=job_id,
                attempt=attempt,
                rank=run.rank,
                reason="exited",
                at_ms=self._ms(),
                exit_code=run.exit_code,
                started_ms=self._ms(run.began_ns),
                log_bytes=dict(run.written),
                segments=2,
            )
            for run in own
        )

    def release(self, spec: JobSpec, attempt: int) -> None:
        released = (
            RankReleased(spec.job_id, attempt, rank, self._ms(), "release_check")
            for rank in range(spec.ranks)
        )
        self.commit("JOBS", *released)

    def finish(self, spec: JobSpec, attempt: int, state: str) -> JobFinished:
        exits = [e for n in range(1, attempt + 1) for e in self.exits(spec.job_id, n)]
        sizes = {
            f"{exit_.attempt}.{exit_.rank}.{stream}": size
            for exit_ in exits
            for stream, size in exit_.log_bytes.items()
        }
        return JobFinished(
            job_id=spec.job_id,
            tenant="blue",
            attempt=attempt,
            state=state,
            exit_code=0 if exits else None,
            log_bytes=sizes,
        )

    def end(self) -> None:
        """All is over."""
        history = self.history
        history.cursors.append(
            CursorSeen(at_ns=self.now_ns, stream="REQUESTS", reader="scheduler", seq=self.requests)
        )
        seq = len(history.jobs_entries)
        history.ending = a_good_ending(self.now_ns, self._ms(), seq)

    def _ms(self, at_ns: int | None = None) -> int:
        return (WALL_NS + (self.now_ns if at_ns is None else at_ns)) // 1_000_000


def a_good_history() -> History:
    """See the module."""
    mesh = Mesh()
    single = mesh.ask(gpus=1)
    lease_seq = mesh.commit("JOBS", mesh.submitted(single), mesh.grant(single, 1))
    mesh.run(single, 1, lease_seq, (0,))
    mesh.commit("JOBS", *mesh.exits(single.job_id, 1), mesh.finish(single, 1, "succeeded"))
    mesh.release(single, 1)
    _play_gang(mesh)
    waiting = mesh.ask(gpus=2)
    mesh.commit("JOBS", mesh.submitted(waiting))
    mesh.requests += 1
    mesh.history.cancels.append(
        Cancel(at_ns=mesh.now_ns, tenant="blue", job_id=waiting.job_id, request_seq=mesh.requests)
    )
    cancelled = CancelRequested(waiting.job_id, mesh.requests, "")
    mesh.commit("JOBS", cancelled, mesh.finish(waiting, 1, "cancelled"))
    huge = mesh.ask(gpus=100)
    too_big = JobRejected(huge.job_id, Refusal("impossible", "too big"), "blue")
    mesh.commit("JOBS", mesh.submitted(huge), too_big)
    job_id = mesh.ask_rubbish()
    items = (RefusedItem(0, Refusal("malformed_json", "not JSON"), job_id),)
    mesh.commit("JOBS", RequestRefused("blue", mesh.requests, items))
    mesh.end()
    return mesh.history


def _play_gang(mesh: Mesh) -> None:
    gang = mesh.ask(gpus=1, ranks=2, retries=1)
    lease_seq = mesh.commit("JOBS", mesh.submitted(gang), mesh.grant(gang, 1))
    mesh.run(gang, 1, lease_seq, (3, 0))
    back = AttemptEnded(gang.job_id, 1, "failed", "exited", "blue")
    mesh.commit("JOBS", *mesh.exits(gang.job_id, 1), back)
    mesh.release(gang, 1)
    lease_seq = mesh.commit("JOBS", mesh.grant(gang, 2))
    mesh.run(gang, 2, lease_seq, (0, 0))
    mesh.commit("JOBS", *mesh.exits(gang.job_id, 2), mesh.finish(gang, 2, "succeeded"))
    mesh.release(gang, 2)
