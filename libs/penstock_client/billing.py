"""What is on the bills, and how is a month closed?

Questions and commands about bills over one bus. It does not know how they are shown.
"""

from __future__ import annotations

from msgspec.structs import replace

from penstock_bus.port import Bus
from penstock_client.questions import ask, order
from penstock_client.subjects import check_job_id
from penstock_client.ulids import Ulids
from penstock_contracts.bills import (
    AccountsQuery,
    AccountsView,
    Bill,
    BillsQuery,
    BillsView,
    ClosePeriod,
    CreditInvoice,
    JobAccount,
    JobAccountQuery,
    Party,
    PeriodClosed,
    SetParty,
)

CLOSE_S_MAX = 300.0
"""Everything of the month that is not rated yet is rated first."""
ANSWER_S_MAX = 30.0

_new_key = Ulids().next


async def bills(bus: Bus, month: str = "", tenant: str = "") -> BillsView:
    """Every bill of the month (empty = the present one), page by page."""
    query = BillsQuery(month, tenant)
    page = await ask(bus, "metering", "bills", query, BillsView, ANSWER_S_MAX)
    found = page.bills
    while page.more and page.bills:
        query = BillsQuery(page.month, tenant, page.bills[-1].name)
        page = await ask(bus, "metering", "bills", query, BillsView, ANSWER_S_MAX)
        found += page.bills
    return replace(page, bills=found, more=False)


async def accounts(bus: Bus, month: str = "") -> AccountsView:
    """What was posted in the month, or would be if it were closed now."""
    return await ask(bus, "metering", "accounts", AccountsQuery(month), AccountsView, ANSWER_S_MAX)


async def job_account(bus: Bus, job_id: str) -> JobAccount:
    """How a job's use became part of lines. Raises NotFound."""
    query = JobAccountQuery(check_job_id(job_id))
    return await ask(bus, "metering", "job_account", query, JobAccount, ANSWER_S_MAX)


async def close_period(bus: Bus, month: str = "") -> PeriodClosed:
    """Close the month, or (empty) the one that is due."""
    command = ClosePeriod(key=_new_key(), month=month)
    return await order(bus, "close_period", command, PeriodClosed, CLOSE_S_MAX)


async def credit_invoice(
    bus: Bus, invoice: str, reason: str, *, line: int = 0, amount_micro: int | None = None
) -> Bill:
    """The credit note, over that amount or (None) all that is left of the invoice or line."""
    command = CreditInvoice(
        key=_new_key(), invoice=invoice, line=line, amount_micro=amount_micro, reason=reason
    )
    return await order(bus, "credit_invoice", command, Bill, ANSWER_S_MAX)


async def set_party(bus: Bus, tenant: str, party: Party) -> Party:
    """How a tenant, or (empty) whoever sends bills, stands on those issued from now on."""
    command = SetParty(
        key=_new_key(),
        tenant=tenant,
        name=party.name,
        address=party.address,
        tax_id=party.tax_id,
    )
    return await order(bus, "set_party", command, Party, ANSWER_S_MAX)
