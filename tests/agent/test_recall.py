"""Is what the reaper's log knows of the boot before told and counted once?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from agent.builders import SECOND_NS, a_node, an_end, an_order, ordered, started
from penstock_contracts.leases import Exited, LeaseOrder
from penstock_node_agent.core import events
from penstock_node_agent.core.machine import handle
from penstock_node_agent.core.state import State, check
from penstock_node_agent.reaper.disk import Disk
from penstock_node_agent.reaper.records import LOG_NAME
from penstock_node_agent.recollection import memo_of, recollect

SLOT = 4


def a_recalled(order: LeaseOrder, **changes: Any) -> events.Recalled:
    """It was received at 10 s, ran from 11 s to 12 s, and left nothing."""
    values: dict[str, Any] = {
        "received_ns": 10 * SECOND_NS,
        "slot": SLOT,
        "began_ns": 11 * SECOND_NS,
        "end": an_end(order, at_ns=12 * SECOND_NS, code=3, out_bytes=5),
    }
    return events.Recalled(order=order, **{**values, **changes})


def reboot(state: State, *recalled: events.Recalled) -> None:
    handle(state, started(boot_id="B2", recalled=recalled))
    check(state)


def exits(state: State) -> list[Exited]:
    return [item for item in state.reports if isinstance(item, Exited)]


def test_an_order_that_the_journal_lost_is_told_and_counted() -> None:
    state, order = a_node(), an_order(devices=("D0",))
    reboot(state, a_recalled(order))
    (end,) = exits(state)
    assert (end.exit_code, end.segments, end.log_bytes["stdout"]) == (3, 1, 5)
    assert end.started_ms is not None
    (batch,) = state.former
    (segment,) = batch.segments
    assert (batch.boot_id, segment.t0_ms, segment.t1_ms) == ("B1", end.started_ms, end.at_ms)
    counted = {counter.uuid: counter.running_milli_ms for counter in batch.counters}
    assert counted["D0"] == 1_000 * 1_000
    assert state.spools[order.key].slot == SLOT and state.slots == SLOT + 1


def test_an_end_that_the_journal_lost_is_told_as_it_was_and_not_as_lost() -> None:
    for begun in (False, True):
        state, order = a_node(), an_order()
        handle(state, ordered(order))
        if begun:
            handle(state, events.Began(at_ns=11 * SECOND_NS, key=order.key))
        reboot(state, a_recalled(order, slot=0))
        (end,) = exits(state)
        assert (end.reason, end.exit_code) == ("exited", 3)
        assert len(state.former[0].segments) == 1


def test_what_the_journal_knows_is_not_told_again() -> None:
    state, order, dropped = a_node(), an_order(), an_order()
    handle(state, ordered(order, dropped, as_of=dropped.lease_seq))
    for each in (order, dropped):
        handle(state, events.Began(at_ns=11 * SECOND_NS, key=each.key))
        handle(state, an_end(each, at_ns=12 * SECOND_NS, code=3))
    as_of = dropped.lease_seq + 1
    handle(state, ordered(as_of=as_of, base=as_of - 1, dropped=(dropped.key,)))
    reports = list(state.reports)
    reboot(state, a_recalled(order), a_recalled(dropped))
    assert exits(state) == [item for item in reports if isinstance(item, Exited)]
    assert sum(len(batch.segments) for batch in state.former) == 2


def test_what_never_ran_is_told_and_counts_nothing() -> None:
    state, order = a_node(), an_order()
    end = an_end(order, at_ns=12 * SECOND_NS, code=None, reason="spawn_failed")
    reboot(state, a_recalled(order, began_ns=None, end=end))
    (told,) = exits(state)
    assert (told.reason, told.started_ms, told.segments) == ("spawn_failed", None, 0)
    assert not state.former


def test_the_log_of_the_journals_own_boot_is_read_as_the_reaper_wrote_it(tmp_path: Path) -> None:
    state, order = a_node(), an_order(env={"SECRET": "x"}, command=("run", "--key", "x"))
    handle(state, ordered(order))
    memo = memo_of(state.leases[order.key], SLOT)
    assert "SECRET" not in memo and "--key" not in memo
    lines = [
        ["boot", "B1"],
        ["order", order.key, 10 * SECOND_NS, "out", "err", memo],
        ["began", order.key, 11 * SECOND_NS, 7],
        ["order", "runs", 10 * SECOND_NS, "out", "err", memo],
        ["order", "damaged", 10 * SECOND_NS, "out", "err", "{"],
        ["ended", "damaged", 12 * SECOND_NS, 3, None, "exited", "", 5, 0, 12 * SECOND_NS],
        ["ended", order.key, 12 * SECOND_NS, 3, None, "exited", "", 5, 0, 12 * SECOND_NS],
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '["ended", "torn'
    (tmp_path / LOG_NAME).write_text(text, "ascii")
    (recalled,) = recollect(Disk(), str(tmp_path), "B1")
    kept = msgspec.structs.replace(order, command=("run",), env={})
    assert recalled == a_recalled(kept)
    assert recollect(Disk(), str(tmp_path), "B0") == ()
