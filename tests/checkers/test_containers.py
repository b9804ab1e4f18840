"""Does the checker see what containers leave, take along or are said to have died of?"""

from __future__ import annotations

import pytest

from penstock_contracts.journal import JobSubmitted, RankExited
from penstock_contracts.work import Container
from tests.checkers.containers import check_containers
from tests.checkers.history import History
from tests.checkers.tampering import Tamper, codes_after, edit_fact, replace


def _left(history: History) -> None:
    assert history.ending is not None
    first, *others = history.ending.agents
    history.ending.agents = (replace(first, containers=("penstock-1",)), *others)


def _of_others_gone(history: History) -> None:
    assert history.ending is not None
    first, *others = history.ending.agents
    history.ending.agents = (replace(first, others_gone=("somebody",)), *others)


def _killed_for_memory(history: History) -> None:
    history.runs[0].out_of_memory = True


def _ends_as(history: History, reason: str) -> None:
    edit_fact(history, RankExited, lambda fact: (replace(fact, reason=reason),))


def _in_an_image(history: History, image: str) -> None:
    history.unknown_images = ("nowhere",)

    def change(fact: JobSubmitted) -> tuple[JobSubmitted]:
        return (replace(fact, spec=replace(fact.spec, container=Container(image=image))),)

    edit_fact(history, JobSubmitted, change)


def _said_not_to_be_there(history: History) -> None:
    _in_an_image(history, "app")
    _ends_as(history, "prepare_failed")


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (_left, "container_left"),
        (_of_others_gone, "others_container"),
        (_killed_for_memory, "untrue_memory"),
        (lambda history: _ends_as(history, "out_of_memory"), "untrue_memory"),
        (lambda history: _ends_as(history, "prepare_failed"), "untrue_preparation"),
        (_said_not_to_be_there, "untrue_preparation"),
        (lambda history: _in_an_image(history, "nowhere"), "ran_without_image"),
    ],
)
def test_what_is_not_so_is_found(tamper: Tamper, code: str) -> None:
    assert codes_after(check_containers, tamper) == {code}


def _truly_out_of_memory(history: History) -> None:
    _killed_for_memory(history)
    _ends_as(history, "out_of_memory")


def _cancelled_meanwhile(history: History) -> None:
    _killed_for_memory(history)
    _ends_as(history, "cancelled")


def _nowhere_to_be_had(history: History) -> None:
    _in_an_image(history, "nowhere")
    del history.runs[0]
    _ends_as(history, "prepare_failed")


@pytest.mark.parametrize("tamper", [_truly_out_of_memory, _cancelled_meanwhile, _nowhere_to_be_had])
def test_what_is_so_is_not(tamper: Tamper) -> None:
    assert codes_after(check_containers, tamper) == set()
