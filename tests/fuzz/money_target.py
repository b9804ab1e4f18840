"""What do orders and questions about money of any kind do to metering?

Prices, costs, budgets, credit, bills, exports: changed in every way and given to a ledger that has
some history. What is refused changes nothing. It does not know the streams.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fuzz.mutation import Given
from fuzz.storage_targets import LedgerQuestions
from metering.world import START_MS
from penstock_contracts import bills, budgets, costs, exports, price_book, profits
from penstock_contracts.ids import ROOT, ulid
from penstock_contracts.money_messages import MONEY
from penstock_metering.core.months import month_of

MONTH = month_of(START_MS)
KEY = ulid(START_MS, 7)


def _other_key(number: int) -> str:
    return ulid(START_MS, 100 + number)


class Money(LedgerQuestions):
    """All that the registry lists of money, with the right to write."""

    name = "metering money"
    messages = tuple(message.name for message in MONEY)
    pure = False

    def reset(self) -> None:
        self._loop.run_until_complete(self._answers.close())
        self._ledger.reset()
        self._bus = self._loop.run_until_complete(self._open())
        self.commands.ingest = self._ledger.ledger.ingest

    def digest(self) -> object:
        return self._ledger.digest()

    def valid(self) -> Sequence[Given]:
        job_id = str(self.words[-1])
        cost = costs.CostVersion(
            kind="energy", effective_from_ms=START_MS, micro=300_000, currency="USD"
        )
        orders: list[object] = [
            price_book.SetPrice(key=KEY, sku="gpu/H100", micro=2_000_000, tier="spot"),
            price_book.SetPrice(key=_other_key(1), sku="gpu", tenant="acme", discount_ppm=50_000),
            costs.SetCost(_other_key(2), cost),
            bills.SetParty(key=_other_key(3), name="Fjord Compute", address="Oslo"),
            bills.ClosePeriod(key=_other_key(4), month=MONTH),
            bills.CreditInvoice(key=_other_key(5), invoice="INV-000001", reason="outage"),
            budgets.SetBudget(
                key=_other_key(6), budget_id="b1", tenant="acme", limit=9, acts="stop"
            ),
            budgets.AddCredit(key=_other_key(7), tenant="acme", amount_micro=5_000_000),
            price_book.PricesQuery(tenant="acme", history=True),
            costs.CostsQuery(kind="energy"),
            profits.ProfitQuery(by="node", month=MONTH),
            exports.ExportQuery(month=MONTH, provider=True),
            exports.ExportQuery(export="1800000000000-1", page=1),
            bills.BillsQuery(month=MONTH, tenant="acme"),
            bills.AccountsQuery(month=MONTH),
            bills.JobAccountQuery(job_id),
            budgets.BudgetsQuery("acme"),
        ]
        subject_of = {message.payload: message.subject for message in MONEY}
        return [
            Given(f"{ROOT}.{subject_of[type(order)]}", msgspec.json.encode(order))
            for order in orders
        ]
