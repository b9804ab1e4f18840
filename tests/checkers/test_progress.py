"""Does the checker see what never came to an end?"""

from __future__ import annotations

import pytest

from penstock_contracts.journal import JobFinished
from tests.checkers.history import AgentEnding, Ending, History
from tests.checkers.progress import check_progress
from tests.checkers.tampering import Tamper, codes_after, edit_fact


def _ending(history: History) -> Ending:
    assert history.ending is not None
    return history.ending


def _not_drained(history: History) -> None:
    _ending(history).drained_ns = None


def _job_left(history: History) -> None:
    _ending(history).live_jobs = ("JOB",)


def _lease_left(history: History) -> None:
    _ending(history).leases = ("JOB/1/0",)


def _agent_holds(history: History) -> None:
    _ending(history).agents = (AgentEnding(node="n1", held=("4/JOB/0",)),)


def _agent_owes(history: History) -> None:
    _ending(history).agents = (AgentEnding(node="n1", segments_owed=1),)


def _still_runs(history: History) -> None:
    history.runs[0].ended_ns = None


def _endless(history: History) -> None:
    edit_fact(history, JobFinished, lambda _: ())


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (_not_drained, "not_drained"),
        (_job_left, "job_live"),
        (_lease_left, "lease_held"),
        (_agent_holds, "agent_holds"),
        (_agent_owes, "agent_owes"),
        (_still_runs, "still_running"),
        (_endless, "job_endless"),
    ],
)
def test_what_never_ends_is_found(tamper: Tamper, code: str) -> None:
    assert codes_after(check_progress, tamper) == {code}
