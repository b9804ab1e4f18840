"""Which questions about money does metering answer?

A table of what may be asked: each answered from one read transaction, once all that had arrived
when the question came is committed and derived. It does not know how questions come in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa

from penstock_contracts.bills import AccountsQuery, BillsQuery, JobAccountQuery
from penstock_contracts.budgets import BudgetsQuery, CreditsQuery
from penstock_contracts.costs import CostsQuery
from penstock_contracts.price_book import PricesQuery
from penstock_contracts.profits import ProfitQuery
from penstock_contracts.rebuilding import StaleQuery
from penstock_metering.bills.job_accounts import answer_job_account
from penstock_metering.bills.views import answer_accounts, answer_bills
from penstock_metering.budgets.book import look_up_budgets, look_up_credits
from penstock_metering.costs.book import answer_costs
from penstock_metering.costs.profits import answer_profit
from penstock_metering.rating.price_book import answer_prices
from penstock_metering.rebuilding import answer_stale

LookUp = Callable[[sa.Connection, Any, int], Any]
"""(connection, question, now_ms) → what is answered, or a Refusal."""


class Question(msgspec.Struct, frozen=True):
    payload: type
    look_up: LookUp


MONEY_QUESTIONS: dict[str, Question] = {
    "accounts": Question(AccountsQuery, answer_accounts),
    "budgets": Question(BudgetsQuery, look_up_budgets),
    "credits": Question(CreditsQuery, look_up_credits),
    "bills": Question(BillsQuery, answer_bills),
    "job_account": Question(JobAccountQuery, answer_job_account),
    "costs": Question(CostsQuery, answer_costs),
    "prices": Question(PricesQuery, answer_prices),
    "profit": Question(ProfitQuery, answer_profit),
    "stale": Question(StaleQuery, answer_stale),
}
