"""Does a bill name whom it concerns, take back what it may, and divide so that all parts sum?"""

from __future__ import annotations

from typing import Any

from metering.closed_months import (
    FEBRUARY,
    HOUR_MS,
    JANUARY,
    MARCH,
    asked,
    bills,
    changed,
    close,
    imbalances,
    january,
    the_bill,
)
from metering.conftest import Ledger
from metering.world import World
from penstock_contracts.bills import (
    AccountsQuery,
    CreditInvoice,
    JobAccount,
    JobAccountQuery,
    Party,
    SetParty,
)
from penstock_contracts.budgets import AddCredit
from penstock_contracts.costs import CostVersion, SetCost
from penstock_contracts.errors import Refusal
from penstock_contracts.ids import ulid
from penstock_metering.bills.closing import credit_invoice, set_party
from penstock_metering.bills.job_accounts import answer_job_account
from penstock_metering.bills.views import answer_accounts
from penstock_metering.budgets.book import add_credit
from penstock_metering.core.months import month_bounds_ms
from penstock_metering.costs.book import set_cost


def test_a_credit_note_posts_to_the_open_month_and_changes_no_invoice(
    ledger: Ledger, world: World
) -> None:
    month = january(world)
    month.agents["n1"].send()
    ledger.take_all(month)
    close(ledger, JANUARY)
    before = bills(ledger, JANUARY)
    in_march_ms = month_bounds_ms(MARCH)[0]

    def take_back(amount_micro: int | None, line: int = 0, invoice: str = "INV-000001") -> Any:
        wish = CreditInvoice(
            key="K", invoice=invoice, line=line, amount_micro=amount_micro, reason="it was slow"
        )
        return changed(ledger, credit_invoice, wish, in_march_ms)

    note = take_back(500_000, 1)
    assert (note.number, note.kind, note.refers) == ("CN-000001", "credit_note", "INV-000001")
    assert (note.month, note.total_micro, note.reason) == (MARCH, -500_000, "it was slow")
    assert take_back(1_510_000).code == "too_much_credit"
    assert take_back(1, 0).code == "too_much_credit"
    assert take_back(None, 7).code == "unknown_invoice"
    assert take_back(None, 0, "INV-000009").code == "unknown_invoice"
    assert take_back(None).total_micro == -1_500_000
    assert take_back(None).code == "too_much_credit"
    assert bills(ledger, JANUARY) == before
    assert imbalances(ledger) == []
    assert [bill.number for bill in bills(ledger, MARCH).bills] == ["CN-000001", "CN-000002"]


def test_a_bill_names_the_parties_as_they_were(ledger: Ledger, world: World) -> None:
    month = january(world)
    month.agents["n1"].send()
    ledger.take_all(month)
    changed(ledger, set_party, SetParty(key="K", name="Fjord AS", address="Oslo\nNorway"), 0)
    changed(ledger, set_party, SetParty(key="K", tenant="acme", name="Acme GmbH"), 0)
    close(ledger, JANUARY)
    changed(ledger, set_party, SetParty(key="K", tenant="acme", name="Acme SE"), 0)
    acme, bolt = bills(ledger, JANUARY).bills
    assert acme.issuer == Party(name="Fjord AS", address="Oslo\nNorway")
    assert (acme.customer.name, bolt.customer.name) == ("Acme GmbH", "bolt")


def test_projects_share_a_bill_so_that_their_parts_sum(ledger: Ledger, world: World) -> None:
    world.a_node("n1", gpus=4)
    for project, part in (("red", 3), ("blue", 7), ("", 11)):
        world.a_run("n1", ("SIM-n1-0",), HOUR_MS // part, tenant="acme", project=project)
    world.agents["n1"].send()
    ledger.take_all(world)
    bill = the_bill(ledger, JANUARY)
    used = sum(line.amount_micro for line in bill.lines if line.kind == "usage")
    assert [share.project for share in bill.projects] == ["", "blue", "red"]
    assert sum(share.amount_micro for share in bill.projects) == used


def test_jobs_share_a_line_so_that_their_parts_sum_and_can_be_explained(
    ledger: Ledger, world: World
) -> None:
    world.a_node("n1", gpus=4)
    jobs = [world.a_run("n1", ("SIM-n1-0",), HOUR_MS // part, tenant="acme") for part in (3, 7, 11)]
    world.agents["n1"].send()
    ledger.take_all(world)
    for is_closed in (False, True):
        if is_closed:
            close(ledger, JANUARY)
        (line, *_) = the_bill(ledger, JANUARY).lines
        accounts = [
            asked(ledger, answer_job_account, JobAccountQuery(job.job_id), 0) for job in jobs
        ]
        shares = [share for account in accounts for share in account.shares]
        assert sum(share.amount_micro for share in shares) == line.amount_micro
        assert sum(share.billed_quantity for share in shares) == line.billed_quantity
        assert {share.document for share in shares} == {"INV-000001" if is_closed else ""}
        for share in shares:
            assert share.amount_micro == share.exact_micro + share.rounded_up
    told = accounts[0]
    assert isinstance(told, JobAccount)
    ((segment,),) = [lease.segments for lease in told.leases]
    assert segment.counted_ms == HOUR_MS // 3 == segment.t1_ms - segment.t0_ms
    running = [row for row in told.rated if row.state == "running" and row.price_version]
    assert sum(row.quantity for row in running) == 1_000 * (HOUR_MS // 3)
    unknown = asked(ledger, answer_job_account, JobAccountQuery("0" * 26), 0)
    assert isinstance(unknown, Refusal)


def test_an_invoice_is_paid_from_prepaid_credit_as_far_as_it_goes(
    ledger: Ledger, world: World
) -> None:
    month = january(world)
    month.agents["n1"].send()
    ledger.take_all(month)
    for tenant, micro in (("acme", 1_500_000), ("bolt", 3_000_000)):
        wish = AddCredit(key=ulid(1, micro), tenant=tenant, amount_micro=micro)
        assert not isinstance(changed(ledger, add_credit, wish, month.now_ms), Refusal)
    would = asked(ledger, answer_accounts, AccountsQuery(JANUARY), 0)
    close(ledger, JANUARY)
    acme, bolt = bills(ledger, JANUARY).bills
    assert (acme.total_micro, acme.credit_micro) == (2_000_000, 1_500_000)
    assert (bolt.total_micro, bolt.credit_micro) == (570_000, 570_000)
    posted = asked(ledger, answer_accounts, AccountsQuery(JANUARY), 0)
    assert posted.accounts == would.accounts
    balances = {account.account: account.balance_micro for account in posted.accounts}
    assert balances["cash"] == 4_500_000
    assert balances["receivable/acme"] == 500_000
    assert balances["credit/bolt"] == 570_000 - 3_000_000
    close(ledger, FEBRUARY)
    assert asked(ledger, answer_accounts, AccountsQuery(FEBRUARY), 0).accounts == ()
    assert imbalances(ledger) == []


def test_what_devices_cost_is_posted_by_what_became_of_their_time(
    ledger: Ledger, world: World
) -> None:
    month = january(world)
    month.agents["n1"].send()
    ledger.take_all(month)
    cost = CostVersion(kind="rent", micro=1_000_000, every="hour", effective_from_ms=0)
    wish = SetCost(key=ulid(1, 1), cost=cost)
    assert not isinstance(changed(ledger, set_cost, wish, month.now_ms), Refusal)
    close(ledger, JANUARY)
    posted = asked(ledger, answer_accounts, AccountsQuery(JANUARY), 0)
    balances = {account.account: account.balance_micro for account in posted.accounts}
    assert balances["rent"] > 0
    assert balances["idle/free_no_demand"] > 0
    assert balances["payable/rent"] < 0
    assert sum(balances.values()) == 0
    assert imbalances(ledger) == []
