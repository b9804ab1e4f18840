"""Does use of any stretch of time add up to the whole, and is it whose it is said to be?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.conftest import Ledger, LedgerFactory
from metering.test_rated import HOUR_MS, a_mixed_world
from metering.test_rating import add_price
from metering.world import START_MS, World
from penstock_contracts.queries import UsageLine, UsageQuery

Key = tuple[str, str, str, int]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """Prices with steps, a minimum, billed preparation and a fee."""
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    add_price(ledger, 3_000_000, billable=("preparing", "running"), granularity_ms=60_000)
    add_price(ledger, 100_000, sku="job", unit="job")
    add_price(ledger, 5_000, sku="memory", unit="gib_hour", minimum_ms=90_000)
    world = a_mixed_world()
    ledger.take_all(world)
    yield ledger
    ledger.database.close()


def totals(*views: tuple[UsageLine, ...]) -> dict[Key, tuple[int, int, int]]:
    found: dict[Key, tuple[int, int, int]] = {}
    for lines in views:
        for line in lines:
            key = (line.tenant, line.project, line.sku, line.price_version)
            before = found.get(key, (0, 0, 0))
            found[key] = (
                before[0] + line.quantity,
                before[1] + line.billed_quantity,
                before[2] + line.jobs,
            )
    return found


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 30 * HOUR_MS), min_size=1, max_size=3),
    by_project=st.booleans(),
)
def test_use_of_stretches_adds_up_to_the_use_of_all(
    mixed: Ledger, cuts: list[int], by_project: bool
) -> None:
    bounds = [None, *(START_MS + cut for cut in sorted(cuts)), None]
    whole = mixed.library.usage(UsageQuery(by_project=by_project)).lines
    stretches = [
        mixed.library.usage(UsageQuery("", start, end, None, by_project)).lines
        for start, end in pairwise(bounds)
    ]
    assert totals(*stretches) == totals(whole)


def test_use_is_of_a_tenant_and_a_project(mixed: Ledger) -> None:
    vision = mixed.library.usage(UsageQuery(project="vision")).lines
    assert {(line.tenant, line.sku) for line in vision} == {("default", "cpu"), ("default", "job")}
    assert {line.project for line in vision} == {""}
    none = mixed.library.usage(UsageQuery(project="", by_project=True)).lines
    assert {line.tenant for line in none} == {"default", "lab"}
    begun_ms = START_MS - 1
    within = UsageQuery("", begun_ms, None, "vision", True)
    assert totals(mixed.library.usage(within).lines) == {
        (line.tenant, "vision", line.sku, line.price_version): (
            line.quantity,
            line.billed_quantity,
            line.jobs,
        )
        for line in vision
    }


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(-2, 2), st.integers(-2, 2))
def test_bounds_at_the_edge_of_a_day_are_exact(
    make_on_sqlite: LedgerFactory, before_ms: int, after_ms: int
) -> None:
    ledger = make_on_sqlite()
    world = World()
    agent = world.a_node(gpus=1)
    day_ms = -world.now_ms % (24 * HOUR_MS)
    world.pass_ms(day_ms - HOUR_MS)
    midnight_ms = world.now_ms + HOUR_MS
    job = world.submit()
    world.grant(job, ("n1", agent.devices))
    world.start(job)
    world.pass_ms(2 * HOUR_MS)
    world.exit(job)
    world.release(job)
    agent.send()
    ledger.take_all(world)
    asked = UsageQuery(from_ms=midnight_ms + before_ms, to_ms=midnight_ms + HOUR_MS + after_ms)
    (line,) = ledger.library.usage(asked).lines
    ran_ms = HOUR_MS - before_ms + min(0, after_ms)
    assert line.quantity == 1_000 * ran_ms
    assert line.jobs == 0
