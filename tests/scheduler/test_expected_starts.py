"""When can a job that is blocked begin at the earliest, and where?"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_contracts.journal import PlaceKept, RankReleased
from penstock_contracts.queue_facts import BACKFILL, KeptRank
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.placing.placement import place
from penstock_scheduler.core.queue.keeping.ends import END_UNKNOWN_MS, Ends, expected_end_ms
from tests.scheduler.driver import Driver, a_job, a_node

RUNNING = st.fixed_dictionaries(
    {
        "gpus": st.integers(0, 3),
        "ranks": st.integers(1, 2),
        "cpu_milli": st.sampled_from([1_000, 20_000]),
        "time_limit_s": st.sampled_from([None, 60, 600, 601, 3_600]),
    }
)
WAITING = st.fixed_dictionaries(
    {
        "gpus": st.integers(1, 4),
        "ranks": st.integers(1, 4),
        "cpu_milli": st.sampled_from([1_000, 30_000]),
    },
    optional={
        "near": st.sampled_from(["node", "rack"]),
        "near_required": st.booleans(),
        "spread": st.sampled_from(["node", "rack"]),
    },
).filter(lambda fields: a_job(1, **fields).fault() is None)


def a_fleet() -> Driver:
    racks = ("r1", "r1", "r2", "")
    nodes = [a_node(f"n{i}", 4, labels={"rack": rack}) for i, rack in enumerate(racks, 1)]
    return Driver(*nodes)


def without(driver: Driver, at_ms: int) -> SchedulerCore:
    """A copy in which everything has been released that is expected to have ended by then."""
    state, copy = driver.core.state, SchedulerCore()
    copy.restore(driver.core.snapshot())
    ended = [
        lease.id
        for lease in state.leases.values()
        if expected_end_ms(state, lease, driver.now_ns // 1_000_000) <= at_ms
    ]
    for lease_id in ended:
        copy.apply(RankReleased(*lease_id, None, "fenced"), driver.seq + 1, driver.now_ns)
    return copy


@settings(max_examples=150, deadline=None)
@given(st.lists(RUNNING, min_size=1, max_size=10), WAITING, st.integers(0, 700))
def test_an_expected_start_is_the_first_instant_at_which_the_job_fits(
    running: list[dict], fields: dict, later_s: int
) -> None:
    driver = a_fleet()
    jobs = [a_job(number, **one) for number, one in enumerate(running, 1)]
    driver.submit(*jobs)
    driver.now_ns += later_s * 10**9
    waiting = a_job(100, **fields)
    driver.submit(waiting)
    state = driver.core.state
    if waiting.job_id not in state.line:
        return
    shape = state.shape_of(state.jobs[waiting.job_id])
    start = Ends(state, driver.now_ns).first_fit(shape, waiting.job_id)
    now_ms = driver.now_ns // 1_000_000
    ends = {expected_end_ms(state, lease, now_ms) for lease in state.leases.values()}
    possible = [at_ms for at_ms in sorted(ends) if fits(without(driver, at_ms), shape)]
    if not possible:
        assert start is None
        return
    assert start is not None
    assert possible[0] <= start.at_ms < possible[0] + 1_000, "no earlier, and to the second"
    later = without(driver, start.at_ms).state
    for rank in start.placed.ranks:
        node = later.nodes[rank.node]
        free = dict(zip((uuid for uuid, _, _ in node.image.devices), node.free, strict=True))
        assert all(free[uuid] == 1000 for uuid in rank.devices)


def fits(core: SchedulerCore, shape: object) -> bool:
    state = core.state
    return place(shape, state.nodes, state.capacity) is not None


def test_work_that_states_no_time_is_expected_to_go_on_for_long() -> None:
    driver = a_fleet()
    driver.submit(a_job(1, gpus=4))
    (lease,) = driver.core.state.leases.values()
    now_ms = driver.now_ns // 1_000_000
    assert expected_end_ms(driver.core.state, lease, now_ms) == now_ms + END_UNKNOWN_MS


@pytest.mark.parametrize("gpus", [5, 8])
def test_what_never_fits_has_no_expected_start(gpus: int) -> None:
    driver = a_fleet()
    driver.submit(a_job(1, gpus=4))
    shape = driver.core.state.shape_in_line("acme", a_job(2, gpus=gpus))
    assert Ends(driver.core.state, driver.now_ns).first_fit(shape, a_job(2).job_id) is None


def test_what_is_kept_for_others_is_not_free_for_it() -> None:
    driver = a_fleet()
    driver.submit(*(a_job(number, gpus=4, time_limit_s=600 * number) for number in range(1, 5)))
    first, second = a_job(8, gpus=4), a_job(9, gpus=4)
    driver.submit(first, second)
    state, now_ms = driver.core.state, driver.now_ns // 1_000_000
    starts = []
    for job in (first, second):
        shape = state.shape_of(state.jobs[job.job_id])
        start = Ends(state, driver.now_ns).first_fit(shape, job.job_id)
        assert start is not None
        starts.append(start.at_ms - now_ms)
        ranks = tuple(KeptRank(one.rank, one.node, one.devices) for one in start.placed.ranks)
        driver.core.apply(PlaceKept(job.job_id, ranks, start.at_ms, BACKFILL), 99, driver.now_ns)
    assert starts == [602_000, 1_202_000]
