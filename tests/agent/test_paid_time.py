"""Does work end before what is paid for it is used up, whoever is there to see it?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.builders import SECOND_NS, a_node, an_order, ordered
from agent.reaper_rig import RealRig, SimulatedRig
from penstock_contracts.leases import STOP, Declined, LeaseOrder
from penstock_contracts.work import PAID_TIME
from penstock_node_agent.core import events
from penstock_node_agent.core.instructions import Extend, Spawn
from penstock_node_agent.core.machine import handle
from penstock_node_agent.core.paid import UNBOUNDED
from penstock_node_agent.core.state import State
from penstock_node_agent.reaper.attempts import Attempt, attempt_of, fold
from tests.simulation.workload import Script

STUBBORN = Script(run_s=30, stubborn=True)
DEATH_MS = 100
"""What a busy host may take to let a process die, beyond the margin."""


@pytest.fixture(params=["real", "simulated"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    rig = RealRig(tmp_path) if request.param == "real" else SimulatedRig()
    yield rig
    rig.close()


def ran_ms(rig: Any, key: str) -> float:
    return (rig.wait_for("ended", key)[2] - rig.wait_for("began", key)[2]) / 1_000_000


def reason_of(rig: Any, key: str) -> str:
    return str(rig.wait_for("ended", key)[5])


# -- the reaper ------------------------------------------------------------------------------------
async def test_work_that_ignores_its_notice_is_killed_before_its_paid_time_is_used_up(
    rig: Any,
) -> None:
    await rig.start()
    rig.spawn("paid", STUBBORN, paid_ms=2_000)
    assert reason_of(rig, "paid") == "budget"
    assert 1_000 < ran_ms(rig, "paid") <= 2_000
    assert rig.wait_for("ended", "paid")[4] == 9


async def test_work_that_heeds_its_notice_ends_by_itself_before_that(rig: Any) -> None:
    await rig.start()
    rig.spawn("paid", Script(run_s=30), paid_ms=4_000, grace_s=2)
    assert reason_of(rig, "paid") == "budget"
    assert 1_000 < ran_ms(rig, "paid") <= 2_000 + DEATH_MS
    assert rig.wait_for("ended", "paid")[4] == 15


async def test_work_whose_paid_time_is_raised_goes_on(rig: Any) -> None:
    await rig.start()
    rig.spawn("paid", Script(run_s=2.5, exit_code=3), paid_ms=1_500, grace_s=0)
    rig.send(op="paid", key="paid", paid_ms=60_000)
    rig.send(op="paid", key="paid", paid_ms=1_000)
    end = rig.wait_for("ended", "paid")
    assert (end[3], end[5]) == (3, "exited"), "it is never lowered"


async def test_what_nobody_has_paid_for_does_not_begin(rig: Any) -> None:
    await rig.start()
    rig.spawn("unpaid", STUBBORN, paid_ms=0)
    assert reason_of(rig, "unpaid") == "budget" and rig.ran("unpaid") == 0


async def test_a_long_grace_for_another_reason_does_not_outlast_what_is_paid(rig: Any) -> None:
    await rig.start()
    rig.spawn("paid", STUBBORN, paid_ms=2_000)
    rig.wait_until_running("paid")
    rig.send(op="stop", key="paid", reason="cancelled", grace_s=60)
    assert reason_of(rig, "paid") == "cancelled"
    assert ran_ms(rig, "paid") <= 2_000


def an_attempt(paid_ms: int | None, grace_s: float, **order: Any) -> Attempt:
    told = {"key": "K", "out": "", "err": "", "limit_s": None, "disconnect_s": None}
    return attempt_of(
        {**told, "grace_s": grace_s, "contact_ns": 0, "paid_ms": paid_ms, **order}, SECOND_NS
    )


@given(st.integers(1, 10**9), st.integers(0, 600), st.integers(0, 10**9))
def test_notice_comes_before_the_end_and_the_end_before_what_is_paid(
    paid_ms: int, grace_s: int, raised_ms: int
) -> None:
    attempt = an_attempt(paid_ms, grace_s)
    assert attempt.due_ns() is None, "it counts from when it runs"
    attempt.begin(5 * SECOND_NS, 77)
    assert attempt.pay(raised_ms) == (raised_ms > paid_ms)
    last_ns = 5 * SECOND_NS + max(paid_ms, raised_ms) * 1_000_000
    notice_ns = attempt.due_ns()
    assert notice_ns is not None and 5 * SECOND_NS < notice_ns < last_ns
    assert attempt.why_due(notice_ns)[0] == "budget"
    attempt.kill_ns = notice_ns + 600 * SECOND_NS
    kill_ns = attempt.due_ns()
    assert kill_ns is not None and notice_ns <= kill_ns < last_ns
    attempt.killed(kill_ns)
    assert attempt.due_ns() == kill_ns + SECOND_NS, "it is tried again, not at every turn"


def test_a_reaper_that_takes_a_container_over_knows_for_how_long_is_paid() -> None:
    container = {"name": "c", "podman": "p", "labels": {}, "devices": ()}
    attempts: dict[str, Attempt] = {}
    first = an_attempt(60_000, 10, container=container)
    fold(attempts, first.order_line())
    fold(attempts, ["began", "K", 9 * SECOND_NS, 77])
    fold(attempts, ["paid", "K", 90_000])
    adopted = attempts["K"]
    adopted.remember()
    assert adopted.due_ns() == (9 + 90 - 1 - 10) * SECOND_NS


# -- the agent -------------------------------------------------------------------------------------
def a_paying_node() -> State:
    state = a_node()
    handle(state, events.ReaperReady(at_ns=2, offers=(PAID_TIME,)))
    return state


def again(order: LeaseOrder, **changes: Any) -> LeaseOrder:
    return msgspec.structs.replace(order, **changes)


def test_raised_time_is_passed_on_and_lowered_time_is_not() -> None:
    state, order = a_paying_node(), an_order(paid_ms=60_000)
    assert handle(state, ordered(order)) == [Spawn(order.key)]
    handle(state, events.Began(at_ns=20 * SECOND_NS, key=order.key))
    more, less = again(order, paid_ms=90_000), again(order, paid_ms=70_000)
    assert handle(state, ordered(more, as_of=2, base=1)) == [Extend(order.key, 90_000)]
    assert handle(state, ordered(less, as_of=3, base=2)) == []
    assert handle(state, ordered(again(order, paid_ms=None), as_of=4, base=3)) == [
        Extend(order.key, UNBOUNDED)
    ]


def test_work_that_began_without_a_bound_is_given_none() -> None:
    state, order = a_paying_node(), an_order()
    handle(state, ordered(order))
    handle(state, events.Began(at_ns=20 * SECOND_NS, key=order.key))
    assert handle(state, ordered(again(order, paid_ms=1), as_of=2, base=1)) == []
    assert state.leases[order.key].order.paid_ms is None


def test_a_new_agent_tells_its_reaper_again_for_how_long_is_paid() -> None:
    state, order = a_paying_node(), an_order(paid_ms=60_000)
    handle(state, ordered(order))
    handle(state, events.Began(at_ns=20 * SECOND_NS, key=order.key))
    ready = events.ReaperReady(at_ns=30 * SECOND_NS, keys=(order.key,), offers=(PAID_TIME,))
    assert Extend(order.key, 60_000) in handle(state, ready)


def test_a_reaper_that_knows_no_bounds_is_given_nothing_with_one() -> None:
    state, order = a_node(), an_order(paid_ms=60_000)
    assert Spawn(order.key) not in handle(state, ordered(order))
    (told,) = (item for item in state.reports if isinstance(item, Declined))
    assert told.code == "no_paid_time"
    stop = an_order(paid_ms=60_000, phase=STOP, begun=False)
    handle(state, ordered(stop, as_of=2, base=1))
    assert not any(
        isinstance(item, Declined) and item.job_id == stop.job_id for item in state.reports
    )
