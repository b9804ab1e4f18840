"""Does the checker see a gang that was placed partly, or whose ranks did not start together?"""

from __future__ import annotations

import pytest

from penstock_contracts.journal import GangReady, LeaseGranted, RankPrepared
from tests.checkers.gangs import check_gangs
from tests.checkers.history import History
from tests.checkers.tampering import Tamper, codes_after, edit_fact, replace


def _one_rank_missing(history: History) -> None:
    edit_fact(history, LeaseGranted, lambda fact: (replace(fact, ranks=fact.ranks[:1]),), nth=1)


def _one_rank_twice(history: History) -> None:
    def change(fact: LeaseGranted) -> tuple[LeaseGranted]:
        return (replace(fact, ranks=(fact.ranks[0], fact.ranks[0])),)

    edit_fact(history, LeaseGranted, change, nth=1)


def _never_ready(history: History) -> None:
    edit_fact(history, GangReady, lambda _: ())


def _one_not_prepared(history: History) -> None:
    edit_fact(history, RankPrepared, lambda _: ())


def _starts_early(history: History) -> None:
    gang = next(run for run in history.runs if run.rank == 1)
    gang.began_ns -= 1_000_000_000


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (_one_rank_missing, "placed_partly"),
        (_one_rank_twice, "placed_partly"),
        (_never_ready, "rank_before_gang"),
        (_one_not_prepared, "gang_ready_early"),
        (_starts_early, "rank_before_gang"),
    ],
)
def test_a_gang_that_is_not_whole_is_found(tamper: Tamper, code: str) -> None:
    assert codes_after(check_gangs, tamper) == {code}
