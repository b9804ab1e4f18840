"""Is every shape that a job had paid for as long as it had it, to the ms, and nothing else?"""

from __future__ import annotations

import pytest

from metering.conftest import Ledger
from metering.test_rated import HOUR_MS, derived, rows_of
from metering.test_rating import a_world_of_one_hour, add_price
from metering.world import World
from penstock_contracts.queries import UsageQuery
from penstock_metering.core.parts import PREPARING, RUNNING, SETTLING
from penstock_metering.rating import tables


@pytest.mark.lesson(18)
def test_a_resize_from_four_to_one_costs_what_each_shape_used(ledger: Ledger) -> None:
    """Half an hour on four devices, then half an hour on one: 2.5 GPU-hours."""
    ledger.take_all(resized(4, 1))
    assert [line.quantity for line in ledger.library.usage(UsageQuery()).lines] == [
        4 * HOUR_MS // 2 * 1_000 + HOUR_MS // 2 * 1_000
    ]


@pytest.mark.lesson(18)
def test_a_resize_from_one_to_four_costs_what_each_shape_used(ledger: Ledger) -> None:
    ledger.take_all(resized(1, 4))
    (line,) = ledger.library.usage(UsageQuery()).lines
    assert (line.quantity, line.cost_micro) == (2_500 * HOUR_MS, 5_000_000)


def resized(before: int, after: int) -> World:
    """A service that is given another shape within an hour: a new attempt."""
    world = World()
    agent = world.a_node(gpus=4)
    job = world.submit(gpus=before)
    for gpus in (before, after):
        world.grant(job, ("n1", agent.devices[:gpus]))
        world.start(job)
        world.pass_ms(HOUR_MS // 2)
        world.exit(job)
        world.release(job)
        world.lose(job)
    agent.send()
    return world


@pytest.mark.lesson(18)
def test_use_does_not_grow_after_the_job_is_gone(ledger: Ledger) -> None:
    world = a_world_of_one_hour()
    ledger.take_all(world)
    before = derived(ledger)
    world.pass_ms(24 * HOUR_MS)
    world.agents["n1"].send()
    world.agents["n1"].send()
    ledger.take_all(world)
    assert derived(ledger) == before


@pytest.mark.lesson(18)
def test_a_full_hour_is_exactly_3_600_000_ms(ledger: Ledger) -> None:
    """Cut into minutes, over midnight and through a change of price."""
    world = World()
    agent = world.a_node(gpus=1)
    world.pass_ms(-world.now_ms % (24 * HOUR_MS) - HOUR_MS // 2)
    add_price(ledger, 3_000_000, effective_from_ms=world.now_ms + 1_234_567)
    job = world.submit()
    world.grant(job, ("n1", agent.devices))
    world.start(job)
    for _ in range(60):
        world.pass_ms(60_000)
        world.cut(job)
    world.exit(job)
    world.release(job)
    agent.send()
    ledger.take_all(world)
    rated = rows_of(ledger, tables.rated)
    assert sum(row.quantity for row in rated) == 3_600_000 * 1_000
    assert len({row.day for row in rated}) == 2 == len({row.price_version for row in rated})
    assert sum(row.billed_quantity for row in rated) == 3_600_000 * 1_000


@pytest.mark.lesson(22)
def test_preparation_is_metered_and_costs_nothing(ledger: Ledger) -> None:
    ledger.take_all(a_world_of_one_hour())
    held = {row.state: (row.quantity, row.billed_quantity) for row in rows_of(ledger, tables.rated)}
    assert held[PREPARING] == held[SETTLING] == (5_000, 0)
    assert held[RUNNING] == (HOUR_MS * 1_000, HOUR_MS * 1_000)


@pytest.mark.lesson(22)
def test_what_never_started_costs_nothing_even_where_preparation_does(ledger: Ledger) -> None:
    add_price(ledger, 2_000_000, billable=("preparing", "running"), minimum_ms=60_000)
    world = World()
    agent = world.a_node(gpus=1)
    job = world.submit()
    world.grant(job, ("n1", agent.devices))
    world.pass_ms(600_000)
    world.release(job, "declined")
    world.finish(job, "failed")
    ledger.take_all(world)
    assert rows_of(ledger, tables.rated) == []


@pytest.mark.lesson(19)
def test_a_fraction_of_a_device_is_charged_as_a_fraction(ledger: Ledger) -> None:
    world = World()
    agent = world.a_node(gpus=1)
    world.a_run("n1", agent.devices, for_ms=HOUR_MS, gpu_milli=250)
    agent.send()
    ledger.take_all(world)
    (line,) = ledger.library.usage(UsageQuery()).lines
    assert (line.quantity, line.cost_micro) == (250 * HOUR_MS, 500_000)
