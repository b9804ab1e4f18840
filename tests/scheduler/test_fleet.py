"""What becomes of work when its node reboots, is lost, drained, fenced or removed?"""

from __future__ import annotations

import msgspec
import pytest

from penstock_contracts import journal, nodes
from penstock_contracts.leases import Released
from penstock_scheduler.core.events import NodeChanged, Ticked
from tests.scheduler.driver import SECOND_NS, Driver, a_job, a_node


def changed(driver: Driver, fact: nodes.NodeFact) -> list:
    return driver.feed(NodeChanged(fact))


def states(driver: Driver) -> dict[str, int]:
    return driver.core.state.finished


def running(driver: Driver, **fields):
    job = a_job(gpus=1, **fields)
    driver.submit(job)
    driver.start(job)
    return job


@pytest.mark.lesson(2, 12)
def test_a_lost_node_keeps_its_work_and_its_devices() -> None:
    driver = Driver(a_node(gpus=1))
    running(driver)
    assert len(changed(driver, nodes.NodeLivenessChanged("n1", "lost", "silent"))) == 1
    driver.tick(10_000, {"n1": driver.now_ns})
    assert len(driver.core.state.leases) == 1 and not states(driver)


def test_a_lost_node_gets_no_new_work_until_it_is_back() -> None:
    driver = Driver(a_node())
    changed(driver, nodes.NodeLivenessChanged("n1", "lost", "silent"))
    driver.submit(a_job(gpus=1))
    assert not driver.core.state.leases
    changed(driver, nodes.NodeLivenessChanged("n1", "alive", "heard"))
    assert len(driver.core.state.leases) == 1


def test_a_fenced_node_loses_its_attempts_and_frees_its_devices() -> None:
    driver = Driver(a_node(gpus=1))
    job = running(driver)
    facts = changed(driver, nodes.NodeFenced("n1", "boot-1"))
    assert isinstance(facts[0], journal.RankReleased) and facts[0].evidence == "fenced"
    finished = [f for f in facts if isinstance(f, journal.JobFinished)]
    assert [(f.job_id, f.state, f.lost_before) for f in finished] == [(job.job_id, "failed", True)]
    assert not driver.core.state.leases


def test_a_lost_attempt_is_retried_while_retries_are_left() -> None:
    driver = Driver(a_node("n1", 1), a_node("n2", 1))
    job = running(driver, retries=1)
    old = driver.grant_of(job)[0].ranks[0].node
    changed(driver, nodes.NodeFenced(old, "boot-1"))
    assert driver.grant_of(job)[0].attempt == 2


def test_a_new_boot_proves_that_nothing_of_before_runs() -> None:
    driver = Driver(a_node())
    running(driver, retries=1)
    facts = changed(driver, nodes.NodeRegistered(a_node(boot_id="boot-2")))
    assert facts[0].evidence == "new_boot"
    assert next(f for f in facts if isinstance(f, journal.AttemptEnded)).outcome == "lost"


def test_the_same_description_again_changes_nothing() -> None:
    driver = Driver(a_node())
    assert changed(driver, nodes.NodeRegistered(a_node())) == []


@pytest.mark.lesson(13)
def test_contact_lost_longer_than_allowed_loses_the_attempt_but_frees_nothing() -> None:
    driver = Driver(a_node("n1", 1), a_node("n2", 1))
    job = running(driver, disconnect_s=30, retries=1)
    node = driver.grant_of(job)[0].ranks[0].node
    contact = {"n1": driver.now_ns, "n2": driver.now_ns}
    driver.tick(34, contact)
    assert driver.grant_of(job)[0].attempt == 1
    changed(driver, nodes.NodeLivenessChanged(node, "lost", "silent"))
    driver.tick(2, contact)
    assert driver.grant_of(job)[0].attempt == 2
    assert (job.job_id, 1, 0) in driver.core.state.leases, "silence is not release"


def test_a_silence_measured_before_a_grant_says_nothing_of_it() -> None:
    """It may be decided late: while the broker takes no entries, measurements wait."""
    driver = Driver(a_node("n1", 1))
    before = Ticked({"n1": 40 * SECOND_NS}, driver.seq)
    job = a_job(gpus=1, disconnect_s=30)
    driver.submit(job)
    assert driver.feed(before) == []
    (lost, *_) = driver.feed(Ticked({"n1": 40 * SECOND_NS}, driver.seq))
    assert isinstance(lost, journal.RankExited) and lost.reason == "lost"


def test_the_devices_of_a_lost_attempt_come_back_with_the_proof() -> None:
    driver = Driver(a_node("n1", 1), a_node("n2", 1))
    job = running(driver, disconnect_s=30, retries=1)
    released = driver.reported(Released, job)
    contact = {"n1": driver.now_ns, "n2": driver.now_ns}
    changed(driver, nodes.NodeLivenessChanged(released.node, "lost", "silent"))
    driver.tick(40, contact)
    driver.feed(released)
    assert (job.job_id, 1, 0) not in driver.core.state.leases


def test_a_draining_node_keeps_its_work_until_the_deadline() -> None:
    driver = Driver(a_node())
    running(driver)
    deadline = driver.now_ns + 60 * SECOND_NS
    changed(driver, nodes.NodeCordoned("n1", True, deadline, "disk"))
    assert driver.tick(59) == []
    stop = driver.tick(2)
    assert [type(f).__name__ for f in stop] == ["StopRequested"]


def test_a_drained_attempt_goes_back_in_line() -> None:
    driver = Driver(a_node("n1"), a_node("n2"))
    job = running(driver)
    node = driver.grant_of(job)[0].ranks[0].node
    changed(driver, nodes.NodeCordoned(node, True, driver.now_ns + 1, "disk"))
    driver.tick(1)
    driver.end(job, code=None, reason="signalled", signal=15)
    grant = driver.grant_of(job)[0]
    assert grant.attempt == 2 and grant.ranks[0].node != node


def test_a_removed_node_is_forgotten_and_may_come_back() -> None:
    driver = Driver(a_node())
    running(driver)
    changed(driver, nodes.NodeRemoved("n1"))
    assert not driver.core.state.nodes and not driver.core.state.leases
    changed(driver, nodes.NodeRegistered(a_node()))
    driver.submit(a_job(9, gpus=1))
    assert len(driver.core.state.leases) == 1


@pytest.mark.lesson(6)
def test_an_unhealthy_device_gets_no_work() -> None:
    sick = a_node(gpus=2)
    devices = (msgspec.structs.replace(sick.devices[0], healthy=False), sick.devices[1])
    driver = Driver(msgspec.structs.replace(sick, devices=devices))
    driver.submit(a_job(1, gpus=1), a_job(2, gpus=1))
    assert [lease.uuids for lease in driver.core.state.leases.values()] == [("n1-1",)]
