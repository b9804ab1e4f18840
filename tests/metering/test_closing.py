"""Is a closed month closed for ever, and is what comes late billed once all the same?"""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from metering.conftest import Ledger, LedgerFactory
from metering.world import Job, World
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
from penstock_contracts.budgets import AddCredit
from penstock_contracts.costs import CostVersion, SetCost
from penstock_contracts.errors import Refusal
from penstock_contracts.ids import ulid
from penstock_metering import rater, schema_bills
from penstock_metering.bill_views import answer_accounts, answer_bills
from penstock_metering.budget_book import add_credit
from penstock_metering.closing import close_period, credit_invoice, set_party
from penstock_metering.core.months import month_bounds_ms, month_of
from penstock_metering.cost_book import set_cost
from penstock_metering.job_accounts import answer_job_account

HOUR_MS = 3_600_000
JANUARY, FEBRUARY, MARCH = "2027-01", "2027-02", "2027-03"


def _changed(ledger: Ledger, command: Any, wish: Any, now_ms: int) -> Any:
    return ledger.ingest.change(lambda connection: command(connection, wish, now_ms))


def _asked(ledger: Ledger, answer: Any, question: Any, now_ms: int) -> Any:
    return ledger.library.look_up(answer, now_ms, question)


def close(ledger: Ledger, month: str = "", *, at: str = "") -> PeriodClosed:
    """At the beginning of month `at`, or right when it is over."""
    now_ms = month_bounds_ms(at)[0] if at else month_bounds_ms(month)[1]
    closed = _changed(ledger, close_period, ClosePeriod(key="K", month=month), now_ms)
    assert isinstance(closed, PeriodClosed), closed
    return closed


def bills(ledger: Ledger, month: str, tenant: str = "") -> BillsView:
    view = _asked(ledger, answer_bills, BillsQuery(month, tenant), month_bounds_ms(month)[1])
    assert isinstance(view, BillsView)
    return view


def the_bill(ledger: Ledger, month: str) -> Bill:
    (bill,) = bills(ledger, month).bills
    return bill


def facts(ledger: Ledger) -> dict[str, Any]:
    """What closing wrote."""
    tables = ("periods", "invoices", "invoice_lines", "postings")
    return {name: rows for name, rows in ledger.contents().items() if name in tables}


def imbalances(ledger: Ledger) -> list[Any]:
    of = schema_bills.postings.c
    with ledger.database.reading.begin() as connection:
        return list(
            connection.execute(
                sa.select(of.entry, of.currency, sa.func.sum(of.amount_micro))
                .group_by(of.entry, of.currency)
                .having(sa.func.sum(of.amount_micro) != 0)
            )
        )


@pytest.fixture
def month(world: World) -> World:
    """One node in January, and an hour of use by two tenants."""
    world.a_node("n1", gpus=4)
    assert month_of(world.now_ms) == JANUARY
    world.a_run("n1", ("SIM-n1-0",), HOUR_MS, tenant="acme")
    world.a_run("n1", ("SIM-n1-1", "SIM-n1-2"), HOUR_MS // 7, tenant="bolt", gpus=2)
    return world


def a_run_told_later(world: World) -> Job:
    """Two hours in January, of which only the first is sent before the month's end."""
    job = world.submit(tenant="acme")
    world.grant(job, ("n1", ("SIM-n1-3",)))
    world.start(job)
    world.pass_ms(HOUR_MS)
    world.cut(job)
    world.agents["n1"].send()
    world.pass_ms(HOUR_MS)
    world.exit(job)
    world.release(job)
    world.finish(job)
    return job


def test_a_closed_month_has_invoices_whose_lines_sum(ledger: Ledger, month: World) -> None:
    month.agents["n1"].send()
    ledger.take_all(month)
    closed = close(ledger, JANUARY)
    assert (closed.month, closed.documents, closed.unfinished) == (JANUARY, 2, 0)
    issued = bills(ledger, JANUARY)
    assert issued.closed_ms == closed.closed_ms
    assert [bill.number for bill in issued.bills] == ["INV-000001", "INV-000002"]
    acme, bolt = issued.bills
    assert (acme.tenant, acme.total_micro, len(acme.lines)) == ("acme", 2_000_000, 1)
    assert [line.kind for line in bolt.lines] == ["usage", "rounding"]
    assert bolt.total_micro == 570_000 == sum(line.amount_micro for line in bolt.lines)
    assert closed.totals_micro == {"USD": acme.total_micro + bolt.total_micro}
    assert imbalances(ledger) == []


def test_a_draft_says_what_closing_then_issues(ledger: Ledger, month: World) -> None:
    month.agents["n1"].send()
    ledger.take_all(month)
    drafts = bills(ledger, JANUARY)
    would = _asked(ledger, answer_accounts, AccountsQuery(JANUARY), 0)
    assert drafts.closed_ms is None
    assert {bill.number for bill in drafts.bills} == {""}
    close(ledger, JANUARY)
    issued = bills(ledger, JANUARY)
    assert [(b.tenant, b.lines, b.total_micro) for b in drafts.bills] == [
        (b.tenant, b.lines, b.total_micro) for b in issued.bills
    ]
    did = _asked(ledger, answer_accounts, AccountsQuery(JANUARY), 0)
    assert isinstance(would, AccountsView)
    assert would.accounts == did.accounts
    assert sum(account.balance_micro for account in did.accounts) == 0


def test_what_comes_late_posts_to_the_open_month_and_is_billed_once(
    make_ledger: LedgerFactory, month: World
) -> None:
    a_run_told_later(month)
    early = {name: list(messages) for name, messages in month.streams.items()}
    month.agents["n1"].send()
    in_time, late = make_ledger(), make_ledger()
    in_time.take_all(month)
    late.take(early)
    before = [bill.lines for bill in bills(late, JANUARY).bills]
    for ledger in (in_time, late):
        close(ledger, JANUARY)
    late.take_all(month)
    kept = facts(late)
    assert [bill.lines for bill in bills(late, JANUARY).bills] == before
    correction = [line for bill in bills(late, FEBRUARY).bills for line in bill.lines]
    assert {line.corrects for line in correction if line.kind == "usage"} == {JANUARY}
    close(late, FEBRUARY)
    close(in_time, FEBRUARY)
    assert all(set(rows) <= set(facts(late)[name]) for name, rows in kept.items())
    assert _use_billed(late) == _use_billed(in_time)
    assert imbalances(late) == []
    assert bills(late, MARCH).bills == ()


def _use_billed(ledger: Ledger) -> dict[str, int]:
    """Over all months."""
    sums: dict[str, int] = {}
    for month in (JANUARY, FEBRUARY):
        for bill in bills(ledger, month).bills:
            used = sum(line.amount_micro for line in bill.lines if line.kind == "usage")
            sums[bill.tenant] = sums.get(bill.tenant, 0) + used
    return sums


def test_a_rebuild_changes_nothing_of_what_is_closed(ledger: Ledger, month: World) -> None:
    a_run_told_later(month)
    ledger.take_all(month)
    close(ledger, JANUARY)
    month.agents["n1"].send()
    ledger.take_all(month)
    before = ledger.contents()

    def rebuild(connection: sa.Connection) -> None:
        rater.forget_open(connection)
        rater.rate_all(connection)

    ledger.ingest.change(rebuild)
    assert ledger.contents() == before


def test_months_are_closed_one_after_the_other_and_once(ledger: Ledger, month: World) -> None:
    month.agents["n1"].send()
    ledger.take_all(month)

    def why_not(wanted: str, now_ms: int) -> str:
        with pytest.raises(_Told) as told:
            _refuse(ledger, ClosePeriod(key="K", month=wanted), now_ms)
        return told.value.code

    over_ms = month_bounds_ms(FEBRUARY)[1]
    assert why_not(JANUARY, month_bounds_ms(JANUARY)[1] - 1) == "period_not_over"
    assert why_not(FEBRUARY, over_ms) == "period_before_open"
    assert close(ledger, at=MARCH).month == JANUARY
    assert why_not(JANUARY, over_ms) == "period_closed"
    assert close(ledger, at=MARCH).month == FEBRUARY
    assert why_not("", over_ms) == "period_not_over"


class _Told(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def _refuse(ledger: Ledger, wish: ClosePeriod, now_ms: int) -> None:
    answer = _changed(ledger, close_period, wish, now_ms)
    if isinstance(answer, Refusal):
        raise _Told(answer.code)


def test_a_credit_note_posts_to_the_open_month_and_changes_no_invoice(
    ledger: Ledger, month: World
) -> None:
    month.agents["n1"].send()
    ledger.take_all(month)
    close(ledger, JANUARY)
    before = bills(ledger, JANUARY)
    in_march_ms = month_bounds_ms(MARCH)[0]

    def take_back(amount_micro: int | None, line: int = 0, invoice: str = "INV-000001") -> Any:
        wish = CreditInvoice(
            key="K", invoice=invoice, line=line, amount_micro=amount_micro, reason="it was slow"
        )
        return _changed(ledger, credit_invoice, wish, in_march_ms)

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


def test_a_bill_names_the_parties_as_they_were(ledger: Ledger, month: World) -> None:
    month.agents["n1"].send()
    ledger.take_all(month)
    _changed(ledger, set_party, SetParty(key="K", name="Fjord AS", address="Oslo\nNorway"), 0)
    _changed(ledger, set_party, SetParty(key="K", tenant="acme", name="Acme GmbH"), 0)
    close(ledger, JANUARY)
    _changed(ledger, set_party, SetParty(key="K", tenant="acme", name="Acme SE"), 0)
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
            _asked(ledger, answer_job_account, JobAccountQuery(job.job_id), 0) for job in jobs
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
    unknown = _asked(ledger, answer_job_account, JobAccountQuery("0" * 26), 0)
    assert isinstance(unknown, Refusal)


def test_an_invoice_is_paid_from_prepaid_credit_as_far_as_it_goes(
    ledger: Ledger, month: World
) -> None:
    month.agents["n1"].send()
    ledger.take_all(month)
    for tenant, micro in (("acme", 1_500_000), ("bolt", 3_000_000)):
        wish = AddCredit(key=ulid(1, micro), tenant=tenant, amount_micro=micro)
        assert not isinstance(_changed(ledger, add_credit, wish, month.now_ms), Refusal)
    would = _asked(ledger, answer_accounts, AccountsQuery(JANUARY), 0)
    close(ledger, JANUARY)
    acme, bolt = bills(ledger, JANUARY).bills
    assert (acme.total_micro, acme.credit_micro) == (2_000_000, 1_500_000)
    assert (bolt.total_micro, bolt.credit_micro) == (570_000, 570_000)
    posted = _asked(ledger, answer_accounts, AccountsQuery(JANUARY), 0)
    assert posted.accounts == would.accounts
    balances = {account.account: account.balance_micro for account in posted.accounts}
    assert balances["cash"] == 4_500_000
    assert balances["receivable/acme"] == 500_000
    assert balances["credit/bolt"] == 570_000 - 3_000_000
    close(ledger, FEBRUARY)
    assert _asked(ledger, answer_accounts, AccountsQuery(FEBRUARY), 0).accounts == ()
    assert imbalances(ledger) == []


def test_what_devices_cost_is_posted_by_what_became_of_their_time(
    ledger: Ledger, month: World
) -> None:
    month.agents["n1"].send()
    ledger.take_all(month)
    cost = CostVersion(kind="rent", micro=1_000_000, every="hour", effective_from_ms=0)
    wish = SetCost(key=ulid(1, 1), cost=cost)
    assert not isinstance(_changed(ledger, set_cost, wish, month.now_ms), Refusal)
    close(ledger, JANUARY)
    posted = _asked(ledger, answer_accounts, AccountsQuery(JANUARY), 0)
    balances = {account.account: account.balance_micro for account in posted.accounts}
    assert balances["rent"] > 0
    assert balances["idle/free_no_demand"] > 0
    assert balances["payable/rent"] < 0
    assert sum(balances.values()) == 0
    assert imbalances(ledger) == []
