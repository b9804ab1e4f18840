"""Was every attempt charged to its budgets what it used, once, and never beyond what was set aside?

What it used is counted again from ledger lines, and what that costs from rated use, in exact
fractions. It does not know how anything is settled.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from penstock_contracts.budgets import GPU_TIME
from penstock_contracts.prices import QUANTITY_PER_UNIT
from tests.checkers.books import Books, Row
from tests.checkers.history import History, Violation
from tests.checkers.payments import Payments, fold_payments

Attempt = tuple[int, str]
"""(lease sequence, job id)."""


def check_charges(history: History) -> list[Violation]:
    """Every attempt that was charged otherwise."""
    books = history.books
    if books is None:
        return []
    payments = fold_payments(history)
    reserved = _reserved(payments)
    units = {row["budget_id"]: row for row in books.of("budget_accounts")}
    ran = _ran(history)
    cost = _cost(books)
    found: list[Violation] = []
    for row in books.of("budget_grants"):
        attempt = (row["lease_seq"], row["job_id"])
        account = units.get(row["budget_id"])
        if account is None:
            continue
        if account["unit"] == GPU_TIME:
            used = Fraction(ran.get(attempt, 0))
        else:
            used = cost.get((*attempt, account["currency"]), Fraction(0))
        found += _judge(row, used, reserved.get((*attempt, row["budget_id"]), 0))
    return [*found, *_balances(books)]


def _judge(row: Row, used: Fraction, reserved: int) -> Iterable[Violation]:
    of = f"of budget {row['budget_id']}, attempt {row['lease_seq']}/{row['job_id']}"
    if row["charged"] > reserved:
        yield _broken(row, "charged_beyond", f"{of}: {row['charged']} charged, {reserved} reserved")
    elif row["over"] and row["charged"] != min(-(-used // 1), reserved):
        yield _broken(row, "charged_otherwise", f"{of}: {row['charged']} charged, {used} used")


def _balances(books: Books) -> Iterable[Violation]:
    """What is spent of a credit is what attempts were charged."""
    charged: dict[str, int] = {}
    for row in books.of("budget_grants"):
        charged[row["budget_id"]] = charged.get(row["budget_id"], 0) + row["charged"]
    for account in books.of("budget_accounts"):
        sum_micro = charged.get(account["budget_id"], 0)
        if account["prepaid"] and account["spent"] != sum_micro:
            sentence = f"{account['spent']} of {account['budget_id']} is spent, {sum_micro} charged"
            yield Violation(code="balance_otherwise", sentence=sentence)


def _broken(row: Row, code: str, sentence: str) -> Violation:
    return Violation(code=code, sentence=sentence, job_id=row["job_id"])


def _reserved(payments: Payments) -> dict[tuple[int, str, str], int]:
    found: dict[tuple[int, str, str], int] = {}
    for paid in payments.attempts.values():
        seq, job_id = paid.key.split("/")
        for budget_id, amount in paid.reserved.items():
            found[int(seq), job_id, budget_id] = amount
    return found


def _ran(history: History) -> dict[Attempt, int]:
    """milli-GPU·ms by ledger lines."""
    found: dict[Attempt, int] = {}
    for line in history.ledger:
        if line.device:
            attempt = (line.lease_key[0], line.lease_key[1])
            milli_ms = (line.t1_ms - line.t0_ms) * line.milli
            found[attempt] = found.get(attempt, 0) + milli_ms
    return found


def _cost(books: Books) -> dict[tuple[int, str, str], Fraction]:
    """By attempt and currency, with no allowance and no rounding."""
    prices = {row["version"]: row for row in books.of("price_versions")}
    found: dict[tuple[int, str, str], Fraction] = {}
    for row in books.of("rated"):
        price = prices.get(row["price_version"])
        if price is None:
            continue
        key = (row["lease_seq"], row["job_id"], price["currency"])
        amount = Fraction(row["billed_quantity"] * price["micro"], QUANTITY_PER_UNIT[price["unit"]])
        found[key] = found.get(key, Fraction(0)) + amount
    return found
