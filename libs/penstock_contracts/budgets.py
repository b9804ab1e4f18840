"""How much may a tenant spend, and who knows how much that is?

The ledger counts what is spent and tells the scheduler, which reserves the most that a lease can
cost before it grants it; a lease runs no longer than is paid for, whoever is away. It does not
know how use is counted.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock_contracts.bounds import BIGINT_MAX, Instant, Label, Name, Number
from penstock_contracts.jobs import Project
from penstock_contracts.prices import PriceVersion

MICRO = "micro"
GPU_TIME = "gpu_milli_ms"
Money = Literal["micro", "gpu_milli_ms"]
"""What a budget counts: micro-currency, or milli-GPU·ms of running time."""

WARN = "warn"
REFUSE = "refuse"
END_PREEMPTIBLE = "end_preemptible"
STOP = "stop"
Acts = Literal["warn", "refuse", "end_preemptible", "stop"]
"""What happens when it is used up. `warn`: nothing. `refuse`: no new work. `end_preemptible`: and
work of tier `spot` ends. `stop`: all work ends before the limit is passed."""

MONTH = "month"
TOTAL = "total"
Per = Literal["month", "total"]
"""Each calendar month (UTC) by itself, or for all time."""

BudgetId = Annotated[str, Meta(max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$(?!\n)")]
Tenant = BudgetId
Currency = Annotated[str, Meta(pattern=r"^([A-Z]{3})?$(?!\n)")]
Signed = Annotated[int, Meta(ge=-BIGINT_MAX, le=BIGINT_MAX)]

CREDIT_PREFIX = "credit-"
"""Begins the id of a budget that is a tenant's prepaid credit; ends with its currency."""
BUDGETS_OF_TENANT_MAX = 32
RATES_MAX = 2_000
"""Price versions in force or to come."""
SETTLED_MAX = 2_000
"""Grants in one message."""


def grant_key(lease_seq: int, job_id: str) -> str:
    """Names one attempt of a job: what is reserved and settled together."""
    return f"{lease_seq}/{job_id}"


class Rates(msgspec.Struct, frozen=True, tag="rates", tag_field="fact"):
    """All prices that are in force or will be."""

    number: Number
    versions: tuple[PriceVersion, ...]


class BudgetState(
    msgspec.Struct, frozen=True, kw_only=True, tag="state", tag_field="fact", omit_defaults=True
):
    """A budget as the ledger knows it. One with an older `number` says nothing.

    It counts what `tenant` uses, with a `project` only what that project does. `spent` is all of
    the present `period` ("" = of all time). `settled`: of grants that are not over, how much of
    what they used is counted so far, in whatever period; grants left out have not changed since the
    message before. `over`: grants that will cost nothing more. `full`: every grant up to JOBS
    `jobs_seq` that is not in `settled` is over. `prepaid`: the limit is money that was paid.
    `gone`: there is no such budget any more.
    """

    number: Number
    budget_id: Name
    tenant: Name
    project: Project = ""
    unit: Money
    currency: Currency = ""
    acts: Acts
    limit: Number
    spent: Number
    period: Name = ""
    prepaid: bool = False
    settled: dict[str, Number] = {}
    over: tuple[str, ...] = ()
    full: bool = False
    jobs_seq: Number = 0
    gone: bool = False


BudgetFact = Rates | BudgetState


class SetBudget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Makes a budget, or changes the one of that id. `key`: a ULID drawn by the asker, so that a
    repeat changes nothing. `limit` in `unit`; None removes the budget. `warn_percent`: shares of
    the limit at which is warned."""

    key: Name
    budget_id: BudgetId
    tenant: Tenant
    project: Project = ""
    unit: Money = "micro"
    currency: Currency = "USD"
    acts: Acts = "warn"
    per: Per = "month"
    limit: Annotated[int, Meta(ge=0, le=BIGINT_MAX // 2)] | None = None
    warn_percent: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=1_000)], ...], Meta(max_length=8)
    ] = (80, 100)


class BudgetsQuery(msgspec.Struct, frozen=True, omit_defaults=True):
    """`query.metering.budgets`: of one tenant, or of all."""

    tenant: Name = ""


class BudgetView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`reserved`: set aside for work that is not settled, so `limit - spent - reserved` is left.
    `warned_percent`: the highest threshold reached in this period, 0 = none."""

    budget_id: str
    tenant: str
    project: str = ""
    unit: str
    currency: str = ""
    acts: str
    per: str
    period: str = ""
    limit: int
    spent: int
    reserved: int = 0
    prepaid: bool = False
    warn_percent: tuple[int, ...] = ()
    warned_percent: int = 0
    excess: int = 0


class BudgetsView(msgspec.Struct, frozen=True):
    budgets: tuple[BudgetView, ...]


class AddCredit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Adds to a tenant's prepaid credit, or takes out of it what is neither spent nor reserved.
    The first makes the tenant one that pays in advance."""

    key: Name
    tenant: Tenant
    amount_micro: Annotated[int, Meta(ge=-(1 << 60), le=1 << 60)]
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)")] = "USD"
    reason: Label = ""


class CreditEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`state`: `done`, or of a withdrawal also `asked` (until the scheduler has agreed) and
    `refused`. `amount_micro` is what was really taken out: `asked_micro`, or what was left."""

    key: str
    tenant: str
    currency: str
    amount_micro: int
    at_ms: Instant
    state: str
    reason: str = ""
    asked_micro: int = 0


class CreditsQuery(msgspec.Struct, frozen=True, omit_defaults=True):
    """`query.metering.credits`."""

    tenant: Name = ""


class CreditsView(msgspec.Struct, frozen=True):
    """Balances as budgets, and what was added and taken out, newest first."""

    balances: tuple[BudgetView, ...]
    entries: tuple[CreditEntry, ...]
