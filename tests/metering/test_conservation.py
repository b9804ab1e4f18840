"""Does the check find every way in which the two accounts can differ, and nothing else?"""

from __future__ import annotations

import pytest

from metering.conftest import Ledger
from metering.world import Job, World
from penstock_contracts.journal import RankExited
from penstock_contracts.nodes import (
    NodeCordoned,
    NodeLivenessChanged,
    NodeRemoved,
    NodeUncordoned,
)
from penstock_metering.core.conservation import Balance
from penstock_metering.core.sweeping import STATES


def check(ledger: Ledger, world: World, **expected: object) -> Balance:
    """Let all agents send, take it all in, and compare."""
    for agent in world.agents.values():
        agent.send()
    ledger.take_all(world)
    result = ledger.balance(world)
    for name, value in expected.items():
        assert getattr(result, name) == value, (name, result)
    return result


def clean(ledger: Ledger, world: World) -> Balance:
    result = check(ledger, world, unaccounted_milli_ms=0, findings=[])
    assert sum(result.milli_ms.values()) == result.capacity_milli_ms
    return result


@pytest.mark.lesson(19)
def test_a_job_divides_its_device_time_into_sold_held_and_free(
    ledger: Ledger, world: World
) -> None:
    agent = world.a_node(gpus=1)
    world.a_run("n1", agent.devices, for_ms=1_000)
    world.pass_ms(85)
    result = clean(ledger, world)
    assert result.milli_ms == dict.fromkeys(STATES, 0) | {
        "sold": 1_000_000,
        "held": 10_000,
        "free_no_demand": 90_000,
    }
    assert result.watermark_ms == world.now_ms


def test_a_running_job_is_counted_up_to_the_audit(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=2)
    job = world.submit()
    world.grant(job, ("n1", agent.devices[:1]))
    world.start(job)
    world.pass_ms(500)
    world.cut(job)
    assert clean(ledger, world).milli_ms["sold"] == 500_000
    world.pass_ms(700)
    world.cut(job)
    assert clean(ledger, world).milli_ms["sold"] == 1_200_000


@pytest.mark.lesson(17, 18, 19)
def test_fractions_of_one_device_run_at_once(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=1)
    jobs = [world.submit(gpu_milli=250) for _ in range(3)]
    for job in jobs:
        world.grant(job, ("n1", agent.devices))
        world.start(job)
    world.pass_ms(1_000)
    for job in jobs:
        world.exit(job)
        world.release(job)
        world.finish(job)
    result = clean(ledger, world)
    assert (result.milli_ms["sold"], result.milli_ms["free_no_demand"]) == (750_000, 250_000)


@pytest.mark.lesson(19)
def test_a_cordoned_node_drains_and_a_lost_one_is_unknown(ledger: Ledger, world: World) -> None:
    world.a_node(gpus=1)
    world.pass_ms(100)
    world.journal("NODES", NodeCordoned("n1"))
    world.pass_ms(200)
    world.journal("NODES", NodeUncordoned("n1"), NodeLivenessChanged("n1", "lost", ""))
    world.pass_ms(300)
    world.journal("NODES", NodeLivenessChanged("n1", "alive", ""))
    spent = clean(ledger, world).milli_ms
    assert spent["free_no_demand"] == 100_000
    assert (spent["draining"], spent["unknown"]) == (200_000, 300_000)


def test_a_device_that_fails_is_broken_until_it_recovers(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=2)
    world.pass_ms(100)
    world.journal("NODES", agent.describe(unhealthy=agent.devices[:1]))
    world.pass_ms(50)
    world.journal("NODES", agent.describe())
    spent = clean(ledger, world).milli_ms
    assert (spent["broken"], spent["free_no_demand"]) == (50_000, 250_000)


def test_work_on_a_broken_or_lost_device_is_still_sold(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=1)
    job = world.submit()
    world.grant(job, ("n1", agent.devices))
    world.start(job)
    world.journal("NODES", agent.describe(unhealthy=agent.devices))
    world.journal("NODES", NodeLivenessChanged("n1", "lost", ""))
    world.pass_ms(400)
    world.cut(job)
    spent = clean(ledger, world).milli_ms
    assert (spent["sold"], spent["broken"]) == (400_000, 0)


def test_segments_of_an_attempt_that_was_given_up_for_lost_may_still_come(
    ledger: Ledger, world: World
) -> None:
    agent = world.a_node(gpus=1)
    job = world.submit()
    world.grant(job, ("n1", agent.devices))
    world.start(job)
    world.pass_ms(400)
    lost = RankExited(job_id=job.job_id, attempt=1, rank=0, reason="lost", at_ms=world.now_ms)
    world.journal("JOBS", lost)
    world.lose(job)
    world.pass_ms(100)
    world.cut(job, last=True)
    world.release(job)
    assert clean(ledger, world).milli_ms["sold"] == 500_000


def test_between_two_boots_time_is_unknown_and_each_boot_counts_anew(
    ledger: Ledger, world: World
) -> None:
    agent = world.a_node(gpus=1)
    job = world.submit()
    world.grant(job, ("n1", agent.devices))
    world.start(job)
    world.pass_ms(1_000)
    world.cut(job)
    agent.send()
    world.pass_ms(300)  # never metered: the host dies
    world.reboot("n1", "boot-2", [job])
    world.pass_ms(50)
    world.grant(job, ("n1", agent.devices))
    world.start(job)
    world.pass_ms(700)
    world.exit(job)
    world.release(job)
    world.finish(job)
    spent = clean(ledger, world).milli_ms
    assert spent["sold"] == 1_700_000
    assert spent["unknown"] == 2_300_000


def test_segments_spooled_in_the_old_boot_are_accepted_after_the_new_one(
    ledger: Ledger, world: World
) -> None:
    agent = world.a_node(gpus=1)
    job = world.submit()
    world.grant(job, ("n1", agent.devices))
    world.start(job)
    world.pass_ms(1_000)
    world.cut(job)
    old = world.reboot("n1", "boot-2", [job])
    world.pass_ms(100)
    world.agents["n1"].send()
    old.send()
    assert clean(ledger, world).milli_ms["sold"] == 1_000_000


def test_an_old_description_that_was_believed_once_more_counts_no_boot_twice(
    ledger: Ledger, world: World
) -> None:
    old = world.a_node(gpus=2)
    world.a_run("n1", old.devices, for_ms=1_000)
    old.send()
    world.reboot("n1", "boot-2", [])
    world.a_run("n1", world.agents["n1"].devices, for_ms=700)
    world.journal("NODES", old.describe(unhealthy=old.devices))
    world.pass_ms(100)
    world.journal("NODES", NodeLivenessChanged("n1", "lost", "no heartbeat for 10.0 s"))
    world.pass_ms(100)
    world.journal("NODES", world.agents["n1"].describe())
    world.journal("NODES", NodeLivenessChanged("n1", "alive", "heartbeats are back"))
    world.pass_ms(100)
    spent = clean(ledger, world).milli_ms
    assert spent["sold"] == 2 * 1_700_000
    assert (spent["broken"], spent["unknown"]) == (0, 2 * (2_000_000 + 100_000))


def test_a_silent_node_is_compared_up_to_its_last_report(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=1)
    world.a_run("n1", agent.devices, for_ms=100)
    agent.send()
    world.pass_ms(5_000)
    ledger.take_all(world)
    result = ledger.balance(world, silent=["n1"])
    assert result.unaccounted_ms == 0
    assert result.milli_ms["unknown"] == 5_000_000
    assert sum(result.milli_ms.values()) == result.capacity_milli_ms


def test_a_removed_node_ends_its_devices_time(ledger: Ledger, world: World) -> None:
    world.a_node(gpus=1)
    world.pass_ms(100)
    world.agents["n1"].send()
    world.journal("NODES", NodeRemoved("n1"))
    world.agents.clear()
    world.pass_ms(5_000)
    assert clean(ledger, world).capacity_milli_ms == 100_000


def test_clocks_that_differ_between_node_and_mesh_change_no_quantity(
    ledger: Ledger, world: World
) -> None:
    for skew_ms in (-5_000, 5_000):
        name = f"n{skew_ms + 6_000}"
        agent = world.a_node(name, gpus=1, skew_ms=skew_ms)
        for _ in range(3):
            world.a_run(name, agent.devices, for_ms=1_000)
    assert clean(ledger, world).milli_ms["sold"] == 6_000_000


def test_a_lease_axis_that_drifts_past_the_next_grant_loses_nothing(
    ledger: Ledger, world: World
) -> None:
    agent = world.a_node(gpus=1)
    for _ in range(2):
        job: Job = world.submit()
        world.grant(job, ("n1", agent.devices))
        world.start(job)
        world.pass_ms(1_000)
        world.exit(job)
        world.release(job)
        world.finish(job)
        world.now_ms -= 40  # the agent's clock ran ahead of the scheduler's
    world.pass_ms(80)
    assert clean(ledger, world).milli_ms["sold"] == 2_000_000


def test_running_on_after_a_fence_is_unknown_and_not_sold(ledger: Ledger, world: World) -> None:
    agent = world.a_node(gpus=1)
    job = world.submit()
    world.grant(job, ("n1", agent.devices))
    world.start(job)
    world.pass_ms(100)
    world.release(job, "fenced", said=False)
    world.lose(job)
    world.pass_ms(70)
    world.cut(job)
    spent = clean(ledger, world).milli_ms
    assert (spent["sold"], spent["unknown"]) == (100_000, 70_000)
