"""What may be asked and ordered of metering where money is concerned, and by whom?

Part of the registry. Whoever may put a node out of service may set prices: the operator's own
credential and the gateway. It does not know who answers how.
"""

from __future__ import annotations

from penstock_contracts import (
    bills,
    budgets,
    costs,
    exports,
    price_book,
    profits,
    queries,
    rebuilding,
)
from penstock_contracts.message_type import ASKERS, METERING, SERVICE, MessageType
from penstock_contracts.questions import query


def ask(what: str, question: object, answer: object, summary: str) -> MessageType:
    """A question: changes nothing."""
    return query(METERING, what, question, answer, summary)


def order(what: str, command: object, answer: object, summary: str) -> MessageType:
    """A command, answered once committed; `key` is a ULID that the asker draws."""
    return MessageType(
        name=f"command_metering_{what}",
        subject=f"command.metering.{what}",
        carrier=SERVICE,
        payload=command,
        answer=answer,
        key="key: repeating changes nothing",
        writers=ASKERS,
        readers=(METERING,),
        summary=summary,
    )


MONEY: tuple[MessageType, ...] = (
    order(
        "rebuild",
        rebuilding.RebuildLedger,
        queries.Answer[rebuilding.Stale],
        "Has all that is derived of open months derived anew.",
    ),
    ask(
        "stale",
        rebuilding.StaleQuery,
        queries.Answer[rebuilding.Stale],
        "How much is to be derived still.",
    ),
    order(
        "set_price",
        price_book.SetPrice,
        queries.Answer[price_book.PricesView],
        "Adds a version of a price; answers all that came of it.",
    ),
    ask(
        "prices",
        price_book.PricesQuery,
        queries.Answer[price_book.PricesView],
        "The price book.",
    ),
    order(
        "set_cost",
        costs.SetCost,
        queries.Answer[costs.CostsView],
        "Adds what a node or device costs; answers the version that came of it.",
    ),
    ask("costs", costs.CostsQuery, queries.Answer[costs.CostsView], "What the provider pays."),
    ask(
        "profit",
        profits.ProfitQuery,
        queries.Answer[profits.ProfitView],
        "Profit and loss of a month, and what idle time cost.",
    ),
    ask(
        "export",
        exports.ExportQuery,
        queries.Answer[exports.ExportPage],
        "A month, charge by charge, for other programs to read.",
    ),
    order(
        "close_period",
        bills.ClosePeriod,
        queries.Answer[bills.PeriodClosed],
        "Closes a month that is over: its invoices are issued, and nothing is added to it.",
    ),
    order(
        "credit_invoice",
        bills.CreditInvoice,
        queries.Answer[bills.Bill],
        "Issues a credit note over an invoice or a part of it.",
    ),
    order(
        "set_party",
        bills.SetParty,
        queries.Answer[bills.Party],
        "How a tenant, or whoever sends bills, stands on them from now on.",
    ),
    order(
        "set_budget",
        budgets.SetBudget,
        queries.Answer[budgets.BudgetsView],
        "Makes, changes or removes a budget; answers all of its tenant.",
    ),
    ask(
        "budgets",
        budgets.BudgetsQuery,
        queries.Answer[budgets.BudgetsView],
        "What may be spent, what is, and what is reserved.",
    ),
    order(
        "add_credit",
        budgets.AddCredit,
        queries.Answer[budgets.CreditsView],
        "Adds to a tenant's prepaid credit, or takes out of it what nothing is reserved of.",
    ),
    ask(
        "credits",
        budgets.CreditsQuery,
        queries.Answer[budgets.CreditsView],
        "Prepaid credit: balances, and what was added and taken out.",
    ),
    ask("bills", bills.BillsQuery, queries.Answer[bills.BillsView], "The bills of a month."),
    ask(
        "accounts",
        bills.AccountsQuery,
        queries.Answer[bills.AccountsView],
        "What was posted to each account in a month.",
    ),
    ask(
        "job_account",
        bills.JobAccountQuery,
        queries.Answer[bills.JobAccount],
        "How a job's use became part of lines: every segment, price and rounding.",
    ),
)
