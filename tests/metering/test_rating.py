"""Is use priced by what was in force, charged to who was granted the lease, and rounded once?"""

from __future__ import annotations

from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.conftest import Ledger
from metering.world import START_MS, World
from penstock_contracts.prices import PriceVersion, Unit, money_micro
from penstock_contracts.queries import JobsQuery, UsageQuery
from penstock_metering.core.book import DEFAULT_PRICES
from penstock_metering.rating.price_book import add_versions, read_versions

HOUR = 3_600_000_000


def a_price(micro: int, **fields: object) -> PriceVersion:
    """A version of SKU `gpu`, unless told otherwise, that holds from the beginning."""
    unit: Unit = "gpu_hour"
    plain = PriceVersion(sku="gpu", version=3, effective_from_ms=0, unit=unit, micro=micro)
    return msgspec.structs.replace(plain, **fields)


@pytest.mark.lesson(18)
@given(quantity=st.integers(0, 1 << 62), price=st.integers(0, 1 << 40))
def test_cost_is_the_exact_product_rounded_half_to_even(quantity: int, price: int) -> None:
    assert money_micro(quantity, a_price(price)) == round(Fraction(quantity * price, HOUR))


@pytest.mark.parametrize(("halves", "rounded"), [(1, 0), (3, 2), (5, 2), (7, 4)])
def test_a_half_goes_to_the_even_side(halves: int, rounded: int) -> None:
    assert money_micro(halves * HOUR // 2, a_price(1)) == rounded


def test_a_thousand_gpus_for_a_month_are_priced_exactly() -> None:
    quantity = 1_000 * 1_000 * 30 * 24 * 3_600_000
    assert money_micro(quantity, a_price(2_500_000)) == 1_000 * 30 * 24 * 2_500_000


def add_price(ledger: Ledger, micro: int, **fields: object) -> None:
    """As the next version."""

    def add(connection) -> None:
        number = read_versions(connection)[-1].version + 1
        add_versions(connection, [a_price(micro, version=number, **fields)], 0)

    ledger.ingest.change(add)


def a_world_of_one_hour() -> World:
    """One H100 for an hour from `START_MS` + 10 on."""
    world = World()
    agent = world.a_node(gpus=1)
    world.a_run("n1", agent.devices, for_ms=3_600_000)
    agent.send()
    return world


def test_a_new_mesh_has_a_price(ledger: Ledger) -> None:
    ledger.take_all(a_world_of_one_hour())
    (line,) = ledger.library.usage(UsageQuery()).lines
    assert (line.tenant, line.sku, line.unit) == ("default", "gpu/H100", "gpu_milli_ms")
    assert (line.quantity, line.cost_micro, line.jobs) == (HOUR, 2_000_000, 1)
    assert line.price_micro_per_hour == DEFAULT_PRICES[0].micro


@pytest.mark.lesson(18)
def test_use_is_split_where_the_price_changes(ledger: Ledger) -> None:
    quarter_ms = START_MS + 10 + 900_000
    add_price(ledger, 4_000_000, effective_from_ms=quarter_ms)
    ledger.take_all(a_world_of_one_hour())
    lines = ledger.library.usage(UsageQuery()).lines
    assert [(line.quantity, line.cost_micro) for line in lines] == [
        (HOUR // 4, 500_000),
        (HOUR // 4 * 3, 3_000_000),
    ]
    (job,) = ledger.library.jobs(JobsQuery()).jobs
    assert (job.cost_micro, job.gpu_milli_ms) == (3_500_000, HOUR)


def test_a_model_with_a_price_of_its_own_has_it_instead(ledger: Ledger) -> None:
    add_price(ledger, 7_000_000, sku="gpu/H100")
    ledger.take_all(a_world_of_one_hour())
    (line,) = ledger.library.usage(UsageQuery()).lines
    assert (line.sku, line.cost_micro) == ("gpu/H100", 7_000_000)


def test_only_the_time_asked_for_is_counted(ledger: Ledger) -> None:
    ledger.take_all(a_world_of_one_hour())
    start_ms = START_MS + 10
    asked = UsageQuery(from_ms=start_ms + 1_000, to_ms=start_ms + 3_000)
    (line,) = ledger.library.usage(asked).lines
    assert line.quantity == 2_000_000
    assert ledger.library.usage(UsageQuery(to_ms=start_ms)).lines == ()


def test_a_job_without_gpus_pays_for_its_processors(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=1)
    job = world.a_run("n1", (), for_ms=3_600_000, gpus=0, cpu_milli=2_000, tenant="lab")
    agent.send()
    ledger.take_all(world)
    (line,) = ledger.library.usage(UsageQuery(tenant="lab")).lines
    assert (line.sku, line.unit, line.quantity) == ("cpu", "cpu_milli_ms", 2 * HOUR)
    assert line.cost_micro == 80_000
    view = ledger.library.job(job.job_id)
    assert view is not None
    assert (view.gpu_milli_ms, view.cpu_milli_ms, view.cost_micro) == (0, 2 * HOUR, 80_000)
    assert ledger.library.usage(UsageQuery(tenant="nobody")).lines == ()


def test_who_pays_is_who_was_granted_the_lease(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=1)
    job = world.submit(tenant="payer")
    world.grant(job, ("n1", agent.devices))
    world.start(job)
    world.pass_ms(1_000)
    job.tenant = "somebody-else"
    world.exit(job)
    agent.send()
    ledger.take_all(world)
    assert [line.tenant for line in ledger.library.usage(UsageQuery()).lines] == ["payer"]


def test_a_node_cannot_bill_anothers_lease(ledger: Ledger, world: World) -> None:
    agent = world.a_node("n1", gpus=1)
    rogue = world.a_node("n2", gpus=1)
    world.a_run("n1", agent.devices)
    rogue.owed, agent.owed = agent.owed, []
    rogue.send()
    ledger.take_all(world)
    assert ledger.library.usage(UsageQuery()).lines == ()
    assert "segment_not_of_lease" in {f.code for f in ledger.balance(world).findings}


@pytest.mark.lesson(18)
def test_what_ran_after_the_release_is_not_billed(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=1)
    job = world.submit()
    world.grant(job, ("n1", agent.devices))
    world.start(job)
    world.pass_ms(100)
    world.release(job, "fenced", said=False)
    world.pass_ms(900)
    world.cut(job)
    agent.send()
    ledger.take_all(world)
    (line,) = ledger.library.usage(UsageQuery()).lines
    assert line.quantity == 100_000


@pytest.mark.lesson(24)
def test_use_and_cost_are_unknown_until_every_segment_is_there(
    ledger: Ledger, world: World
) -> None:
    agent = world.a_node(gpus=1)
    job = world.a_run("n1", agent.devices)
    ledger.take_all(world)
    view = ledger.library.job(job.job_id)
    assert view is not None
    assert (view.gpu_milli_ms, view.cost_micro) == (None, None)
    agent.send()
    ledger.take_all(world)
    view = ledger.library.job(job.job_id)
    assert view is not None
    assert view.gpu_milli_ms == 1_000_000


def test_finished_jobs_come_newest_first_in_pages(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=1)
    for index in range(5):
        world.a_run("n1", agent.devices, tenant=f"t{index % 2}")
    world.submit()
    ledger.take_all(world)
    first = ledger.library.jobs(JobsQuery(limit=3))
    second = ledger.library.jobs(JobsQuery(limit=3, before=first.jobs[-1].job_id))
    ids = [job.job_id for job in (*first.jobs, *second.jobs)]
    assert (len(ids), first.more, second.more) == (5, True, False)
    assert ids == sorted(ids, reverse=True)
    assert len(ledger.library.jobs(JobsQuery(tenant="t1")).jobs) == 2
    assert ledger.library.jobs(JobsQuery(state="failed")).jobs == ()
