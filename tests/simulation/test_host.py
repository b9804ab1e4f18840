"""Does a simulated host tell what really ran on it, whatever befalls it at whichever step?"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from penstock_bus.memory_link import Faults
from penstock_contracts.leases import Exited
from tests.simulation.host_story import MS_NS, Story
from tests.simulation.workload import Script

STEPS = 70
"""More than an agent takes from its start until all of one job is told."""
REAPER_STEPS = 12
SHORT = Script(run_s=2)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What agents log about faults that were asked for is of no use here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_a_job_is_told_as_it_was() -> None:
    Story().assert_told_as_it_was()


def test_two_worlds_of_one_seed_are_the_same() -> None:
    assert Story().history == Story().history


def test_an_agent_killed_before_any_step_changes_nothing() -> None:
    for step in range(1, STEPS):
        Story(lambda story, step=step: story.host.kill_agent(step)).assert_told_as_it_was()


def test_an_agent_killed_and_killed_again_changes_nothing() -> None:
    def strike(story: Story, every: int) -> None:
        story.host.kill_agent(every)
        story.kernel.loop.call_later(3.0, strike_later, story, every)

    def strike_later(story: Story, every: int) -> None:
        if story.kernel.loop.time() < 120:
            strike(story, every)

    for every in (5, 17, 31, 40):
        Story(lambda story, every=every: strike(story, every)).assert_told_as_it_was()


def test_a_reaper_killed_before_any_step_runs_nothing_twice() -> None:
    lost = told = 0
    for step in range(1, REAPER_STEPS):
        story = Story(
            lambda story, step=step: story.kernel.loop.call_later(0.1, story.host.kill_reaper, step)
        )
        if story.runs and story.runs[0].waited:
            story.assert_told_as_it_was()
            told += 1
        elif story.told(Exited).reason == "lost":
            story.assert_lost()
            lost += 1
        else:
            story.assert_told_as_it_was()
            told += 1
    assert lost and told


def test_power_lost_at_any_moment_leaves_nothing_running_and_nothing_invented() -> None:
    for tenths in range(1, 1_000, 37):

        def strike(story: Story, after_s: float = tenths / 10) -> None:
            loop = story.kernel.loop
            loop.call_later(after_s, story.host.lose_power)
            loop.call_later(after_s + 20.0, story.host.boot)

        story = Story(strike)
        assert len(story.runs) <= 1, "an order names its boot"
        for run in story.runs:
            assert run.ended_ns is not None
        ends = [item for item in story.mesh.story(story.order) if isinstance(item, Exited)]
        for end in ends:
            assert end.reason == "lost" or end.exit_code == story.runs[0].exit_code


def test_what_was_told_of_an_end_is_counted_though_power_is_lost() -> None:
    """The end comes just after the minute's cut, whose message is still under way."""

    def strike(story: Story, after_s: float) -> None:
        story.broker.set_faults(Faults(delay_s_max=0.3))
        story.kernel.loop.call_later(after_s, story.host.lose_power)
        story.kernel.loop.call_later(after_s + 3.0, story.host.boot)

    told = 0
    for number in range(60):
        story = Story(
            lambda story, after_s=60.4 + number * 0.02: strike(story, after_s),
            script=Script(run_s=59.8),
            seed=number,
        )
        ends = [item for item in story.mesh.story(story.order) if isinstance(item, Exited)]
        told += any(end.exit_code == 0 for end in ends)
        for end in ends:
            assert end.segments == len(story.mesh.segments)
    assert told


def test_no_output_is_told_as_anothers_though_power_is_lost() -> None:
    first, second = Script(run_s=3, out_bytes=300), Script(run_s=3, out_bytes=150)

    def strike(story: Story, after_s: float) -> None:
        loop = story.kernel.loop
        loop.call_later(after_s, story.host.lose_power)
        loop.call_later(after_s + 3.0, story.host.boot)

    for tenths in range(2, 70, 2):
        story = Story(
            lambda story, after_s=tenths / 10: strike(story, after_s),
            script=first,
            afterwards=second,
            seed=tenths,
        )
        written = {run.job_id: run.output["stdout"] for run in story.runs}
        for order in (story.order, story.other):
            told = story.mesh.text(order, "stdout")
            assert written.get(order.job_id, b"").startswith(told)


def test_a_full_disk_delays_and_loses_nothing() -> None:
    for after_s in (0.2, 1.0, 30.0, 74.0, 76.0):

        def strike(story: Story, after_s: float = after_s) -> None:
            disk, loop = story.host.disk, story.kernel.loop
            loop.call_later(after_s, setattr, disk, "full", True)
            loop.call_later(after_s + 100.0, setattr, disk, "full", False)

        story = Story(strike)
        (run,) = story.runs
        end = story.told(Exited)
        assert (end.reason, end.exit_code) == ("exited", 3)
        assert story.mesh.text(story.order, "stdout") == run.output["stdout"]


def test_a_frozen_agent_or_reaper_delays_and_loses_nothing() -> None:
    for after_s in (0.3, 40.0, 75.4):

        def strike(story: Story, after_s: float = after_s, *, agent: bool) -> None:
            host, loop = story.host, story.kernel.loop
            freeze = host.freeze_agent if agent else host.freeze_reaper
            loop.call_later(after_s, freeze)
            loop.call_later(after_s + 90.0, host.thaw_agent if agent else host.thaw_reaper)

        Story(lambda story: strike(story, agent=True)).assert_told_as_it_was()
        story = Story(lambda story: strike(story, agent=False))
        end, (run,) = story.told(Exited), story.runs
        assert (end.reason, end.exit_code) == ("exited", 3)
        seen_ms = end.at_ms - end.started_ms
        assert seen_ms >= (run.ended_ns - run.began_ns) // MS_NS, "an end is when it is seen"


def test_a_slow_disk_delays_and_loses_nothing() -> None:
    for slow_s in (0.2, 3.0, 11.0):
        story = Story(lambda story, slow_s=slow_s: setattr(story.host.disk, "slow_s", slow_s))
        end, (run,) = story.told(Exited), story.runs
        assert (end.reason, end.exit_code) == ("exited", 3)
        assert story.mesh.text(story.order, "stdout") == run.output["stdout"]


def test_wall_clock_and_drift_change_no_duration_but_by_the_drift() -> None:
    def strike(story: Story) -> None:
        clock = story.host.clock
        clock.set_drift(200)
        story.kernel.loop.call_later(10.0, clock.step_wall, -(10**9) * 86_400 * 365)

    story = Story(strike)
    story.assert_told_as_it_was()
    assert 75_000 < story.told(Exited).at_ms - story.told(Exited).started_ms < 75_100


def test_a_host_with_a_new_disk_takes_new_work() -> None:
    def strike(story: Story) -> None:
        story.kernel.loop.call_later(2.0, story.host.lose_disk)
        story.kernel.loop.call_later(5.0, story.host.boot)

    story = Story(strike, afterwards=Script(run_s=3, out_bytes=150))
    assert [run.ended_by for run in story.runs] == ["host", "itself"]
    assert story.history.boots[0].destroyed
    assert len(story.mesh.text(story.other, "stdout")) == 150


def test_a_suspended_host_goes_on_where_it_was_and_counts_the_time() -> None:
    def strike(story: Story) -> None:
        story.kernel.loop.call_later(20.0, story.host.suspend)
        story.kernel.loop.call_later(320.0, story.host.resume)

    story = Story(strike)
    story.assert_told_as_it_was()
    assert story.told(Exited).at_ms - story.told(Exited).started_ms >= 375_000


def test_an_order_that_a_host_finds_when_it_wakes_is_begun_only_if_it_was_not_given_up() -> None:
    def strike(story: Story, asleep_s: float) -> None:
        """It sleeps from its first heartbeat, before it is ordered anything."""
        loop = story.kernel.loop
        if not story.mesh.beats:
            loop.call_later(0.01, strike, story, asleep_s)
            return
        story.host.suspend()
        loop.call_later(asleep_s, story.host.resume)

    for asleep_s in (3.0, 15.0):
        story = Story(lambda story, s=asleep_s: strike(story, s), script=SHORT, disconnect_s=30)
        assert [run.exit_code for run in story.runs] == [SHORT.exit_code]
    for asleep_s in (40.0, 278.0):
        story = Story(lambda story, s=asleep_s: strike(story, s), script=SHORT, disconnect_s=30)
        assert story.given_up and not story.runs
        assert story.told(Exited).started_ms is None
