"""What follows from each event, and what does not?"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agent.builders import a_node, an_end, an_order, ordered, started
from penstock_contracts.leases import (
    PREPARE,
    RUN,
    STOP,
    Declined,
    Described,
    Exited,
    NodeDesired,
    Prepared,
    Rendezvous,
)
from penstock_contracts.nodes import Device
from penstock_node_agent.core import events
from penstock_node_agent.core.instructions import Clear, FindPort, Forget, Ship, Spawn, Stop
from penstock_node_agent.core.machine import changes, handle, judge
from penstock_node_agent.core.state import State, check
from penstock_node_agent.core.usage import batch_now, next_batch

SECOND_NS = 1_000_000_000


def follow(state: State, *given: events.AnyEvent) -> list[Any]:
    """Everything that the events lead to; the state's invariants hold after each."""
    todo: list[Any] = []
    for event in given:
        todo += handle(state, event)
        check(state)
    return todo


def kinds(state: State) -> list[str]:
    return [type(item).__name__ for item in state.reports if not isinstance(item, Described)]


def test_a_single_rank_goes_straight_to_run_and_reports_in_order() -> None:
    state, order = a_node(), an_order(devices=("D0",))
    assert follow(state, ordered(order)) == [Spawn(order.key)]
    assert kinds(state) == [], "nothing is told before the reaper has begun"
    assert follow(state, events.Began(at_ns=20 * SECOND_NS, key=order.key)) == []
    end = an_end(order, at_ns=21 * SECOND_NS, code=7)
    assert follow(state, end) == [Clear(0, silent=True), Forget(order.key)]
    assert kinds(state) == ["Preparing", "Started", "Exited", "Released"]
    exited = state.reports[-2]
    assert isinstance(exited, Exited)
    assert (exited.exit_code, exited.segments) == (7, 1)
    assert exited.at_ms - (exited.started_ms or 0) == 1_000
    (segment,) = state.usage
    assert (segment.t0_ms, segment.t1_ms, segment.last) == (exited.started_ms, exited.at_ms, True)
    assert state.counters["D0"].running_milli_ms == 1_000 * 1_000


def test_the_axis_of_what_runs_does_not_move_whatever_is_said_of_its_grant_later() -> None:
    state, order = a_node(), an_order(devices=("D0",))
    follow(state, ordered(order), events.Began(at_ns=20 * SECOND_NS, key=order.key))
    later = msgspec.structs.replace(order, granted_ns=order.granted_ns + 26 * SECOND_NS)
    follow(state, ordered(later, as_of=2), an_end(order, at_ns=21 * SECOND_NS))
    (segment,) = state.usage
    assert segment.t1_ms - segment.t0_ms == 1_000


def test_exited_comes_before_released_when_leftovers_take_time() -> None:
    state, order = a_node(), an_order()
    follow(state, ordered(order), events.Began(at_ns=20, key=order.key))
    assert follow(state, an_end(order, at_ns=30, gone_ns=None)) == []
    assert kinds(state) == ["Preparing", "Started", "Exited"]
    gone = events.Gone(at_ns=40, key=order.key)
    assert follow(state, gone) == [Clear(0), Forget(order.key)]
    assert kinds(state)[-1] == "Released"
    assert follow(state, gone) == [Forget(order.key)], "a repeat is only forgotten again"


def test_ranks_prepare_and_wait_and_rank_0_looks_for_a_port() -> None:
    state = a_node()
    first = an_order(phase=PREPARE, ranks=2)
    second = msgspec.structs.replace(first, rank=1)
    assert follow(state, ordered(first, second)) == [FindPort(first.key)]
    follow(state, events.PortFound(at_ns=11, key=first.key, port=21_000))
    assert kinds(state) == ["Preparing", "Prepared", "Preparing", "Prepared"]
    told = [item for item in state.reports if isinstance(item, Prepared)]
    assert [item.rendezvous for item in told] == [None, Rendezvous("10.0.0.1", 21_000)]
    assert state.ports_taken() == {21_000}
    run = [msgspec.structs.replace(each, phase=RUN) for each in (first, second)]
    assert follow(state, ordered(*run, as_of=2)) == [Spawn(first.key), Spawn(second.key)]


def test_no_port_is_a_refusal() -> None:
    state, order = a_node(), an_order(phase=PREPARE, ranks=2)
    follow(state, ordered(order), events.PortFound(at_ns=11, key=order.key, port=None))
    (item,) = [item for item in state.reports if isinstance(item, Declined)]
    assert item.code == "no_port"
    run = msgspec.structs.replace(order, phase=RUN)
    assert follow(state, ordered(run, as_of=2)) == [], "what was declined is not begun"


@pytest.mark.lesson(6)
@pytest.mark.parametrize(
    ("uuid", "code"), [("D9", "device_unknown"), ("SICK", "device_unhealthy"), ("D0", None)]
)
def test_only_devices_that_are_there_and_well_are_used(uuid: str, code: str | None) -> None:
    state, order = a_node(Device(uuid="SICK", index=9, model="X", healthy=False)), an_order()
    todo = follow(state, ordered(msgspec.structs.replace(order, devices=(uuid,))))
    declined = [item.code for item in state.reports if isinstance(item, Declined)]
    assert (declined, todo) == (([], [Spawn(order.key)]) if code is None else ([code], []))


@pytest.mark.lesson(17)
def test_fractions_of_one_device_are_counted_together() -> None:
    state = a_node()
    orders = [an_order(devices=("D0",), gpu_milli=milli) for milli in (250, 500)]
    follow(state, ordered(*orders))
    for order in orders:
        follow(state, events.Began(at_ns=20 * SECOND_NS, key=order.key))
    follow(state, events.SegmentsCut(at_ns=22 * SECOND_NS))
    follow(state, an_end(orders[0], at_ns=23 * SECOND_NS))
    assert state.counters["D0"].running_milli_ms == 3_000 * 250 + 2_000 * 500


@pytest.mark.parametrize(
    ("desired", "ok", "new"),
    [
        (NodeDesired(as_of=6, base=5), True, True),
        (NodeDesired(as_of=5, base=5), True, True),
        (NodeDesired(as_of=5, base=3), True, False),
        (NodeDesired(as_of=5, full=True), True, True),
        (NodeDesired(as_of=7, base=6), False, False),
        (NodeDesired(as_of=4, base=5), False, True),
        (NodeDesired(as_of=4, full=True), False, True),
    ],
)
def test_a_desired_state_is_taken_over_its_base_and_never_backwards(
    desired: NodeDesired, ok: bool, new: bool
) -> None:
    state = a_node()
    follow(state, ordered(as_of=5))
    assert judge(state, desired).ok is ok
    assert not ok or changes(state, desired) is new
    assert judge(state, desired).as_of == (desired.as_of if ok else 5)


@pytest.mark.lesson(2)
def test_nothing_is_taken_that_was_meant_for_another_boot() -> None:
    state = a_node()
    assert judge(state, NodeDesired(as_of=9, full=True, boot_id=state.boot_id)).ok
    assert not judge(state, NodeDesired(as_of=9, full=True, boot_id="before")).ok


@pytest.mark.lesson(7)
def test_nothing_is_taken_before_the_reaper_has_told_what_runs() -> None:
    state = State(node="n1")
    follow(state, started())
    assert not judge(state, NodeDesired(as_of=1, full=True)).ok
    follow(state, events.ReaperReady(at_ns=3))
    assert judge(state, NodeDesired(as_of=1, full=True)).ok
    follow(state, events.NodeStopping(at_ns=4))
    assert not judge(state, NodeDesired(as_of=1, full=True)).ok


@pytest.mark.lesson(2)
def test_a_newer_lease_of_the_same_rank_fences_the_older() -> None:
    state, order = a_node(), an_order(lease_seq=50)
    follow(state, ordered(order), events.Began(at_ns=20, key=order.key))
    newer = msgspec.structs.replace(order, lease_seq=60, attempt=2)
    older = msgspec.structs.replace(order, lease_seq=40)
    assert follow(state, ordered(older, as_of=2)) == []
    todo = follow(state, ordered(newer, as_of=3))
    assert todo == [Stop(order.key, "cancelled", 10), Spawn(newer.key)]
    assert state.held_keys() == [newer.key]


def test_a_repeated_order_does_not_run_an_ended_lease_again() -> None:
    state, order = a_node(), an_order()
    follow(state, ordered(order), events.Began(at_ns=20, key=order.key), an_end(order, at_ns=30))
    assert follow(state, ordered(order, as_of=2, full=True)) == []
    assert state.held_keys() == [order.key]
    follow(state, ordered(as_of=3, dropped=(order.key,)))
    assert state.held_keys() == [] and not state.leases and not state.current


def test_a_stop_reaches_what_runs_and_ends_what_waits() -> None:
    state = a_node()
    running, waiting = an_order(), an_order(phase=PREPARE, ranks=2, rank=1)
    follow(state, ordered(running, waiting), events.Began(at_ns=20, key=running.key))
    stops = [
        msgspec.structs.replace(each, phase=STOP, stop_reason="preempted")
        for each in (running, waiting)
    ]
    stop = Stop(running.key, "preempted", 10)
    assert follow(state, ordered(*stops, as_of=2)) == [stop]
    assert follow(state, ordered(*stops, as_of=3)) == [], "asked once"
    assert [item.reason for item in state.reports if isinstance(item, Exited)] == ["preempted"]
    assert follow(state, events.ReaperReady(at_ns=40, keys=(running.key,)))[0] == stop


@pytest.mark.lesson(1)
def test_after_a_restart_only_what_the_reaper_does_not_know_is_started() -> None:
    state = a_node()
    known, unknown, stopped = an_order(), an_order(), an_order()
    follow(state, ordered(known, unknown, stopped))
    stop = msgspec.structs.replace(stopped, phase=STOP, stop_reason="cancelled")
    follow(state, ordered(stop, as_of=2), started(at_ns=50))
    todo = follow(state, events.ReaperReady(at_ns=60, keys=(known.key, "9/foreign/0")))
    spawns = [each for each in todo if isinstance(each, Spawn)]
    assert spawns == [Spawn(unknown.key)]
    assert Stop("9/foreign/0", "cancelled", 0) in todo
    assert [item.reason for item in state.reports if isinstance(item, Exited)] == ["cancelled"]


def test_a_lost_attempt_is_counted_as_far_as_it_is_known() -> None:
    state, order = a_node(), an_order(devices=("D0",))
    follow(state, ordered(order), events.Began(at_ns=20 * SECOND_NS, key=order.key))
    follow(state, events.SegmentsCut(at_ns=25 * SECOND_NS))
    lost = an_end(order, at_ns=20 * SECOND_NS, reason="lost", code=None, gone_ns=90 * SECOND_NS)
    follow(state, lost)
    (exited,) = [item for item in state.reports if isinstance(item, Exited)]
    assert (exited.reason, exited.segments, len(state.usage)) == ("lost", 1, 1)
    assert exited.at_ms == state.usage[0].t1_ms
    assert state.counters["D0"].running_milli_ms == 5_000 * 1_000


def test_a_new_boot_ends_everything_and_counts_anew() -> None:
    state, order = a_node(), an_order(devices=("D0",))
    follow(state, ordered(order), events.Began(at_ns=20 * SECOND_NS, key=order.key))
    follow(state, events.SegmentsCut(at_ns=25 * SECOND_NS))
    size = {order.key: (10, 0)}
    todo = follow(state, started(boot_id="B2", at_ns=5, wall_ms=9_000, spool_bytes=size))
    assert todo == [Ship(order.key), Forget(order.key)] or todo == [Ship(order.key)]
    assert isinstance(state.reports[0], Described)
    assert kinds(state)[-2:] == ["Exited", "Released"]
    (exited,) = [item for item in state.reports if isinstance(item, Exited)]
    assert (exited.reason, exited.log_bytes["stdout"]) == ("lost", 10)
    former = next_batch(state, 6)
    assert former is not None and former.boot_id == "B1"
    assert [segment.seq for segment in former.segments] == [0]
    assert former.counters[0].running_milli_ms == 5_000 * 1_000
    follow(state, events.UsageDelivered(former=True))
    assert next_batch(state, 6) is None
    now = batch_now(state, 5 + 2 * SECOND_NS)
    assert (now.boot_id, now.counters[0].running_milli_ms) == ("B2", 0)
    assert (now.counters[0].since_ms, now.counters[0].upto_ms) == (9_000, 11_000)


@pytest.mark.lesson(18)
def test_an_end_stamped_before_a_cut_does_not_go_back() -> None:
    state, order = a_node(), an_order(devices=("D0",))
    follow(state, ordered(order), events.Began(at_ns=20 * SECOND_NS, key=order.key))
    follow(state, events.SegmentsCut(at_ns=25 * SECOND_NS), an_end(order, at_ns=24 * SECOND_NS))
    first, last = state.usage
    assert (last.t0_ms, last.t1_ms, last.last) == (first.t1_ms, first.t1_ms, True)


def test_usage_leaves_in_messages_that_the_broker_takes_and_counters_come_with_the_last() -> None:
    state = a_node()
    devices = tuple(f"D{number}-{'x' * 40}" for number in range(100))
    lease = an_order(devices=("D0",))
    follow(state, ordered(lease), events.Began(at_ns=20 * SECOND_NS, key=lease.key))
    for second in range(21, 221):
        follow(state, events.SegmentsCut(at_ns=second * SECOND_NS))
    state.usage = [msgspec.structs.replace(each, devices=devices) for each in state.usage]
    sizes, counted = [], []
    while (batch := next_batch(state, 300 * SECOND_NS)) is not None:
        sizes.append(len(msgspec.json.encode(batch)))
        counted.append(bool(batch.counters))
        follow(state, events.UsageDelivered(count=len(batch.segments)))
    assert max(sizes) < 1 << 20
    assert counted == [False] * (len(counted) - 1) + [True]
    assert len(counted) > 1
