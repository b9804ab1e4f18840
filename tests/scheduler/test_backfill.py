"""Who has a start that nobody delays, and who runs before it?"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock_contracts.jobs import QUEUED, JobSpec
from penstock_contracts.journal import LeaseGranted, PlaceGivenUp, PlaceKept
from penstock_contracts.nodes import NodeCordoned
from penstock_contracts.queue_policy import Pool, QueuePolicy
from penstock_scheduler.core.events import NodeChanged
from penstock_scheduler.core.queue.keeping.bounds import END_MARGIN_S, START_MARGIN_S
from tests.scheduler.driver import SECOND_NS, Driver, a_job, a_node
from tests.scheduler.test_pools import obey


def kept(facts: list[Any]) -> list[str]:
    return [fact.job_id for fact in facts if isinstance(fact, PlaceKept)]


def granted(facts: list[Any]) -> list[str]:
    return [fact.job_id for fact in facts if isinstance(fact, LeaseGranted)]


def run(driver: Driver, *jobs: JobSpec) -> None:
    driver.submit(*jobs)
    for job in jobs:
        driver.start(job)


def test_the_first_job_that_is_blocked_has_a_place_after_the_next_tick() -> None:
    driver = Driver(a_node("n1", 4), a_node("n2", 4))
    run(driver, a_job(1, gpus=4, time_limit_s=600), a_job(2, gpus=2, time_limit_s=900))
    large, second = a_job(3, gpus=4, ranks=2), a_job(4, gpus=4)
    driver.submit(large, second)
    assert kept(driver.tick()) == [large.job_id]
    place = driver.core.state.places.of(large.job_id)
    assert place is not None
    assert place.at_ms == 1000 * -(-(driver.now_ns // 10**6 - 1_000 + 902_000) // 1000)
    assert kept(driver.tick()) == [], "the second has none: one of a pool is kept at once"


def test_a_place_that_was_not_promised_is_left_to_who_has_come_before_it_in_line() -> None:
    driver = Driver(a_node("n1", 4))
    run(driver, a_job(1, gpus=4))
    driver.submit(a_job(2, gpus=4, priority=1))
    assert kept(driver.tick()) == [a_job(2).job_id]
    driver.submit(a_job(3, gpus=4, priority=9))
    assert granted(driver.end(a_job(1, gpus=4))) == [a_job(3).job_id]


def test_a_place_is_not_left_to_who_is_only_shorter() -> None:
    driver = Driver(a_node("n1", 4))
    run(driver, a_job(1, gpus=4))
    long, short = a_job(2, gpus=4, time_limit_s=86_400), a_job(3, gpus=4, time_limit_s=60)
    driver.submit(long)
    assert kept(driver.tick()) == [long.job_id]
    driver.submit(short)
    line = driver.core.state.line.in_order("default", driver.now_ns)
    assert [job_id for job_id, _ in line] == [short.job_id, long.job_id]
    assert granted(driver.end(a_job(1, gpus=4))) == [long.job_id]


def test_a_start_that_was_promised_is_kept_whoever_comes() -> None:
    driver = Driver(a_node("n1", 4))
    run(driver, a_job(1, gpus=4, time_limit_s=600))
    driver.submit(a_job(2, gpus=4, priority=1))
    driver.tick()
    driver.submit(a_job(3, gpus=4, priority=9))
    assert granted(driver.end(a_job(1, gpus=4))) == [a_job(2).job_id]


def test_short_ones_run_before_a_blocked_job_and_long_ones_do_not() -> None:
    driver = Driver(a_node("n1", 4))
    run(driver, a_job(1, gpus=3, time_limit_s=3_600))
    driver.submit(a_job(2, gpus=4))
    driver.tick()
    assert granted(driver.submit(a_job(3, gpus=1))) == [], "it states no time"
    assert granted(driver.submit(a_job(4, gpus=1, time_limit_s=7_200))) == []
    assert granted(driver.submit(a_job(5, gpus=1, time_limit_s=1_800))) == [a_job(5).job_id]


def test_a_job_that_can_never_run_as_things_are_holds_no_place_and_nobody_up() -> None:
    driver = Driver(a_node("n1", 4), a_node("n2", 4))
    run(driver, a_job(1, gpus=4), a_job(2, gpus=3))
    driver.feed(NodeChanged(NodeCordoned("n2", driver.now_ns)))
    wide, large = a_job(3, gpus=4, ranks=2), a_job(4, gpus=4)
    driver.submit(wide, large)
    assert kept(driver.tick()) == [large.job_id]


def test_a_place_is_made_anew_when_the_job_can_begin_earlier() -> None:
    driver = Driver(a_node("n1", 4), a_node("n2", 4))
    run(driver, a_job(1, gpus=4, time_limit_s=3_600), a_job(2, gpus=4, time_limit_s=7_200))
    large = a_job(3, gpus=4)
    driver.submit(large)
    driver.tick()
    first = driver.core.state.places.of(large.job_id)
    assert first is not None and first.ranks[0].node == "n1"
    assert granted(driver.end(a_job(2))) == [large.job_id], "what is free elsewhere is better"


DEMANDS = st.fixed_dictionaries(
    {
        "gpus": st.integers(0, 4),
        "ranks": st.integers(1, 3),
        "cpu_milli": st.sampled_from([1_000, 9_000, 20_000]),
        "time_limit_s": st.sampled_from([30, 100, 1_000, 5_000]),
        "priority": st.sampled_from([5, 5, 5, 4]),
    }
)


class Backfilling(RuleBasedStateMachine):
    """Jobs of stated lengths come and go, and end when they like within these. Nobody who has a
    place begins later than was said when it was kept."""

    @initialize(backfill=st.sampled_from(["easy", "conservative"]))
    def begin(self, backfill: str) -> None:
        self.driver = Driver(*(a_node(f"n{i}", 4, cpu_milli=40_000) for i in range(1, 4)))
        pool = Pool(name="default", backfill=backfill, preempt="none")
        obey(self.driver, QueuePolicy(pools=(pool,)))
        self.count = 0
        self.promised: dict[str, int] = {}
        self.ends: dict[str, int] = {}
        self.specs: dict[str, JobSpec] = {}

    def after(self, facts: list[Any]) -> None:
        """Notes what was promised, and has what was granted begin at once."""
        now_ms = self.driver.now_ns // 1_000_000
        for fact in facts:
            if isinstance(fact, PlaceGivenUp):
                self.promised.pop(fact.job_id, None)
            if isinstance(fact, PlaceKept):
                assert fact.sure_ms is not None, "all state their time"
                before = self.promised.get(fact.job_id, fact.sure_ms)
                assert fact.sure_ms <= before or fact.at_ms <= now_ms, "a promise is put off"
                self.promised[fact.job_id] = fact.sure_ms
            if isinstance(fact, LeaseGranted):
                self.promised.pop(fact.job_id, None)
        assert all(now_ms <= promised for promised in self.promised.values()), "it was delayed"
        for fact in facts:
            if isinstance(fact, LeaseGranted):
                spec = self.specs[fact.job_id]
                self.driver.start(spec)
                length_s = spec.time_limit_s - self.count % 3 * spec.time_limit_s // 4
                self.ends[fact.job_id] = self.driver.now_ns + length_s * SECOND_NS

    @rule(asked=st.lists(DEMANDS, min_size=1, max_size=8))
    def submit(self, asked: list[dict[str, Any]]) -> None:
        for fields in asked:
            self.count += 1
            spec = a_job(self.count, grace_s=0, **fields)
            self.specs[spec.job_id] = spec
            self.after(self.driver.submit(spec))

    @rule(seconds=st.integers(1, 200))
    def pass_time(self, seconds: int) -> None:
        """To the second, each tick and each end at its instant."""
        until_ns = self.driver.now_ns + seconds * SECOND_NS
        while self.driver.now_ns < until_ns:
            ahead_ns = min(self.ends.values(), default=until_ns) - self.driver.now_ns
            if ahead_ns >= TICK_S * SECOND_NS:
                self.after(self.driver.tick(TICK_S))
                continue
            self.driver.now_ns += max(0, ahead_ns)
            for job_id in [one for one, at in self.ends.items() if at <= self.driver.now_ns]:
                del self.ends[job_id]
                spec = self.specs[job_id]
                over = self.driver.end(spec)
                for rank in range(1, spec.ranks):
                    over += self.driver.end(spec, rank)
                self.after(over)

    @precondition(lambda self: self.driver.core.state.places)
    @invariant()
    def a_place_is_kept_of_what_is_free_or_comes_in_time(self) -> None:
        state = self.driver.core.state
        assert all(state.jobs[place.fact.job_id].state == QUEUED for place in state.places)


TICK_S = 5
assert START_MARGIN_S + END_MARGIN_S > TICK_S
TestBackfilling = Backfilling.TestCase
TestBackfilling.settings = settings(max_examples=10, stateful_step_count=12, deadline=None)
