"""Does the simulation find planted bugs?"""

from __future__ import annotations

import os

import pytest

from tests.mutations.hunt import Catch, hunt_all, table_of
from tests.mutations.mutation import Mutation
from tests.mutations.table import FAST, MUTATIONS


@pytest.mark.parametrize("mutation", FAST, ids=lambda mutation: mutation.name)
def test_a_coarse_bug_is_found_within_a_few_seeds(
    mutation: Mutation, catches: dict[str, Catch]
) -> None:
    assert catches[mutation.name].seed is not None


@pytest.mark.long
def test_every_planted_bug_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    catches = list(hunt_all(MUTATIONS, at_once=len(os.sched_getaffinity(0))))
    with capsys.disabled():
        print(f"\n{table_of(catches)}")
    assert [catch.mutation.name for catch in catches if catch.seed is None] == []


def test_the_table_says_who_found_which_bug_with_which_seed() -> None:
    found = Catch(
        mutation=MUTATIONS[0], seed=7, seconds=2.5, checker="once", code="ran_twice", sentence=""
    )
    missed = Catch(mutation=MUTATIONS[1], seed=None, seconds=800.0)
    head, *rows = table_of([found, missed]).splitlines()
    assert head.split() == ["mutation", "found", "by", "seed", "seconds"]
    assert rows[0].startswith(MUTATIONS[0].name)
    assert rows[0].split()[-4:] == ["once:", "ran_twice", "7", "2.5"]
    assert "NOT FOUND" in rows[1]
