"""How are budgets set, and prepaid credit added?

Commands and questions, each within the transaction it is given. It does not know what is spent.
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from penstock_contracts.budgets import (
    BUDGETS_OF_TENANT_MAX,
    CREDIT_PREFIX,
    MICRO,
    MONTH,
    STOP,
    TOTAL,
    AddCredit,
    BudgetsQuery,
    BudgetsView,
    BudgetView,
    CreditEntry,
    CreditsQuery,
    CreditsView,
    SetBudget,
)
from penstock_contracts.errors import Refusal
from penstock_metering.budgets import tables
from penstock_metering.budgets.accounts import ROLL_MARGIN_MS
from penstock_metering.budgets.outbox import last_number, put, raise_number
from penstock_metering.budgets.telling import read_accounts, state_of
from penstock_metering.core.months import month_of

ENTRIES_MAX = 1_000
"""Of one answer; the newest."""
LIMIT_MAX = (1 << 62) - 1

_budgets, _credits = tables.budgets, tables.credits
_accounts, _grants = tables.budget_accounts, tables.budget_grants
_encode = msgspec.json.Encoder().encode


def set_budget(connection: sa.Connection, wish: SetBudget, now_ms: int) -> BudgetsView | Refusal:
    """Answers the budgets of the tenant."""
    known = _account(connection, wish.budget_id)
    refusal = _refusal(connection, wish, known)
    if refusal is not None:
        return refusal
    connection.execute(
        sa.insert(_budgets).values(
            number=_next(connection, _budgets),
            budget_id=wish.budget_id,
            **_set(wish),
            amount=wish.limit,
            set_ms=now_ms,
        )
    )
    if wish.limit is None:
        _remove(connection, wish.budget_id, known)
    elif known is None:
        _open(connection, wish.budget_id, {**_set(wish), "amount": wish.limit}, now_ms)
    else:
        changed = {**_set(wish), "amount": wish.limit, "asked": wish.limit}
        if wish.per != known.per:
            period = month_of(max(0, now_ms - ROLL_MARGIN_MS)) if wish.per == MONTH else ""
            changed.update(period=period, warned_percent=0)
        connection.execute(
            sa.update(_accounts).where(_accounts.c.budget_id == wish.budget_id).values(**changed)
        )
    return look_up_budgets(connection, BudgetsQuery(wish.tenant), now_ms)


def _set(wish: SetBudget) -> dict[str, Any]:
    return {
        "tenant": wish.tenant,
        "project": wish.project,
        "unit": wish.unit,
        "currency": wish.currency if wish.unit == MICRO else "",
        "acts": wish.acts,
        "per": wish.per,
        "warn_percent": _encode(sorted(set(wish.warn_percent))).decode(),
    }


def _refusal(
    connection: sa.Connection, wish: SetBudget, known: sa.Row[Any] | None
) -> Refusal | None:
    if wish.budget_id.startswith(CREDIT_PREFIX):
        message = f"names that begin with {CREDIT_PREFIX} are for prepaid credit"
        return Refusal("invalid_field", message, "budget_id")
    if wish.unit == MICRO and not wish.currency:
        return Refusal("invalid_field", "a budget in money needs a currency", "currency")
    if known is not None:
        if known.tenant != wish.tenant:
            message = f"budget {wish.budget_id} is one of {known.tenant}; choose another name"
            return Refusal("name_taken", message, "budget_id")
        if known.unit != wish.unit or (known.unit == MICRO and known.currency != wish.currency):
            message = "what a budget counts does not change; remove it, or choose another name"
            return Refusal("contradiction", message, "unit")
        return None
    if wish.limit is None:
        return Refusal("not_found", f"there is no budget {wish.budget_id}", "budget_id")
    if len(read_accounts(connection, wish.tenant)) >= BUDGETS_OF_TENANT_MAX:
        message = f"{wish.tenant} has {BUDGETS_OF_TENANT_MAX} budgets already"
        return Refusal("too_many_budgets", message)
    return None


def _account(connection: sa.Connection, budget_id: str) -> sa.Row[Any] | None:
    return connection.execute(
        sa.select(_accounts).where(_accounts.c.budget_id == budget_id)
    ).one_or_none()


def _next(connection: sa.Connection, table: sa.Table) -> int:
    return (connection.execute(sa.select(sa.func.max(table.c.number))).scalar() or 0) + 1


def _open(connection: sa.Connection, budget_id: str, what: dict[str, Any], now_ms: int) -> None:
    """Counts from the beginning of its period; told once that is known. The first number that is
    given follows the clock: the scheduler may have heard of another ledger."""
    if not last_number(connection):
        raise_number(connection, now_ms)
    connection.execute(sa.delete(_grants).where(_grants.c.budget_id == budget_id))
    period = month_of(max(0, now_ms - ROLL_MARGIN_MS)) if what["per"] == MONTH else ""
    values = {"prepaid": 0, "spent": 0, "excess": 0, "warned_percent": 0, "told": "", **what}
    connection.execute(
        sa.insert(_accounts).values(
            budget_id=budget_id, asked=what["amount"], asked_number=None, period=period, **values
        )
    )


def _remove(connection: sa.Connection, budget_id: str, known: sa.Row[Any] | None) -> None:
    connection.execute(sa.delete(_accounts).where(_accounts.c.budget_id == budget_id))
    if known is not None and known.told:
        gone = msgspec.structs.replace(state_of(dict(known._mapping)), gone=True)
        put(connection, lambda number: msgspec.structs.replace(gone, number=number))


def add_credit(connection: sa.Connection, wish: AddCredit, now_ms: int) -> CreditsView | Refusal:
    """What is added counts at once; what is taken out when the scheduler works without it."""
    budget_id = credit_id(wish.currency, wish.tenant)
    known = _account(connection, budget_id)
    amount = wish.amount_micro
    if not amount:
        return Refusal("invalid_field", "the amount is zero", "amount_micro")
    if amount < 0:
        refusal = _withdrawal_refusal(connection, known, amount)
        if refusal is not None:
            return refusal
    elif known is not None and known.amount + amount > LIMIT_MAX:
        return Refusal("invalid_field", "that is more than an account holds", "amount_micro")
    connection.execute(
        sa.insert(_credits).values(
            number=_next(connection, _credits),
            key=wish.key,
            tenant=wish.tenant,
            currency=wish.currency,
            asked_micro=amount,
            amount_micro=max(0, amount),
            state="done" if amount > 0 else "asked",
            at_ms=now_ms,
            reason=wish.reason,
        )
    )
    if known is None:
        _open(connection, budget_id, _credit_of(wish), now_ms)
    elif amount > 0:
        more = {"amount": known.amount + amount, "asked": known.asked + amount}
        connection.execute(
            sa.update(_accounts).where(_accounts.c.budget_id == budget_id).values(**more)
        )
    else:
        connection.execute(  # the next step tells the scheduler
            sa.update(_accounts)
            .where(_accounts.c.budget_id == budget_id)
            .values(asked=known.amount + amount)
        )
    return look_up_credits(connection, CreditsQuery(wish.tenant), now_ms)


def credit_id(currency: str, tenant: str) -> str:
    return f"{CREDIT_PREFIX}{currency}-{tenant}"


def _credit_of(wish: AddCredit) -> dict[str, Any]:
    return {
        "tenant": wish.tenant,
        "project": "",
        "unit": MICRO,
        "currency": wish.currency,
        "acts": STOP,
        "per": TOTAL,
        "prepaid": 1,
        "amount": wish.amount_micro,
        "warn_percent": "[80,95]",
    }


def _withdrawal_refusal(
    connection: sa.Connection, known: sa.Row[Any] | None, amount: int
) -> Refusal | None:
    if known is None:
        return Refusal("no_credit", "the tenant has no credit in that currency")
    if known.asked != known.amount:
        return Refusal("withdrawal_open", "another withdrawal waits for the scheduler; ask again")
    if not known.told:
        return Refusal("unavailable", "the credit is not counted yet; ask again")
    left = known.amount - known.spent - reserved_of(connection, known.budget_id)
    if -amount > left:
        message = f"{max(0, left)} micro-{known.currency} are neither spent nor reserved"
        return Refusal("no_credit", message, "amount_micro")
    return None


def reserved_of(connection: sa.Connection, budget_id: str) -> int:
    """Set aside for attempts that are not over, beyond what they are known to have used."""
    open_part = _grants.c.reserved - _grants.c.charged
    asked = sa.select(sa.func.sum(open_part)).where(
        _grants.c.budget_id == budget_id, _grants.c.over == 0
    )
    return int(connection.execute(asked).scalar() or 0)


def look_up_budgets(connection: sa.Connection, query: BudgetsQuery, now_ms: int) -> BudgetsView:
    """Also prepaid credits: they are budgets."""
    rows = read_accounts(connection, query.tenant)
    return BudgetsView(tuple(_view(connection, row) for row in rows))


def _view(connection: sa.Connection, row: sa.Row[Any]) -> BudgetView:
    return BudgetView(
        budget_id=row.budget_id,
        tenant=row.tenant,
        project=row.project,
        unit=row.unit,
        currency=row.currency,
        acts=row.acts,
        per=row.per,
        period=row.period,
        limit=row.amount,
        spent=row.spent,
        reserved=reserved_of(connection, row.budget_id),
        prepaid=bool(row.prepaid),
        warn_percent=msgspec.json.decode(row.warn_percent, type=tuple[int, ...]),
        warned_percent=row.warned_percent,
        excess=row.excess,
    )


def look_up_credits(connection: sa.Connection, query: CreditsQuery, now_ms: int) -> CreditsView:
    rows = [row for row in read_accounts(connection, query.tenant) if row.prepaid]
    asked = sa.select(_credits).order_by(_credits.c.number.desc()).limit(ENTRIES_MAX)
    if query.tenant:
        asked = asked.where(_credits.c.tenant == query.tenant)
    entries = [
        CreditEntry(
            key=row.key,
            tenant=row.tenant,
            currency=row.currency,
            amount_micro=row.amount_micro,
            at_ms=row.at_ms,
            state=row.state,
            reason=row.reason,
            asked_micro=row.asked_micro,
        )
        for row in connection.execute(asked)
    ]
    return CreditsView(tuple(_view(connection, row) for row in rows), tuple(entries))


def paid_in(connection: sa.Connection, before_ms: int | None = None) -> dict[tuple[str, str], int]:
    """What each tenant has added in each currency, less what was taken out, in micro-currency."""
    asked = (
        sa.select(_credits.c.tenant, _credits.c.currency, sa.func.sum(_credits.c.amount_micro))
        .where(_credits.c.state == "done")
        .group_by(_credits.c.tenant, _credits.c.currency)
    )
    if before_ms is not None:
        asked = asked.where(_credits.c.at_ms < before_ms)
    return {(row[0], row[1]): int(row[2]) for row in connection.execute(asked)}
