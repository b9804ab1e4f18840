"""Is a device's time the same however it became known, and does each part of it have its reason?"""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.conftest import Ledger, LedgerFactory
from metering.histories import Delivery, stirred
from metering.play import Play
from metering.world import START_MS, World
from penstock_contracts.journal import DemandNoted
from penstock_contracts.nodes import NodeLivenessChanged
from penstock_contracts.usage import DeviceSlice, Segment, UsageBatch
from penstock_metering.core import cutting
from penstock_metering.core.device_days import STATES, DeviceDay
from penstock_metering.devices import device_time, tables
from penstock_metering.devices.day_rows import read_days
from penstock_metering.ledger.ingest import Ingest

HOUR_MS = 3_600_000
DAY = START_MS // (24 * HOUR_MS)
STEPS = 30


class MeasuredPlay(Play):
    """Agents measure, jobs wait, and hours pass, so that there are several days."""

    def step(self) -> None:
        if self.chance.random() < 0.1:
            self.world.pass_ms(self.chance.randint(0, 9 * HOUR_MS))
        if self.chance.random() < 0.2:
            reasons = [{}, {"fit": 500}, {"quota": 1_000}, {"fit": 1, "budget": 2}]
            self.world.journal("JOBS", DemandNoted(self.chance.choice(reasons)))
        super().step()
        for agent in self.world.agents.values():
            agent.owed = [segment if segment.used_milli_ms else self._measured(segment)
                          for segment in agent.owed]  # fmt: skip

    def _measured(self, segment: Segment) -> Segment:
        quantity = segment.gpu_milli * (segment.t1_ms - segment.t0_ms)
        used = self.chance.choice([None, 0, quantity, quantity // 3])
        return msgspec.structs.replace(
            segment, used_milli_ms=(used,), device_energy_mj=(self.chance.choice([None, 777]),)
        )


def derived(ledger: Ledger) -> dict[str, list[tuple[Any, ...]]]:
    """All that is derived, but where the next derivation would begin."""
    with ledger.database.reading.begin() as connection:
        balances = tables.node_balances
        return {
            "days": [*map(tuple, connection.execute(_in_order(tables.device_days)))],
            "energy": [*map(tuple, connection.execute(_in_order(tables.device_energy)))],
            "balances": [
                *map(
                    tuple,
                    connection.execute(
                        sa.select(balances.c.node, balances.c.balance).order_by(balances.c.node)
                    ),
                )
            ],
            "dirty": [*map(tuple, connection.execute(sa.select(tables.dirty_device_days)))],
        }


def _in_order(table: sa.Table) -> sa.Select[Any]:
    return sa.select(table).order_by(*table.primary_key.columns)


def anew(ledger: Ledger) -> dict[str, list[tuple[Any, ...]]]:
    ledger.ingest.change(device_time.forget)
    ledger.ingest.change(device_time.derive_all)
    return derived(ledger)


@pytest.mark.lesson(18)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1 << 32), trail_ms=st.sampled_from([0, 7_000, cutting.TRAIL_MS_MAX]))
def test_time_derived_step_by_step_is_the_time_derived_at_once(
    make_ledger: LedgerFactory, seed: int, trail_ms: int
) -> None:
    chance = random.Random(seed)
    play, ledger = MeasuredPlay(chance), make_ledger()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_time, "STRIDE_MS", 0)
        patch.setattr(cutting, "TRAIL_MS_MAX", trail_ms)
        for _ in range(STEPS):
            play.step()
            names = chance.sample(["JOBS", "NODES", "USAGE"], chance.choice([1, 2, 3]))
            ledger.take({name: play.world.streams[name] for name in names})
        for agent in play.world.agents.values():
            agent.send()
        ledger.take_all(play.world)
        step_by_step = derived(ledger)
    assert step_by_step == anew(ledger)
    assert step_by_step["dirty"] == []


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1 << 32))
def test_time_does_not_depend_on_the_order_in_which_it_became_known(
    make_ledger: LedgerFactory, seed: int
) -> None:
    chance = random.Random(seed)
    play = MeasuredPlay(chance)
    for _ in range(STEPS):
        play.step()
    plain, other = make_ledger(), make_ledger()
    plain.take_all(play.world)
    usage = stirred(play.world.streams["USAGE"], [], chance)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_time, "STRIDE_MS", 0)
        streams = play.world.streams | {"USAGE": usage}
        Delivery(other, chance).bring(streams, play.world.now_ms)
        other.ingest.change(device_time.derive_all)
    assert derived(other) == derived(plain)


def days_of(ledger: Ledger, world: World) -> list[DeviceDay]:
    with ledger.database.reading.begin() as connection:
        return read_days(connection, 0, 1 << 40, world.now_ms)


def spent(day: DeviceDay) -> dict[str, int]:
    return {state: ms for state, ms in zip(STATES, day.milli_ms, strict=True) if ms}


@pytest.mark.lesson(19)
def test_sold_time_is_divided_into_used_and_idle_where_somebody_measured(
    ledger: Ledger, world: World
) -> None:
    agent = world.a_node(gpus=1)
    world.a_run("n1", agent.devices, for_ms=1_000)
    agent.owed = [
        msgspec.structs.replace(s, used_milli_ms=(300_000,), device_energy_mj=(42,))
        for s in agent.owed
    ]
    agent.send()
    world.a_run("n1", agent.devices, for_ms=500)
    agent.send()
    ledger.take_all(world)
    (day,) = days_of(ledger, world)
    assert spent(day) == {
        "sold_used": 300_000, "sold_idle": 700_000, "sold": 500_000, "held": 20_000,
        "free_no_demand": 10_000,
    }  # fmt: skip
    assert day.energy_sold_mj == 42


@pytest.mark.lesson(19)
def test_free_time_says_why_nothing_ran(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=1)
    world.pass_ms(100)
    world.journal("JOBS", DemandNoted({"fit": 8_000, "quota": 1_000}))
    world.pass_ms(200)
    world.journal("JOBS", DemandNoted({"budget": 1_000}))
    world.pass_ms(300)
    world.journal("JOBS", DemandNoted({}))
    world.pass_ms(50)
    agent.send()
    ledger.take_all(world)
    (day,) = days_of(ledger, world)
    assert spent(day) == {
        "free_no_demand": 150_000, "free_fragmented": 200_000, "free_quota": 300_000
    }  # fmt: skip


def test_demand_that_is_read_of_after_the_counters_still_counts(
    ledger: Ledger, world: World
) -> None:
    agent = world.a_node(gpus=1)
    world.pass_ms(100)
    world.journal("JOBS", DemandNoted({"fit": 8_000}))
    world.pass_ms(200)
    agent.send()
    ledger.take({name: world.streams[name] for name in ("NODES", "USAGE")})
    ledger.take_all(world)
    assert spent(days_of(ledger, world)[0]) == {
        "free_no_demand": 100_000, "free_fragmented": 200_000
    }  # fmt: skip


@pytest.mark.lesson(18)
def test_every_whole_device_day_has_86_400_000_ms(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=2)
    for _ in range(30):
        world.a_run("n1", agent.devices[:1], for_ms=3 * HOUR_MS)
        agent.send()
    ledger.take_all(world)
    days = days_of(ledger, world)
    whole = [day for day in days if DAY < day.day < DAY + 3]
    assert [(day.device, sum(day.milli_ms)) for day in whole] == [
        (uuid, 86_400_000_000) for uuid in agent.devices for _ in range(2)
    ]
    assert sum(spent(day).get("sold", 0) for day in days) == 30 * 3 * HOUR_MS * 1_000


@pytest.mark.lesson(24)
def test_days_on_which_a_node_is_lost_are_unknown_until_the_moment_of_the_question(
    ledger: Ledger, world: World
) -> None:
    agent = world.a_node(gpus=1)
    world.pass_ms(1_000)
    agent.send()
    world.journal("NODES", NodeLivenessChanged("n1", "lost", ""))
    ledger.take_all(world)
    world.pass_ms(48 * HOUR_MS)
    days = days_of(ledger, world)
    assert sum(spent(day).get("unknown", 0) for day in days) == 48 * HOUR_MS * 1_000
    assert [day.day for day in days] == [DAY, DAY + 1, DAY + 2]


def test_energy_is_summed_per_day_and_quarter_of_an_hour_however_slices_arrive(
    ledger: Ledger, world: World
) -> None:
    agent = world.a_node(gpus=1)
    uuid = agent.devices[0]
    midnight_ms = (DAY + 1) * 24 * HOUR_MS
    slices = [
        DeviceSlice(uuid=uuid, seq=0, t0_ms=START_MS, t1_ms=START_MS + 1_000, energy_mj=5),
        DeviceSlice(
            uuid=uuid, seq=1, t0_ms=midnight_ms - 3_000, t1_ms=midnight_ms + 1_000, energy_mj=400
        ),
        DeviceSlice(uuid=uuid, seq=2, t0_ms=midnight_ms + 1_000, t1_ms=midnight_ms + 2_000),
    ]
    world.pass_ms(midnight_ms + 2_000 - world.now_ms)
    for batch, each in enumerate([slices[1], slices[0], slices[2], slices[1]], 1):
        said = UsageBatch("n1", agent.boot_id, batch, slices=(each,))
        world.store("USAGE", "penstock.v1.usage.n1", said)
    agent.batch = 4
    agent.send()
    ledger.take_all(world)
    first, second = days_of(ledger, world)
    assert (first.energy_mj, second.energy_mj) == (305, 100)
    assert (first.energy_known_ms, second.energy_known_ms) == (4_000, 1_000)
    assert (first.quarters_mj[95], second.quarters_mj[:2]) == (300, (100, None))


def test_a_restart_changes_nothing(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=1)
    world.a_run("n1", agent.devices)
    agent.send()
    ledger.take_all(world)
    before = derived(ledger)
    ledger.reopen()
    assert isinstance(ledger.ingest, Ingest)
    ledger.take_all(world)
    assert derived(ledger) == before == anew(ledger)
