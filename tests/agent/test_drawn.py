"""What is each lease told of what its devices did and drew, and what is nobody told?"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.builders import BASE_MS, SECOND_NS, an_end, an_order, ordered, started
from penstock_contracts.leases import LeaseOrder
from penstock_contracts.usage import DeviceSlice, Segment
from penstock_node_agent.core import events
from penstock_node_agent.core.drawn import QUARTER_MS
from penstock_node_agent.core.machine import handle
from penstock_node_agent.core.state import State
from penstock_node_agent.core.usage import next_batch
from penstock_node_agent.drivers.simulated import Simulated, SimulatedDriver

WATT_MJ = 1_000
"""What one watt draws in a second."""


def at(seconds: float) -> int:
    return round(seconds * SECOND_NS)


def read(state: State, seconds: float, **devices: tuple[int | None, int | None]) -> None:
    """Devices by name: their energy counter in J, and how many per cent of them are used."""
    readings = tuple(
        events.DeviceRead(
            uuid,
            None if joules is None else joules * 1_000,
            None if percent is None else percent * 10,
        )
        for uuid, (joules, percent) in devices.items()
    )
    handle(state, events.DevicesRead(at_ns=at(seconds), readings=readings))


def a_read_node() -> State:
    """Its axis begins at 0 s."""
    state = State(node="n1")
    handle(state, started(at_ns=0))
    handle(state, events.ReaperReady(at_ns=2))
    return state


def begin(state: State, seconds: float, *devices: str, **changes: Any) -> LeaseOrder:
    order = an_order(devices=devices, granted_ns=BASE_MS * 1_000_000, **changes)
    handle(state, ordered(order, as_of=order.lease_seq, base=state.as_of))
    handle(state, events.Began(at_ns=at(seconds), key=order.key))
    return order


def end(state: State, seconds: float, order: LeaseOrder) -> Segment:
    handle(state, an_end(order, at_ns=at(seconds)))
    return state.usage[-1]


def cut(state: State, seconds: float, *, audit: bool = False) -> None:
    handle(state, events.SegmentsCut(at_ns=at(seconds), audit=audit))


def test_a_lease_is_told_what_was_drawn_while_it_ran_and_not_what_was_drawn_before() -> None:
    state = a_read_node()
    read(state, 10, D0=(0, 0))
    order = begin(state, 15, "D0")
    read(state, 20, D0=(1_000, 80))
    read(state, 30, D0=(5_000, 80))
    segment = end(state, 35, order)
    assert segment.device_energy_mj == (500_000 + 4_000_000,), "half of the first, and no tail"
    assert segment.energy_mj == 4_500_000
    assert segment.used_milli_ms == (800 * 20_000,), "used as it was read to the end"


def test_segments_of_one_lease_add_up_to_what_was_read() -> None:
    state = a_read_node()
    read(state, 10, D0=(0, 50))
    order = begin(state, 10, "D0")
    cut(state, 14)
    read(state, 20, D0=(1_000, 50))
    cut(state, 25)
    read(state, 30, D0=(3_000, 50))
    end(state, 30, order)
    first, second, last = state.usage
    assert (first.energy_mj, first.used_milli_ms) == (None, ()), "nothing is read of it yet"
    assert (second.energy_mj, last.energy_mj) == (1_000_000, 2_000_000)
    assert (second.used_milli_ms, last.used_milli_ms) == ((500 * 11_000,), (500 * 5_000,))


def test_a_short_job_that_no_reading_saw_is_unknown_and_not_nothing() -> None:
    state = a_read_node()
    read(state, 10, D0=(0, 0))
    segment = end(state, 14, begin(state, 11, "D0"))
    assert (segment.energy_mj, segment.used_milli_ms, segment.device_energy_mj) == (None, (), ())


def test_leases_that_share_a_device_share_what_it_draws_by_what_they_have_of_it() -> None:
    state = a_read_node()
    read(state, 10, D0=(0, 0))
    small = begin(state, 10, "D0", gpu_milli=250)
    large = begin(state, 10, "D0", gpu_milli=750)
    read(state, 20, D0=(4_000, 40))
    of_small, of_large = end(state, 20, small), end(state, 20, large)
    assert (of_small.energy_mj, of_large.energy_mj) == (1_000_000, 3_000_000)
    assert of_small.used_milli_ms == (100 * 10_000,)
    assert of_large.used_milli_ms == (300 * 10_000,)


def test_a_lease_is_never_told_to_have_used_more_than_it_has() -> None:
    state = a_read_node()
    read(state, 10, D0=(0, 0))
    order = begin(state, 10, "D0", gpu_milli=100)
    read(state, 20, D0=(1_000, 90))
    assert end(state, 20, order).used_milli_ms == (100 * 10_000,)


def test_of_several_devices_each_is_told_and_the_sum_only_when_all_are_known() -> None:
    state = a_read_node()
    read(state, 10, D0=(0, 0), D1=(None, 0))
    order = begin(state, 10, "D0", "D1", "D2")
    read(state, 20, D0=(1_000, 90), D1=(None, 10))
    segment = end(state, 20, order)
    assert segment.device_energy_mj == (1_000_000, None, None) and segment.energy_mj is None
    assert segment.used_milli_ms == (900 * 10_000, 100 * 10_000, None)


def test_a_counter_that_began_anew_and_a_long_silence_leave_unknown_what_they_hide() -> None:
    state = a_read_node()
    read(state, 10, D0=(9_000, 50), D1=(9_000, 50))
    order = begin(state, 10, "D0", "D1")
    read(state, 20, D0=(10, 50))
    read(state, 100, D0=(20, 50), D1=(9_500, 50))
    segment = end(state, 100, order)
    assert segment.device_energy_mj == (None, 500_000), "a counter does not mind silence"
    assert segment.used_milli_ms == (None, None)


def test_slices_end_at_quarters_of_an_hour_and_share_what_was_drawn_around_them() -> None:
    state = a_read_node()
    first_s = (QUARTER_MS - BASE_MS % QUARTER_MS) / 1_000
    read(state, first_s - 20, D0=(0, 100))
    read(state, first_s - 4, D0=(1_000, 100))
    cut(state, first_s + 1)
    assert state.slices == [], "what was drawn up to the quarter is not read yet"
    read(state, first_s + 4, D0=(3_000, 50))
    (closed,) = state.slices
    assert (closed.t0_ms, closed.t1_ms % QUARTER_MS) == (BASE_MS + (first_s - 20) * 1000, 0)
    assert closed.energy_mj == 2_000_000
    assert closed.used_milli_ms == 1_000 * 16_000 + 500 * 4_000


def test_an_audit_ends_all_slices_and_the_next_begin_there() -> None:
    state = a_read_node()
    read(state, 10, D0=(0, 60), D1=(0, None))
    read(state, 20, D0=(100, 60), D1=(200, None))
    cut(state, 25, audit=True)
    read(state, 30, D0=(300, 60), D1=(300, None))
    cut(state, 31, audit=True)
    of_d0 = [item for item in state.slices if item.uuid == "D0"]
    assert [(item.seq, item.t1_ms - item.t0_ms) for item in of_d0] == [(0, 15_000), (1, 6_000)]
    assert [item.energy_mj for item in of_d0] == [100_000, 200_000]
    assert [item.used_milli_ms for item in of_d0] == [600 * 15_000, 600 * 6_000]
    assert [item.used_milli_ms for item in state.slices if item.uuid == "D1"] == [None, None]


def test_a_device_that_is_not_read_any_more_has_slices_of_unknown_content() -> None:
    state = a_read_node()
    read(state, 10, D0=(0, 60))
    cut(state, 3_000)
    read(state, 3_010, D0=(700, 60))
    cut(state, 3_020, audit=True)
    silent, after = state.slices
    assert (silent.energy_mj, silent.used_milli_ms, silent.t1_ms % QUARTER_MS) == (None, None, 0)
    assert (after.seq, after.t0_ms, after.energy_mj) == (1, silent.t1_ms, None)


def test_slices_leave_with_counters_and_once_and_those_of_a_boot_that_is_over_under_its_name() -> (
    None
):
    state = a_read_node()
    read(state, 10, D0=(0, 60))
    read(state, 20, D0=(100, 60))
    cut(state, 25, audit=True)
    batch = next_batch(state, at(26))
    assert batch is not None and len(batch.slices) == 1 and batch.counters
    handle(state, events.UsageDelivered(slices=1))
    assert next_batch(state, at(27)) is None
    read(state, 40, D0=(300, 60))
    cut(state, 45)
    handle(state, started(boot_id="B2", at_ns=at(99)))
    (former,) = state.former
    assert former.boot_id == "B1" and former.slices[0].seq == 1
    assert former.slices[0].energy_mj == 200_000 and not state.gauges
    read(state, 100, D0=(0, 0))
    read(state, 101, D0=(5, 0))
    cut(state, 102, audit=True)
    assert [(item.seq, item.energy_mj) for item in state.slices] == [(0, 5_000)]


Happening = tuple[str, float]
happenings = st.lists(
    st.tuples(st.sampled_from(["read", "cut", "audit", "begin", "end"]), st.floats(0.001, 400.0)),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(happenings, st.integers(100, 1_000))
def test_nobody_is_told_more_than_the_device_has_drawn_and_slices_lie_end_to_end(
    story: list[Happening], milli: int
) -> None:
    state, now, counter_j = a_read_node(), 20.0, 0
    running: list[LeaseOrder] = []
    read(state, now, D0=(0, 0))
    for what, passed in story:
        now += passed
        if what == "read":
            counter_j += round(passed * 100)
            read(state, now, D0=(counter_j, round(passed) % 101))
        elif what == "begin" and sum(order.gpu_milli for order in running) + milli <= 1_000:
            running.append(begin(state, now, "D0", gpu_milli=milli))
        elif what == "end" and running:
            end(state, now, running.pop(0))
        else:
            cut(state, now, audit=what == "audit")
    cut(state, now + 1, audit=True)
    _check_segments(state.usage, counter_j * WATT_MJ)
    _check_slices(state.slices, counter_j * WATT_MJ)


def _check_segments(segments: list[Segment], drawn_mj: int) -> None:
    assert sum(segment.energy_mj or 0 for segment in segments) <= drawn_mj
    for segment in segments:
        length = (segment.t1_ms - segment.t0_ms) * segment.gpu_milli
        assert all(0 <= (used or 0) <= length for used in segment.used_milli_ms)


def _check_slices(slices: list[DeviceSlice], drawn_mj: int) -> None:
    assert [item.seq for item in slices] == list(range(len(slices)))
    assert all(one.t1_ms == other.t0_ms for one, other in pairwise(slices))
    known = [item.energy_mj for item in slices]
    if None not in known:
        assert sum(item or 0 for item in known) == drawn_mj
    for item in slices:
        assert 0 <= (item.used_milli_ms or 0) <= (item.t1_ms - item.t0_ms) * 1_000


def test_a_simulated_device_draws_more_while_something_runs_on_it() -> None:
    driver = SimulatedDriver(Simulated(2, "H100"), node="n1")
    (untold, _) = driver.sample()
    assert (untold.energy_mj, untold.utilisation_percent) == (None, 0), "nobody knows what runs"
    now = [0]
    driver.pretend(lambda: now[0], lambda: {"SIM-n1-0"})
    driver.sample()
    now[0] = at(10)
    busy, idle = driver.sample()
    assert (busy.energy_mj, idle.energy_mj) == (560 * 10 * WATT_MJ, 70 * 10 * WATT_MJ)
    assert (busy.utilisation_percent, idle.utilisation_percent) == (90, 0)
