"""Is a closed month closed for ever, and is what comes late billed once all the same?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from metering.closed_months import (
    FEBRUARY,
    HOUR_MS,
    JANUARY,
    MARCH,
    asked,
    bills,
    changed,
    close,
    facts,
    imbalances,
    january,
)
from metering.conftest import Ledger, LedgerFactory
from metering.world import Job, World
from penstock_contracts.bills import (
    AccountsQuery,
    AccountsView,
    ClosePeriod,
)
from penstock_contracts.errors import Refusal
from penstock_metering.bills.closing import close_period
from penstock_metering.bills.views import answer_accounts
from penstock_metering.core.months import month_bounds_ms
from penstock_metering.rating import rater


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


def test_a_closed_month_has_invoices_whose_lines_sum(ledger: Ledger, world: World) -> None:
    month = january(world)
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


def test_a_draft_says_what_closing_then_issues(ledger: Ledger, world: World) -> None:
    month = january(world)
    month.agents["n1"].send()
    ledger.take_all(month)
    drafts = bills(ledger, JANUARY)
    would = asked(ledger, answer_accounts, AccountsQuery(JANUARY), 0)
    assert drafts.closed_ms is None
    assert {bill.number for bill in drafts.bills} == {""}
    close(ledger, JANUARY)
    issued = bills(ledger, JANUARY)
    assert [(b.tenant, b.lines, b.total_micro) for b in drafts.bills] == [
        (b.tenant, b.lines, b.total_micro) for b in issued.bills
    ]
    did = asked(ledger, answer_accounts, AccountsQuery(JANUARY), 0)
    assert isinstance(would, AccountsView)
    assert would.accounts == did.accounts
    assert sum(account.balance_micro for account in did.accounts) == 0


def test_what_comes_late_posts_to_the_open_month_and_is_billed_once(
    make_ledger: LedgerFactory, world: World
) -> None:
    month = january(world)
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


def test_a_rebuild_changes_nothing_of_what_is_closed(ledger: Ledger, world: World) -> None:
    month = january(world)
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


def test_months_are_closed_one_after_the_other_and_once(ledger: Ledger, world: World) -> None:
    month = january(world)
    month.agents["n1"].send()
    ledger.take_all(month)

    def why_not(wanted: str, now_ms: int) -> str:
        with pytest.raises(_Told) as told:
            _refuse(ledger, ClosePeriod(key="K", month=wanted), now_ms)
        return told.value.code

    over_ms = month_bounds_ms(FEBRUARY)[1]
    assert why_not(JANUARY, month_bounds_ms(JANUARY)[1] - 1) == "period_not_over"
    assert why_not(FEBRUARY, over_ms) == "period_before_open"
    assert why_not("2026-12", over_ms) == "period_closed"  # nothing was used before January
    assert close(ledger, at=MARCH).month == JANUARY
    assert why_not(JANUARY, over_ms) == "period_closed"
    assert close(ledger, at=MARCH).month == FEBRUARY
    assert why_not("", over_ms) == "period_not_over"


class _Told(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def _refuse(ledger: Ledger, wish: ClosePeriod, now_ms: int) -> None:
    answer = changed(ledger, close_period, wish, now_ms)
    if isinstance(answer, Refusal):
        raise _Told(answer.code)


def test_a_close_that_is_cut_off_at_any_statement_has_done_nothing(
    sqlite: Ledger, world: World
) -> None:
    month = january(world)
    month.agents["n1"].send()
    sqlite.take_all(month)
    before, done = sqlite.contents(), False
    for statements in itertools.count(1):
        with _cut_off_after(sqlite, statements) as cut:
            try:
                close(sqlite, JANUARY)
                done = True
            except _CutOff:
                assert sqlite.contents() == before
        if done:
            break
    assert not cut.happened
    assert statements > 20
    assert the_numbers(sqlite) == ["INV-000001", "INV-000002"]


class _CutOff(Exception):
    pass


class _Cut:
    happened = False


@contextmanager
def _cut_off_after(ledger: Ledger, statements: int) -> Iterator[_Cut]:
    """The writer's statement of that number fails, as if the process were gone."""
    cut, numbers = _Cut(), itertools.count(1)

    def look(*_: Any) -> None:
        if next(numbers) == statements:
            cut.happened = True
            raise _CutOff

    engine = ledger.database.writing
    sa.event.listen(engine, "before_cursor_execute", look)
    try:
        yield cut
    finally:
        sa.event.remove(engine, "before_cursor_execute", look)


def the_numbers(ledger: Ledger) -> list[str]:
    return [bill.number for bill in bills(ledger, JANUARY).bills]
