"""What would scheduler, inventory and agents say about a small mesh?

A scripted mesh that writes the three streams metering reads, as well-behaved services would: jobs
move when told to, agents meter what ran and count it a second time on their own axis. Tests tamper
with what it wrote. It does not know metering.
"""

from __future__ import annotations

from typing import Any

import msgspec

from metering.scripted_agent import ScriptedAgent
from penstock_bus.port import StoredMessage
from penstock_contracts.ids import ulid
from penstock_contracts.jobs import JobSpec
from penstock_contracts.journal import (
    AttemptEnded,
    AttemptPreparing,
    AttemptRunning,
    JobFinished,
    JobSubmitted,
    LeaseGranted,
    RankExited,
    RankPlacement,
    RankReleased,
    RankStarted,
)
from penstock_contracts.usage import Segment

START_MS = 1_800_000_000_000
SUBJECTS = {"JOBS": "penstock.v1.journal.jobs", "NODES": "penstock.v1.journal.nodes"}


class Job(msgspec.Struct):
    """A job as the world plays it. `cut_ms`: where its next segment begins."""

    job_id: str
    tenant: str
    spec: JobSpec
    attempt: int = 0
    lease_seq: int = 0
    placement: tuple[RankPlacement, ...] = ()
    cut_ms: int = 0
    segments: int = 0


class World:
    def __init__(self) -> None:
        self.now_ms = START_MS
        self.streams: dict[str, list[StoredMessage]] = {"JOBS": [], "NODES": [], "USAGE": []}
        self.agents: dict[str, ScriptedAgent] = {}
        self.jobs_made = 0
        self.is_measured = False
        """Whether agents tell what devices did and drew."""

    # -- streams ------------------------------------------------------------------------------
    def store(self, stream: str, subject: str, content: Any) -> int:
        messages = self.streams[stream]
        payload = content if isinstance(content, bytes) else msgspec.json.encode(content)
        time_ns = self.now_ms * 1_000_000
        messages.append(StoredMessage(subject, payload, len(messages) + 1, time_ns))
        return len(messages)

    def journal(self, stream: str, *facts: Any) -> int:
        entry = {
            "term": 1,
            "writer": "test",
            "entry_id": f"{stream}-{len(self.streams[stream])}",
            "now_ns": self.now_ms * 1_000_000,
            "cursors": {},
            "facts": facts,
        }
        return self.store(stream, SUBJECTS[stream], entry)

    def replace(self, stream: str, seq: int, content: Any) -> None:
        """Tamper with what was written."""
        messages = self.streams[stream]
        before = messages[seq - 1]
        payload = content if isinstance(content, bytes) else msgspec.json.encode(content)
        messages[seq - 1] = StoredMessage(before.subject, payload, seq, before.time_ns)

    def repeat_entry(self, seq: int) -> None:
        """Store entry `seq` of JOBS once more, as a scheduler that forgot would."""
        self.store("JOBS", SUBJECTS["JOBS"], self.streams["JOBS"][seq - 1].payload)

    def pass_ms(self, by_ms: int) -> None:
        self.now_ms += by_ms

    # -- nodes --------------------------------------------------------------------------------
    def a_node(
        self, name: str = "n1", gpus: int = 8, boot_id: str = "boot-1", skew_ms: int = 0
    ) -> ScriptedAgent:
        agent = ScriptedAgent(self, name, gpus, boot_id, self.now_ms, skew_ms)
        self.agents[name] = agent
        self.journal("NODES", agent.describe())
        return agent

    def reboot(self, name: str, boot_id: str, jobs: list[Job]) -> ScriptedAgent:
        """The host starts anew: what ran since the last cut is lost, `jobs` are given up on
        evidence of the new boot id. Returns the agent of the old boot, whose spool is left."""
        old = self.agents[name]
        old.ended_ms = self.now_ms
        self.pass_ms(2_000)
        self.a_node(name, len(old.devices), boot_id, old.skew_ms)
        for job in jobs:
            self.release(job, "new_boot", said=False)
            self.lose(job)
        return old

    # -- jobs ---------------------------------------------------------------------------------
    def submit(self, tenant: str = "default", **fields: Any) -> Job:
        self.jobs_made += 1
        job_id = ulid(self.now_ms, self.jobs_made)
        spec = JobSpec(job_id=job_id, command=("/bin/true",), **{"gpus": 1, **fields})
        job = Job(job_id, tenant, spec)
        self.journal("JOBS", JobSubmitted(tenant, self.jobs_made, "digest", spec))
        return job

    def grant(self, job: Job, *places: tuple[str, tuple[str, ...]]) -> None:
        """Place the job's ranks: (node, devices) each."""
        job.attempt += 1
        job.segments = 0
        job.placement = tuple(
            RankPlacement(rank, node, devices) for rank, (node, devices) in enumerate(places)
        )
        job.lease_seq = self.journal(
            "JOBS",
            LeaseGranted(
                job.job_id,
                job.attempt,
                job.placement,
                gpu_milli=job.spec.gpu_milli,
                cpu_milli=job.spec.cpu_milli or 100,
                project=job.spec.project,
                tier=job.spec.tier,
            ),
        )

    def start(self, job: Job) -> None:
        job.cut_ms = self.now_ms
        started = [RankStarted(job.job_id, job.attempt, p.rank, self.now_ms) for p in job.placement]
        self.journal(
            "JOBS",
            AttemptPreparing(job.job_id, job.attempt, self.now_ms),
            *started,
            AttemptRunning(job.job_id, job.attempt, self.now_ms),
        )

    def cut(self, job: Job, last: bool = False) -> None:
        """Close the running segment of every rank."""
        for place in job.placement:
            segment = Segment(
                lease_seq=job.lease_seq,
                job_id=job.job_id,
                tenant=job.tenant,
                attempt=job.attempt,
                rank=place.rank,
                seq=job.segments,
                t0_ms=job.cut_ms,
                t1_ms=self.now_ms,
                devices=place.devices,
                gpu_milli=job.spec.gpu_milli,
                cpu_milli=job.spec.cpu_milli or 100,
                last=last,
                **self._measured(job, len(place.devices)),
            )
            self.agents[place.node].meter(segment)
        job.segments += 1
        job.cut_ms = self.now_ms

    def _measured(self, job: Job, devices: int) -> dict[str, tuple[int, ...]]:
        """Half of the time used, 300 W drawn, on every device; or nothing."""
        if not self.is_measured or not devices:
            return {}
        ran_ms = self.now_ms - job.cut_ms
        used = (job.spec.gpu_milli * ran_ms // 2,) * devices
        return {"used_milli_ms": used, "device_energy_mj": (300 * ran_ms,) * devices}

    def exit(self, job: Job, code: int = 0) -> None:
        self.cut(job, last=True)
        self.journal("JOBS", *(self._exited(job, place.rank, code) for place in job.placement))

    def _exited(self, job: Job, rank: int, code: int) -> RankExited:
        return RankExited(
            job_id=job.job_id,
            attempt=job.attempt,
            rank=rank,
            reason="exited",
            at_ms=self.now_ms,
            exit_code=code,
            segments=job.segments,
        )

    def release(self, job: Job, evidence: str = "release_check", said: bool = True) -> None:
        at_ms = self.now_ms if said else None
        self.journal(
            "JOBS",
            *(
                RankReleased(job.job_id, job.attempt, place.rank, at_ms, evidence)
                for place in job.placement
            ),
        )

    def finish(self, job: Job, state: str = "succeeded", code: int | None = 0) -> None:
        self.journal(
            "JOBS",
            JobFinished(job_id=job.job_id, attempt=job.attempt, state=state, exit_code=code),
        )

    def fence(self, job: Job) -> None:
        """An operator gives the attempt up: released first, then called lost, all in one entry."""
        ranks = [place.rank for place in job.placement]
        self.journal(
            "JOBS",
            *(RankReleased(job.job_id, job.attempt, rank, None, "fenced") for rank in ranks),
            *(
                RankExited(
                    job_id=job.job_id,
                    attempt=job.attempt,
                    rank=rank,
                    reason="lost",
                    at_ms=self.now_ms,
                )
                for rank in ranks
            ),
            JobFinished(job_id=job.job_id, attempt=job.attempt, state="failed", reason="lost"),
        )

    def lose(self, job: Job) -> None:
        self.journal("JOBS", AttemptEnded(job.job_id, job.attempt, "lost"))

    def a_run(self, node: str, devices: tuple[str, ...], for_ms: int = 1_000, **fields: Any) -> Job:
        """A whole job on one node: 5 ms queued, 5 ms held before and after running."""
        job = self.submit(**fields)
        self.pass_ms(5)
        self.grant(job, (node, devices))
        self.pass_ms(5)
        self.start(job)
        self.pass_ms(for_ms)
        self.exit(job)
        self.pass_ms(5)
        self.release(job)
        self.finish(job)
        return job
