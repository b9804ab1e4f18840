"""Is a month in an export what the ledger has, from one instant, page by page?"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import Any

import pytest

from conftest import Eventually
from metering.conftest import Ledger
from metering.world import START_MS, World
from penstock_contracts.errors import Refusal
from penstock_contracts.exports import Charge, ExportPage, ExportQuery
from penstock_metering.bills.contents import read_lines
from penstock_metering.core.months import month_of
from penstock_metering.exports import pages as exports
from penstock_metering.exports.pages import Exports
from penstock_metering.threads import run_inline

MONTH = month_of(START_MS)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "PAGE_CHARGES_BYTES", 1_000)


def used(world: World, jobs: int = 12) -> World:
    for name in ("n1", "n2"):
        world.a_node(name, gpus=2)
    for number in range(jobs):
        agent = world.agents[f"n{1 + number % 2}"]
        tenant, device = ("acme", "beta")[number % 3 == 0], agent.devices[number % 4 // 2]
        world.a_run(agent.name, (device,), for_ms=1_000 * (number + 1), tenant=tenant)
        agent.send()
    return world


def fetch(desk: Exports, **wish: Any) -> tuple[list[Charge], list[ExportPage]]:
    page = desk.begin(START_MS, ExportQuery(**wish))
    pages = []
    while True:
        assert isinstance(page, ExportPage), page
        pages.append(page)
        if not page.more:
            return [charge for own in pages for charge in own.charges], pages
        page = desk.turn(ExportQuery(export=page.export, page=page.page + 1))


def test_charges_of_an_open_month_sum_to_its_lines_and_have_no_invoice(
    ledger: Ledger, world: World, small_pages: None
) -> None:
    ledger.take_all(used(world))
    charges, pages = fetch(Exports(ledger.database, run_inline))
    assert len(pages) > 2
    assert [page.page for page in pages] == list(range(len(pages)))
    sums: dict[tuple[str, str, int], int] = defaultdict(int)
    for charge in charges:
        sums[charge.tenant, charge.sku, charge.price_version] += charge.billed_micro
        assert charge.invoice == ""
    with ledger.database.reading.begin() as connection:
        lines = read_lines(connection, MONTH)
    assert len(lines) >= 2
    assert sums == {(o.tenant, o.sku, o.price_version): o.amount_micro for o in lines}
    assert {page.month for page in pages} == {MONTH}
    assert not pages[0].closed
    named = {number for c in charges for number in (c.price_version, c.list_version)}
    assert {price.version for page in pages for price in page.prices} == named


def test_one_tenants_export_has_nothing_of_others(ledger: Ledger, world: World) -> None:
    ledger.take_all(used(world))
    desk = Exports(ledger.database, run_inline)
    own, _ = fetch(desk, tenant="acme")
    everything, _ = fetch(desk)
    assert own == [charge for charge in everything if charge.tenant == "acme"]


def test_all_pages_are_of_the_instant_the_export_began(
    ledger: Ledger, world: World, small_pages: None
) -> None:
    ledger.take_all(used(world))
    desk = Exports(ledger.database, run_inline)
    before, _ = fetch(desk)
    first = desk.begin(START_MS, ExportQuery())
    assert isinstance(first, ExportPage)
    ledger.take_all(used(world))
    found, page = list(first.charges), first
    while page.more:
        again = desk.turn(ExportQuery(export=page.export, page=page.page))
        assert again == page
        following = desk.turn(ExportQuery(export=page.export, page=page.page + 1))
        assert isinstance(following, ExportPage)
        found, page = [*found, *following.charges], following
    assert found == before
    assert len(fetch(desk)[0]) >= len(before)


def test_an_export_that_nobody_knows_or_too_many_at_once_are_refused(
    ledger: Ledger, world: World, small_pages: None
) -> None:
    ledger.take_all(used(world))
    desk = Exports(ledger.database, run_inline)
    unknown = desk.turn(ExportQuery(export="1-1", page=1))
    assert isinstance(unknown, Refusal) and unknown.code == "unknown_export"
    begin = partial(desk.begin, START_MS, ExportQuery())
    names = [begin().export for _ in range(exports.EXPORTS_AT_ONCE_MAX)]  # type: ignore[union-attr]
    busy = begin()
    assert isinstance(busy, Refusal) and busy.code == "unavailable"
    desk.end(names[0])
    assert isinstance(begin(), ExportPage)
    skipped = desk.turn(ExportQuery(export=names[1], page=2))
    assert isinstance(skipped, Refusal)


async def test_an_export_that_is_not_asked_for_goes(
    sqlite: Ledger,
    world: World,
    small_pages: None,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Eventually,
) -> None:
    monkeypatch.setattr(exports, "IDLE_S_MAX", 0.0)
    sqlite.take_all(used(world))
    desk = Exports(sqlite.database, run_inline)
    page = await desk.first(START_MS, ExportQuery())
    assert isinstance(page, ExportPage)
    again = ExportQuery(export=page.export)
    await eventually(lambda: isinstance(desk.turn(again), Refusal))
    await desk.close()


def test_a_month_without_use_is_one_empty_page(ledger: Ledger) -> None:
    charges, pages = fetch(Exports(ledger.database, run_inline), month="2026-10")
    assert charges == []
    assert len(pages) == 1
