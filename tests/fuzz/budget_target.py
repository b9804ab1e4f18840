"""What do messages about money of any kind do to the scheduler?

See `scheduler_targets`. It does not know the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence

from fuzz.mutation import Given
from fuzz.scheduler_targets import SchedulerTarget, encode
from fuzz.scheduler_world import world
from penstock_bus.port import StoredMessage
from penstock_contracts.budgets import BudgetState, Rates, grant_key
from penstock_contracts.ids import ROOT
from penstock_contracts.prices import PriceVersion
from penstock_scheduler import inputs


class Budgets(SchedulerTarget):
    """Budgets of all kinds over a mesh in which work runs that began without any."""

    name = "scheduler budgets"
    messages = ("budget_fact",)

    def valid(self) -> Sequence[Given]:
        keys = [grant_key(lease.lease_seq, lease.job_id) for lease in world().leases]
        price = PriceVersion(
            sku="gpu", version=1, effective_from_ms=0, unit="gpu_hour", micro=2_000_000
        )
        said = [
            BudgetState(
                number=1, budget_id="b", tenant="acme", unit="gpu_milli_ms", acts="stop",
                limit=36_000_000_000, spent=5, settled=dict.fromkeys(keys, 7),
            ),
            BudgetState(
                number=2, budget_id="credit-USD", tenant="acme", unit="micro", currency="USD",
                acts="stop", limit=9_000_000, spent=0, prepaid=True, over=tuple(keys), jobs_seq=9,
            ),
            BudgetState(
                number=3, budget_id="b", tenant="other", project="x", unit="micro", acts="refuse",
                limit=3, spent=4, full=True, jobs_seq=1_000,
            ),
            BudgetState(
                number=4, budget_id="b", tenant="acme", unit="micro", acts="warn", limit=1,
                spent=0, gone=True,
            ),
        ]  # fmt: skip
        found = [Given(f"{ROOT}.budget.{one.tenant}.state", encode(one)) for one in said]
        return [*found, Given(f"{ROOT}.budget.-.rates", encode(Rates(5, (price,))))]

    def decoded(self, message: StoredMessage) -> Sequence[object]:
        return inputs.decode_budget(message)
