"""What if a child of the reaper takes long to become what its order says?"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from agent.builders import a_node, an_end, an_order, ordered
from penstock_contracts.leases import Exited
from penstock_node_agent.core import events
from penstock_node_agent.core.machine import handle
from penstock_node_agent.reaper import launch


def test_what_goes_wrong_late_is_told_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "WAIT_MS", 1)
    go, wait = os.pipe()

    def execute() -> None:
        os.read(go, 1)
        raise OSError("the directory does not answer")

    order = {"cwd": str(tmp_path), "out": f"{tmp_path}/o", "err": f"{tmp_path}/e"}
    before = time.monotonic()
    pid, faults = launch.launch(order, [], execute)
    assert faults >= 0 and time.monotonic() - before < 5, "the reaper goes on meanwhile"
    os.write(wait, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == launch.EXIT_FAILED
    assert launch.read_fault(faults) == "the directory does not answer"
    os.close(go)
    os.close(wait)


def test_a_lease_that_seemed_to_have_begun_may_end_as_not_started() -> None:
    state, order = a_node(), an_order(devices=("D1",))
    handle(state, ordered(order))
    handle(state, events.Began(at_ns=20, key=order.key))
    handle(state, an_end(order, at_ns=30, reason="spawn_failed", code=None, message="why"))
    told = [item for item in state.reports if isinstance(item, Exited)]
    assert [(each.reason, each.exit_code, each.message) for each in told] == [
        ("spawn_failed", None, "why")
    ]
