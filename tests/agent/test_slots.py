"""When is a slot used again, and when never?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.builders import a_node, an_end, an_order, ordered, started
from penstock_node_agent.core import events
from penstock_node_agent.core.instructions import Clear, Forget, Instruction, Ship
from penstock_node_agent.core.machine import handle
from penstock_node_agent.core.state import State, check
from penstock_node_agent.reaper.disk import Disk
from penstock_node_agent.workplace.slots import Slots


def follow(state: State, *given: events.AnyEvent) -> list[Instruction]:
    todo: list[Instruction] = []
    for event in given:
        todo = handle(state, event)
        check(state)
    return todo


def run_one(state: State, as_of: int, **end: int) -> int:
    """A job that has ended and told all; returns its slot."""
    order = an_order()
    follow(state, ordered(order, as_of=as_of), events.Began(at_ns=20, key=order.key))
    slot = state.spools[order.key].slot
    follow(state, an_end(order, at_ns=30, **end))
    if end:
        stored = events.LogsDelivered(key=order.key, stream="stdout", offset=end["out_bytes"])
        follow(state, stored)
    return slot


def test_a_slot_is_not_given_away_before_its_output_is_stored() -> None:
    state, first, second = a_node(), an_order(), an_order()
    follow(state, ordered(first), events.Began(at_ns=20, key=first.key))
    todo = follow(state, an_end(first, at_ns=30, out_bytes=5))
    assert todo == [Ship(first.key), Forget(first.key)]
    follow(state, ordered(second, as_of=2))
    assert state.spools[second.key].slot == 1
    stored = events.LogsDelivered(key=first.key, stream="stdout", offset=5)
    assert follow(state, stored) == [Clear(0)]


def test_a_slot_nobody_wrote_to_is_used_again_once_it_is_empty() -> None:
    state = a_node()
    assert run_one(state, 1) == 0
    assert run_one(state, 2) == 1, "not before it is known to be empty"
    follow(state, events.SlotCleared(slot=0))
    assert run_one(state, 3) == 0


def test_a_slot_into_which_what_is_left_may_have_written_is_not_used_again() -> None:
    """Its end was told when something of it was still there, which nobody has heard since."""
    state, order = a_node(), an_order()
    follow(state, ordered(order), events.Began(at_ns=20, key=order.key))
    follow(state, an_end(order, at_ns=30, gone_ns=None))
    todo = follow(state, events.Gone(at_ns=40, key=order.key))
    assert Clear(0) in todo
    follow(state, events.SlotCleared(slot=0))
    assert run_one(state, 2) == 1


def test_a_slot_that_has_had_output_is_not_used_again() -> None:
    state = a_node()
    assert run_one(state, 1, out_bytes=5) == 0
    follow(state, events.SlotCleared(slot=0))
    assert run_one(state, 2) == 1
    assert not state.slots_free


def test_a_slot_is_told_to_be_cleared_until_it_is() -> None:
    state = a_node()
    run_one(state, 1)
    run_one(state, 2, out_bytes=5)
    ready = events.ReaperReady(at_ns=40)
    assert follow(state, ready) == [Clear(0, silent=True), Clear(1)]
    assert follow(state, events.SlotCleared(slot=0), ready) == [Clear(1)]


def test_what_a_lost_attempt_may_have_written_is_not_taken_for_nothing() -> None:
    state, order = a_node(), an_order()
    follow(state, ordered(order), events.Began(at_ns=20, key=order.key))
    assert Clear(0) in follow(state, events.ReaperReady(at_ns=40))


def test_after_a_boot_only_slots_that_a_spool_names_are_trusted() -> None:
    state, held = a_node(), an_order()
    run_one(state, 1)
    follow(state, events.SlotCleared(slot=0))
    follow(state, ordered(held, as_of=2), events.Began(at_ns=20, key=held.key))
    assert state.spools[held.key].slot == 0
    run_one(state, 3)
    follow(state, events.SlotCleared(slot=1))
    sizes = {held.key: (5, 0)}
    follow(state, started(boot_id="B2", spool_bytes=sizes, slots=(0, 1, 7)))
    ready = follow(state, events.ReaperReady(at_ns=40))
    assert [todo for todo in ready if isinstance(todo, Clear)] == [Clear(1), Clear(7)]
    assert run_one(state, 4) == 8, "no number of before is given again"


def test_a_used_slot_is_gone_and_a_silent_one_is_left_empty(tmp_path: Path) -> None:
    slots = Slots(Disk(), str(tmp_path))
    for slot in (0, 1, 2):
        slots.make(slot)
        Path(slots.spool(slot, "stdout")).write_text("" if slot == 0 else "x")
    (Path(slots.work(2)) / "left").touch()
    assert slots.found() == (0, 1, 2)
    assert slots.clear(0, silent=True)
    assert slots.clear(1, silent=False)
    assert not slots.clear(2, silent=False)
    slots.clear_slowly(2, silent=False)
    assert slots.found() == (0,)
    (Path(slots.work(0)) / "left").touch()
    assert not slots.clear(0, silent=True)
    slots.clear_slowly(0, silent=True)
    assert slots.clear(0, silent=True)
    slots.make(1)
    assert slots.found() == (0, 1), "a slot that is gone can be made"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a directory away")
def test_a_directory_that_another_user_owned_is_made_anew(tmp_path: Path) -> None:
    slots = Slots(Disk(), str(tmp_path))
    slots.make(0)
    os.chown(slots.work(0), 65534, 65534)
    assert not slots.clear(0, silent=True), "its former owner could still write into it"
    slots.clear_slowly(0, silent=True)
    assert Path(slots.work(0)).stat().st_uid == os.geteuid()
    assert slots.clear(0, silent=True)
