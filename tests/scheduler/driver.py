"""How is the scheduler's core driven in a test?

`Driver` does what the journaled service does around a core: decide, apply, settle until nothing
follows. It counts entries and keeps every fact; it knows no bus. Builders here are the only place
where tests make jobs, nodes and reports.
"""

from __future__ import annotations

from typing import Any

from penstock_contracts.ids import ulid
from penstock_contracts.jobs import JobSpec
from penstock_contracts.journal import LeaseGranted
from penstock_contracts.leases import Exited, Prepared, Preparing, Released, Rendezvous, Started
from penstock_contracts.nodes import (
    LOST,
    Device,
    NodeDescription,
    NodeLivenessChanged,
    NodeRegistered,
)
from penstock_scheduler.core.events import (
    CancelAsked,
    JobsRequested,
    NodeChanged,
    NodeReported,
    Ticked,
)
from penstock_scheduler.core.machine import SchedulerCore

SECOND_NS = 1_000_000_000
EPOCH_NS = 1_800_000_000 * SECOND_NS


def a_job(number: int = 1, **fields: Any) -> JobSpec:
    """A job whose id is derived from `number` and lies at the tests' epoch."""
    fields.setdefault("command", ("true",))
    return JobSpec(job_id=ulid(EPOCH_NS // 1_000_000, number), **fields)


def a_node(name: str = "n1", gpus: int = 8, model: str = "H100", **fields: Any) -> NodeDescription:
    """A node with `gpus` devices and 16 cores and 128 GiB for each; all are linked as `link`."""
    link = fields.pop("link", "")
    devices = tuple(
        Device(uuid=f"{name}-{i}", index=i, model=model, memory_mib=81_920, link_domain=link)
        for i in range(gpus)
    )
    fields.setdefault("boot_id", "boot-1")
    fields.setdefault("cpu_milli", 16_000 * max(gpus, 1))
    fields.setdefault("memory_mib", 131_072 * max(gpus, 1))
    return NodeDescription(node=name, joined_ms=EPOCH_NS // 1_000_000, devices=devices, **fields)


class Driver:
    """A core under test, with its clock and everything it ever said."""

    def __init__(self, *nodes: NodeDescription, core: SchedulerCore | None = None) -> None:
        self.core = core or SchedulerCore()
        self.now_ns = EPOCH_NS
        self.seq = 0
        self.facts: list[Any] = []
        self.requests = 0
        for node in nodes:
            self.feed(NodeChanged(NodeRegistered(node)))
        self.now_ns += 10 * SECOND_NS
        self.feed(Ticked({}, 0))

    def feed(self, *events: object) -> list[Any]:
        """One transition: all events, then settling. Returns its facts."""
        self.seq += 1
        new: list[Any] = []
        for event in events:
            new += self._fold(self.core.decide(event, self.now_ns, self.seq))
        return new + self.settle()

    def fold(self, *facts: Any) -> list[Any]:
        """One transition that begins with these facts. Returns all of it."""
        self.seq += 1
        new = self._fold(facts)
        return new + self.settle()

    def settle(self) -> list[Any]:
        new: list[Any] = []
        while facts := self.core.settle(self.now_ns, self.seq):
            new += self._fold(facts)
        return new

    def lose(self, name: str) -> list[Any]:
        """Nothing is heard of a node any more."""
        return self.feed(NodeChanged(NodeLivenessChanged(name, LOST, "silent")))

    def fleet_moves(self) -> None:
        """So that nothing is called impossible for a while."""
        self.core.state.fleet_changed_ns = self.now_ns

    def _fold(self, facts: Any) -> list[Any]:
        for fact in facts:
            self.core.apply(fact, self.seq, self.now_ns)
            self.facts.append(fact)
        return list(facts)

    def submit(self, *jobs: JobSpec, tenant: str = "acme") -> list[Any]:
        self.requests += 1
        return self.feed(JobsRequested(tenant, self.requests, jobs))

    def cancel(self, job: JobSpec, tenant: str = "acme") -> list[Any]:
        self.requests += 1
        return self.feed(CancelAsked(tenant, self.requests, job.job_id, "enough"))

    def tick(self, seconds: float = 1, contact_ns: dict[str, int] | None = None) -> list[Any]:
        """`contact_ns`: when each node was last heard; what was granted later counts as heard."""
        self.now_ns += int(seconds * SECOND_NS)
        heard_ns = dict(contact_ns or {})
        for lease in self.core.state.leases.values():
            if lease.node in heard_ns:
                heard_ns[lease.node] = max(heard_ns[lease.node], lease.granted_ns)
        silence_ns = {name: self.now_ns - at_ns for name, at_ns in heard_ns.items()}
        return self.feed(Ticked(silence_ns, self.seq))

    def report(self, kind: type, job: JobSpec, rank: int = 0, **fields: Any) -> list[Any]:
        return self.feed(self.reported(kind, job, rank, **fields))

    def reported(self, kind: type, job: JobSpec, rank: int = 0, **fields: Any) -> NodeReported:
        """A report about the latest grant of the job, from the node that holds the rank."""
        grant, seq = self.grant_of(job)
        node = grant.ranks[rank].node
        item = kind(
            job_id=job.job_id,
            attempt=fields.pop("attempt", grant.attempt),
            rank=rank,
            lease_seq=fields.pop("lease_seq", seq),
            at_ms=self.now_ns // 1_000_000,
            **fields,
        )
        return NodeReported(node, "boot-1", item)

    def grant_of(self, job: JobSpec) -> tuple[LeaseGranted, int]:
        grants = [f for f in self.facts if isinstance(f, LeaseGranted) and f.job_id == job.job_id]
        lease_seqs = [
            lease.lease_seq
            for lease in self.core.state.leases.values()
            if lease.job_id == job.job_id
        ]
        return grants[-1], max(lease_seqs, default=0)

    def start(self, job: JobSpec) -> list[Any]:
        """Every rank prepares (a gang) and starts."""
        grant, _ = self.grant_of(job)
        facts: list[Any] = []
        if job.ranks > 1:
            for p in grant.ranks:
                where = Rendezvous("127.0.0.1", 20_000) if p.rank == 0 else None
                facts += self.report(Prepared, job, p.rank, rendezvous=where)
        for p in grant.ranks:
            facts += self.report(Preparing, job, p.rank)
            facts += self.report(Started, job, p.rank)
        return facts

    def end(self, job: JobSpec, rank: int = 0, code: int | None = 0, **fields: Any) -> list[Any]:
        """A rank exits and is released."""
        fields.setdefault("reason", "exited")
        exited = self.reported(Exited, job, rank, exit_code=code, **fields)
        released = self.reported(Released, job, rank)
        return self.feed(exited, released)
