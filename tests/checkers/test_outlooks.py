"""Does the checker see that a successor would choose other places?"""

from __future__ import annotations

import pytest

from tests.checkers.history import History
from tests.checkers.outlooks import check_outlooks
from tests.checkers.tampering import codes_after

SAME = ("n1 has room", "a job goes to n1")


@pytest.mark.parametrize(
    ("other", "codes"),
    [
        (SAME, set()),
        (("n1 has room", "a job goes to n2"), {"outlook_differs"}),
        (SAME[:1], {"outlook_differs"}),
    ],
)
def test_copies_that_would_go_on_otherwise_are_found(
    other: tuple[str, ...], codes: set[str]
) -> None:
    def tamper(history: History) -> None:
        assert history.ending is not None
        history.ending.outlooks = {"leader": SAME, "other": other}

    assert codes_after(check_outlooks, tamper) == codes


def test_of_a_mesh_that_has_not_drained_nobody_asks() -> None:
    def tamper(history: History) -> None:
        assert history.ending is not None
        history.ending.outlooks = {"leader": SAME, "other": ()}
        history.ending.drained_ns = None

    assert codes_after(check_outlooks, tamper) == set()
