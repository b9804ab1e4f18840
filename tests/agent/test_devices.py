"""When is a device taken for sick, and when for well again?"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agent.builders import DEVICES, SECOND_NS, a_node, an_end, an_order, ordered, started
from penstock_contracts.leases import PREPARE, Declined, Described, Exited
from penstock_contracts.nodes import Device
from penstock_node_agent.core import events
from penstock_node_agent.core.devices import GONE, WELL_NS, Looks, sick
from penstock_node_agent.core.instructions import Instruction, Spawn, Stop
from penstock_node_agent.core.machine import handle
from penstock_node_agent.core.state import State

D0, D1, D2, D3 = DEVICES
WITHOUT_D1 = (D0, D2, D3)


def health(devices: tuple[Device, ...]) -> dict[str, str]:
    """What is wrong with the sick ones."""
    return {device.uuid: device.health_reason for device in devices if not device.healthy}


@pytest.mark.lesson(12)
def test_one_bad_look_condemns_nothing_and_a_second_in_a_row_does() -> None:
    looks = Looks(DEVICES, 0)
    assert health(looks.look(WITHOUT_D1, 1)) == {}
    assert looks.in_doubt
    assert health(looks.look(DEVICES, 2)) == {}
    assert not looks.in_doubt
    assert health(looks.look(WITHOUT_D1, 3)) == {}
    assert health(looks.look(WITHOUT_D1, 4)) == {"D1": GONE}
    assert not looks.in_doubt


@pytest.mark.lesson(6)
def test_a_sick_device_is_well_after_a_minute_of_good_looks_and_not_before() -> None:
    looks = Looks((D0, sick(D1, "XID 79")), 0)
    assert health(looks.look(DEVICES, WELL_NS - 1)) == {"D1": "XID 79"}
    assert health(looks.look((D0, sick(D1, "again")), WELL_NS)) == {"D1": "XID 79"}
    assert health(looks.look(DEVICES, 2 * WELL_NS - 1)) == {"D1": "XID 79"}
    assert looks.look(DEVICES, 2 * WELL_NS) == DEVICES


def test_a_device_that_lost_its_name_is_known_by_its_place() -> None:
    looks = Looks(DEVICES, 0)
    nameless = Device(
        uuid="NVML-1", index=1, model="unknown", healthy=False, health_reason="GPU is lost"
    )
    for now in (1, 2):
        seen = looks.look((D0, nameless, D2, D3), now)
    assert health(seen) == {"D1": "GPU is lost"}
    assert [device.uuid for device in seen] == ["D0", "D1", "D2", "D3"]


def test_a_device_that_appears_is_used() -> None:
    looks = Looks(DEVICES[:2], 0)
    assert looks.look(DEVICES[:3], 1) == DEVICES[:3]


class Host:
    """A node with work on D0 and D1; collects what it is told to do."""

    def __init__(self) -> None:
        self.state: State = a_node()
        self.well, self.struck = an_order(devices=("D0",)), an_order(devices=("D1",))
        self.todo: list[Instruction] = []
        self.take(ordered(self.well, self.struck))
        for order in (self.well, self.struck):
            self.take(events.Began(at_ns=20 * SECOND_NS, key=order.key))
        self.take(events.ReportsDelivered(count=len(self.state.reports)))
        self.todo.clear()

    def take(self, event: events.AnyEvent) -> None:
        self.todo += handle(self.state, event)

    def lose(self, *uuids: str) -> None:
        devices = tuple(sick(d, GONE) if d.uuid in uuids else d for d in DEVICES)
        self.take(events.DevicesSeen(at_ns=25 * SECOND_NS, devices=devices))

    def reported(self, kind: type) -> list[Any]:
        return [item for item in self.state.reports if isinstance(item, kind)]


@pytest.mark.lesson(5, 6)
@pytest.mark.parametrize("code", [None, 0], ids=["it is killed", "it saves what it has done"])
def test_work_on_a_device_that_is_gone_ends_and_its_neighbours_work_on(code: int | None) -> None:
    host = Host()
    host.lose("D1")
    assert host.todo == [Stop(host.struck.key, "device_failed", 10)]
    host.take(an_end(host.struck, at_ns=26 * SECOND_NS, reason="device_failed", code=code))
    (exited,) = host.reported(Exited)
    assert exited.lease_seq == host.struck.lease_seq
    assert (exited.reason, exited.exit_code) == ("device_failed", code)
    assert exited.message == f"device D1 is unhealthy: {GONE}"
    assert [x.job_id for x in host.state.usage] == [host.struck.job_id], "paid to its end"
    assert host.state.leases[host.well.key].stage == "running"


@pytest.mark.lesson(5, 8)
@pytest.mark.parametrize(
    ("code", "signal", "reason"),
    [(1, None, "device_failed"), (None, 6, "device_failed"), (0, None, "exited")],
)
def test_who_fails_by_himself_on_a_device_that_is_sick_is_not_blamed_and_who_ends_well_has(
    code: int | None, signal: int | None, reason: str
) -> None:
    host = Host()
    host.lose("D1")
    by_itself = "exited" if signal is None else "signalled"
    host.take(an_end(host.struck, at_ns=26 * SECOND_NS, reason=by_itself, code=code, signal=signal))
    (exited,) = host.reported(Exited)
    assert (exited.reason, exited.exit_code, exited.signal) == (reason, code, signal)
    assert ("D1" in exited.message) == (reason == "device_failed")


@pytest.mark.lesson(8)
def test_what_a_driver_said_of_a_device_is_told_to_whose_work_on_it_fails_then() -> None:
    host = Host()
    for said in ("XID 31 (GPU memory page fault)", "XID 45"):
        host.take(events.DeviceErred(uuid="D1", said=said))
    for order in (host.struck, host.well):
        host.take(an_end(order, at_ns=26 * SECOND_NS, code=1))
    told = {exited.job_id: exited.message for exited in host.reported(Exited)}
    assert told == {
        host.struck.job_id: "device D1: XID 31 (GPU memory page fault)",
        host.well.job_id: "",
    }


@pytest.mark.lesson(5)
def test_the_node_describes_itself_anew_and_declines_work_on_that_device() -> None:
    host = Host()
    host.lose("D1")
    (described,) = host.reported(Described)
    assert health(described.description.devices) == {"D1": GONE}
    assert described.description.boot_id == "B1"
    again = an_order(devices=("D1",))
    host.take(ordered(again, as_of=2))
    (declined,) = host.reported(Declined)
    assert (declined.code, declined.lease_seq) == ("device_unhealthy", again.lease_seq)
    assert not [todo for todo in host.todo if isinstance(todo, Spawn)]


@pytest.mark.lesson(5)
def test_a_rank_that_only_waits_gives_its_device_back() -> None:
    host = Host()
    waiting = an_order(devices=("D2",), phase=PREPARE, ranks=2, rank=1)
    host.take(ordered(waiting, as_of=2))
    host.lose("D2")
    (declined,) = host.reported(Declined)
    assert (declined.code, declined.rank) == ("device_unhealthy", 1)


@pytest.mark.lesson(5)
def test_work_whose_device_went_while_no_agent_was_there_ends_when_there_is_one() -> None:
    host = Host()
    host.take(started(at_ns=30 * SECOND_NS, devices=WITHOUT_D1))
    host.todo.clear()
    both = (host.well.key, host.struck.key)
    host.take(events.ReaperReady(at_ns=31 * SECOND_NS, keys=both))
    stops = [todo for todo in host.todo if isinstance(todo, Stop)]
    assert stops == [Stop(host.struck.key, "device_failed", 10)]
    encoded = msgspec.json.encode(host.state)
    assert msgspec.json.decode(encoded, type=State) == host.state
