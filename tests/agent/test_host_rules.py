"""What does the host see to by itself, whatever the scheduler believes?

Devices are used one after another, and what was told is told again when it may be lost.
"""

from __future__ import annotations

from typing import Any

from agent.builders import a_node, an_end, an_order, ordered
from penstock_contracts.leases import Exited, Released
from penstock_node_agent.core import events
from penstock_node_agent.core.instructions import Spawn, Stop
from penstock_node_agent.core.machine import handle
from penstock_node_agent.core.state import State, check


def follow(state: State, *given: events.AnyEvent) -> list[Any]:
    """Everything that the events lead to; the state's invariants hold after each."""
    todo: list[Any] = []
    for event in given:
        todo += handle(state, event)
        check(state)
    return todo


def test_what_was_granted_before_and_is_not_known_is_over_and_not_begun() -> None:
    state = a_node()
    follow(state, ordered(as_of=1_000_000, full=True))
    old = an_order(devices=("D0",))
    assert follow(state, ordered(old, as_of=1_000_001, full=True)) == []
    exited, released = state.reports[-2:]
    assert isinstance(exited, Exited) and exited.reason == "lost"
    assert isinstance(released, Released) and old.key in state.held_keys()
    follow(state, ordered(as_of=1_000_002, full=True))
    assert not state.leases


def test_after_an_outage_the_node_describes_itself_once_more() -> None:
    state = a_node()
    first = state.reports[0]
    follow(state, events.ReportsDelivered(count=len(state.reports)), events.Reconnected())
    assert state.reports == [first]
    follow(state, events.Reconnected())
    assert state.reports == [first], "not twice"


def test_a_lease_waits_on_the_host_until_its_device_is_free() -> None:
    state = a_node()
    first, second = an_order(devices=("D0",)), an_order(devices=("D0", "D1"))
    follow(state, ordered(first), events.Began(at_ns=20, key=first.key))
    todo = follow(state, ordered(second, as_of=2, full=True))
    assert todo == [Stop(first.key, "cancelled", first.grace_s)]
    todo = follow(state, an_end(first, at_ns=30))
    assert Spawn(second.key) in todo


def test_shares_of_a_device_that_fit_together_do_not_wait() -> None:
    state = a_node()
    first, second, third = (an_order(devices=("D0",), gpu_milli=400) for _ in range(3))
    todo = follow(state, ordered(first, second, third))
    assert todo == [Spawn(first.key), Spawn(second.key)]


def test_everything_that_was_told_of_a_lease_is_told_again_when_all_is_sent() -> None:
    state = a_node()
    order = an_order()
    follow(state, ordered(order), events.Began(at_ns=20, key=order.key), an_end(order, at_ns=30))
    told = list(state.reports)
    follow(state, events.ReportsDelivered(count=len(told)), ordered(order, as_of=2, full=True))
    assert state.reports == told[1:], "all but the description"
    follow(state, ordered(order, as_of=3, full=True))
    assert state.reports == told[1:], "not while it is still owed"
