"""Is no budget ever passed, whatever runs, ends, is told late, or is not told at all?

Random histories of a ledger that lags, a scheduler that stands still, and hosts that hear late how
much is paid for and enforce only that. What really ran is counted apart from all of them.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock_contracts.budgets import grant_key
from penstock_contracts.jobs import JobSpec
from penstock_contracts.leases import Exited, Released
from penstock_contracts.prices import QUANTITY_PER_UNIT, billed_ms
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.orders.desired import orders_of
from penstock_scheduler.core.telling.views import findings
from tests.scheduler.driver import a_job
from tests.scheduler.money import USD, Ledger, a_paying_node, a_price

pytestmark = pytest.mark.lesson(20)

PRICE = a_price(micro=7 * USD, granularity_ms=7_000, minimum_ms=20_000)
SECOND_NS = 1_000_000_000


class Attempt(msgspec.Struct):
    """What really goes on. `paid_ms`: what its host has heard of; `ended_ns`: it has stopped."""

    job: JobSpec
    key: str
    gpus: int
    began_ns: int
    paid_ms: int
    ended_ns: int | None = None
    told: bool = False
    read_ms: int = 0

    def ran_ms(self, now_ns: int) -> int:
        until_ns = now_ns if self.ended_ns is None else self.ended_ns
        return (until_ns - self.began_ns) // 1_000_000


class Histories(RuleBasedStateMachine):
    """`in_money`: else it counts GPU time."""

    @initialize(in_money=st.booleans(), limit=st.integers(0, 2_000))
    def begin(self, in_money: bool, limit: int) -> None:
        self.mesh = Ledger(a_paying_node(gpus=4))
        self.in_money = in_money
        self.mesh.rates(PRICE)
        self.attempts: dict[str, Attempt] = {}
        self.jobs = 0
        self.limit = self.amount_of(limit)
        self.tell()

    def amount_of(self, gpu_seconds: int) -> int:
        if not self.in_money:
            return gpu_seconds * 1_000_000
        return gpu_seconds * PRICE.micro // 3_600

    def cost(self, attempt: Attempt, ran_ms: int) -> int:
        """Of what an attempt has used, as a ledger rounds it."""
        return ceil(self.exact_cost(attempt, ran_ms))

    def exact_cost(self, attempt: Attempt, ran_ms: int) -> Fraction:
        if not self.in_money:
            return Fraction(attempt.gpus * 1_000 * ran_ms)
        billed = billed_ms(ran_ms, PRICE) if ran_ms else 0
        return Fraction(attempt.gpus * 1_000 * billed * PRICE.micro, QUANTITY_PER_UNIT["gpu_hour"])

    def tell(self, **fields: Any) -> None:
        """What the ledger has read so far: in all it rounds once."""
        spent = ceil(sum(self.exact_cost(one, one.read_ms) for one in self.attempts.values()))
        unit = "micro" if self.in_money else "gpu_milli_ms"
        currency = "USD" if self.in_money else ""
        self.mesh.budget(unit=unit, currency=currency, limit=self.limit, spent=spent, **fields)

    def live(self) -> list[Attempt]:
        return [one for one in self.attempts.values() if one.ended_ns is None]

    def pass_s(self, seconds: int) -> None:
        """Hosts end what has used up its time, at the instant when it has."""
        for _ in range(seconds):
            self.mesh.now_ns += SECOND_NS
            for one in self.live():
                if one.ran_ms(self.mesh.now_ns) >= one.paid_ms:
                    one.ended_ns = one.began_ns + one.paid_ms * 1_000_000

    # -- rules
    @rule(
        gpus=st.integers(1, 4),
        limit_s=st.sampled_from([None, 5, 40, 600]),
        grace_s=st.sampled_from([0, 10, 60]),
        alone_s=st.sampled_from([None, 30, 900]),
        tier=st.sampled_from(["", "spot"]),
    )
    def submit(
        self, gpus: int, limit_s: int | None, grace_s: int, alone_s: int | None, tier: str
    ) -> None:
        self.jobs += 1
        job = a_job(
            self.jobs, gpus=gpus, time_limit_s=limit_s, grace_s=grace_s, disconnect_s=alone_s,
            tier=tier,
        )  # fmt: skip
        self.mesh.submit(job)

    @rule()
    def hosts_begin(self) -> None:
        """With what stands in their orders."""
        for order in orders_of(self.mesh.core.state, "n1").values():
            key = grant_key(order.lease_seq, order.job_id)
            if key in self.attempts or order.phase != "run" or order.paid_ms is None:
                continue
            job = self.mesh.core.state.jobs[order.job_id].spec
            gpus = len(order.devices)
            self.attempts[key] = Attempt(job, key, gpus, self.mesh.now_ns, order.paid_ms)
            self.mesh.start(job)

    @rule()
    def hosts_hear(self) -> None:
        for order in orders_of(self.mesh.core.state, "n1").values():
            known = self.attempts.get(grant_key(order.lease_seq, order.job_id))
            if known is not None and known.ended_ns is None and order.paid_ms is not None:
                known.paid_ms = max(known.paid_ms, order.paid_ms)

    @rule(seconds=st.integers(1, 300))
    def scheduler_stands_still(self, seconds: int) -> None:
        self.pass_s(seconds)

    @rule(seconds=st.integers(1, 300))
    def time_passes(self, seconds: int) -> None:
        for _ in range(0, seconds, 5):
            self.pass_s(5)
            self.mesh.tick(0)

    @precondition(lambda self: self.live())
    @rule(which=st.integers(0, 50))
    def work_ends_by_itself(self, which: int) -> None:
        live = self.live()
        live[which % len(live)].ended_ns = self.mesh.now_ns

    @rule()
    def hosts_tell(self) -> None:
        for one in self.attempts.values():
            if one.ended_ns is not None and not one.told:
                one.told = True
                reason = "exited" if one.ran_ms(0) < one.paid_ms else "budget"
                exited = self.mesh.reported(Exited, one.job, exit_code=0, reason=reason)
                self.mesh.feed(exited, self.mesh.reported(Released, one.job))

    @rule(percent=st.integers(0, 100), full=st.booleans())
    def ledger_reads(self, percent: int, full: bool) -> None:
        """As much of each attempt, or all of those of which all was told."""
        settled, over = {}, []
        for one in self.attempts.values():
            ran_ms = one.ran_ms(self.mesh.now_ns)
            if one.told:
                one.read_ms = ran_ms
                over.append(one.key)
            else:
                one.read_ms = max(one.read_ms, ran_ms * percent // 100)
                settled[one.key] = self.cost(one, one.read_ms)
        if full:
            seq = self.mesh.seq
            grants = self.mesh.core.state.budgets.by_id["b"].holds
            settled.update({key: 0 for key in grants if key not in self.attempts})
            self.tell(settled=settled, full=True, jobs_seq=seq)
        else:
            self.tell(settled=settled, over=tuple(over))

    @rule(gpu_seconds=st.integers(0, 3_000))
    def somebody_sets_the_limit(self, gpu_seconds: int) -> None:
        self.limit = self.amount_of(gpu_seconds)
        self.tell()

    @rule()
    def another_scheduler_takes_over(self) -> None:
        again = SchedulerCore()
        again.restore(self.mesh.core.snapshot())
        self.mesh.core = again

    # -- what must hold
    @invariant()
    def nothing_is_passed(self) -> None:
        if not hasattr(self, "mesh"):
            return
        budget = self.mesh.core.state.budgets.by_id["b"]
        used = sum(
            self.exact_cost(one, one.ran_ms(self.mesh.now_ns)) for one in self.attempts.values()
        )
        promised = sum(
            self.exact_cost(one, one.paid_ms if one.ended_ns is None else one.ran_ms(0))
            for one in self.attempts.values()
        )
        assert used <= promised <= budget.limit
        assert findings(self.mesh.core.state) == []


TestBudgetHistories = Histories.TestCase
TestBudgetHistories.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
