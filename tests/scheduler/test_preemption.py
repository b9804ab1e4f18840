"""Who has to yield to whom, and does who takes their place then begin?"""

from __future__ import annotations

import pytest

from penstock_contracts.asks import Alternative
from penstock_contracts.journal import (
    AttemptEnded,
    JobFinished,
    StopRequested,
)
from penstock_contracts.queue_facts import BACKFILL, PREEMPTION, KeptRank, PlaceGivenUp, PlaceKept
from penstock_contracts.queue_policy import Quota
from tests.scheduler.driver import Driver, a_job, a_node
from tests.scheduler.yielding import a_mesh, a_quota, granted, running, stopped, yields


def test_a_share_that_was_borrowed_is_taken_back_and_who_wanted_it_begins_just_there() -> None:
    driver = a_mesh(a_node("n1", gpus=4), quotas=(a_quota("a", 2), a_quota("b", 2)))
    borrowed = [a_job(n, gpus=1) for n in range(1, 5)]
    running(driver, *borrowed, tenant="b")
    wants = a_job(9, gpus=2)
    assert not granted(driver.submit(wants, tenant="a"))
    facts = driver.tick()
    victims = stopped(facts)
    (place,) = [fact for fact in facts if isinstance(fact, PlaceKept)]
    assert len(victims) == 2 and set(place.victims) == set(victims)
    assert place.cause == PREEMPTION and place.job_id == wants.job_id
    assert not stopped(driver.tick()), "who is promised a place takes no other"
    victim, other = (next(job for job in borrowed if job.job_id == v) for v in victims)
    assert not granted(yields(driver, victim)), "what has come free is kept"
    assert granted(yields(driver, other)) == [wants.job_id]
    assert driver.grant_of(wants)[0].ranks[0].devices == place.ranks[0].devices
    assert len(driver.core.state.line) == 2 and not driver.core.state.places
    assert not stopped(driver.tick(60)), "each has what is guaranteed to it"


@pytest.mark.lesson(15)
def test_nobody_has_to_go_for_a_job_that_would_not_fit_in_their_place() -> None:
    quotas = (a_quota("a", 8), a_quota("b", 0), a_quota("c", 8))
    driver = a_mesh(a_node("n1"), a_node("n2"), quotas=quotas)
    for n in range(1, 17):  # on each node half is borrowed, half is not
        running(driver, a_job(n, gpus=1), tenant="bc"[(n - 1) % 2])
    held = driver.core.state.leases.values()
    assert {(lease.node, lease.tenant) for lease in held} == {
        (node, tenant) for node in ("n1", "n2") for tenant in "bc"
    }
    wants = a_job(20, gpus=8)
    driver.submit(wants, tenant="a")
    facts = driver.tick() + driver.tick(60)
    assert not stopped(facts), "eight GPUs are borrowed, but no eight of one node"
    small = a_job(21, gpus=1)
    driver.submit(small, tenant="a")
    (victim,) = stopped(driver.tick())
    job = next(a_job(n, gpus=1) for n in range(1, 17) if a_job(n).job_id == victim)
    assert granted(yields(driver, job)) == [small.job_id], "nobody waits for who cannot begin"


def test_who_is_within_what_is_guaranteed_to_it_yields_to_nobody() -> None:
    quotas = (a_quota("a", 2), a_quota("b", 2))
    driver = a_mesh(a_node("n1", gpus=2), quotas=quotas)
    running(driver, a_job(1, gpus=2), tenant="b")
    driver.submit(a_job(2, gpus=2), tenant="a")
    assert not stopped(driver.tick())


def test_who_had_to_yield_goes_back_before_its_class_and_has_used_no_retry() -> None:
    driver = a_mesh(a_node("n1", gpus=1), quotas=(a_quota("a", 1), a_quota("b", 0)))
    waits, victim = a_job(1, gpus=1), a_job(2, gpus=1)
    running(driver, victim, tenant="b")
    driver.submit(waits, tenant="b")
    first = a_job(3, gpus=1)
    driver.submit(first, tenant="a")
    driver.tick()
    (end,) = [f for f in yields(driver, victim) if isinstance(f, AttemptEnded)]
    assert (end.outcome, end.reason) == ("preempted", "preempted")
    job = driver.core.state.jobs[victim.job_id]
    assert (job.attempt, job.retries_used, job.yielded) == (2, 0, 1)
    driver.start(first)
    assert granted(driver.end(first)) == [victim.job_id]


def test_who_was_done_before_it_heard_has_succeeded() -> None:
    driver = a_mesh(a_node("n1", gpus=1), quotas=(a_quota("a", 1), a_quota("b", 0)))
    victim, wants = a_job(1, gpus=1), a_job(2, gpus=1)
    running(driver, victim, tenant="b")
    driver.submit(wants, tenant="a")
    assert stopped(driver.tick()) == [victim.job_id]
    facts = driver.end(victim)
    assert [f.state for f in facts if isinstance(f, JobFinished)] == ["succeeded"]
    assert granted(facts) == [wants.job_id]


def test_two_jobs_do_not_take_the_same_guarantee() -> None:
    driver = a_mesh(a_node("n1", gpus=4), quotas=(a_quota("a", 2), a_quota("b", 0)))
    running(driver, *(a_job(n, gpus=1) for n in range(1, 5)), tenant="b")
    driver.submit(a_job(5, gpus=2), a_job(6, gpus=2), tenant="a")
    assert len(stopped(driver.tick() + driver.tick())) == 2


def test_all_of_what_is_guaranteed_is_taken_back_in_one_round() -> None:
    driver = a_mesh(a_node("n1", gpus=8), quotas=(a_quota("a", 6), a_quota("b", 2)))
    running(driver, *(a_job(n, gpus=1) for n in range(1, 9)), tenant="b")
    driver.submit(*(a_job(n, gpus=1) for n in range(10, 20)), tenant="a")
    assert len(stopped(driver.tick())) == 6


def test_who_is_ending_already_is_waited_for_and_nobody_else_is_asked() -> None:
    driver = a_mesh(a_node("n1", gpus=2), quotas=(a_quota("a", 1), a_quota("b", 0)))
    ends, stays = a_job(1, gpus=1), a_job(2, gpus=1)
    running(driver, ends, stays, tenant="b")
    driver.cancel(ends, tenant="b")
    wants = a_job(3, gpus=1)
    driver.submit(wants, tenant="a")
    facts = driver.tick()
    assert not stopped(facts)
    (place,) = [fact for fact in facts if isinstance(fact, PlaceKept)]
    assert place.awaits == (ends.job_id,) and not place.victims
    assert granted(driver.end(ends, code=None, signal=15, reason="cancelled")) == [wants.job_id]


def test_a_maximum_above_is_no_hindrance_when_it_is_others_who_fill_it() -> None:
    quotas = (
        Quota(name="org", guaranteed_gpu_milli=4000, maximum_gpu_milli=4000),
        a_quota("a", 2, parent="org"),
        a_quota("b", 2, parent="org"),
    )
    driver = a_mesh(a_node("n1", gpus=8), quotas=quotas)
    running(driver, *(a_job(n, gpus=1) for n in range(1, 5)), tenant="b")
    wants = a_job(9, gpus=2)
    driver.submit(wants, tenant="a")
    victims = stopped(driver.tick())
    assert len(victims) == 2
    facts = [f for n in range(1, 5) if (j := a_job(n)).job_id in victims for f in yields(driver, j)]
    assert wants.job_id in granted(facts)


def test_what_is_kept_for_who_has_no_claim_is_given_to_who_has() -> None:
    driver = a_mesh(a_node("n1", gpus=2), quotas=(a_quota("a", 2), a_quota("b", 0)))
    short, long, blocked = a_job(1, gpus=1), a_job(2, gpus=1), a_job(3, gpus=2)
    running(driver, short, long, tenant="b")
    driver.submit(blocked, tenant="b")
    ranks = (KeptRank(0, "n1", ("n1-0", "n1-1")),)
    awaits = (short.job_id, long.job_id)
    far_ms = driver.now_ns // 1_000_000 + 600_000
    driver.fold(PlaceKept(blocked.job_id, ranks, far_ms, BACKFILL, awaits=awaits))
    driver.end(short)
    wants = a_job(4, gpus=1)
    facts = driver.submit(wants, tenant="a") + driver.tick()
    assert [f.job_id for f in facts if isinstance(f, PlaceGivenUp)] == [blocked.job_id]
    assert granted(facts) == [wants.job_id] and not stopped(facts)


def test_a_copy_of_the_state_has_the_same_work_yield() -> None:
    driver = a_mesh(a_node("n1", gpus=4), quotas=(a_quota("a", 3), a_quota("b", 0)))
    running(driver, *(a_job(n, gpus=1) for n in range(1, 5)), tenant="b")
    driver.submit(a_job(9, gpus=3), tenant="a")
    twin = Driver()
    twin.core.restore(driver.core.snapshot())
    twin.seq, twin.now_ns = driver.seq, driver.now_ns
    facts, same = (
        [fact for fact in one.tick() if isinstance(fact, PlaceKept | StopRequested)]
        for one in (driver, twin)
    )
    assert len(facts) == 4 and facts == same


def test_nobody_else_has_to_go_where_a_victim_takes_its_time() -> None:
    driver = a_mesh(a_node("n1", gpus=4), quotas=(a_quota("a", 2), a_quota("b", 2)))
    running(driver, *(a_job(n, gpus=1) for n in range(1, 5)), tenant="b")
    driver.submit(a_job(9, gpus=2), tenant="a")
    assert len(stopped(driver.tick())) == 2
    assert not stopped([fact for _ in range(100) for fact in driver.tick(10)])


def test_who_is_promised_a_place_takes_no_other_and_those_behind_it_may() -> None:
    quotas = (a_quota("a", 2), a_quota("b", 1))
    driver = a_mesh(a_node("n1", gpus=2), a_node("n2", gpus=1), quotas=quotas)
    running(driver, *(a_job(n, gpus=1) for n in range(1, 4)), tenant="b")
    first, second = a_job(8, gpus=1), a_job(9, gpus=1)
    driver.submit(first, tenant="a")
    (victim,) = stopped(driver.tick())
    driver.submit(second, tenant="a")
    other = next(a_job(n, gpus=1) for n in range(1, 4) if a_job(n).job_id != victim)
    assert granted(driver.end(other)) == [second.job_id]
    ended = next(a_job(n, gpus=1) for n in range(1, 4) if a_job(n).job_id == victim)
    assert granted(yields(driver, ended)) == [first.job_id]


def test_an_alternative_is_promised_as_what_it_is() -> None:
    node = a_node("n1", gpus=1, model="L4")
    driver = a_mesh(node, quotas=(a_quota("a", 1), a_quota("b", 0)))
    victim = a_job(1, gpus=1)
    running(driver, victim, tenant="b")
    wants = a_job(
        2, gpus=1, gpu_models=("H100",), alternatives=(Alternative(gpus=1, gpu_models=("L4",)),)
    )
    driver.submit(wants, tenant="a")
    (place,) = [fact for fact in driver.tick() if isinstance(fact, PlaceKept)]
    assert place.alternative == 1
    yields(driver, victim)
    assert driver.grant_of(wants)[0].alternative == 1
