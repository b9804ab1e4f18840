"""What do budgets and a mesh that uses them up look like in a test?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from metering.conftest import Ledger
from metering.world import START_MS, Job, World
from penstock_contracts.budgets import (
    AddCredit,
    BudgetFact,
    BudgetsQuery,
    BudgetState,
    BudgetView,
    CreditsView,
    SetBudget,
    grant_key,
)
from penstock_contracts.errors import Refusal
from penstock_contracts.ids import ulid
from penstock_contracts.journal import LeaseGranted
from penstock_metering.budgets.accounts import step
from penstock_metering.budgets.book import (
    add_credit,
    look_up_budgets,
    set_budget,
)
from penstock_metering.budgets.outbox import forget, waiting

T = TypeVar("T")
HOUR_MS = 3_600_000
GPU_HOUR = 1_000 * HOUR_MS
USD = 1_000_000
CREDIT = "credit-USD-acme"
_decode = msgspec.json.Decoder(BudgetFact).decode


class Money:
    """A ledger with a mesh that reports to it, and an ear for what the scheduler is told."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.world = World()
        self.devices = self.world.a_node(gpus=8).devices
        self.keys = 0

    def change(self, work: Callable[[sa.Connection], T]) -> T:
        return self.ledger.ingest.change(work)

    def key(self) -> str:
        self.keys += 1
        return ulid(START_MS, self.keys)

    def budget(self, **fields: Any) -> Any:
        fields = {
            "budget_id": "b", "tenant": "acme", "unit": "gpu_milli_ms", "acts": "stop",
            "limit": 10 * GPU_HOUR, **fields,
        }  # fmt: skip
        wish = SetBudget(key=self.key(), **fields)
        return self.change(lambda c: set_budget(c, wish, self.world.now_ms))

    def credit(self, amount_micro: int) -> CreditsView | Refusal:
        wish = AddCredit(key=self.key(), tenant="acme", amount_micro=amount_micro)
        return self.change(lambda c: add_credit(c, wish, self.world.now_ms))

    def told(self) -> list[BudgetFact]:
        """Everything read, settled and sent."""
        self.ledger.take_all(self.world)
        while self.change(lambda c: step(c, self.world.now_ms)):
            pass
        messages = self.change(waiting)
        self.change(lambda c: forget(c, 1 << 60))
        facts = [_decode(payload) for _, _, payload in messages]
        assert [fact.number for fact in facts] == [number for number, _, _ in messages]
        return facts

    def states(self) -> list[BudgetState]:
        return [fact for fact in self.told() if isinstance(fact, BudgetState)]

    def view(self, budget_id: str = "b") -> BudgetView:
        found = self.change(lambda c: look_up_budgets(c, BudgetsQuery(), 0)).budgets
        return next(view for view in found if view.budget_id == budget_id)

    def begin(self, reserved: dict[str, int], paid_ms: int = 600_000, **fields: Any) -> Job:
        """A job of one GPU that runs, as far as that much is paid for."""
        job = self.world.submit("acme", **fields)
        self.world.grant(job, ("n1", self.devices[:1]))
        granted = LeaseGranted(
            job.job_id, job.attempt, job.placement, paid_ms=paid_ms, reserved=reserved
        )
        self.world.streams["JOBS"].pop()
        assert self.world.journal("JOBS", granted) == job.lease_seq
        self.world.start(job)
        return job

    def end(self, job: Job) -> None:
        self.world.exit(job)
        self.world.release(job)
        self.world.finish(job, "failed")
        self.world.agents["n1"].send()


def name_of(job: Job) -> str:
    return grant_key(job.lease_seq, job.job_id)
