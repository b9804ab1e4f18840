"""How much can a node swallow that takes no work, and whom does a job hurt that no node takes?"""

from __future__ import annotations

import msgspec
import pytest

from penstock_contracts import journal, nodes
from penstock_contracts.jobs import JobSpec
from penstock_contracts.leases import Declined, Prepared, Started
from penstock_contracts.queue_facts import PolicySet
from penstock_contracts.queue_policy import Pool, QueuePolicy
from penstock_scheduler.core.events import NodeChanged
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.resting.jobs import TRIES_MAX
from penstock_scheduler.core.resting.nodes import REST_NS_FIRST, REST_NS_MAX, rest_ns
from penstock_scheduler.core.telling.explain import explain
from penstock_scheduler.core.telling.reasons import Reasons
from tests.scheduler.driver import SECOND_NS, Driver, a_job, a_node


class Site(Driver):
    """A driver in which node `bad` declines whatever it gets, and the others start it."""

    def __init__(self, good_gpus: int = 0) -> None:
        good = [a_node("good", good_gpus)] if good_gpus else []
        super().__init__(a_node("bad", 4), *good)
        self.declined: list[str] = []
        self.numbers: dict[str, int] = {}

    def submit_one(self, number: int, **fields: object) -> None:
        job = a_job(number, gpus=1, **fields)
        self.numbers[job.job_id] = number
        self.submit(job)
        self.answer()

    def answer(self) -> None:
        """Every agent says what it makes of what it was given, until nothing is left to say."""
        while fresh := [x for x in self.core.state.leases.values() if not self.known(x)]:
            for lease in fresh:
                job = a_job(self.numbers[lease.job_id], gpus=1)
                if lease.node == "bad":
                    self.declined.append(lease.job_id)
                    self.report(Declined, job, code="device_unknown", message="gone")
                else:
                    self.report(Started, job)

    def known(self, lease: object) -> bool:
        job = self.core.state.jobs[lease.job_id]  # type: ignore[attr-defined]
        return job.state == "running"

    def image(self, name: str = "bad") -> journal.NodeImaged:
        return self.core.state.nodes[name].image


@pytest.mark.lesson(3, 6)
def test_a_node_that_refuses_everything_swallows_a_job_a_minute_and_fails_none() -> None:
    site = Site(good_gpus=600)  # the smaller node is the tighter fit, and so preferred
    minutes = 60
    for second in range(minutes * 10):
        site.submit_one(second + 1)
        site.tick(6)
        site.answer()
    assert len(site.declined) <= minutes + 6, "554 were swallowed elsewhere in 106 minutes"
    assert not site.core.state.finished, "and none of these has failed for it"
    assert all(lease.node == "good" for lease in site.core.state.leases.values())


@pytest.mark.lesson(3, 6)
def test_a_node_that_refuses_is_not_asked_again_before_it_has_rested() -> None:
    site = Site()
    site.submit_one(1)
    assert len(site.declined) == 1
    site.tick(0.9)
    assert not site.core.state.leases
    waiting = explain(site.core.state, site.core.state.jobs[a_job(1).job_id], Reasons())
    assert waiting.code == "no_schedulable_node"
    assert "resting" in waiting.sentence
    site.tick(0.1)
    assert len(site.core.state.leases) == 1


def test_each_refusal_in_a_row_doubles_the_rest_up_to_a_bound() -> None:
    rests = [rest_ns(refusals) for refusals in range(1, 9)]
    assert rests[:4] == [REST_NS_FIRST << n for n in range(4)]
    assert rests[-2:] == [REST_NS_MAX, REST_NS_MAX]
    assert rest_ns(1_000_000) == REST_NS_MAX


@pytest.mark.lesson(3, 6)
def test_after_its_rest_a_node_gets_one_lease_as_a_trial_and_all_when_it_starts_that() -> None:
    driver = Driver(a_node("n1", 4))
    jobs = [a_job(number, gpus=1) for number in range(1, 5)]
    driver.submit(*jobs)
    for job in jobs:
        driver.report(Declined, job, code="no_port", message="none")
    assert driver.core.state.nodes["n1"].image.refusals == 1, "one bad moment counts once"
    driver.tick(1)
    (trial,) = driver.core.state.leases.values()
    driver.tick(30)
    assert len(driver.core.state.leases) == 1, "the others wait for the trial"
    (on_trial,) = [job for job in jobs if job.job_id == trial.job_id]
    driver.report(Started, on_trial)
    assert len(driver.core.state.leases) == 4
    assert driver.core.state.nodes["n1"].image.refusals == 0


def test_a_rank_that_waits_for_its_gang_proves_its_node_all_the_same() -> None:
    driver = Driver(a_node("n1", 4))
    refused, gang, other = a_job(1, gpus=1), a_job(2, gpus=1, ranks=2), a_job(3, gpus=1)
    driver.submit(refused)
    driver.report(Declined, refused, code="no_port", message="none")
    driver.cancel(refused)
    driver.submit(gang, other)
    driver.tick(1)
    assert {lease.job_id for lease in driver.core.state.leases.values()} == {gang.job_id}
    driver.report(Prepared, gang, 1)
    assert other.job_id in {lease.job_id for lease in driver.core.state.leases.values()}


def test_a_trial_that_ends_without_a_start_makes_room_for_another() -> None:
    driver = Driver(a_node("n1", 4))
    first, second = a_job(1, gpus=1), a_job(2, gpus=1)
    driver.submit(first)
    driver.report(Declined, first, code="no_port", message="none")
    driver.submit(second)
    driver.tick(1)
    (trial,) = driver.core.state.leases.values()
    on_trial, other = (first, second) if trial.job_id == first.job_id else (second, first)
    driver.end(on_trial, code=None, reason="spawn_failed")
    assert [lease.job_id for lease in driver.core.state.leases.values()] == [other.job_id]


def test_the_end_of_older_work_ends_no_trial() -> None:
    driver = Driver(a_node("n1", 4))
    old, refused, waiting = (a_job(number, gpus=1) for number in (1, 2, 3))
    driver.submit(old)
    driver.start(old)
    driver.submit(refused)
    driver.report(Declined, refused, code="no_port", message="none")
    driver.submit(waiting)
    driver.tick(1)
    driver.end(old)
    assert len(driver.core.state.leases) == 1


@pytest.mark.lesson(6)
def test_what_runs_on_a_node_that_refuses_is_left_alone() -> None:
    driver = Driver(a_node("n1", 2))
    well, refused = a_job(1, gpus=1), a_job(2, gpus=1)
    driver.submit(well)
    driver.start(well)
    driver.submit(refused)
    driver.report(Declined, refused, code="device_unhealthy", message="sick")
    driver.tick(600, {"n1": driver.now_ns})
    assert driver.core.state.jobs[well.job_id].state == "running"
    driver.report(Started, well)
    assert driver.core.state.nodes["n1"].image.refusals == 1, "an old start proves nothing"


def test_a_rest_outlives_a_restart_of_the_scheduler_and_other_news_of_the_node() -> None:
    site = Site()
    site.submit_one(1)
    restored = SchedulerCore()
    restored.restore(site.core.snapshot())
    assert restored.settle(site.now_ns, 99) == ()
    site.feed(NodeChanged(nodes.NodeRegistered(a_node("bad", 4, labels={"rack": "2"}))))
    assert site.image().resting and site.image().labels == {"rack": "2"}
    site.tick(1)
    trial = SchedulerCore()
    trial.restore(site.core.snapshot())
    assert trial.state.nodes["bad"].trials
    encoded = msgspec.json.encode(site.image())
    assert msgspec.json.decode(encoded, type=journal.NodeImaged) == site.image()


@pytest.mark.lesson(16)
@pytest.mark.parametrize("refuses", [True, False])
def test_a_job_that_always_fails_at_once_goes_behind_those_that_wait(refuses: bool) -> None:
    driver = Driver(a_node(gpus=1))
    bad, good = a_job(1, gpus=1, retries=100), a_job(2, gpus=1)
    driver.submit(bad)
    driver.submit(good)
    if refuses:
        driver.report(Declined, bad, code="no_port", message="none")
        driver.tick(1)
    else:
        driver.end(bad, code=None, reason="spawn_failed")
    assert [lease.job_id for lease in driver.core.state.leases.values()] == [good.job_id]
    driver.start(good)
    driver.end(good)
    driver.tick(SECOND_NS)
    assert [lease.job_id for lease in driver.core.state.leases.values()] == [bad.job_id]


@pytest.mark.lesson(16)
def test_an_attempt_that_was_lost_or_put_back_keeps_its_place_in_line() -> None:
    driver = Driver(a_node(gpus=1))
    first, second = a_job(1, gpus=1, retries=1), a_job(2, gpus=1)
    driver.submit(first)
    driver.submit(second)
    driver.start(first)
    driver.end(first, code=None, reason="stopped", signal=15)
    assert [lease.job_id for lease in driver.core.state.leases.values()] == [first.job_id]


def test_a_job_goes_back_to_the_only_node_that_can_hold_it_although_that_refused_it() -> None:
    driver, job = Driver(a_node("large", 8), a_node("small", 2)), a_job(gpus=8)
    driver.submit(job)
    driver.report(Declined, job, code="device_unhealthy", message="sick")
    driver.tick(1)
    driver.start(job)
    driver.end(job)
    assert driver.core.state.finished == {"succeeded": 1}


def test_a_gang_that_needs_every_node_goes_back_to_the_one_that_refused_it() -> None:
    driver, gang = Driver(a_node("n1", 2), a_node("n2", 2)), a_job(gpus=2, ranks=2)
    driver.submit(gang)
    driver.report(Declined, gang, 1, code="no_port", message="none")
    driver.end(gang, 0, code=None, reason="cancelled")
    driver.tick(1)
    assert {lease.node for lease in driver.core.state.leases.values()} == {"n1", "n2"}


def refused_while_the_other_is_busy() -> tuple[Driver, JobSpec, str, str]:
    """A job that one node has refused and that the other, which works, could hold."""
    driver = Driver(a_node("n1", 8), a_node("n2", 8))
    first, job = a_job(1, gpus=8), a_job(2, gpus=8)
    driver.submit(first, job)
    driver.start(first)
    busy, refusing = (driver.grant_of(x)[0].ranks[0].node for x in (first, job))
    driver.report(Declined, job, code="no_port", message="none")
    driver.tick(1)
    assert driver.core.state.nodes[refusing].schedulable
    return driver, job, busy, refusing


def test_a_job_waits_for_a_node_that_is_busy_rather_than_ask_again_where_it_was_refused() -> None:
    driver, job, busy, refusing = refused_while_the_other_is_busy()
    assert {rank.node for place in driver.core.state.places for rank in place.fact.ranks} == {busy}
    driver.fold(PolicySet(1, QueuePolicy(pools=(Pool(name="all", backfill="none"),)), "key", 1))
    driver.tick(3_600)
    state = driver.core.state
    waiting = explain(state, state.jobs[job.job_id], Reasons())
    assert waiting.code == "waiting_for_devices"
    assert waiting.sentence.endswith(
        f"not asked while others could hold it: {refusing} (refused it)"
    )
    driver.end(a_job(1, gpus=8))
    assert [lease.node for lease in state.leases.values()] == [busy]


@pytest.mark.parametrize("goes", ["lost", "cordoned", "removed", "sick"])
def test_a_job_waits_for_no_node_that_takes_no_work_any_more(goes: str) -> None:
    driver, job, busy, refusing = refused_while_the_other_is_busy()
    description = a_node(busy, 8)
    sick = msgspec.structs.replace(description.devices[3], healthy=False)
    devices = (*description.devices[:3], sick, *description.devices[4:])
    facts = {
        "lost": nodes.NodeLivenessChanged(busy, "lost", ""),
        "cordoned": nodes.NodeCordoned(busy),
        "removed": nodes.NodeRemoved(busy),
        "sick": nodes.NodeRegistered(msgspec.structs.replace(description, devices=devices)),
    }
    driver.feed(NodeChanged(facts[goes]))
    assert driver.core.state.jobs[job.job_id].ranks[0].node == refusing


def test_a_job_that_waits_for_a_node_goes_on_when_that_is_removed_with_nothing_on_it() -> None:
    driver, job = Driver(a_node("n1", 8), a_node("n2", 8)), a_job(gpus=8)
    driver.feed(NodeChanged(nodes.NodeLivenessChanged("n2", "suspect", "")))
    driver.submit(job)
    driver.report(Declined, job, code="no_port", message="none")
    driver.tick(1)
    assert not driver.core.state.leases
    driver.feed(NodeChanged(nodes.NodeRemoved("n2")))
    assert driver.core.state.jobs[job.job_id].ranks[0].node == "n1"


def test_a_job_that_the_only_node_for_it_always_refuses_fails_and_says_why() -> None:
    driver, job = Driver(a_node("large", 8), a_node("small", 2)), a_job(gpus=8)
    driver.submit(job)
    for _ in range(TRIES_MAX):
        assert len(driver.core.state.jobs[job.job_id].avoid) <= 1
        driver.report(Declined, job, code="disk_full", message="no space")
        driver.tick(REST_NS_MAX / SECOND_NS)
    (end,) = [fact for fact in driver.facts if isinstance(fact, journal.JobFinished)]
    assert (end.state, end.reason, end.message) == (
        "failed",
        "cannot_start",
        "10 attempts in a row could not be started; the last one: large: no space (disk_full)",
    )
