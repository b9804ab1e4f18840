"""Which commands about money does metering obey?

By the last token of their subject, as `penstock_contracts.money_messages` declares them. It does
not know what they do.
"""

from __future__ import annotations

from penstock_contracts.bills import ClosePeriod, CreditInvoice, SetParty
from penstock_contracts.budgets import AddCredit, SetBudget
from penstock_contracts.costs import SetCost
from penstock_contracts.price_book import SetPrice
from penstock_contracts.rebuilding import RebuildLedger
from penstock_metering.bills.closing import close_period, credit_invoice, set_party
from penstock_metering.budgets.book import add_credit, set_budget
from penstock_metering.commands import Command
from penstock_metering.costs.book import set_cost
from penstock_metering.rating.price_book import set_price
from penstock_metering.rebuilding import rebuild

COMMANDS: dict[str, Command] = {
    "rebuild": Command(RebuildLedger, rebuild),
    "add_credit": Command(AddCredit, add_credit),
    "set_budget": Command(SetBudget, set_budget),
    "close_period": Command(ClosePeriod, close_period),
    "credit_invoice": Command(CreditInvoice, credit_invoice),
    "set_party": Command(SetParty, set_party),
    "set_cost": Command(SetCost, set_cost),
    "set_price": Command(SetPrice, set_price),
}
