"""Is free time laid at the door of what waited for just such a device?"""

from __future__ import annotations

import pytest

from metering.conftest import Ledger
from metering.world import World
from penstock_contracts.journal import DemandNoted
from penstock_metering.core.demand import (
    FRAGMENTED,
    NO_DEMAND,
    QUOTA,
    REASONS,
    Demand,
    read_demand,
)
from penstock_metering.core.device_days import STATES
from penstock_metering.core.months import day_of
from penstock_metering.deriving import derive_all
from penstock_metering.devices.day_rows import read_days

AT_MS = 1_000


def reason(blocked: dict[str, int], model: str) -> int:
    """Why a device was idle while this waited."""
    demand = Demand([read_demand(1, AT_MS, DemandNoted(blocked))])
    spent = demand.of(model).split(AT_MS, AT_MS + 10)
    assert sum(spent) == 10
    return spent.index(10)


@pytest.mark.parametrize(
    ("blocked", "model", "expected"),
    [
        ({}, "H100", NO_DEMAND),
        ({"fit": 8_000}, "H100", FRAGMENTED),
        ({"fit/H100": 8_000}, "H100", FRAGMENTED),
        ({"fit/H100": 8_000}, "A100", NO_DEMAND),
        ({"fit/H100": 8_000}, "", FRAGMENTED),
        ({"fit/H100": 8_000, "budget": 1_000}, "A100", QUOTA),
        ({"budget/A100": 1_000, "fit/A100": 1_000}, "A100", FRAGMENTED),
        ({"quota/A100": 1_000}, "H100", NO_DEMAND),
        ({"fit/H100": 0}, "H100", NO_DEMAND),
    ],
)
def test_a_device_is_idle_for_what_waits_for_its_model(
    blocked: dict[str, int], model: str, expected: int
) -> None:
    assert reason(blocked, model) == expected


def test_each_reason_gets_the_time_it_stood() -> None:
    changes = [
        read_demand(1, 100, DemandNoted({"fit/H100": 1})),
        read_demand(2, 300, DemandNoted({"budget": 1})),
        read_demand(3, 600, DemandNoted({})),
    ]
    demand = Demand(changes)
    assert demand.of("H100").split(0, 1_000) == (500, 200, 300)
    assert demand.of("A100").split(0, 1_000) == (700, 0, 300)
    assert demand.of("A100").split(50, 250) == (200, *[0] * (REASONS - 1))
    assert (demand.upto_seq, demand.changed_before(400, 1)) == (3, True)


def test_a_devices_model_decides_what_its_free_time_counts_as(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=1)
    world.journal("JOBS", DemandNoted({"fit/A100": 8_000}))
    world.pass_ms(100)
    world.journal("JOBS", DemandNoted({"fit/H100": 8_000}))
    world.pass_ms(200)
    agent.send()
    ledger.take_all(world)
    ledger.ingest.change(lambda connection: derive_all(connection, world.now_ms))
    first = day_of(world.now_ms)
    with ledger.database.reading.begin() as connection:
        [day] = read_days(connection, first, first + 1, world.now_ms)
    time = dict(zip(STATES, day.milli_ms, strict=True))
    assert (time["free_no_demand"], time["free_fragmented"]) == (100_000, 200_000)
