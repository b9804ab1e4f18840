"""Does the packer stay true whatever comes, goes and changes?"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings

from packing.builders import SHAPES, History, a_packer, histories, twin_of
from penstock_scheduler.core.packing.considered import consider
from penstock_scheduler.core.packing.packer import Choice, Packer
from penstock_scheduler.core.packing.parts import Parts, parts_in, terms_of
from penstock_scheduler.core.packing.policies import POLICIES
from penstock_scheduler.core.packing.shapes import PackShape

EXAMPLES = 60
SCORED = [name for name in POLICIES if name != "random"]


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=EXAMPLES, deadline=None)
@given(histories)
def test_nothing_is_ever_committed_twice(policy: str, steps: list[tuple[str, object]]) -> None:
    history = History(a_packer(policy))
    for step in steps:
        history.apply(*step)
        for name in history.packer.fleet.columns:
            room = history.packer.fleet.room(name)
            assert min(room.cpu_milli, room.memory_mib, *room.free_milli, 0) == 0
            assert max(room.free_milli, default=0) <= 1000
    taken: Counter[tuple[str, int]] = Counter()
    for choice, shape in history.held:
        assert len(set(choice.devices)) == shape.gpus
        for device in choice.devices:
            taken[choice.node, device] += shape.gpu_milli
    for (name, device), milli in taken.items():
        assert history.packer.fleet.room(name).free_milli[device] == 1000 - milli


@pytest.mark.parametrize("policy", SCORED)
@settings(max_examples=EXAMPLES, deadline=None)
@given(histories)
def test_what_is_kept_is_what_would_be_computed_anew(
    policy: str, steps: list[tuple[str, object]]
) -> None:
    history = History(a_packer(policy))
    for step in steps:
        history.apply(*step)
    packer, twin = history.packer, twin_of(history.packer)
    assert (packer.whole, packer.usable) == (twin.whole, twin.usable)
    assert packer.fragmented_milli() == twin.fragmented_milli()
    for shape in SHAPES:
        assert packer.ranking(shape, 100) == twin.ranking(shape, 100)
        found = packer.choose(shape)
        assert found == twin.choose(shape)
        assert [found] == [choice for _, choice in packer.ranking(shape, 1)] or found is None


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=EXAMPLES, deadline=None)
@given(histories)
def test_machine_code_and_numpy_choose_the_same(
    policy: str, steps: list[tuple[str, object]]
) -> None:
    told = []
    for machine_code in (True, False, True):
        history = History(a_packer(policy, machine_code=machine_code))
        for step in steps:
            history.apply(*step)
        told.append(history.story)
    assert told[0] == told[1] == told[2]


def parts_of(packer: Packer, shape: PackShape, choice: Choice) -> Parts:
    """Those of this place now."""
    return parts_in(packer.fleet.room(choice.node), shape, choice.devices, terms_of(packer))


@pytest.mark.parametrize("policy", SCORED)
@settings(max_examples=EXAMPLES, deadline=None)
@given(histories)
def test_what_was_considered_is_told_later_as_it_was(
    policy: str, steps: list[tuple[str, object]]
) -> None:
    history = History(a_packer(policy))
    packer = history.packer
    kept = []
    for step in steps:
        history.apply(*step)
        for shape in SHAPES:
            closed = packer.mask(["n1"])
            able = len(packer.ranking(shape, 100, closed))
            best = packer.ranking(shape, 3, closed)
            parts = [parts_of(packer, shape, choice) for _, choice in best]
            kept.append((consider(packer, shape, 3, closed), able, best, parts))
    for considered, able, best, parts in kept:
        places = considered.places()
        assert considered.able == able
        assert [(place.score, place.choice) for place in places] == best
        if policy == "penstock":
            assert [place.parts for place in places] == parts
            assert [sum(one) for one in parts] == [score for score, _ in best]
        else:
            assert all(place.parts is None for place in places)


@settings(max_examples=EXAMPLES, deadline=None)
@given(histories)
def test_the_parts_of_a_score_add_up_to_it(steps: list[tuple[str, object]]) -> None:
    history = History(a_packer())
    for step in steps:
        history.apply(*step)
    for shape in SHAPES:
        for score, choice in history.packer.ranking(shape, 10):
            assert parts_of(history.packer, shape, choice).score == score
