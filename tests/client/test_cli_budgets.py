"""What do `penstock budget` and `penstock credit` send and show, and who pays for a job?"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import pytest

from client.conftest import Penstock
from client.mesh import FakeMesh
from penstock_client.commands.endings import exit_code_of, sentence_of
from penstock_contracts.budgets import (
    AddCredit,
    BudgetsQuery,
    BudgetsView,
    BudgetView,
    CreditEntry,
    CreditsView,
    SetBudget,
)
from penstock_contracts.public import JobEvent

T = TypeVar("T")
SUBJECTS: dict[type, str] = {
    SetBudget: "command.metering.set_budget",
    AddCredit: "command.metering.add_credit",
    BudgetsQuery: "query.metering.budgets",
}
HOUR = 3_600_000_000
USD = 1_000_000


def decoded(mesh: FakeMesh, kind: type[T]) -> list[T]:
    """What was asked of this kind."""
    found = []
    for subject, payload in mesh.asked:
        if SUBJECTS[kind] == subject:
            found.append(msgspec.json.decode(payload, type=kind))
    return found


def a_budget(**fields: Any) -> BudgetView:
    known: dict[str, Any] = {
        "budget_id": "research",
        "tenant": "acme",
        "unit": "gpu_milli_ms",
        "acts": "end_preemptible",
        "per": "month",
        "period": "2026-11",
        "limit": 10 * HOUR,
        "spent": 8 * HOUR,
        "reserved": HOUR // 2,
        "warned_percent": 80,
        **fields,
    }
    return BudgetView(**known)


def a_credit(**fields: Any) -> BudgetView:
    return a_budget(
        budget_id="credit-USD-acme", unit="micro", currency="USD", acts="stop", prepaid=True,
        limit=100 * USD, spent=25 * USD, reserved=5 * USD, **fields,
    )  # fmt: skip


def an_entry(key: str, state: str, amount: int) -> CreditEntry:
    return CreditEntry(
        key=key, tenant="acme", currency="USD", amount_micro=amount if state == "done" else 0,
        at_ms=1_800_000_000_000, state=state, asked_micro=amount,
    )  # fmt: skip


async def test_a_budget_is_set_in_gpu_hours_or_in_money(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    await real_mesh.answer("command.metering.set_budget", BudgetsView((a_budget(),)))
    done = await penstock(
        "budget", "set", "research", "--tenant", "acme", "--gpu-hours", "10", "--acts", "stop"
    )
    assert done.code == 0, done.err
    wish = decoded(real_mesh, SetBudget)[-1]
    assert (wish.unit, wish.limit, wish.acts) == ("gpu_milli_ms", 10 * HOUR, "stop")
    assert (wish.per, wish.warn_percent, wish.currency) == ("month", (80, 100), "")
    assert b"10.000000 GPU h" in done.out
    assert b"1.500000 GPU h" in done.out
    assert b"end-preemptible" in done.out
    done = await penstock(
        "budget", "set", "v", "--tenant", "acme", "--project", "vision", "--money", "500.50",
        "--acts", "end-preemptible", "--per", "total", "--warn", "50",
    )  # fmt: skip
    assert done.code == 0, done.err
    wish = decoded(real_mesh, SetBudget)[-1]
    assert (wish.unit, wish.limit, wish.currency) == ("micro", 500_500_000, "USD")
    assert (wish.project, wish.acts, wish.per) == ("vision", "end_preemptible", "total")


@pytest.mark.parametrize("limits", [(), ("--gpu-hours", "1", "--money", "1"), ("--money", "x")])
async def test_a_budget_without_one_limit_is_wrong_usage(
    real_mesh: FakeMesh, penstock: Penstock, limits: tuple[str, ...]
) -> None:
    done = await penstock("budget", "set", "b", "--tenant", "acme", *limits)
    assert done.code == 2
    assert b"Traceback" not in done.err


async def test_a_budget_is_removed_by_its_name(real_mesh: FakeMesh, penstock: Penstock) -> None:
    await real_mesh.answer("query.metering.budgets", BudgetsView((a_budget(),)))
    await real_mesh.answer("command.metering.set_budget", BudgetsView(()))
    done = await penstock("budget", "remove", "research", "--tenant", "acme")
    assert done.code == 0, done.err
    wish = decoded(real_mesh, SetBudget)[-1]
    assert (wish.budget_id, wish.limit, wish.unit) == ("research", None, "gpu_milli_ms")
    assert (await penstock("budget", "remove", "none", "--tenant", "acme")).code == 2


async def test_budgets_and_credits_are_listed(real_mesh: FakeMesh, penstock: Penstock) -> None:
    await real_mesh.answer("query.metering.budgets", BudgetsView((a_budget(), a_credit())))
    done = await penstock("budget", "list", "--tenant", "acme")
    assert decoded(real_mesh, BudgetsQuery) == [BudgetsQuery("acme")]
    assert b"prepaid" in done.out
    assert b"70.000000 USD" in done.out
    assert b"80 %" in done.out


async def test_a_withdrawal_is_shown_when_the_scheduler_has_agreed(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    await real_mesh.answer("command.metering.add_credit", CreditsView((a_credit(),), ()))
    done = await penstock("credit", "add", "acme", "--reason", "refund", "--", "-25.50")
    assert done.code == 0, done.err
    wish = decoded(real_mesh, AddCredit)[-1]
    assert (wish.tenant, wish.amount_micro, wish.reason) == ("acme", -25_500_000, "refund")
    entries = (an_entry("x", "done", -USD), an_entry("y", "asked", -USD))
    await real_mesh.answer("query.metering.credits", CreditsView((a_credit(),), entries))
    done = await penstock("credit", "list")
    assert b"-1.000000 USD  done" in done.out
    assert b"asked" in done.out


async def test_a_job_says_who_pays_and_how_long_it_may_be_alone(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    await penstock(
        "run", "--project", "vision", "--tier", "spot", "--disconnect", "5m", "--", "true"
    )
    (job,) = real_mesh.jobs.values()
    assert (job.spec.project, job.spec.tier, job.spec.disconnect_s) == ("vision", "spot", 300)


def test_a_job_that_its_budget_ended_is_told_as_that() -> None:
    end = JobEvent(
        seq=1, index=0, job_id="x", tenant="acme", fact="failed", attempt=1, at_ms=0, signal=9,
        reason="budget", message="stopped: its budget is used up",
    )  # fmt: skip
    assert sentence_of(end) == "the job failed: budget: stopped: its budget is used up"
    assert exit_code_of(end) == 128 + 9
