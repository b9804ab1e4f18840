"""How does a lease live that needs something done before it begins and after it has ended?"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agent.builders import SECOND_NS, a_node, an_end, an_order, ordered, started
from penstock_contracts.leases import (
    PREPARE,
    RUN,
    STOP,
    Declined,
    Described,
    Exited,
    LeaseOrder,
    Released,
)
from penstock_contracts.nodes import Device
from penstock_contracts.work import Input, Output, Secret, StoredOutput
from penstock_node_agent.core import events
from penstock_node_agent.core.instructions import (
    Clear,
    FindPort,
    Finish,
    Forget,
    Ready,
    Spawn,
    Stop,
)
from penstock_node_agent.core.machine import handle
from penstock_node_agent.core.state import FINISHING, State, check

OUTPUT = Output(path="model", target="object:model")
STORED = StoredOutput(path="model", target="object:model", sha256="ab", bytes=3)
INPUTS = (Input(source="object:data", path="data"),)


def follow(state: State, *given: events.AnyEvent) -> list[Any]:
    """Everything that the events lead to; the state's invariants hold after each."""
    todo: list[Any] = []
    for event in given:
        todo += handle(state, event)
        check(state)
    return todo


def told(state: State) -> list[str]:
    return [type(item).__name__ for item in state.reports if not isinstance(item, Described)]


def exits(state: State) -> list[Exited]:
    return [item for item in state.reports if isinstance(item, Exited)]


def ready(order: LeaseOrder, **changes: Any) -> events.Readied:
    return events.Readied(at_ns=15 * SECOND_NS, key=order.key, **changes)


def began(order: LeaseOrder) -> events.Began:
    return events.Began(at_ns=20 * SECOND_NS, key=order.key)


def finished(order: LeaseOrder, at_s: int = 30, **changes: Any) -> events.Finished:
    return events.Finished(at_ns=at_s * SECOND_NS, key=order.key, **changes)


def running(state: State, order: LeaseOrder) -> None:
    follow(state, ordered(order), ready(order), began(order))


def test_what_a_job_needs_is_got_before_it_begins_and_it_says_that_it_prepares() -> None:
    state, order = a_node(), an_order(inputs=INPUTS)
    assert follow(state, ordered(order)) == [Ready(order.key)]
    assert told(state) == ["Preparing"]
    assert follow(state, ordered(order, as_of=2)) == [], "asked once"
    assert follow(state, ready(order)) == [Spawn(order.key)]
    assert follow(state, ready(order)) == [], "a repeat changes nothing"
    follow(state, began(order))
    assert told(state) == ["Preparing", "Started"]


def test_an_end_is_told_when_its_outputs_are_stored_and_the_release_behind_it() -> None:
    state, order = a_node(), an_order(outputs=(OUTPUT,), devices=("D0",))
    running(state, order)
    todo = follow(state, an_end(order, at_ns=22 * SECOND_NS))
    assert todo == [Finish(order.key), Forget(order.key)]
    assert told(state) == ["Preparing", "Started"]
    (segment,) = state.usage
    assert segment.last, "what is done after its end is not running time"
    assert follow(state, finished(order, outputs=(STORED,))) == [Clear(0, silent=True)]
    assert told(state)[-2:] == ["Exited", "Released"]
    (exited,) = exits(state)
    assert (exited.outputs, exited.exit_code, exited.reason) == ((STORED,), 0, "exited")
    assert exited.at_ms == segment.t1_ms
    assert follow(state, finished(order)) == []


@pytest.mark.parametrize(
    ("code", "reason", "message"),
    [(0, "output_failed", "there is no model"), (3, "exited", "")],
)
def test_a_required_output_that_is_missing_fails_what_went_well(
    code: int, reason: str, message: str
) -> None:
    state, order = a_node(), an_order(outputs=(OUTPUT,))
    running(state, order)
    follow(state, an_end(order, at_ns=22 * SECOND_NS, code=code))
    follow(state, finished(order, code="output_missing", message="there is no model"))
    (exited,) = exits(state)
    assert (exited.reason, exited.exit_code, exited.message) == (reason, code, message)


@pytest.mark.lesson(9)
def test_a_device_that_is_not_free_of_the_work_holds_the_release_not_the_end() -> None:
    state, order = State(node="n1"), an_order(devices=("D0",))
    follow(state, started(checks=True), events.ReaperReady(at_ns=2))
    assert follow(state, ordered(order)) == [Ready(order.key)]
    follow(state, ready(order), began(order))
    assert Finish(order.key) in follow(state, an_end(order, at_ns=22 * SECOND_NS))
    assert told(state)[-1] == "Exited"
    follow(state, finished(order, held={"D0": "400 MiB are in use"}))
    assert told(state)[-1] == "Exited"
    waiting = an_order(devices=("D0",))
    assert follow(state, ordered(waiting, as_of=2)) == []
    todo = follow(state, finished(order, 40))
    assert told(state)[-2:] == ["Released", "Preparing"] and Ready(waiting.key) in todo


def test_leftovers_hold_the_release_and_devices_are_looked_at_when_they_are_gone() -> None:
    state, order = State(node="n1"), an_order(devices=("D0",), outputs=(OUTPUT,))
    follow(state, started(checks=True), events.ReaperReady(at_ns=2))
    running(state, order)
    todo = follow(state, an_end(order, at_ns=22 * SECOND_NS, gone_ns=None))
    assert todo == [Finish(order.key)]
    follow(state, finished(order, outputs=(STORED,)))
    assert told(state)[-1] == "Exited"
    gone = events.Gone(at_ns=35 * SECOND_NS, key=order.key)
    assert follow(state, gone) == [Finish(order.key), Forget(order.key)]
    assert told(state)[-1] == "Exited"
    follow(state, finished(order, 36))
    assert told(state)[-1] == "Released" and len(exits(state)) == 1


def test_what_the_job_names_and_is_not_there_ends_it_by_its_own_fault() -> None:
    state, order = a_node(), an_order(inputs=INPUTS)
    follow(state, ordered(order))
    todo = follow(state, ready(order, code="no_such_file", message="there is no data"))
    assert todo == [Finish(order.key)] and told(state) == ["Preparing"]
    follow(state, finished(order))
    assert told(state) == ["Preparing", "Exited", "Released"]
    (exited,) = exits(state)
    assert exited.reason == "prepare_failed" and "there is no data" in exited.message
    assert exited.started_ms is None and not state.usage


def test_what_the_node_cannot_do_is_declined_and_the_job_is_not_blamed() -> None:
    state, order = a_node(), an_order(inputs=INPUTS)
    follow(state, ordered(order))
    follow(state, ready(order, code="no_broker", message="away", blame="node"), finished(order))
    assert told(state) == ["Preparing", "Declined"]


@pytest.mark.parametrize("how", ["stop", "drop", "stopping", "sick"])
@pytest.mark.parametrize("phase", [PREPARE, RUN])
@pytest.mark.parametrize("is_ready", [False, True])
def test_getting_ready_ends_at_any_moment_and_what_was_made_is_taken_away(
    how: str, phase: str, is_ready: bool
) -> None:
    state = a_node()
    order = an_order(devices=("D0",), phase=phase, inputs=INPUTS, ranks=2, rank=1)
    follow(state, ordered(order))
    if is_ready:
        follow(state, ready(order))
    spawned = is_ready and phase == RUN
    end: dict[str, events.AnyEvent] = {
        "stop": ordered(
            msgspec.structs.replace(order, phase=STOP, stop_reason="cancelled"), as_of=2
        ),
        "drop": ordered(as_of=2, dropped=(order.key,)),
        "stopping": events.NodeStopping(at_ns=16 * SECOND_NS),
        "sick": events.DevicesSeen(
            at_ns=16 * SECOND_NS, devices=(Device(uuid="D0", index=0, model="H100", healthy=False),)
        ),
    }
    todo = follow(state, end[how])
    if spawned:
        reason = "device_failed" if how == "sick" else "cancelled"
        assert todo == ([] if how == "stopping" else [Stop(order.key, reason, 10)])
        return
    assert todo == [Finish(order.key)]
    assert follow(state, ready(order)) == [], "too late"
    follow(state, finished(order))
    last = {
        "stop": ["Exited", "Released"],
        "drop": [],
        "stopping": ["Exited", "Released"],
        "sick": ["Declined"],
    }
    begun = ["Preparing", *(["Prepared"] if is_ready else [])]
    assert told(state) == begun + last[how]
    assert (order.key in state.leases) is (how != "drop")
    assert not state.spools and state.slots_dirty == {0: True}


@pytest.mark.lesson(1)
def test_an_agent_that_begins_anew_gets_ready_again_what_the_reaper_does_not_know() -> None:
    state = a_node()
    held, spawning, known = (an_order(inputs=INPUTS) for _ in range(3))
    gang = an_order(inputs=INPUTS, ranks=2, rank=1, phase=PREPARE)
    ended = an_order(outputs=(OUTPUT,))
    follow(state, ordered(held, spawning, known, gang, ended))
    follow(state, *(ready(each) for each in (spawning, known, gang, ended)))
    follow(state, began(ended), an_end(ended, at_ns=21 * SECOND_NS))
    follow(state, started(at_ns=50 * SECOND_NS))
    todo = follow(state, events.ReaperReady(at_ns=51 * SECOND_NS, keys=(known.key, ended.key)))
    keys = [each.key for each in todo if isinstance(each, Ready)]
    assert keys == [held.key, spawning.key, gang.key]
    assert [each.key for each in todo if isinstance(each, Finish)] == [ended.key]
    assert not any(isinstance(each, Spawn) for each in todo)
    run = msgspec.structs.replace(gang, phase=RUN)
    assert follow(state, ordered(run, as_of=2)) == [], "its secrets are not here"
    assert follow(state, ready(spawning), ready(gang)) == [Spawn(spawning.key), Spawn(gang.key)]


def test_what_is_stopped_while_it_is_got_ready_again_was_never_begun() -> None:
    state, order = a_node(), an_order(secrets=(Secret(name="key", env="KEY"),))
    follow(state, ordered(order), ready(order), started(at_ns=50 * SECOND_NS))
    follow(state, events.ReaperReady(at_ns=51 * SECOND_NS))
    stop = msgspec.structs.replace(order, phase=STOP, stop_reason="cancelled")
    assert follow(state, ordered(stop, as_of=2)) == [Finish(order.key)]
    follow(state, finished(order, 52))
    assert told(state) == ["Preparing", "Exited", "Released"]


def test_what_a_dead_reaper_ran_is_lost_and_its_devices_come_back_after_the_check() -> None:
    state, order = State(node="n1"), an_order(devices=("D0",))
    follow(state, started(checks=True), events.ReaperReady(at_ns=2))
    running(state, order)
    todo = follow(state, events.ReaperReady(at_ns=25 * SECOND_NS))
    assert Finish(order.key) in todo
    assert told(state)[-1] == "Exited" and exits(state)[0].reason == "lost"
    follow(state, finished(order))
    assert told(state)[-1] == "Released"


def test_a_new_boot_is_the_release_of_all_and_what_was_not_stored_has_failed() -> None:
    state = a_node()
    readying, ended = an_order(inputs=INPUTS), an_order(outputs=(OUTPUT,))
    optional = an_order(outputs=(msgspec.structs.replace(OUTPUT, required=False),))
    follow(state, ordered(readying, ended, optional), ready(ended), ready(optional))
    for each in (ended, optional):
        follow(state, began(each), an_end(each, at_ns=21 * SECOND_NS))
    follow(state, started(boot_id="B2"))
    ends = {exited.job_id: exited.reason for exited in exits(state)}
    assert (ends[readying.job_id], ends[ended.job_id]) == ("lost", "output_failed")
    assert ends[optional.job_id] == "exited"
    assert sum(isinstance(item, Released) for item in state.reports) == 3
    assert FINISHING not in {lease.stage for lease in state.leases.values()}


def test_a_first_rank_looks_for_its_port_when_all_else_is_ready() -> None:
    state, order = a_node(), an_order(inputs=INPUTS, ranks=2, phase=PREPARE)
    assert follow(state, ordered(order)) == [Ready(order.key)]
    port = events.PortFound(at_ns=16 * SECOND_NS, key=order.key, port=21_000)
    assert follow(state, port) == [] and told(state) == ["Preparing"]
    assert follow(state, ready(order)) == [FindPort(order.key)]
    follow(state, port)
    assert told(state) == ["Preparing", "Prepared"]


@pytest.mark.lesson(13)
def test_work_that_took_long_to_get_ready_begins_only_by_a_fresh_order() -> None:
    state, order = a_node(), an_order(inputs=INPUTS, disconnect_s=60)
    heard = {"heard_boot_ns": 9 * SECOND_NS}
    follow(state, ordered(order, **heard))
    assert state.held_keys() == [order.key], "nobody has to send it again while it waits for files"
    late = events.Readied(at_ns=100 * SECOND_NS, key=order.key)
    assert follow(state, late) == [] and state.held_keys() == []
    again = events.Ordered(
        at_ns=101 * SECOND_NS,
        desired=ordered(order, as_of=2, heard_boot_ns=100 * SECOND_NS).desired,
    )
    assert follow(state, again) == [Spawn(order.key)]


def test_a_plain_job_knows_nothing_of_all_this() -> None:
    state, order = a_node(), an_order(devices=("D0",))
    assert follow(state, ordered(order)) == [Spawn(order.key)]
    follow(state, began(order))
    assert follow(state, an_end(order, at_ns=22 * SECOND_NS)) == [
        Clear(0, silent=True),
        Forget(order.key),
    ]
    assert not any(isinstance(item, Declined) for item in state.reports)
