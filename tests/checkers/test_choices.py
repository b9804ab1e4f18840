"""Does the checker see a program that got something else than was granted?"""

from __future__ import annotations

import pytest

from penstock_contracts.asks import Alternative
from penstock_contracts.journal import JobSubmitted, LeaseGranted
from tests.checkers.choices import check_choices
from tests.checkers.history import History
from tests.checkers.tampering import Tamper, codes_after, edit_fact, replace


def _choice(history: History) -> None:
    """The single job has taken its alternative: two A100."""
    other = Alternative(gpus=2, gpu_models=("A100",))
    edit_fact(
        history, JobSubmitted, lambda f: (replace(f, spec=replace(f.spec, alternatives=(other,))),)
    )
    edit_fact(history, LeaseGranted, lambda f: (replace(f, alternative=1),))
    run = history.runs[0]
    run.alternative, run.devices, run.models = 1, ("n1-a", "n1-b"), ("A100", "A100")


def _told_another(history: History) -> None:
    _choice(history)
    history.runs[0].alternative = 0


def _one_device(history: History) -> None:
    _choice(history)
    history.runs[0].devices = ("n1-a",)


def _other_models(history: History) -> None:
    _choice(history)
    history.runs[0].models = ("A100", "H100")


def _nobody_looked(history: History) -> None:
    _choice(history)
    history.runs[0].models = ()


@pytest.mark.parametrize(
    ("tamper", "codes"),
    [
        (_choice, set()),
        (_nobody_looked, set()),
        (_told_another, {"ran_as_other_choice"}),
        (_one_device, {"ran_with_other_devices"}),
        (_other_models, {"ran_with_other_devices"}),
    ],
)
def test_what_ran_is_laid_beside_the_choice_that_was_granted(
    tamper: Tamper, codes: set[str]
) -> None:
    assert codes_after(check_choices, tamper) == codes
