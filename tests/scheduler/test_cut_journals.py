"""Does the mesh come back by itself, and never run anything twice, when its streams are damaged?

Any history of jobs, in which the broker loses the last of JOBS and REPORTS again and again, entries
cannot be read, agents restart and orders get lost. At the end everything must drain without help.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from penstock_contracts.journal import LeaseGranted
from tests.scheduler.cut_world import CutWorld


class CutHistories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = CutWorld({"n1": 2, "n2": 1})

    @rule(gpus=st.integers(0, 1), ranks=st.integers(1, 3), retries=st.integers(0, 2))
    def submit(self, gpus: int, ranks: int, retries: int) -> None:
        self.world.submit(gpus=gpus, ranks=ranks, retries=retries)

    @rule(rounds=st.integers(1, 3))
    def settle(self, rounds: int) -> None:
        self.world.settle(rounds)

    @rule(count=st.integers(1, 3))
    def some_work_ends(self, count: int) -> None:
        for host in self.world.hosts.values():
            for key in sorted(host.processes)[:count]:
                host.finish(key)

    @rule()
    def something_arrives(self) -> None:
        if self.world.later:
            self.world.later.pop(0)()

    @rule()
    def reports_are_stored(self) -> None:
        for host in self.world.hosts.values():
            host.report()

    @rule(lossy=st.booleans())
    def orders_get_lost(self, lossy: bool) -> None:
        self.world.lossy = lossy

    @rule(entries=st.integers(0, 12), reports=st.integers(0, 8))
    def the_broker_loses_its_end(self, entries: int, reports: int) -> None:
        self.world.cut(entries, reports)

    @rule(from_end=st.integers(0, 25))
    def an_entry_is_damaged(self, from_end: int) -> None:
        self.world.damage(from_end)

    @rule(name=st.sampled_from(["n1", "n2"]))
    def an_agent_restarts(self, name: str) -> None:
        self.world.hosts[name].start()

    def teardown(self) -> None:
        self.world.drain()


TestCutHistories = CutHistories.TestCase
TestCutHistories.settings = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("entries", range(1, 10))
def test_no_sequence_is_given_again_that_a_node_has_seen(entries: int) -> None:
    world = CutWorld({"n1": 3})
    for _ in range(3):
        world.submit(gpus=1)
        world.settle()
    seen = world.hosts["n1"].state.as_of
    left = world.cut(entries, 0)
    world.settle(6)
    assert len(world.journal) > seen
    granted = [
        number
        for number, (facts, _) in enumerate(world.journal, start=1)
        if number > left and any(isinstance(fact, LeaseGranted) for fact in facts)
    ]
    assert all(number > seen for number in granted)
    world.drain()


def test_an_end_that_was_acknowledged_and_then_lost_is_told_again() -> None:
    world = CutWorld({"n1": 1})
    world.submit(gpus=1)
    world.settle()
    host = world.hosts["n1"]
    before = len(world.reports)
    host.finish(next(iter(host.processes)))
    host.report()
    world.cut(0, len(world.reports) - before)
    world.settle(4)
    assert world.core.state.finished == {"succeeded": 1}, "also how it ended is known"
    assert not world.core.state.leases


def test_what_a_node_has_forgotten_is_lost_and_never_begun_again() -> None:
    world = CutWorld({"n1": 1})
    world.submit(gpus=1, retries=1)
    world.settle()
    host = world.hosts["n1"]
    granted = len(world.journal)
    host.finish(next(iter(host.processes)))
    world.settle(4)
    assert not host.state.leases and world.core.state.finished == {"succeeded": 1}
    world.cut(len(world.journal) - granted, len(world.reports))
    world.settle(6)
    assert sum(host.begun.values()) == 2 and len(host.begun) == 2, (
        "a retry, with a fence of its own"
    )
    world.drain()


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("from_end", range(14))
def test_whichever_entry_is_damaged_every_job_ends_once(from_end: int, ended: bool) -> None:
    world = CutWorld({"n1": 2, "n2": 1})
    for shape in ({"gpus": 1}, {"gpus": 1, "ranks": 2}, {"gpus": 0, "retries": 1}):
        world.submit(**shape)
        world.settle(2)
    if ended:
        for host in world.hosts.values():
            for key in sorted(host.processes):
                host.finish(key)
        world.settle(2)
        assert not world.core.state.jobs
    begun = [sorted(host.begun) for host in world.hosts.values()]
    world.damage(from_end)
    world.drain()
    if ended:
        assert begun == [sorted(host.begun) for host in world.hosts.values()], "nothing runs again"
