"""Whatever happens: does nobody have to go in vain, and is what is guaranteed reached?

A world of whole-GPU jobs of three tenants, of which one is guaranteed nothing; quotas are set anew
in mid-work. Rules are counted anew here, from leases and specs alone.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock_contracts.journal import LeaseGranted, PolicySet, StopRequested
from penstock_contracts.leases import PREEMPTED, Exited, Released
from penstock_contracts.queue_facts import PREEMPTION, PlaceKept
from penstock_contracts.queue_policy import Pool, QueuePolicy, Quota
from tests.scheduler.driver import Driver, a_job, a_node

TENANTS = ("a", "b", "c")
NODES, GPUS = 3, 4
POLICIES = 4
SHARES = st.tuples(st.sampled_from((0, 4, 6, 12)), st.sampled_from((0, 2, 6, 12)))


class Yielding(RuleBasedStateMachine):
    """`promised`: for whom which attempts were asked to end, and where it is to begin."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver(*(a_node(f"n{i}", gpus=GPUS) for i in range(NODES)))
        self.jobs: dict[str, Any] = {}
        self.promised: dict[str, PlaceKept] = {}
        self.guaranteed: dict[str, int] = {}
        self.seen = 0
        self.version = 0

    @initialize(shares=SHARES, preempt=st.booleans())
    def begin(self, shares: tuple[int, int], preempt: bool) -> None:
        self.set_policy(shares, preempt)

    @precondition(lambda self: self.version < POLICIES)
    @rule(shares=SHARES, preempt=st.booleans())
    def set_policy(self, shares: tuple[int, int], preempt: bool) -> None:
        self.version += 1
        self.guaranteed = dict(zip(TENANTS, (*shares, 0), strict=True))
        quotas = tuple(
            Quota(name=name, tenant=name, guaranteed_gpu_milli=1000 * gpus)
            for name, gpus in self.guaranteed.items()
        )
        pool = Pool(name="default", preempt="all" if preempt else "reclaim")
        policy = QueuePolicy(pools=(pool,), quotas=quotas)
        self.promised.clear()
        self.take(self.driver.fold(PolicySet(self.version, policy, f"key-{self.version}", 0)))

    @rule(
        tenant=st.sampled_from(TENANTS),
        gpus=st.sampled_from((1, 1, 1, 2, 4)),
        ranks=st.sampled_from((1, 1, 1, 2)),
        count=st.sampled_from((1, 3, 6, 12)),
        tier=st.sampled_from(("", "", "spot")),
        limit_s=st.sampled_from((None, 60, 3_600)),
        priority=st.sampled_from((5, 5, 7)),
    )
    def submit(self, tenant: str, count: int, **fields: Any) -> None:
        limit_s = fields.pop("limit_s")
        new = [
            a_job(len(self.jobs) + at + 1, time_limit_s=limit_s, **fields) for at in range(count)
        ]
        self.jobs.update((job.job_id, job) for job in new)
        facts = self.driver.submit(*new, tenant=tenant)
        self.take(facts)

    @rule(seconds=st.sampled_from((1, 5, 120)))
    def tick(self, seconds: int) -> None:
        self.take(self.driver.tick(seconds))

    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        placed = [one for one in self.at("placed") if not self.stopping(one)]
        if placed:
            self.take(self.driver.start(self.jobs[data.draw(st.sampled_from(placed))]))

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        running = self.at("running")
        if running:
            self.end(data.draw(st.sampled_from(running)))

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        known = sorted(self.driver.core.state.jobs)
        if known:
            job_id = data.draw(st.sampled_from(known))
            self.promised.pop(job_id, None)
            tenant = self.driver.core.state.jobs[job_id].tenant
            self.take(self.driver.cancel(self.jobs[job_id], tenant=tenant))

    @rule()
    def come_to_rest(self) -> None:
        """All who are asked to end do; then nobody waits who is guaranteed what it waits for."""
        for _ in range(4):
            self.take(self.driver.tick())
            for job_id in sorted(self.driver.core.state.jobs):
                if self.stopping(job_id):
                    self.end(job_id)
        if any(map(self.stopping, self.driver.core.state.jobs)):
            return
        assert not self.promised, "whoever had others go has begun"
        held = self.held()
        for job_id, shape in self.driver.core.state.line.waiting():
            job = self.driver.core.state.jobs[job_id]
            is_small = shape.ranks == shape.gpus == 1 and job.spec.tier != "spot"
            if is_small and self.can_be_honoured():
                over = held[job.tenant] + 1 > self.guaranteed[job.tenant]
                assert over, f"{job.tenant} holds {held[job.tenant]} and waits"

    # -- parts
    def can_be_honoured(self) -> bool:
        """Whether there is enough for all that is guaranteed, and none of it is kept for a larger
        job."""
        promised = sum(self.guaranteed.values()) <= NODES * GPUS
        return promised and not len(self.driver.core.state.places)

    def at(self, state: str) -> list[str]:
        return sorted(one for one, job in self.driver.core.state.jobs.items() if job.state == state)

    def stopping(self, job_id: str) -> bool:
        job = self.driver.core.state.jobs.get(job_id)
        return job is not None and bool(job.stop_reason) and job.state != "queued"

    def held(self) -> dict[str, int]:
        found = dict.fromkeys(TENANTS, 0)
        for lease in self.driver.core.state.leases.values():
            found[lease.tenant] += len(lease.uuids)
        return found

    def end(self, job_id: str) -> None:
        job, state = self.jobs[job_id], self.driver.core.state
        reason = state.jobs[job_id].stop_reason
        for rank in range(job.ranks):
            if reason:
                end = {"reason": reason, "exit_code": None, "signal": 15}
            else:
                end = {"reason": "exited", "exit_code": 0}
            exited = self.driver.reported(Exited, job, rank, **end)
            self.take(self.driver.feed(exited, self.driver.reported(Released, job, rank)))

    def take(self, facts: list[Any]) -> None:
        """Rules that one entry must keep; leases as they are after it, which is as before it for
        all that was asked to end."""
        leases = list(self.driver.core.state.leases.values())
        places = {f.job_id: f for f in facts if isinstance(f, PlaceKept) and f.cause == PREEMPTION}
        named = {victim for place in places.values() for victim in place.victims}
        asked = {f.job_id for f in facts if isinstance(f, StopRequested) and f.reason == PREEMPTED}
        assert asked == named, "nobody has to go but for somebody"
        for job_id, place in places.items():
            going = {*place.victims, *place.awaits, job_id}
            kept = {uuid for rank in place.ranks for uuid in rank.devices}
            for lease in leases:
                if kept.intersection(lease.uuids):
                    assert lease.job_id in going, "what is kept comes free when they have gone"
            on = {lease.job_id for lease in leases if {r.node for r in place.ranks} & {lease.node}}
            assert on.issuperset(place.victims), "nobody has to go in vain"
            self.promised[job_id] = place
        self.check_victims(facts)
        for fact in facts:
            if isinstance(fact, LeaseGranted) and fact.job_id in self.promised:
                place = self.promised.pop(fact.job_id)
                assert [(r.node, r.devices) for r in fact.ranks] == [
                    (r.node, r.devices) for r in place.ranks
                ], "it begins where it was promised to"

    def check_victims(self, facts: list[Any]) -> None:
        state = self.driver.core.state
        for fact in facts:
            if not (isinstance(fact, StopRequested) and fact.reason == PREEMPTED):
                continue
            place = next(p for p in self.promised.values() if fact.job_id in p.victims)
            victim, taker = state.jobs[fact.job_id], state.jobs[place.job_id]
            assert taker.spec.tier != "spot"
            if victim.spec.tier == "spot" or victim.tenant == taker.tenant:
                continue
            held = self.held()[victim.tenant]
            assert held > self.guaranteed[victim.tenant], "who is within its guarantee stays"

    @invariant()
    def what_is_promised_is_kept(self) -> None:
        places = self.driver.core.state.places
        for job_id in list(self.promised):
            assert places.is_promised(job_id), "it is given up for no reason"


Yielding.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestYielding = Yielding.TestCase
