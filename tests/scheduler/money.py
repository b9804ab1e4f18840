"""What does a ledger tell in a test? Builders of its messages, and a driver that hears them."""

from __future__ import annotations

from itertools import count
from typing import Any

from penstock_contracts.budgets import BudgetState, Rates, grant_key
from penstock_contracts.jobs import JobSpec
from penstock_contracts.journal import LeaseGranted, LeasesPaid
from penstock_contracts.nodes import NodeDescription
from penstock_contracts.prices import PriceVersion
from penstock_contracts.work import PAID_TIME
from penstock_scheduler.core.events import BudgetHeard
from penstock_scheduler.core.telling.explain import explain
from tests.scheduler.driver import Driver, a_node

HOUR_MS = 3_600_000
GPU_HOUR = 1_000 * HOUR_MS
"""In milli-GPU·ms."""
USD = 1_000_000


def a_paying_node(name: str = "n1", gpus: int = 8, **fields: Any) -> NodeDescription:
    """A node whose reaper bounds running time."""
    return a_node(name, gpus, offers=(PAID_TIME,), **fields)


class Ledger(Driver):
    """A driver whose ledger counts its messages."""

    def __init__(self, *nodes: NodeDescription, **fields: Any) -> None:
        super().__init__(*(nodes or (a_paying_node(),)), **fields)
        self.numbers = count(1)

    def budget(self, budget_id: str = "b", **fields: Any) -> list[Any]:
        """GPU time of `acme` that stops work, unless told otherwise."""
        fields.setdefault("tenant", "acme")
        fields.setdefault("unit", "gpu_milli_ms")
        fields.setdefault("acts", "stop")
        fields.setdefault("spent", 0)
        fields.setdefault("number", next(self.numbers))
        return self.feed(BudgetHeard(BudgetState(budget_id=budget_id, **fields)))

    def credit(self, limit: int, **fields: Any) -> list[Any]:
        return self.budget(
            "credit-USD", unit="micro", currency="USD", prepaid=True, limit=limit, **fields
        )

    def rates(self, *versions: PriceVersion) -> list[Any]:
        return self.feed(BudgetHeard(Rates(next(self.numbers), versions)))

    def key(self, job: JobSpec) -> str:
        """Of its latest grant."""
        return grant_key(self.core.state.jobs[job.job_id].lease_seq, job.job_id)

    def grants(self) -> list[LeaseGranted]:
        return [fact for fact in self.facts if isinstance(fact, LeaseGranted)]

    def paid(self) -> list[LeasesPaid]:
        return [fact for fact in self.facts if isinstance(fact, LeasesPaid)]

    def why(self, job: JobSpec) -> str:
        live = self.core.state.jobs[job.job_id]
        return explain(self.core.state, live, self.core.reasons, self.now_ns).sentence


def a_price(
    sku: str = "gpu", micro: int = 2 * USD, version: int = 1, **fields: Any
) -> PriceVersion:
    fields.setdefault("unit", "gpu_hour")
    fields.setdefault("effective_from_ms", 0)
    return PriceVersion(sku=sku, version=version, micro=micro, **fields)


def of(kind: type, facts: list[Any]) -> list[Any]:
    """Those of a kind."""
    return [fact for fact in facts if isinstance(fact, kind)]
