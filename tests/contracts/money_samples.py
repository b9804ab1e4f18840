"""What do messages and facts about money look like? Examples for `samples`."""

from __future__ import annotations

from typing import Any

from penstock_contracts import budgets, journal, metered, prices

JOB = "01MCC5RM000000000000000001"


def rates() -> budgets.Rates:
    version = prices.PriceVersion(
        sku="gpu/H100", version=3, effective_from_ms=9, unit="gpu_hour", micro=2_500_000
    )
    return budgets.Rates(7, (version,))


def budget() -> budgets.BudgetState:
    return budgets.BudgetState(
        number=8,
        budget_id="research",
        tenant="acme",
        project="vision",
        unit="gpu_milli_ms",
        acts="stop",
        limit=36_000_000_000,
        spent=5,
        period="2026-11",
        settled={f"7/{JOB}": 5},
        over=(f"6/{JOB}",),
        jobs_seq=9,
    )


def metered_use() -> metered.MeteredUse:
    return metered.MeteredUse(
        id="6f1c", batch=812, index=1, tenant="acme", project="vision", tier="spot", job_id=JOB,
        attempt=2, lease_seq=4711, rank=0, seq=3, node="n7", site="berlin", t0_ms=1_000,
        t1_ms=4_000, devices=(metered.MeteredDevice("GPU-1", "H100", 5, 9),), gpu_milli=500,
        gpu_milli_ms=1_500_000,
    )  # fmt: skip


def paid_facts() -> tuple[Any, ...]:
    place = (journal.RankPlacement(0, "n1", ("GPU-1",), 0, "berlin"),)
    return (
        journal.LeaseGranted(
            JOB, 1, place, project="vision", tier="spot", paid_ms=600_000, reserved={"research": 9}
        ),
        journal.LeasesPaid((journal.LeasePaid(JOB, 1, 900_000, {"research": 12}),)),
        journal.BudgetNoted(budget(), 36_000_000_000),
        journal.RatesNoted(rates()),
        journal.DemandNoted({"fit": 8_000, "budget": 1_000}),
    )
