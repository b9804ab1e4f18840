"""How long is a device kept from use, and by what is that decided?"""

from __future__ import annotations

import msgspec
import pytest

from agent.builders import DEVICES
from penstock_contracts.nodes import Device
from penstock_node_agent.core.devices import (
    DRIVER_ERROR,
    ECC_UNCORRECTABLE,
    MEMORY_HELD,
    OFF_BUS,
    ROWS_FAILED,
    ROWS_PENDING,
    SANITY,
    WELL_NS,
    Fault,
    Looks,
    ailment,
    fault_of,
    sick,
)
from penstock_node_agent.core.occupancy import PIDS_NAMED_MAX, what_is_left
from penstock_node_agent.core.xids import Harm, harm_of, sentence
from penstock_node_agent.drivers.port import Vitals

D0, D1, D2, D3 = DEVICES
HELD = Fault(MEMORY_HELD, "40000 MiB of its memory are in use")
LONG_NS = 1_000 * WELL_NS


def codes(devices: tuple[Device, ...]) -> dict[str, str]:
    """What the sick ones are sick of."""
    return {device.uuid: device.health_code for device in devices if not device.healthy}


def instance(uuid: str, index: int, parent: str = "GPU-0") -> Device:
    return Device(uuid=uuid, index=index, model="H100", parent=parent)


@pytest.mark.lesson(6)
@pytest.mark.parametrize("code", [46, 48, 62, 64, 74, 79, 95, 119, 140, 143])
def test_an_xid_that_only_a_reset_mends_condemns_at_once_and_good_looks_do_not_mend_it(
    code: int,
) -> None:
    looks = Looks(DEVICES, 0)
    assert codes(looks.hear("D1", code, 1)) == {"D1": f"xid_{code}"}
    assert codes(looks.look(DEVICES, LONG_NS)) == {"D1": f"xid_{code}"}
    assert codes(looks.trust(["D1"])) == {}


def test_the_first_xid_is_the_one_that_is_told() -> None:
    looks = Looks(DEVICES, 0)
    looks.hear("D1", 48, 1)
    said = looks.hear("D1", 79, 2)
    assert codes(said) == {"D1": "xid_48"}
    assert said[1].health_reason == "XID 48 (double bit ECC error)"


@pytest.mark.lesson(12)
@pytest.mark.parametrize("code", [8, 13, 31, 32, 43, 45, 63, 68, 69, 92, 154, 999])
def test_what_an_application_causes_or_nobody_knows_condemns_nothing(code: int) -> None:
    looks = Looks(DEVICES, 0)
    assert looks.hear("D1", code, 1) == DEVICES
    assert harm_of(code) in (Harm.APPLICATION, Harm.NONE)


def test_a_contained_memory_error_costs_the_work_and_the_device_is_well_after_a_minute() -> None:
    looks = Looks(DEVICES, 0)
    said = looks.hear("D1", 94, 5)
    assert codes(said) == {"D1": "xid_94"}
    assert fault_of({d.uuid: d for d in said}, ["D1"], at_work=True) is not None
    assert codes(looks.look(DEVICES, WELL_NS)) == {"D1": "xid_94"}
    assert codes(looks.look(DEVICES, WELL_NS + 5)) == {}


def test_every_xid_is_a_sentence() -> None:
    assert sentence(79) == "XID 79 (GPU has fallen off the bus)"
    assert sentence(999) == "XID 999"


@pytest.mark.lesson(6)
def test_an_xid_of_a_gpu_is_one_of_all_its_instances_and_of_those_it_is_cut_into_later() -> None:
    parts, other = (instance("MIG-1", 0), instance("MIG-2", 1)), instance("MIG-9", 2, "GPU-1")
    looks = Looks((*parts, other), 0)
    assert codes(looks.hear("GPU-0", 79, 1)) == {"MIG-1": "xid_79", "MIG-2": "xid_79"}
    for now in (2, 3):
        said = looks.look((instance("MIG-3", 0), other), now)
    assert codes(said) == {"MIG-3": "xid_79"}


def test_an_instance_that_was_cut_anew_is_no_fault_and_is_forgotten() -> None:
    whole, other = Device(uuid="GPU-0", index=0, model="H100"), instance("MIG-9", 7, "GPU-1")
    looks = Looks((whole, other), 0)
    cut = (instance("MIG-1", 0), instance("MIG-2", 1), other)
    looks.look(cut, 1)
    assert looks.in_doubt
    assert looks.look(cut, 2) == cut
    for now in (3, 4):
        back = looks.look((whole, other), now)
    assert back == (whole, other)


def test_what_a_device_says_of_itself_has_a_code() -> None:
    def fault(**signs: object) -> str:
        found = ailment(Vitals(uuid="D1", index=1, **signs))  # type: ignore[arg-type]
        return found.code if found is not None else ""

    assert fault() == fault(throttled=("temperature",)) == fault(ecc_uncorrectable=0) == ""
    assert fault(lost=True, error="GPU is lost") == OFF_BUS
    assert fault(error="Unknown Error") == DRIVER_ERROR
    assert fault(rows_failed=True, ecc_uncorrectable=1) == ROWS_FAILED
    assert fault(ecc_uncorrectable=1) == ECC_UNCORRECTABLE


def test_rows_that_wait_for_a_reset_are_remarked_on_a_device_that_is_well() -> None:
    looks = Looks(DEVICES, 0)
    waiting = {"D1": Vitals(uuid="D1", index=1, rows_pending=True)}
    said = looks.look(DEVICES, 1, waiting)[1]
    assert (said.healthy, said.health_code) == (True, ROWS_PENDING)
    assert looks.look(DEVICES, 2) == DEVICES


@pytest.mark.lesson(9)
def test_who_holds_a_device_back_lets_it_go_and_no_work_ends_by_it() -> None:
    looks = Looks(DEVICES, 0)
    said = {device.uuid: device for device in looks.hold("D1", HELD)}
    assert codes(tuple(said.values())) == {"D1": MEMORY_HELD}
    assert looks.hold("D1", Fault(MEMORY_HELD, "41000 MiB")) == tuple(said.values())
    assert fault_of(said, ["D1"]) is not None and fault_of(said, ["D1"], at_work=True) is None
    assert codes(looks.look(DEVICES, LONG_NS)) == {"D1": MEMORY_HELD}
    assert codes(looks.let_go("D1", SANITY)) == {"D1": MEMORY_HELD}
    assert looks.let_go("D1", MEMORY_HELD) == DEVICES
    assert looks.held == ()


@pytest.mark.lesson(1)
def test_what_was_said_of_devices_before_the_agent_began_anew_still_holds() -> None:
    looks = Looks(DEVICES, 0)
    looks.hear("D1", 79, 1)
    looks.hold("D2", HELD)
    before = {device.uuid: device for device in looks.look((D0, D1, D2), 2)}
    before["D3"] = sick(D3, "gone from the host", OFF_BUS)
    again = Looks((D0, D1, D2), 10, before)
    told = {"D1": "xid_79", "D2": MEMORY_HELD, "D3": OFF_BUS}
    assert codes(again.said()) == told
    assert codes(again.look(DEVICES, 10 + WELL_NS)) == {"D1": "xid_79", "D2": MEMORY_HELD}
    assert again.held == ("D2",)


@pytest.mark.lesson(5, 12)
def test_a_device_that_was_there_before_and_is_not_is_looked_for_once_more() -> None:
    before = {device.uuid: device for device in DEVICES}
    looks = Looks((D0, D2, D3), 0, before)
    assert looks.in_doubt and codes(looks.said()) == {}
    assert codes(looks.look((D0, D2, D3), 1)) == {"D1": OFF_BUS}


def test_what_changes_about_a_device_that_is_well_is_said_and_its_place_stays() -> None:
    looks = Looks(DEVICES, 0)
    newer = msgspec.structs.replace(D1, index=0, driver_version="610.1")
    said = looks.look((D0, newer, D2, D3), 1)
    assert (said[1].uuid, said[1].index, said[1].driver_version) == ("D1", 1, "610.1")


@pytest.mark.parametrize("text", ["two\nlines", "x" * 1_000, "\x1b[2J"])
def test_whatever_a_driver_says_is_a_reason_that_a_description_takes(text: str) -> None:
    said = sick(D1, text, text)
    assert msgspec.json.decode(msgspec.json.encode(said), type=Device) == said


@pytest.mark.lesson(9)
def test_a_device_is_free_when_none_of_ours_is_on_it_and_no_more_memory_than_at_rest() -> None:
    def left(used_mib: int | None, *pids: int, **owners: str) -> str:
        return what_is_left(used_mib, pids, 600, {int(k[1:]): v for k, v in owners.items()})

    assert left(None) == left(0) == left(600, 17) == ""
    assert left(0, 17, p17="9/J/0") == "process 17 of lease 9/J/0 is still on it"
    assert left(601) == "601 MiB of its memory are in use by no known process"
    assert "process 17" in left(40_000, 17, 18, p17="")
    assert left(40_000, *range(20)).count("process") == PIDS_NAMED_MAX
