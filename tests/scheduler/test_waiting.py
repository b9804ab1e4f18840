"""Is a person told why a job waits, and when it is expected to begin?"""

from __future__ import annotations

from typing import Any

from penstock_contracts.asks import Alternative
from penstock_contracts.explanations import Explanation, StartSaid
from penstock_contracts.jobs import JobSpec
from penstock_contracts.nodes import NodeCordoned, NodeRemoved
from penstock_contracts.queue_facts import BACKFILL, KeptRank, PlaceKept
from penstock_contracts.queue_policy import Pool, QueuePolicy, Quota, Reservation
from penstock_scheduler.core.events import NodeChanged
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.queue.keeping.ends import END_UNKNOWN_MS
from penstock_scheduler.core.queue.starts import SAID_AFTER_NS
from penstock_scheduler.core.telling.explain import explain
from penstock_scheduler.core.telling.reasons import Reasons
from tests.scheduler.driver import SECOND_NS, Driver, a_job, a_node
from tests.scheduler.test_pools import obey, one_pool

TREE = QueuePolicy(
    pools=(Pool(name="default", backfill="none", order="skip"),),
    quotas=(
        Quota(name="org", maximum_gpu_milli=4_000),
        Quota(name="acme", parent="org", tenant="acme", maximum_gpu_milli=3_000),
        Quota(name="blue", parent="org", tenant="blue"),
    ),
)


def why(driver: Driver, job: JobSpec) -> Explanation:
    state = driver.core.state
    return explain(state, state.jobs[job.job_id], Reasons(), driver.now_ns)


def off_s(driver: Driver, found: Explanation) -> float | None:
    """In how many seconds it is expected to begin."""
    if found.expected_start_ms is None:
        return None
    return found.expected_start_ms / 1000 - driver.now_ns / SECOND_NS


def under(policy: QueuePolicy, *nodes: Any) -> Driver:
    driver = Driver(*nodes)
    obey(driver, policy)
    return driver


def running(driver: Driver, number: int, tenant: str = "acme", **fields: Any) -> JobSpec:
    job = a_job(number, **{"gpus": 1, **fields})
    driver.submit(job, tenant=tenant)
    driver.start(job)
    return job


def test_a_job_is_told_whose_maximum_holds_it_back_and_what_has_to_be_given_back() -> None:
    driver = under(TREE, a_node(gpus=8))
    running(driver, 1, gpus=2, time_limit_s=100)
    running(driver, 2, tenant="blue", time_limit_s=40)
    mine, other = a_job(3, gpus=2), a_job(4, gpus=2)
    driver.submit(mine)
    driver.submit(other, tenant="blue")
    found = why(driver, mine)
    assert (found.code, found.quota) == ("waiting_for_quota", "acme")
    assert found.sentence.startswith(
        "quota acme holds 2 of at most 3 GPU(s), and the job asks for 2: 1 more have to be given "
        "back; it is expected to begin in "
    )
    found = why(driver, other)
    assert (found.code, found.quota) == ("waiting_for_quota", "org")
    assert "quota org holds 3 of at most 4 GPU(s)" in found.sentence
    assert 40 <= (off_s(driver, found) or 0) <= 45, "one of its own is enough"
    assert 100 <= (off_s(driver, why(driver, mine)) or 0) <= 105


def test_a_choice_that_the_quota_allows_is_not_held_back() -> None:
    driver = under(TREE, a_node(gpus=1))
    running(driver, 1, tenant="blue")
    job = a_job(2, gpus=4, alternatives=(Alternative(gpus=1),))
    driver.submit(job)
    assert why(driver, job).code == "waiting_for_devices"


def test_what_a_new_policy_never_allows_is_told_so() -> None:
    driver = under(QueuePolicy(), a_node(gpus=1))
    running(driver, 1, tenant="blue")
    job = a_job(2, gpus=1, ranks=1)
    driver.submit(job)
    tight = Quota(name="acme", tenant="acme", maximum_gpu_milli=500)
    obey(driver, QueuePolicy(quotas=(tight,)))
    found = why(driver, job)
    assert found.code == "waiting_for_quota"
    assert found.sentence == (
        "as the policy is now it can never run: it asks for 1 GPU(s) in all, and quota acme allows "
        "0.5 at most; nobody can say when it begins"
    )


def test_a_job_behind_the_first_of_a_strict_pool_is_told_who_that_is() -> None:
    driver = under(one_pool(order="fifo"), a_node(gpus=2))
    running(driver, 1, time_limit_s=60)
    first, second = a_job(2, gpus=2, time_limit_s=600), a_job(3, gpus=1)
    driver.submit(first, second)
    found = why(driver, second)
    assert found.code == "waiting_behind" and found.behind == (first.job_id,)
    assert f"pool default goes strictly in order, and job {first.job_id} is first" in found.sentence
    assert 60 <= (off_s(driver, why(driver, first)) or 0) <= 65
    assert 660 <= (off_s(driver, found) or 0) <= 670, "when the one before it has ended"


def test_in_a_pool_that_holds_up_for_a_while_it_is_told_for_how_long() -> None:
    driver = under(one_pool(order="hold", hold_s=300), a_node(gpus=2))
    running(driver, 1, time_limit_s=3_600)
    first, second = a_job(2, gpus=2), a_job(3, gpus=1)
    driver.submit(first, second)
    driver.tick(100)
    found = why(driver, second)
    assert "goes in order, for 200 s more at most" in found.sentence


def kept(driver: Driver, job: JobSpec, in_s: int, *uuids: str) -> None:
    at_ms = driver.now_ns // 1_000_000 + 1000 * in_s
    driver.fold(PlaceKept(job.job_id, (KeptRank(0, "n1", uuids),), at_ms, BACKFILL))


def test_who_has_a_place_is_told_where_and_who_is_kept_out_is_told_for_whom() -> None:
    driver = under(one_pool(order="skip"), a_node(gpus=2))
    running(driver, 1, time_limit_s=300)
    first, second = a_job(2, gpus=2), a_job(3, gpus=1)
    driver.submit(first)
    kept(driver, first, 320, "n1-0", "n1-1")
    driver.submit(second)
    found = why(driver, first)
    assert found.code == "waiting_for_place" and found.place is not None
    assert found.sentence.startswith("a place is kept for it on n1, where work is to end in 320 s")
    assert off_s(driver, found) == 320
    found = why(driver, second)
    assert found.code == "room_is_kept"
    assert [(one.job_id, one.nodes) for one in found.in_the_way] == [(first.job_id, ("n1",))]
    assert f"it is kept for job {first.job_id} of acme (in 320 s)" in found.sentence


def test_a_place_where_nobody_knows_when_work_ends_is_no_estimate() -> None:
    driver = under(one_pool(order="skip"), a_node(gpus=2))
    running(driver, 1)
    job = a_job(2, gpus=2)
    driver.submit(job)
    kept(driver, job, END_UNKNOWN_MS // 1000, "n1-0", "n1-1")
    driver.tick(3_600)
    found = why(driver, job)
    assert found.sentence == (
        "a place is kept for it on n1, where nobody knows when work ends; nobody can say when it "
        "begins"
    )


def test_nodes_that_are_set_aside_are_named_with_why_that_is_in_the_way() -> None:
    driver = Driver(a_node(gpus=2))
    now_ms = driver.now_ns // 1_000_000
    aside = Reservation(
        name="maint", nodes=("n1",), start_ms=now_ms + 600_000, end_ms=now_ms + 900_000
    )
    obey(driver, QueuePolicy(reservations=(aside,)))
    endless, long = a_job(1, gpus=1), a_job(2, gpus=1, time_limit_s=3_600)
    driver.submit(endless, long)
    found = why(driver, endless)
    assert found.reservations == ("maint",)
    assert found.sentence.startswith("waiting for 1 GPU(s)")
    assert (
        "nodes are set aside for nobody in 600 s (maint), and it states no time_limit_s and might "
        "still run then"
    ) in found.sentence
    assert "and by its limit it might still run then" in why(driver, long).sentence
    assert 900 <= (off_s(driver, why(driver, long)) or 0) <= 901
    driver.tick(700)
    assert "nodes are set aside for nobody for another 200 s (maint)" in why(driver, long).sentence


def test_of_pools_the_job_is_told_which_it_waits_for() -> None:
    pools = (Pool(name="h100", node_labels={"kind": "h100"}), Pool(name="rest"))
    driver = under(QueuePolicy(pools=pools), a_node("n1", 1, labels={"kind": "h100"}), a_node("n2"))
    driver.feed(NodeChanged(NodeCordoned("n1")))
    job = a_job(1, gpus=1, pool="h100")
    driver.submit(job)
    found = why(driver, job)
    assert (found.code, found.pool) == ("no_schedulable_node", "h100")
    assert found.sentence.startswith("no node of pool h100 takes work now: all 1 are cordoned")
    driver.feed(NodeChanged(NodeRemoved("n1")))
    found = why(driver, job)
    assert (found.code, found.sentence) == ("no_nodes", "there is no node of pool h100")


def test_where_nothing_is_known_of_when_work_ends_nobody_can_say() -> None:
    driver = under(one_pool(order="skip"), a_node(gpus=1))
    running(driver, 1)
    job = a_job(2, gpus=1)
    driver.submit(job)
    found = why(driver, job)
    assert found.expected_start_ms is None
    assert found.sentence.endswith("; nobody can say when it begins")


def test_those_ahead_in_line_are_expected_to_go_first() -> None:
    driver = under(one_pool(order="skip"), a_node(gpus=1))
    running(driver, 1, time_limit_s=100)
    jobs = [a_job(number, gpus=1, time_limit_s=100) for number in range(2, 6)]
    driver.submit(*jobs)
    expected = [off_s(driver, why(driver, job)) or 0 for job in jobs]
    assert [round(seconds / 102) for seconds in expected] == [1, 2, 3, 4]
    assert why(driver, jobs[3]).behind == tuple(job.job_id for job in jobs[:3])


def test_work_on_other_models_is_not_waited_for() -> None:
    driver = under(one_pool(order="skip"), a_node("n1", 1), a_node("n2", 1, model="L4"))
    running(driver, 1, gpu_models=("H100",), time_limit_s=500)
    running(driver, 2, gpu_models=("L4",), time_limit_s=50)
    large = [a_job(n, gpus=1, gpu_models=("H100",), time_limit_s=1_000) for n in (3, 4)]
    small = a_job(5, gpus=1, gpu_models=("L4",))
    driver.submit(*large, small)
    assert 50 <= (off_s(driver, why(driver, small)) or 0) <= 55


# -- what was said


def said(driver: Driver, job: JobSpec) -> StartSaid | None:
    return why(driver, job).said


def test_what_is_expected_of_a_start_is_said_once_and_compared_with_what_came() -> None:
    driver = under(one_pool(order="skip"), a_node(gpus=1))
    first = running(driver, 1, time_limit_s=100)
    job = a_job(2, gpus=1)
    driver.submit(job)
    driver.tick(SAID_AFTER_NS / SECOND_NS - 1)
    assert said(driver, job) is None, "what begins at once needs no estimate"
    for _ in range(6):
        driver.tick(1)
    found = said(driver, job)
    assert found is not None and found.start_ms is not None and found.placed_ms is None
    driver.tick(20)
    for _ in range(5):
        driver.tick(1)
    assert said(driver, job) == found, "it is said once"
    driver.end(first)
    now = said(driver, job)
    assert now is not None
    assert (now.start_ms, now.said_ms) == (found.start_ms, found.said_ms)
    assert now.placed_ms == driver.now_ns // 1_000_000
    driver.start(job)
    assert said(driver, job) == now
    driver.end(job, code=None, reason="stopped", signal=15)
    assert said(driver, job) is None, "the next attempt is another matter"


def test_that_nobody_can_say_is_said_too_and_asked_no_more() -> None:
    driver = under(one_pool(order="skip"), a_node(gpus=1))
    running(driver, 1)
    job = a_job(2, gpus=1)
    driver.submit(job)
    entries = []
    for _ in range(60):
        entries += [x for x in driver.tick(1) if type(x).__name__ == "StartsExpected"]
    assert len(entries) == 1 and entries[0].starts[0].start_ms is None


def test_what_was_said_outlives_a_restart() -> None:
    driver = under(one_pool(order="skip"), a_node(gpus=1))
    running(driver, 1, time_limit_s=100)
    job = a_job(2, gpus=1)
    driver.submit(job)
    for _ in range(16):
        driver.tick(1)
    core = SchedulerCore()
    core.restore(driver.core.snapshot())
    assert core.state.jobs[job.job_id].estimated_ms is not None
    again = explain(core.state, core.state.jobs[job.job_id], Reasons(), driver.now_ns)
    assert again == why(driver, job)
