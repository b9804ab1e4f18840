"""What does a history look like in which every job of it was paid for as it should be?

The good history with a budget that everything counts towards, and the rows that a ledger would hold
of it: prices, rated use, sums, one closed month with an invoice. It knows no checker.
"""

from __future__ import annotations

from typing import Any

from penstock_contracts.allowances import BudgetNoted
from penstock_contracts.budgets import BudgetState
from penstock_contracts.journal import LeaseGranted, NodeImaged
from tests.checkers.books import Books, BudgetSaid, MoneyOrder, Row
from tests.checkers.builders import a_good_history
from tests.checkers.history import History, Violation
from tests.checkers.money import ROLLUPS
from tests.checkers.tampering import Check, Tamper, edit_entry, edit_fact, entry_of, replace

BUDGET, CREDIT = "lab", "credit-USD"
PAID_MS = 100_000
MICRO_PER_HOUR = 3_600_000
GRANTS = 3
LIMIT = 600_000_000
KEY = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


def codes_after(check: Check, tamper: Tamper) -> set[str]:
    """What a checker finds in a paid history that was tampered with; nothing before that."""
    history = a_paid_history()
    found = check(history)
    if found:
        raise ValueError(f"the history is not good: {found}")
    tamper(history)
    violations: list[Violation] = check(history)
    return {violation.code for violation in violations}


def a_paid_history() -> History:
    """See the module."""
    history = a_good_history()
    place = entry_of(history, NodeImaged)
    noted = [BudgetNoted(a_state(name), LIMIT) for name in (BUDGET, CREDIT)]
    edit_entry(history, place, facts=(*history.jobs_entries[place].entry.facts, *noted))
    for nth in range(GRANTS):
        edit_fact(history, LeaseGranted, _pay, nth)
    history.budgets_said = [BudgetSaid(at_ns=1, state=a_state(CREDIT))]
    history.money_orders = [MoneyOrder(at_ns=1, what="add_credit", key=KEY, told="done")]
    history.books = _books(history)
    return history


def a_state(budget_id: str, **changes: Any) -> BudgetState:
    state = BudgetState(
        number=1,
        budget_id=budget_id,
        tenant="blue",
        unit="micro" if budget_id == CREDIT else "gpu_milli_ms",
        currency="USD" if budget_id == CREDIT else "",
        acts="stop",
        limit=LIMIT,
        spent=0,
        prepaid=budget_id == CREDIT,
    )
    return replace(state, **changes)


def _pay(grant: LeaseGranted) -> tuple[LeaseGranted]:
    ranks = len(grant.ranks)
    reserved = {BUDGET: PAID_MS * 1_000 * ranks, CREDIT: PAID_MS * ranks}
    return (replace(grant, paid_ms=PAID_MS, reserved=reserved),)


def _books(history: History) -> Books:
    rated = [_rated(history, number) for number in range(len(history.ledger))]
    rows: dict[str, list[Row]] = {
        "price_versions": [
            {"version": 1, "micro": MICRO_PER_HOUR, "unit": "gpu_hour", "currency": "USD"}
        ],
        "rated": rated,
        "commands_done": [{"key": KEY}],
        "budget_accounts": [
            {"budget_id": BUDGET, "unit": "gpu_milli_ms", "currency": "", "prepaid": 0},
            {
                "budget_id": CREDIT,
                "unit": "micro",
                "currency": "USD",
                "prepaid": 1,
                "spent": sum(row["quantity"] for row in rated) // 1_000,
            },
        ],
        "budget_grants": [*_grants(rated)],
        "invoices": [
            {"invoice_id": 1, "number": "INV-000001", "total_micro": 70, "credit_micro": 20}
        ],
        "invoice_lines": [
            {"invoice_id": 1, "number": 1, "amount_micro": 69},
            {"invoice_id": 1, "number": 2, "amount_micro": 1},
        ],
        "postings": [
            _posting("receivable/blue", 70),
            _posting("revenue/gpu", -69),
            _posting("rounding", -1),
            _posting("credit/blue", 20),
            _posting("receivable/blue", -20),
        ],
    }
    for table, (key, amounts) in ROLLUPS.items():
        rows[table] = _rollup(rated, key, amounts)
    return Books(rows=rows)


def _rated(history: History, number: int) -> Row:
    line = history.ledger[number]
    quantity = (line.t1_ms - line.t0_ms) * line.milli
    return {
        "lease_seq": line.lease_key[0],
        "job_id": line.lease_key[1],
        "rank": line.lease_key[2],
        "part": number,
        "tenant": "blue",
        "project": "",
        "node": line.node,
        "device": line.device,
        "sku": "gpu",
        "price_version": 1,
        "unit": "gpu_hour",
        "state": "running",
        "day": 20_833,
        "period": "2027-01",
        "quantity": quantity,
        "billed_quantity": quantity,
    }


def _grants(rated: list[Row]) -> list[Row]:
    used: dict[tuple[int, str], int] = {}
    for row in rated:
        attempt = (row["lease_seq"], row["job_id"])
        used[attempt] = used.get(attempt, 0) + row["quantity"]
    return [
        {
            "lease_seq": seq,
            "job_id": job_id,
            "budget_id": budget_id,
            "charged": amount if budget_id == BUDGET else amount // 1_000,
            "over": 1,
        }
        for (seq, job_id), amount in used.items()
        for budget_id in (BUDGET, CREDIT)
    ]


def _posting(account: str, amount_micro: int) -> Row:
    return {
        "entry": 1,
        "currency": "USD",
        "account": account,
        "amount_micro": amount_micro,
        "invoice_id": 1,
    }


def _rollup(rated: list[Row], key: tuple[str, ...], amounts: tuple[str, ...]) -> list[Row]:
    sums: dict[tuple[Any, ...], Row] = {}
    for row in rated:
        name = tuple(row[column] for column in key)
        summed = sums.setdefault(
            name, {**dict(zip(key, name, strict=True)), **dict.fromkeys(amounts, 0)}
        )
        for amount in amounts:
            summed[amount] += row[amount]
    return list(sums.values())
