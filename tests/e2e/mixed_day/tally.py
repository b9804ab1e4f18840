"""What did each tenant hold of the devices, what was owed to it, and whom did that evict?

Folds the scheduler's journal, apart from the scheduler: held from a lease's grant until its devices
are free. What a tenant should hold at a moment: what it wants, up to its guarantee; of what the
others leave idle, in the ratio of the guarantees. It does not know how the scheduler decides.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from e2e.mixed_day.plan import TENANTS, Day

Fact = Mapping[str, Any]


class Job:
    """`gpus` of one rank. `held`: the ranks that hold devices, each with its attempt: the next one
    may begin before all of the last is free."""

    def __init__(self, tenant: str, spec: Fact) -> None:
        self.tenant = tenant
        self.gpus = spec.get("gpus", 0)
        self.all_gpus = self.gpus * spec.get("ranks", 1)
        self.waits = True
        self.held: set[tuple[int, int]] = set()


class Promise:
    """A place kept for a job for which others were asked to end."""

    def __init__(self, fact: Fact, at_ns: int) -> None:
        self.ranks = {
            rank["rank"]: (rank["node"], frozenset(rank.get("devices", ())))
            for rank in fact["ranks"]
        }
        self.victims = len(fact.get("victims", ()))
        self.at_ns = at_ns


class Tally:
    def __init__(self, day: Day) -> None:
        self._day = day
        self._guaranteed = {tenant.name: day.guaranteed(tenant) for tenant in TENANTS}
        self._now_ns = 0
        self._owed_since: dict[str, int] = {}
        self._promised: dict[str, Promise] = {}
        self.jobs: dict[str, Job] = {}
        self.held: Counter[str] = Counter()
        self.waiting: dict[str, Counter[int]] = {name: Counter() for name in self._guaranteed}
        self.held_ns: Counter[str] = Counter()
        self.fair_ns: dict[str, float] = defaultdict(float)
        self.all_ns = 0
        self.owed_ns: dict[str, list[int]] = {name: [] for name in self._guaranteed}
        self.counts: Counter[str] = Counter()
        self.broken_promises: Counter[str] = Counter()
        self.kept_ns: list[int] = []

    def wants(self, tenant: str) -> int:
        """GPUs for which its jobs wait."""
        return sum(gpus * count for gpus, count in self.waiting[tenant].items())

    def entry(self, now_ns: int, facts: Iterable[msgspec.Raw]) -> None:
        self.advance(now_ns)
        for raw in facts:
            fact = msgspec.json.decode(raw)
            if fold := getattr(self, f"_{fact['fact']}", None):
                fold(fact)
        self._look_who_is_owed()

    def advance(self, now_ns: int) -> None:
        """Until then it stays as it is."""
        passed_ns, self._now_ns = now_ns - (self._now_ns or now_ns), now_ns
        if not passed_ns:
            return
        self.all_ns += passed_ns * self._day.gpus
        for tenant, gpus in self._fair().items():
            self.fair_ns[tenant] += gpus * passed_ns
            self.held_ns[tenant] += self.held[tenant] * passed_ns

    def close(self) -> None:
        """At the end of the day: what is owed then was owed until then."""
        for tenant, since_ns in self._owed_since.items():
            self.owed_ns[tenant].append(self._now_ns - since_ns)
        self._owed_since.clear()

    def _fair(self) -> dict[str, float]:
        want = {name: self.held[name] + self.wants(name) for name in self._guaranteed}
        fair = {name: float(min(want[name], most)) for name, most in self._guaranteed.items()}
        left = self._day.gpus - sum(fair.values())
        while left > 1e-9:
            hungry = {name: self._guaranteed[name] for name in fair if want[name] > fair[name]}
            if not hungry:
                break
            part = left / sum(hungry.values())
            step = min(part, *((want[name] - fair[name]) / hungry[name] for name in hungry))
            for name, weight in hungry.items():
                fair[name] += step * weight
                left -= step * weight
        return fair

    def _look_who_is_owed(self) -> None:
        for tenant, most in self._guaranteed.items():
            room = most - self.held[tenant]
            if any(count and gpus <= room for gpus, count in self.waiting[tenant].items()):
                self._owed_since.setdefault(tenant, self._now_ns)
            elif (since_ns := self._owed_since.pop(tenant, None)) is not None:
                self.owed_ns[tenant].append(self._now_ns - since_ns)

    # -- facts
    def _job_submitted(self, fact: Fact) -> None:
        job = Job(fact["tenant"], fact["spec"])
        if job.tenant in self.waiting:
            self.jobs[fact["spec"]["job_id"]] = job
            self.waiting[job.tenant][job.all_gpus] += 1
            self.counts["submitted"] += 1

    def _lease_granted(self, fact: Fact) -> None:
        job_id = fact["job_id"]
        if (job := self.jobs.get(job_id)) is None:
            return
        self._leave_line(job)
        job.held |= {(fact["attempt"], rank["rank"]) for rank in fact["ranks"]}
        self.held[job.tenant] += job.all_gpus
        self.counts["granted"] += 1
        if (promise := self._promised.pop(job_id, None)) is not None:
            got = {
                rank["rank"]: (rank["node"], frozenset(rank.get("devices", ())))
                for rank in fact["ranks"]
            }
            self.kept_ns.append(self._now_ns - promise.at_ns)
            if got != promise.ranks:
                self.broken_promises["granted_elsewhere"] += 1

    def _rank_released(self, fact: Fact) -> None:
        job, rank = self.jobs.get(fact["job_id"]), (fact["attempt"], fact["rank"])
        if job is not None and rank in job.held:
            job.held.remove(rank)
            self.held[job.tenant] -= job.gpus

    def _attempt_ended(self, fact: Fact) -> None:
        if (job := self.jobs.get(fact["job_id"])) is not None:
            job.waits = True
            self.waiting[job.tenant][job.all_gpus] += 1
            self.counts[f"again: {fact.get('reason') or fact['outcome']}"] += 1

    def _job_finished(self, fact: Fact) -> None:
        if (job := self.jobs.get(fact["job_id"])) is not None:
            self._leave_line(job)
            self.counts[fact["state"]] += 1
            self._promised.pop(fact["job_id"], None)

    def _job_rejected(self, fact: Fact) -> None:
        if (job := self.jobs.get(fact["job_id"])) is not None:
            self._leave_line(job)
            self.counts["rejected"] += 1

    def _stop_requested(self, fact: Fact) -> None:
        self.counts[f"stopped: {fact['reason']}"] += 1

    def _place_kept(self, fact: Fact) -> None:
        self.counts[f"kept: {fact['cause']}"] += 1
        old = self._promised.pop(fact["job_id"], None)
        if old is not None and old.victims:
            self.broken_promises["made_anew"] += 1
        if fact["cause"] == "preemption":
            self._promised[fact["job_id"]] = Promise(fact, self._now_ns)

    def _place_given_up(self, fact: Fact) -> None:
        promise = self._promised.pop(fact["job_id"], None)
        if promise is not None and promise.victims:
            self.broken_promises[f"given_up: {fact.get('reason', '')}"] += 1

    def _leave_line(self, job: Job) -> None:
        if job.waits:
            job.waits = False
            self.waiting[job.tenant][job.all_gpus] -= 1
