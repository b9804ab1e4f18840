"""Does the fuzzer see what it is to see? Planted faults, one for each property."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest

from fuzz.mutation import Given
from fuzz.runner import Violation, check_refusal, fuzz
from penstock_contracts.errors import Refusal

INPUTS = 2_000


Fault = Callable[["Counting", Given], None]


class Counting:
    """Takes {"gpus": n, "name": …} with n from 0 to 8; `fault` may do worse."""

    name = "counting"
    messages = ()
    words: Sequence[str | int] = (5, "n1")
    pure = False

    def __init__(self, fault: Fault = lambda target, given: None) -> None:
        self.fault = fault
        self.state: list[int] = []
        self.seen: list[Given] = []

    def reset(self) -> None:
        self.state = []

    def valid(self) -> Sequence[Given]:
        return [Given("request.acme", b'{"gpus":1,"name":"x","env":{"A":"b"}}')]

    def digest(self) -> object:
        return tuple(self.state)

    def give(self, given: Given) -> bool:
        self.seen.append(given)
        self.fault(self, given)
        try:
            gpus = msgspec.json.decode(given.payload)["gpus"]
        except (ValueError, RecursionError, LookupError, TypeError):
            return False
        if not (type(gpus) is int and 0 <= gpus <= 8):
            return False
        self.state.append(gpus)
        return True


def negative(given: Given) -> bool:
    return b'"gpus":-' in given.payload


def test_a_sound_target_passes_and_both_outcomes_are_met() -> None:
    tally = fuzz(Counting(), 1, INPUTS)
    assert tally.inputs == INPUTS
    assert tally.accepted > INPUTS // 10
    assert tally.refused > INPUTS // 10


def test_the_same_seed_gives_the_same_inputs_and_another_seed_others() -> None:
    runs = []
    for seed in (1, 1, 2):
        target = Counting()
        fuzz(target, seed, 500)
        runs.append(target.seen)
    assert runs[0] == runs[1] != runs[2]


def test_a_crash_is_found_and_told_with_its_shortest_input_and_seed() -> None:
    def crash(target: Counting, given: Given) -> None:
        if negative(given):
            raise OverflowError("too small")

    with pytest.raises(Violation) as caught:
        fuzz(Counting(crash), 7, INPUTS)
    story = str(caught.value)
    assert "seed 7" in story and "OverflowError: too small" in story
    assert '"gpus":-' in story and "env" not in story and "before:" not in story


def test_a_refused_input_that_changes_the_state_is_found() -> None:
    def change(target: Counting, given: Given) -> None:
        if negative(given):
            target.state.append(-1)

    with pytest.raises(Violation, match="it was refused, and changed the state"):
        fuzz(Counting(change), 1, INPUTS)


def test_a_crash_that_needs_what_came_before_is_told_with_that_alone() -> None:
    def crash(target: Counting, given: Given) -> None:
        if negative(given) and 5 in target.state:
            raise OverflowError("both")

    with pytest.raises(Violation) as caught:
        fuzz(Counting(crash), 1, 20_000)
    assert str(caught.value).count("before:") == 1


@pytest.mark.parametrize(
    "refusal", [None, Refusal("no_such_code", "sorry"), Refusal("invalid_field", " ")]
)
def test_a_refusal_without_a_known_code_or_a_sentence_is_a_violation(
    refusal: Refusal | None,
) -> None:
    with pytest.raises(Violation):
        check_refusal(refusal)
