"""What is accepted, refused, rejected, and what does a wait say?"""

from __future__ import annotations

import pytest

from penstock_bus.port import StoredMessage
from penstock_contracts import journal
from penstock_contracts.ids import ulid
from penstock_contracts.jobs import JobSpec
from penstock_contracts.nodes import NodeRegistered
from penstock_scheduler.core.events import NodeChanged
from penstock_scheduler.core.telling.explain import explain
from penstock_scheduler.inputs import decode_request
from tests.scheduler.driver import EPOCH_NS, Driver, a_job, a_node

GOOD = b'{"job_id":"01MCC5RM000000000000000001","command":["true"]}'


def refusals(facts: list) -> list[tuple[int, str]]:
    return [
        (item.index, item.refusal.code)
        for fact in facts
        if isinstance(fact, journal.RequestRefused)
        for item in fact.items
    ]


def requested(driver: Driver, payload: bytes, subject: str = "acme.submit") -> list:
    message = StoredMessage(f"penstock.v1.request.job.{subject}", payload, 9, 0)
    return driver.feed(*decode_request(message))


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"{", "malformed_json"),
        (b"", "malformed_json"),
        (b"\xff\xfe", "malformed_json"),
        (b"[1]", "invalid_field"),
        (b'"x"', "invalid_field"),
        (b"{}", "invalid_field"),
        (b"[" * 60_000, "invalid_field"),
        (b'{"x":' * 10_000, "malformed_json"),
        (GOOD.replace(b'"true"', b""), "invalid_field"),
        (GOOD.replace(b"}", b',"gpus":-1}'), "invalid_field"),
        (GOOD.replace(b"}", b',"gpus":99999999999999999999}'), "invalid_field"),
        (GOOD.replace(b"01MCC5RM000000000000000001", b"a.b"), "invalid_job_id"),
        (b'{"jobs":5}', "invalid_field"),
    ],
)
def test_bad_requests_are_refused_with_a_code(payload: bytes, code: str) -> None:
    driver = Driver(a_node())
    assert [c for _, c in refusals(requested(driver, payload))] == [code]
    assert not driver.core.state.jobs


def test_one_bad_job_of_many_does_not_touch_the_others() -> None:
    driver = Driver(a_node())
    payload = b'{"jobs":[%b,{"job_id":3},%b]}' % (GOOD, GOOD.replace(b"01", b"02", 1))
    facts = requested(driver, payload)
    assert refusals(facts) == [(1, "invalid_field"), (2, "job_id_in_future")]
    assert len(driver.core.state.jobs) == 1


@pytest.mark.parametrize("tenant", ["*", "a b", "-x", "é"])
def test_a_tenant_that_is_no_name_is_refused(tenant: str) -> None:
    driver = Driver(a_node())
    assert refusals(requested(driver, GOOD, f"{tenant}.submit")) == [(-1, "invalid_tenant")]


def test_an_unknown_verb_is_refused() -> None:
    assert refusals(requested(Driver(), GOOD, "acme.destroy")) == [(-1, "unknown_verb")]


def test_a_full_backlog_refuses_submits_and_still_hears_cancels() -> None:
    driver = Driver(a_node(gpus=1))
    driver.submit(a_job(gpus=1))

    def asked(verb: str, payload: bytes) -> list:
        message = StoredMessage(f"penstock.v1.request.job.acme.{verb}", payload, 9, 0)
        return driver.feed(*decode_request(message, backlog_full=True))

    assert refusals(asked("submit", GOOD)) == [(-1, "backlog_full")]
    cancelled = asked("cancel", b'{"job_id":"%b"}' % a_job().job_id.encode())
    assert isinstance(cancelled[0], journal.CancelRequested)


def test_the_same_job_again_is_the_same_job() -> None:
    driver = Driver(a_node())
    driver.submit(a_job(gpus=1))
    assert driver.submit(a_job(gpus=1)) == []
    assert driver.submit(a_job(7), a_job(7))[1:] != []
    assert len(driver.core.state.jobs) == 2


def test_the_same_id_with_other_content_is_refused_also_after_the_end() -> None:
    driver, job = Driver(a_node()), a_job()
    driver.submit(job)
    other = a_job(command=("false",))
    assert refusals(driver.submit(other)) == [(0, "job_id_conflict")]
    driver.start(job)
    driver.end(job)
    assert driver.submit(job) == []
    assert refusals(driver.submit(other)) == [(0, "job_id_conflict")]
    assert refusals(driver.submit(job, tenant="rival")) == [(0, "job_id_conflict")]


@pytest.mark.parametrize(
    ("days", "code"), [(-7.1, "job_id_too_old"), (0.008, "job_id_in_future"), (-6.9, None)]
)
def test_ids_too_old_or_from_the_future_are_refused(days: float, code: str | None) -> None:
    driver = Driver(a_node())
    at_ms = driver.now_ns // 1_000_000 + int(days * 86_400_000)
    found = refusals(driver.submit(JobSpec(job_id=ulid(at_ms, 1), command=("x",))))
    assert found == ([] if code is None else [(0, code)])


def test_forgotten_ids_are_those_that_would_be_refused() -> None:
    driver, job = Driver(a_node()), a_job()
    driver.submit(job)
    driver.start(job)
    driver.end(job)
    for _ in range(8 * 24):
        driver.tick(3_600)
    assert job.job_id not in driver.core.state.remembered
    assert refusals(driver.submit(job)) == [(0, "job_id_too_old")]


@pytest.mark.lesson(15)
@pytest.mark.parametrize(
    "fields",
    [
        {"gpus": 9},
        {"gpus": 1, "ranks": 17},
        {"gpus": 1, "gpu_models": ("B200",)},
        {"gpus": 1, "gpu_memory_mib": 100_000},
        {"cpu_milli": 128_001},
        {"memory_mib": 8 * 131_072 + 1},
    ],
    ids=str,
)
def test_what_can_never_fit_is_rejected(fields: dict) -> None:
    driver = Driver(a_node("n1"), a_node("n2"))
    facts = driver.submit(a_job(**fields))
    assert [type(f).__name__ for f in facts] == ["JobSubmitted", "JobRejected"]
    assert facts[1].refusal.code == "impossible"


def test_what_fits_only_a_cordoned_or_busy_fleet_waits() -> None:
    driver = Driver(a_node(gpus=2))
    driver.submit(a_job(1, gpus=2))
    assert [type(f).__name__ for f in driver.submit(a_job(2, gpus=2))] == ["JobSubmitted"]


def test_with_no_node_registered_jobs_wait() -> None:
    driver = Driver()
    driver.submit(a_job(gpus=500))
    assert driver.tick(60) == []


def test_a_waiting_job_is_rejected_once_the_fleet_is_known_not_to_suffice() -> None:
    driver = Driver()
    driver.submit(a_job(gpus=500))
    driver.facts.clear()
    for node in (a_node("n1"), a_node("n2")):
        driver.feed(NodeChanged(NodeRegistered(node)))
    assert not [f for f in driver.tick(1) if isinstance(f, journal.JobRejected)]
    assert [f for f in driver.tick(5) if isinstance(f, journal.JobRejected)]


def test_cancelling_what_is_not_there_is_refused() -> None:
    driver = Driver(a_node())
    assert refusals(driver.cancel(a_job(5))) == [(-1, "unknown_job")]
    driver.submit(a_job(1))
    assert refusals(driver.cancel(a_job(1), tenant="rival")) == [(-1, "unknown_job")]
    driver.start(a_job(1))
    driver.end(a_job(1))
    assert refusals(driver.cancel(a_job(1))) == [(-1, "job_finished")]


def test_priority_goes_before_age() -> None:
    driver = Driver(a_node(gpus=1))
    blocker = a_job(1, gpus=1)
    driver.submit(blocker)
    driver.submit(a_job(2, gpus=1), a_job(3, gpus=1, priority=9))
    driver.start(blocker)
    driver.end(blocker)
    assert [lease.job_id for lease in driver.core.state.leases.values()] == [a_job(3).job_id]


def test_a_wait_is_explained_with_what_is_needed_and_what_is_free() -> None:
    driver = Driver(a_node(gpus=4))
    driver.submit(a_job(1, gpus=2), a_job(2, gpus=4))
    explanation = explain(
        driver.core.state, driver.core.state.jobs[a_job(2).job_id], driver.core.reasons
    )
    assert explanation.code == "waiting_for_devices"
    assert "4 GPU(s)" in explanation.sentence and "2 of 4" in explanation.sentence


def test_the_epoch_of_the_tests_is_the_epoch_of_their_ids() -> None:
    assert a_job(1).job_id[:10] == ulid(EPOCH_NS // 1_000_000, 0)[:10]
