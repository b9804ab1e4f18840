"""Does the checker see that a device had two holders, or a node more than it has?"""

from __future__ import annotations

import pytest

from penstock_contracts.journal import LeaseGranted, NodeImaged, RankPlacement, RankReleased
from tests.checkers.history import History
from tests.checkers.holders import check_holders
from tests.checkers.tampering import Tamper, codes_after, edit_fact, replace


def _second_run(history: History) -> None:
    run = history.runs[0]
    history.runs.append(replace(run, job_id="OTHER", began_ns=run.began_ns + 1))


def _shares_beyond_a_whole(history: History) -> None:
    history.runs[0].gpu_milli = 600
    history.runs.append(replace(history.runs[0], job_id="OTHER", gpu_milli=401))


def _never_ends(history: History) -> None:
    history.runs[0].ended_ns = None


def _not_released(history: History) -> None:
    edit_fact(history, RankReleased, lambda _: ())


def _released_again(history: History) -> None:
    edit_fact(history, RankReleased, lambda fact: (fact, fact))


def _same_device(history: History) -> None:
    def change(fact: LeaseGranted) -> tuple[LeaseGranted]:
        ranks = tuple(RankPlacement(p.rank, "n1", ("n1-a",)) for p in fact.ranks)
        return (replace(fact, ranks=ranks),)

    edit_fact(history, LeaseGranted, change, nth=1)


def _all_processors(history: History) -> None:
    edit_fact(history, LeaseGranted, lambda fact: (replace(fact, cpu_milli=8_001),))


def _cordoned(history: History) -> None:
    edit_fact(history, NodeImaged, lambda fact: (replace(fact, cordoned=True),))


def _unhealthy(history: History) -> None:
    edit_fact(history, NodeImaged, lambda fact: (replace(fact, unhealthy=("n1-a",)),))


def _no_such_node(history: History) -> None:
    edit_fact(history, NodeImaged, lambda _: ())


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (_second_run, "device_shared"),
        (_shares_beyond_a_whole, "device_shared"),
        (_never_ends, "device_shared"),
        (_not_released, "device_leased_twice"),
        (_released_again, "released_unheld"),
        (_same_device, "device_leased_twice"),
        (_all_processors, "node_overcommitted"),
        (_cordoned, "granted_on_closed_node"),
        (_unhealthy, "device_unusable"),
        (_no_such_node, "granted_nowhere"),
    ],
)
def test_a_device_with_two_holders_is_found(tamper: Tamper, code: str) -> None:
    assert code in codes_after(check_holders, tamper)


def test_two_halves_fill_a_device_and_one_run_may_begin_as_the_other_ends() -> None:
    def tamper(history: History) -> None:
        first = history.runs[0]
        first.gpu_milli = 500
        history.runs.append(replace(first, job_id="OTHER", began_ns=first.began_ns + 1))
        history.runs.append(replace(first, job_id="NEXT", began_ns=first.ended_ns))
        history.runs[-1].ended_ns = history.runs[-1].began_ns + 1

    assert codes_after(check_holders, tamper) == set()
