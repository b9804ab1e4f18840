"""What is expected of a job follows from what similar ones took, in integers, in bounded memory."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from penstock_contracts.ids import ulid
from penstock_contracts.jobs import JobSpec
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.queue.keeping import runtimes
from penstock_scheduler.core.queue.keeping.runtimes import (
    Runtimes,
    RuntimesKept,
    bucket_of,
    kind_of,
    middle_ms,
)
from tests.scheduler.driver import Driver, a_job, a_node


def a_spec(name: str = "", gpus: int = 1, limit_s: int | None = None, pool: str = "") -> JobSpec:
    return JobSpec(
        job_id=ulid(0, 0),
        command=("true",),
        name=name,
        gpus=gpus,
        time_limit_s=limit_s,
        pool=pool,
    )


def taught(*took: tuple[JobSpec, int]) -> Runtimes:
    found = Runtimes()
    for spec, took_s in took:
        found.learn(spec, "ann", took_s * 1_000)
    return found


def is_about(found_ms: int | None, expected_s: int) -> bool:
    return found_ms is not None and abs(found_ms - expected_s * 1_000) <= expected_s * 1_000 // 8


def test_nothing_is_expected_before_anything_was_seen_but_the_stated_limit() -> None:
    assert Runtimes().expected_ms(a_spec(), "ann") is None
    assert Runtimes().expected_ms(a_spec(limit_s=60), "ann") == 60_000


def test_the_median_of_the_most_alike_of_which_enough_are_known_is_expected() -> None:
    train, other = a_spec("train-1"), a_spec("eval-1")
    found = taught(*[(train, 1_000)] * 5, *[(other, 10)] * 9, (a_spec("rare"), 77_777))
    assert is_about(found.expected_ms(a_spec("train-2"), "ann"), 1_000)
    assert is_about(found.expected_ms(a_spec("eval-2"), "ann"), 10)
    assert is_about(found.expected_ms(a_spec("rare"), "ann"), 10)
    assert is_about(found.expected_ms(a_spec("train-2", gpus=8), "bob"), 10)


def test_what_has_run_for_long_is_expected_to_take_as_long_as_those_that_did_too() -> None:
    spec = a_spec()
    found = taught(*[(spec, 10)] * 20, *[(spec, 5_000)] * 5)
    assert is_about(found.expected_ms(spec, "ann"), 10)
    assert is_about(found.expected_ms(spec, "ann", attained_ms=60_000), 5_000)
    assert found.expected_ms(spec, "ann", attained_ms=9_000_000) == 18_000_000


def test_a_run_is_never_expected_beyond_its_limit() -> None:
    spec = a_spec(limit_s=100)
    found = taught(*[(a_spec(), 5_000)] * 9)
    assert found.expected_ms(spec, "ann") == 100_000
    assert found.expected_ms(spec, "ann", attained_ms=99_000) == 100_000


def test_names_that_differ_in_a_number_are_of_one_kind() -> None:
    assert kind_of("train-bert-0042-b") == kind_of("train-bert_7") == "train-bert"
    assert kind_of("2026") == ""


def test_memory_is_bounded_and_the_kinds_seen_last_are_kept() -> None:
    found = Runtimes()
    for number in range(runtimes.KEYS_MAX):
        found.learn(a_spec(gpus=1 + number % 4, pool=f"p{number}"), "ann", 1_000)
    last = a_spec(gpus=8, pool="last")
    for _ in range(runtimes.ENOUGH):
        found.learn(last, "ann", 50_000)
    assert len(found.keep().kinds) <= runtimes.KEYS_MAX
    assert is_about(found.expected_ms(last, "ann"), 50)


def test_what_was_long_ago_counts_less_than_what_was_of_late() -> None:
    spec = a_spec()
    found = taught(*[(spec, 10)] * 2_000, *[(spec, 1_000)] * 400)
    assert is_about(found.expected_ms(spec, "ann"), 1_000)


@given(st.integers(0, 1 << 44))
def test_a_bucket_stands_for_times_an_eighth_off_at_most(ms: int) -> None:
    middle = middle_ms(bucket_of(ms))
    assert 8 * abs(middle - ms) <= max(ms, 64)
    assert bucket_of(ms) <= bucket_of(ms + 1)


@given(st.lists(st.tuples(st.sampled_from(["a-1", "b", ""]), st.integers(0, 10**6)), max_size=60))
def test_a_snapshot_answers_and_learns_on_as_what_it_was_made_of(
    took: list[tuple[str, int]],
) -> None:
    found = taught(*((a_spec(name), took_s) for name, took_s in took))
    data = msgspec.json.encode(found.keep())
    copy = Runtimes(msgspec.json.decode(data, type=RuntimesKept))
    for one in (found, copy):
        one.learn(a_spec("b"), "bob", 5)
    assert msgspec.json.encode(copy.keep()) == msgspec.json.encode(found.keep())
    assert copy.expected_ms(a_spec("a-9"), "ann", 7) == found.expected_ms(a_spec("a-9"), "ann", 7)


def test_jobs_that_succeed_teach_what_others_like_them_take() -> None:
    driver = Driver(a_node())
    for number in range(runtimes.ENOUGH):
        job = a_job(number, gpus=1)
        driver.submit(job)
        driver.start(job)
        driver.now_ns += 300 * 10**9
        driver.end(job)
    state = driver.core.state
    assert is_about(state.runtimes.expected_ms(a_job(99, gpus=1), "acme"), 300)
    again = SchedulerCore()
    again.restore(driver.core.snapshot())
    assert again.snapshot() == driver.core.snapshot()
    assert again.state.runtimes.keep() == state.runtimes.keep()
