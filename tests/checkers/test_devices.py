"""Does the checker see a fault that was overlooked, made up, or blamed on others?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penstock_contracts.journal import RankExited
from penstock_contracts.nodes import Device, NodeDescription, NodeRegistered
from tests.checkers.devices import SEEN_NS_MAX, TOLD_NS_MAX, check_devices
from tests.checkers.history import DeviceFault, Entry, Fault, History, Run
from tests.checkers.tampering import codes_after, edit_fact, replace

SECOND_NS = 1_000_000_000
RELEASED_NS = 2_000_000
"""After its end each lease is released by then."""


def _fault(run: Run, kind: str = "off_bus", **fields: Any) -> DeviceFault:
    """Half a second after the run has begun."""
    fields = {"began_ns": run.began_ns + SECOND_NS // 2, **fields}
    return DeviceFault(node=run.node, device=run.devices[0], kind=kind, **fields)


def _describe(history: History, healthy: bool) -> None:
    run = history.runs[0]
    device = Device(
        uuid=run.devices[0], index=0, model="H100", healthy=healthy, health_code="off_bus"
    )
    description = NodeDescription(
        node=run.node, boot_id="b", joined_ms=1, cpu_milli=1, memory_mib=1, devices=(device,)
    )
    seen = history.nodes_entries[-1]
    entry = replace(seen.entry, facts=(NodeRegistered(description),))
    history.nodes_entries.append(Entry(at_ns=run.began_ns + SECOND_NS, entry=entry))


def _made_up(history: History) -> None:
    _describe(history, healthy=False)


def _held_at_the_start(history: History) -> None:
    first, run = history.runs[0], history.runs[1]
    holder = (first.job_id, 1, 0)
    history.device_faults.append(
        _fault(run, "memory_held", began_ns=run.began_ns - 1, holder=holder)
    )


def _held_at_the_release(history: History) -> None:
    run = history.runs[0]
    holder = (run.job_id, run.attempt, run.rank)
    began_ns = run.ended_ns or 0
    fault = _fault(run, "memory_held", began_ns=began_ns, ended_ns=began_ns + RELEASED_NS)
    history.device_faults.append(replace(fault, holder=holder))


def _works_on(history: History) -> None:
    history.device_faults.append(_fault(history.runs[0], told=True))


def _ends_as(history: History, reason: str, message: str = "") -> None:
    def change(fact: RankExited) -> tuple[RankExited]:
        return (replace(fact, reason=reason, message=message),)

    edit_fact(history, RankExited, change)


def _blamed_for_nothing(history: History) -> None:
    _ends_as(history, "device_failed", "device n1-a is unhealthy")


def _not_named(history: History) -> None:
    run = history.runs[0]
    history.device_faults.append(_fault(run, ended_ns=run.began_ns + SECOND_NS))
    _ends_as(history, "device_failed", "a device is unhealthy")


def _crashes(history: History) -> None:
    """A moment before its end its device fails, and that is its end."""
    run = history.runs[0]
    run.ended_by = "device"
    began_ns = (run.ended_ns or 0) - SECOND_NS
    history.device_faults.append(_fault(run, began_ns=began_ns, told=True))


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (_made_up, "fault_made_up"),
        (_held_at_the_start, "began_on_held_memory"),
        (_held_at_the_release, "released_while_held"),
        (_works_on, "fault_overlooked"),
        (_blamed_for_nothing, "device_blamed"),
        (_not_named, "device_unnamed"),
        (_crashes, "device_not_blamed"),
    ],
)
def test_a_fault_that_is_not_seen_for_what_it_is_is_found(
    tamper: Callable[[History], None], code: str
) -> None:
    assert codes_after(check_devices, tamper) == {code}


def _seen_for_what_it_is(history: History) -> None:
    run = history.runs[0]
    history.device_faults.append(_fault(run, ended_ns=run.began_ns + SECOND_NS))
    _describe(history, healthy=False)
    _ends_as(history, "device_failed", f"device {run.devices[0]} is unhealthy")


def _well_again(history: History) -> None:
    _describe(history, healthy=True)


def _over_before_the_next(history: History) -> None:
    _held_at_the_start(history)
    history.device_faults[0].ended_ns = history.runs[1].began_ns


def _a_share_of_it(history: History) -> None:
    _held_at_the_release(history)
    history.runs[0].gpu_milli = 500


def _cannot_be_asked(history: History) -> None:
    _held_at_the_release(history)
    run = history.runs[0]
    history.device_faults.append(_fault(run, began_ns=(run.ended_ns or 0) - 1))


def _not_told_nor_seen_yet(history: History) -> None:
    run = history.runs[0]
    history.device_faults.append(_fault(run, ended_ns=run.began_ns + SEEN_NS_MAX))


def _nobody_there_to_act(history: History) -> None:
    _works_on(history)
    history.faults.append(Fault(at_ns=1, kind="agent killed", node=history.runs[0].node))


def _nobody_there_to_see(history: History) -> None:
    _crashes(history)
    history.device_faults[0].told = False


@pytest.mark.parametrize(
    "tamper",
    [
        _seen_for_what_it_is,
        _well_again,
        _over_before_the_next,
        _a_share_of_it,
        _cannot_be_asked,
        _not_told_nor_seen_yet,
        _nobody_there_to_act,
        _nobody_there_to_see,
    ],
)
def test_what_nobody_could_know_or_need_not_is_not_held_against_anybody(
    tamper: Callable[[History], None],
) -> None:
    assert codes_after(check_devices, tamper) == set()


def test_a_disturbance_that_is_long_over_is_no_excuse() -> None:
    def tamper(history: History) -> None:
        _works_on(history)
        run = history.runs[0]
        run.began_ns += 10 * TOLD_NS_MAX
        run.ended_ns = (run.ended_ns or 0) + 10 * TOLD_NS_MAX
        history.device_faults[0].began_ns = run.began_ns + 1
        history.faults.append(
            Fault(at_ns=1, kind="agent frozen", node=run.node, until_ns=SECOND_NS)
        )

    assert codes_after(check_devices, tamper) == {"fault_overlooked"}
