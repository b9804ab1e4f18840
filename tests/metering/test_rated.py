"""Do rated use and its sums depend on what is known alone, and does what is closed stay?"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.conftest import Ledger, LedgerFactory
from metering.test_rating import a_world_of_one_hour, add_price
from metering.world import Job, World
from penstock_contracts.nodes import NodeRegistered
from penstock_contracts.queries import UsageQuery
from penstock_metering.bills.tables import periods
from penstock_metering.core.months import month_bounds_ms, month_of, next_month
from penstock_metering.core.parts import RUNNING
from penstock_metering.rating import tables
from penstock_metering.rating.rater import LEASES_AT_ONCE, forget_open, rate_all, rate_some

HOUR_MS = 3_600_000
DERIVED = (tables.rated, tables.usage_days, tables.device_sales, tables.dirty_leases)


def rows_of(ledger: Ledger, table: sa.Table) -> list[Any]:
    with ledger.database.reading.begin() as connection:
        return list(connection.execute(sa.select(table).order_by(*table.primary_key.columns)))


def derived(ledger: Ledger) -> list[list[Any]]:
    return [rows_of(ledger, table) for table in DERIVED]


def sums_of_rated(ledger: Ledger) -> list[list[Any]]:
    """What the rollups must be, added up plainly."""
    days: dict[Any, list[int]] = {}
    sales: dict[Any, list[int]] = {}
    for row in rows_of(ledger, tables.rated):
        day = (row.period, row.day, row.tenant, row.project, row.sku, row.price_version, row.state)
        sums = days.setdefault((*day, row.unit, row.corrects), [0, 0, 0])
        for place, value in enumerate((row.quantity, row.billed_quantity, row.runs)):
            sums[place] += value
        sale = (row.period, row.day, row.node, row.device, row.tenant, row.sku, row.price_version)
        sold = sales.setdefault(sale, [0, 0])
        sold[0] += row.quantity if row.state == RUNNING else 0
        sold[1] += row.billed_quantity
    return [
        sorted((*key, *sums) for key, sums in found.items() if any(sums)) for found in (days, sales)
    ]


def rollups(ledger: Ledger) -> list[list[Any]]:
    tables_ = (tables.usage_days, tables.device_sales)
    return [sorted(tuple(row) for row in rows_of(ledger, table)) for table in tables_]


def close(ledger: Ledger, month: str) -> None:
    def write(connection: sa.Connection) -> None:
        row = {"month": month, "closed_ms": 1, "usage_batch": 0, "unfinished": 0}
        connection.execute(sa.insert(periods).values(**row))

    ledger.ingest.change(write)


def a_mixed_world() -> World:
    """Jobs with and without GPUs, one of several ranks, one over midnight, one still running."""
    world = World()
    agent = world.a_node(gpus=4)
    other = world.a_node("n2", gpus=2)
    world.a_run("n1", agent.devices[:2], for_ms=1_500, gpus=2, tenant="lab", tier="spot")
    world.a_run("n2", (), for_ms=700, gpus=0, cpu_milli=2_000, project="vision")
    gang = world.submit(gpus=1, ranks=2)
    world.grant(gang, ("n1", agent.devices[:1]), ("n2", other.devices[:1]))
    world.start(gang)
    for _ in range(3):
        world.pass_ms(9 * HOUR_MS)
        world.cut(gang)
    world.exit(gang)
    world.release(gang)
    live = world.submit(gpus=1)
    world.grant(live, ("n1", agent.devices[3:]))
    world.pass_ms(250)
    world.start(live)
    world.pass_ms(5_000)
    world.cut(live)
    agent.send()
    other.send()
    return world


def test_sums_are_what_is_rated(ledger: Ledger) -> None:
    ledger.take_all(a_mixed_world())
    assert rollups(ledger) == sums_of_rated(ledger)
    assert rows_of(ledger, tables.dirty_leases) == []


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(cuts=st.lists(st.integers(0, 40), max_size=4), usage_first=st.booleans())
def test_the_order_of_arrival_changes_no_derived_byte(
    make_on_sqlite: LedgerFactory, cuts: list[int], usage_first: bool
) -> None:
    """Streams are read apart: any of them may be ahead of the others."""
    world = a_mixed_world()
    at_once, piecewise = make_on_sqlite(), make_on_sqlite()
    at_once.take_all(world)
    for upto in [*sorted(cuts), 1_000]:
        names = ["USAGE", "JOBS", "NODES"] if usage_first else ["NODES", "USAGE", "JOBS"]
        for shift, name in enumerate(names):
            piecewise.take({name: world.streams[name][: upto // (shift + 1)]})
    piecewise.take_all(world)
    assert derived(piecewise) == derived(at_once)


def test_derived_rows_made_anew_are_the_same(ledger: Ledger) -> None:
    ledger.take_all(a_mixed_world())
    before = derived(ledger)
    ledger.ingest.change(forget_open)
    assert rows_of(ledger, tables.rated) == []
    ledger.ingest.change(rate_all)
    assert derived(ledger) == before


def test_a_batch_is_bounded(sqlite: Ledger) -> None:
    world = World()
    agent = world.a_node(gpus=1)
    for _ in range(3):
        world.a_run("n1", agent.devices)
    agent.send()
    sqlite.ingest.commit(world.streams)
    assert len(sqlite.ingest.change(lambda connection: rate_some(connection, 2))) == 2
    assert len(sqlite.ingest.change(lambda connection: rate_some(connection, 2))) == 1
    assert sqlite.ingest.change(lambda connection: rate_some(connection, LEASES_AT_ONCE)) == []


def test_what_is_known_late_of_a_devices_model_prices_all_that_ran_on_it(ledger: Ledger) -> None:
    world = a_world_of_one_hour()
    ledger.take({name: world.streams[name] for name in ("JOBS", "USAGE")})
    assert [line.sku for line in ledger.library.usage(UsageQuery()).lines] == ["gpu"]
    ledger.take_all(world)
    assert [line.sku for line in ledger.library.usage(UsageQuery()).lines] == ["gpu/H100"]
    assert rollups(ledger) == sums_of_rated(ledger)


def over_a_month_end() -> tuple[World, Job]:
    """One hour before the month's end and one after, of which the agent has sent the first half
    hour."""
    world = World()
    agent = world.a_node(gpus=1)
    _, end_ms = month_bounds_ms(month_of(world.now_ms))
    world.pass_ms(end_ms - HOUR_MS - world.now_ms)
    job = world.submit()
    world.grant(job, ("n1", agent.devices))
    world.start(job)
    world.pass_ms(HOUR_MS // 2)
    world.cut(job)
    agent.send()
    return world, job


def test_what_comes_late_for_a_closed_month_corrects_it_in_the_next(ledger: Ledger) -> None:
    world, job = over_a_month_end()
    month = month_of(world.now_ms)
    ledger.take_all(world)
    close(ledger, month)
    frozen = rows_of(ledger, tables.rated)
    world.pass_ms(HOUR_MS)
    world.exit(job)
    world.release(job)
    world.agents["n1"].send()
    ledger.take_all(world)
    rated = rows_of(ledger, tables.rated)
    assert rated[: len(frozen)] == frozen
    half = 1_000 * HOUR_MS // 2
    assert [(row.period, row.corrects, row.quantity) for row in rated] == [
        (month, "", half),
        (next_month(month), month, half),
        (next_month(month), "", half),
    ]
    before = derived(ledger)
    ledger.ingest.change(forget_open)
    ledger.ingest.change(rate_all)
    assert derived(ledger) == before
    assert rollups(ledger) == sums_of_rated(ledger)


def test_a_price_that_holds_from_now_on_rates_running_work_again(ledger: Ledger) -> None:
    world, job = over_a_month_end()
    world.exit(job)
    world.release(job)
    ledger.take_all(world)
    add_price(ledger, 4_000_000, effective_from_ms=world.now_ms - HOUR_MS // 4)
    ledger.ingest.change(rate_all)
    lines = ledger.library.usage(UsageQuery()).lines
    assert [line.cost_micro for line in lines] == [500_000, 1_000_000]
    assert rollups(ledger) == sums_of_rated(ledger)


def test_a_device_that_is_called_something_else_is_sold_under_that_name(ledger: Ledger) -> None:
    world = a_world_of_one_hour()
    ledger.take_all(world)
    known = world.agents["n1"].describe()
    (device,) = known.description.devices
    renamed = msgspec.structs.replace(device, model="H100-SXM")
    description = msgspec.structs.replace(known.description, devices=(renamed,))
    world.journal("NODES", NodeRegistered(description))
    ledger.take_all(world)
    assert [line.sku for line in ledger.library.usage(UsageQuery()).lines] == ["gpu/H100-SXM"]
    assert rollups(ledger) == sums_of_rated(ledger)
