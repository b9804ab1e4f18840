"""Does the checker see a job that was lost, doubled, made up, or went on after its end?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from penstock_contracts.journal import (
    AttemptEnded,
    AttemptRunning,
    CancelRequested,
    JobFinished,
    JobSubmitted,
    LeaseGranted,
    RankExited,
    RequestRefused,
)
from tests.checkers.history import History
from tests.checkers.once import check_once
from tests.checkers.tampering import Tamper, codes_after, edit_fact, replace


def _not_accepted(history: History) -> None:
    edit_fact(history, JobSubmitted, lambda _: (), nth=3)


def _accepted_twice(history: History) -> None:
    edit_fact(history, JobSubmitted, lambda fact: (fact, fact))


def _rubbish_unanswered(history: History) -> None:
    edit_fact(history, RequestRefused, lambda _: ())


def _rubbish_answered_twice(history: History) -> None:
    edit_fact(history, RequestRefused, lambda fact: (fact, fact))


def _nobody_asked(history: History) -> None:
    del history.submissions[0]


def _another_spec(history: History) -> None:
    asked = history.submissions[0]
    assert asked.spec is not None
    history.submissions[0] = replace(asked, spec=replace(asked.spec, priority=9))


def _ended_twice(history: History) -> None:
    edit_fact(history, JobFinished, lambda fact: (fact, fact))


def _goes_on_after_its_end(history: History) -> None:
    running = AttemptRunning(history.runs[0].job_id, 1, 0, "blue")
    edit_fact(history, JobFinished, lambda fact: (fact, running))


def _report_of_an_old_attempt(history: History) -> None:
    def change(fact: LeaseGranted) -> tuple[object, ...]:
        return fact, AttemptRunning(fact.job_id, 1, 0, "blue")

    edit_fact(history, LeaseGranted, change, nth=2)


def _exits_twice(history: History) -> None:
    edit_fact(history, RankExited, lambda fact: (fact, fact))


def _placed_twice(history: History) -> None:
    edit_fact(history, LeaseGranted, lambda fact: (fact, fact))


def _placed_after_cancel(history: History) -> None:
    def change(fact: CancelRequested) -> tuple[object, ...]:
        return fact, LeaseGranted(fact.job_id, 1, ())

    edit_fact(history, CancelRequested, change)


def _cancel_forgotten(history: History) -> None:
    edit_fact(history, JobFinished, lambda fact: (replace(fact, state="failed"),), nth=2)


def _cancel_made_up(history: History) -> None:
    edit_fact(history, CancelRequested, lambda _: ())


def _retried_too_often(history: History) -> None:
    for index in (0, 1):
        asked = history.submissions[index]
        assert asked.spec is not None
        spec = replace(asked.spec, retries=0)
        history.submissions[index] = replace(asked, spec=spec)
        edit_fact(history, JobSubmitted, lambda fact, s=spec: (replace(fact, spec=s),), nth=index)


def _runs_twice(history: History) -> None:
    history.runs.append(replace(history.runs[0], node="n2"))


def _never_ran(history: History) -> None:
    del history.runs[0]


def _failed_in_truth(history: History) -> None:
    history.runs[0].exit_code = 9


def _another_exit_code(history: History) -> None:
    edit_fact(history, JobFinished, lambda fact: (replace(fact, exit_code=7, state="failed"),))


def _killed_by_the_mesh(history: History) -> None:
    edit_fact(history, JobFinished, _fails_as("signalled"))
    history.runs[0].ended_by = "reaper"


def _killed_without_a_cancel(history: History) -> None:
    edit_fact(history, JobFinished, _fails_as("cancelled"))


def _fails_as(reason: str) -> Callable[[JobFinished], tuple[JobFinished]]:
    return lambda fact: (replace(fact, state="failed", reason=reason, exit_code=None),)


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (_not_accepted, "request_lost"),
        (_accepted_twice, "accepted_twice"),
        (_rubbish_unanswered, "request_lost"),
        (_rubbish_answered_twice, "answered_twice"),
        (_nobody_asked, "made_up"),
        (_another_spec, "spec_changed"),
        (_ended_twice, "ended_twice"),
        (_goes_on_after_its_end, "fact_after_end"),
        (_report_of_an_old_attempt, "fact_of_other_attempt"),
        (_exits_twice, "exited_twice"),
        (_placed_twice, "placed_twice"),
        (_placed_after_cancel, "placed_after_cancel"),
        (_cancel_forgotten, "cancel_forgotten"),
        (_cancel_made_up, "cancel_made_up"),
        (_cancel_made_up, "cancel_lost"),
        (_retried_too_often, "retried_too_often"),
        (_runs_twice, "ran_twice"),
        (_never_ran, "untrue_success"),
        (_failed_in_truth, "untrue_success"),
        (_another_exit_code, "untrue_exit"),
        (_killed_by_the_mesh, "failed_for_nothing"),
        (_killed_without_a_cancel, "failed_for_nothing"),
    ],
)
def test_a_job_that_does_not_end_once_is_found(tamper: Tamper, code: str) -> None:
    assert code in codes_after(check_once, tamper)


def test_a_request_without_an_acknowledgement_may_be_lost() -> None:
    def tamper(history: History) -> None:
        asked = history.submissions[0]
        history.submissions.append(replace(asked, job_id="UNHEARD", request_seq=None))

    assert codes_after(check_once, tamper) == set()


def test_an_attempt_that_is_put_back_by_the_mesh_costs_no_retry() -> None:
    def tamper(history: History) -> None:
        _retried_too_often(history)
        edit_fact(history, AttemptEnded, lambda fact: (replace(fact, outcome="preempted"),))

    assert codes_after(check_once, tamper) == set()


def _given_back_by_devices(history: History, times: int) -> None:
    """The retry that the job has and this many more."""

    def change(fact: AttemptEnded) -> tuple[AttemptEnded, ...]:
        return (
            fact,
            *(replace(fact, outcome="lost", reason="device_failed") for _ in range(times)),
        )

    edit_fact(history, AttemptEnded, change)


@pytest.mark.parametrize(("times", "found"), [(3, False), (4, True)])
def test_a_device_that_fails_costs_no_retry_but_not_for_ever(times: int, found: bool) -> None:
    codes = codes_after(check_once, lambda history: _given_back_by_devices(history, times))
    assert ("retried_too_often" in codes) is found


def test_a_job_does_not_fail_for_the_first_device_that_does() -> None:
    assert "not_retried_elsewhere" in codes_after(
        check_once, lambda history: edit_fact(history, JobFinished, _fails_as("device_failed"))
    )
