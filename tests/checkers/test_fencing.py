"""Does the checker see work under a lease that is not there yet, or not any more?"""

from __future__ import annotations

import pytest

from penstock_contracts.journal import LeaseGranted, RankExited, RankReleased, RankStarted
from tests.checkers.fencing import check_fencing
from tests.checkers.history import Fault, History
from tests.checkers.tampering import Tamper, codes_after, edit_fact, entry_of, replace

SECOND_NS = 1_000_000_000


def _never_granted(history: History) -> None:
    edit_fact(history, LeaseGranted, lambda _: ())


def _on_another_device(history: History) -> None:
    history.runs[0].devices = ("n1-b",)


def _on_more_of_it(history: History) -> None:
    edit_fact(history, LeaseGranted, lambda fact: (replace(fact, gpu_milli=500),))


def _under_another_lease(history: History) -> None:
    history.runs[0].lease_seq = 1


def _before_the_commit(history: History) -> None:
    history.runs[0].began_ns = 0


def _after_the_release(history: History) -> None:
    run = history.runs[0]
    released = history.jobs_entries[entry_of(history, RankReleased)].at_ns
    run.began_ns, run.ended_ns = released + 1, released + 2


def _beyond_the_release(history: History) -> None:
    history.runs[0].ended_ns = history.jobs_entries[entry_of(history, RankReleased)].at_ns + 1


def _never_over(history: History) -> None:
    history.runs[0].ended_ns = None


def _first_attempt_late(history: History) -> None:
    """Rank 0 of the gang's first attempt begins beside its second."""
    run = next(run for run in history.runs if run.rank == 1 and run.attempt == 1)
    second = next(run for run in history.runs if run.rank == 1 and run.attempt == 2)
    run.began_ns, run.ended_ns = second.began_ns, second.ended_ns
    edit_fact(history, RankReleased, lambda _: (), nth=2)


def _first_attempt_goes_on(history: History) -> None:
    run = next(run for run in history.runs if run.rank == 1 and run.attempt == 1)
    second = next(run for run in history.runs if run.rank == 1 and run.attempt == 2)
    run.ended_ns = second.ended_ns
    edit_fact(history, RankReleased, lambda _: (), nth=2)


def _untrue_start(history: History) -> None:
    job_id = history.runs[0].job_id
    edit_fact(history, RankStarted, lambda fact: (replace(fact, job_id=job_id, rank=5), fact))


def _untrue_end(history: History) -> None:
    edit_fact(history, RankExited, lambda fact: (replace(fact, exit_code=4),))


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (_never_granted, "ran_without_lease"),
        (_on_another_device, "ran_elsewhere"),
        (_on_more_of_it, "ran_elsewhere"),
        (_under_another_lease, "ran_under_other_lease"),
        (_before_the_commit, "ran_before_commit"),
        (_after_the_release, "began_after_release"),
        (_after_the_release, "began_after_end"),
        (_beyond_the_release, "released_while_running"),
        (_never_over, "released_while_running"),
        (_first_attempt_late, "began_after_successor"),
        (_first_attempt_goes_on, "attempts_at_once"),
        (_untrue_start, "untrue_start"),
        (_untrue_end, "untrue_end"),
    ],
)
def test_work_without_a_lease_is_found(tamper: Tamper, code: str) -> None:
    assert code in codes_after(check_fencing, tamper)


def test_a_host_that_was_suspended_may_end_an_old_attempt_late() -> None:
    def tamper(history: History) -> None:
        _first_attempt_goes_on(history)
        run = next(run for run in history.runs if run.rank == 1 and run.attempt == 1)
        assert run.ended_ns is not None
        history.faults.append(
            Fault(
                at_ns=run.began_ns + SECOND_NS,
                kind="host suspended",
                node="n2",
                until_ns=run.ended_ns,
            )
        )

    assert codes_after(check_fencing, tamper) == set()


def _lost_and_given_again_elsewhere(history: History) -> None:
    """The broker has lost the first grant; the same rank was granted anew."""
    place = entry_of(history, LeaseGranted)
    lost = history.jobs_entries[place]

    def move(fact: LeaseGranted) -> tuple[LeaseGranted]:
        return (replace(fact, ranks=tuple(replace(rank, node="n2") for rank in fact.ranks)),)

    edit_fact(history, LeaseGranted, move)
    history.jobs_entries.insert(place, lost)


@pytest.mark.parametrize(
    "tamper",
    [
        _on_another_device, _on_more_of_it, _under_another_lease, _before_the_commit,
        _never_granted,
    ],
)  # fmt: skip
def test_what_runs_without_a_grant_is_seen_also_when_the_broker_has_lost_data(
    tamper: Tamper,
) -> None:
    def lossy(history: History) -> None:
        history.lossy_broker = True
        tamper(history)

    assert codes_after(check_fencing, lossy) == {"ran_without_lease"}


def test_a_grant_that_the_broker_has_lost_since_still_stands_for_its_run() -> None:
    def lossy(history: History) -> None:
        history.lossy_broker = True
        _lost_and_given_again_elsewhere(history)

    assert codes_after(check_fencing, lossy) == set()
    assert codes_after(check_fencing, _lost_and_given_again_elsewhere) == {"ran_elsewhere"}
