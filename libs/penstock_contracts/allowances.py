"""What does the scheduler's journal say about money?

What is set aside for leases, what the ledger has said, and what waits for lack of it. It does not
know how much is set aside.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.bounds import Number
from penstock_contracts.budgets import BudgetState, Rates


class LeasePaid(msgspec.Struct, frozen=True, omit_defaults=True):
    """What holds of an attempt from now on, as in its grant. `reserved`: all that is set aside for
    it since the grant."""

    job_id: str
    attempt: Number
    paid_ms: Number | None = None
    reserved: dict[str, Number] = {}


class LeasesPaid(msgspec.Struct, frozen=True, tag="leases_paid", tag_field="fact"):
    """More is set aside for attempts that hold leases."""

    leases: tuple[LeasePaid, ...]


class BudgetNoted(msgspec.Struct, frozen=True, tag="budget_noted", tag_field="fact"):
    """What the ledger says of a budget. From this entry on no more than `limit` is reserved and
    spent of it together: above `state.limit` only by what was promised before."""

    state: BudgetState
    limit: Number


class RatesNoted(msgspec.Struct, frozen=True, tag="rates_noted", tag_field="fact"):
    """What costs how much, as the ledger says."""

    rates: Rates


class DemandNoted(msgspec.Struct, frozen=True, tag="demand_noted", tag_field="fact"):
    """Why jobs wait: milli-GPU that are asked for and not given because nothing free is as asked
    for (`fit`), a quota is used up (`quota`), or a budget (`budget`); of jobs that would take
    certain models only, under `fit/MODEL` and so on, for each of them. Reasons that hold nobody
    back are left out; said when another set of reasons is there than before."""

    blocked: dict[str, Number]
