"""What do entries say when somebody sets the clock?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Eventually
from penstock_runtime.clock import VirtualClock
from penstock_runtime.journal_time import LEAP_NS_MAX, JournalTime
from runtime.conftest import Connect
from runtime.tally import (
    JOURNAL_SUBJECT,
    Deposit,
    EverybodyLeads,
    Running,
    a_foreign_entry,
    a_service,
)

SECOND_NS = 10**9
YEAR_NS = 365 * 24 * 3600 * SECOND_NS


def a_journal(clock: VirtualClock, journal_ns: int = 0) -> JournalTime:
    time = JournalTime(clock)
    time.begin(journal_ns)
    return time


def test_time_follows_a_clock_that_is_right() -> None:
    clock = VirtualClock()
    time = a_journal(clock)
    for _ in range(5):
        clock.advance(SECOND_NS)
        assert time.now_ns() == clock.now_ns()


@pytest.mark.parametrize("leap_ns", [YEAR_NS, -YEAR_NS])
def test_a_clock_that_is_set_by_a_year_and_back_is_not_followed_and_told(leap_ns: int) -> None:
    clock = VirtualClock()
    time = a_journal(clock)
    before_ns = time.now_ns()
    clock.step_wall(leap_ns)
    for seconds in range(1, 4):
        clock.advance(SECOND_NS)
        assert time.now_ns() == before_ns + seconds * SECOND_NS, "time passes as it does"
    assert time.counters["clock_leaps"] == 1
    clock.step_wall(-leap_ns)
    assert time.now_ns() == clock.now_ns()


def test_a_journal_that_is_ahead_of_the_clock_goes_on_as_time_passes() -> None:
    clock = VirtualClock()
    time = a_journal(clock, clock.now_ns() + YEAR_NS)
    ahead_ns = time.now_ns()
    clock.advance(SECOND_NS)
    assert time.now_ns() == ahead_ns + SECOND_NS
    assert time.counters["clock_leaps"] == 1


def test_a_small_step_back_is_made_up_by_going_slower() -> None:
    clock = VirtualClock()
    time = a_journal(clock)
    clock.step_wall(-10 * SECOND_NS)
    before_ns = time.now_ns()
    clock.advance(4 * SECOND_NS)
    assert time.now_ns() == before_ns + 2 * SECOND_NS
    clock.advance(60 * SECOND_NS)
    time.now_ns()
    assert time.now_ns() == clock.now_ns()


@given(
    st.lists(
        st.tuples(st.integers(0, 100 * SECOND_NS), st.integers(-2 * YEAR_NS, 2 * YEAR_NS)),
        max_size=30,
    )
)
def test_whatever_is_done_to_the_clock_instants_never_go_back_and_never_leap(
    steps: list[tuple[int, int]],
) -> None:
    clock = VirtualClock(now_ns=10 * 2 * YEAR_NS)
    time = a_journal(clock)
    for passed_ns, step_ns in steps:
        before_ns = time.now_ns()
        clock.step_wall(step_ns)
        clock.advance(passed_ns)
        gone_ns = time.now_ns() - before_ns
        assert passed_ns // 2 <= gone_ns <= passed_ns + LEAP_NS_MAX


async def test_a_snapshot_is_as_of_its_entry_whenever_it_is_taken(
    twin: Connect, eventually: Eventually
) -> None:
    """Else what a rival committed meanwhile would be folded at other instants than it had."""
    bus, clock = await twin("a"), VirtualClock()
    running = Running(a_service(bus, clock=clock, leadership=EverybodyLeads()))
    await eventually(lambda: running.active)
    entry = await running.service.submit(Deposit("a", 1))
    assert entry is not None
    clock.advance(5 * SECOND_NS)
    assert await running.service.submit(Deposit("nothing", 0)) is None
    await running.end()

    theirs = {"fact": "deposited", "name": "b", "amount": 1}
    in_between = a_foreign_entry(1, theirs, now_ns=entry.now_ns + SECOND_NS)
    await bus.append(JOURNAL_SUBJECT, in_between)
    again = Running(a_service(bus, clock=clock, leadership=EverybodyLeads()))
    await eventually(lambda: again.active)
    assert again.held.now_ns == entry.now_ns + SECOND_NS
    await again.end()


async def test_entries_of_a_service_do_not_leap_with_its_clock(
    twin: Connect, eventually: Eventually
) -> None:
    clock = VirtualClock()
    running = Running(a_service(await twin("a"), clock=clock))
    await eventually(lambda: running.active)
    first = await running.service.submit(Deposit("a", 1))
    clock.step_wall(YEAR_NS)
    clock.advance(SECOND_NS)
    second = await running.service.submit(Deposit("b", 1))
    assert first is not None and second is not None
    assert second.now_ns - first.now_ns == SECOND_NS
    assert running.service.count()["clock_leaps"] == 1
    await running.end()
