"""What does waiting count for, and use that was long ago?"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_contracts.queue_policy import Pool
from penstock_scheduler.core.queue.order import DELAY_CLASSES_MAX, urgency_of
from penstock_scheduler.core.queue.quotas.decay import decayed, grid_of, steady_ms, used_after
from penstock_scheduler.core.state import Job
from tests.scheduler.driver import a_job


def test_decay_halves_in_a_half_life_and_comes_to_rest_where_it_should() -> None:
    half_life_s = 86_400
    day = grid_of(86_400 * 1_000_000_000, half_life_s)
    assert decayed(1_000_000, day) == 500_000
    assert decayed(1_000_000, day // 2) in (707_106, 707_107)
    steady = steady_ms(half_life_s)
    long = used_after(0, 1_000, 40 * day, steady)
    assert abs(long - 1_000 * steady) <= 1_000 * steady // 10**9
    once, twice = used_after(0, 1_000, day, steady), 0
    for _ in range(128):
        twice = used_after(twice, 1_000, day // 128, steady)
    assert abs(once - twice) <= once // 10**6


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(60, 86_400), st.integers(1, 8)),
        min_size=1,
        max_size=30,
    )
)
def test_nobody_starves_where_waiting_counts(shorter: list[tuple[int, int, int]]) -> None:
    """Whatever comes later than a hundred classes and its own goes behind it, so only so much can
    ever go before it."""
    pool = Pool(name="default")
    aging_ns = pool.aging_s * 1_000_000_000

    def job(since_ns: int, priority: int, expected_s: int, gpus: int) -> Job:
        spec = a_job(1, gpus=gpus, priority=priority)
        return Job(
            tenant="a",
            spec=spec,
            digest="",
            order=1,
            submitted_ns=since_ns,
            since_ns=since_ns,
            expected_ms=expected_s * 1_000,
        )

    worst = urgency_of(job(0, 0, 366 * 86_400, 8_192), pool)
    late_ns = (DELAY_CLASSES_MAX + 9) * aging_ns
    for priority, expected_s, gpus in shorter:
        assert urgency_of(job(late_ns, priority, expected_s, gpus), pool) >= worst
