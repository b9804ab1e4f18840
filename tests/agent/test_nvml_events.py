"""Are the errors that the driver logs told, of the right device, and does the listener end?"""

from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest

from agent.nvml_host import NvmlHost
from nvml.library import Script
from penstock_node_agent.drivers import nvml_events
from penstock_node_agent.drivers.nvml import RENEW_S
from penstock_node_agent.drivers.port import DriverSilent, Xid

GPU_IS_LOST, DRIVER_NOT_LOADED, UNKNOWN = 15, 9, 999
ECC, XID = 2, 8
LONG_S = 30.0
LOOKS = 200
"""As many as take a listener that spins through thousands of rounds."""


def listeners() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "xids"]


@pytest.mark.lesson(6)
def test_an_error_is_told_of_the_device_that_has_it(nvml_host: NvmlHost) -> None:
    driver = nvml_host.driver()
    told: SimpleQueue[Xid] = SimpleQueue()
    ear = driver.listen(told.put)
    nvml_host.script.xid(1, 79)
    assert told.get(timeout=LONG_S) == Xid(nvml_host.uuid(1), 79)
    assert [reading.xid for reading in driver.sample()] == [0, 79]
    nvml_host.script.xid(0, 7, kind=ECC)
    nvml_host.script.xid(0, 48)
    assert told.get(timeout=LONG_S) == Xid(nvml_host.uuid(0), 48), "other events are not XIDs"
    ear.close()
    assert listeners() == []
    assert nvml_host.script.sets == 0, "what NVML was asked to make for it is given back"


def test_an_error_of_an_instance_is_not_its_neighbours(nvml_host: NvmlHost) -> None:
    nvml_host.gpu(0).cut("3g.40gb", "3g.40gb")
    driver = nvml_host.driver()
    first, second, _ = driver.discover()
    told: SimpleQueue[Xid] = SimpleQueue()
    ear = driver.listen(told.put)
    nvml_host.script.xid(0, 31, gpu_instance=8)
    assert told.get(timeout=LONG_S) == Xid(second.uuid, 31)
    nvml_host.script.xid(0, 79)
    assert {told.get(timeout=LONG_S).uuid for _ in range(2)} == {first.uuid, second.uuid}
    ear.close()


def test_a_driver_in_which_nothing_can_be_heard_is_no_failure(nvml_host: NvmlHost) -> None:
    for gpu in (nvml_host.gpu(0), nvml_host.gpu(1)):
        gpu.fail("nvmlDeviceRegisterEvents", 3)
    driver = nvml_host.driver()
    ear = driver.listen(lambda xid: None)
    assert listeners() == []
    assert [reading.xid for reading in driver.sample()] == [None, None], "unknown, not none"
    ear.close()


def test_a_lost_gpu_does_not_make_the_listener_spin(
    nvml_host: NvmlHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvml_events, "PAUSE_S", LONG_S)
    driver = nvml_host.driver()
    told: SimpleQueue[Xid] = SimpleQueue()
    nvml_host.script.wait_code = GPU_IS_LOST
    nvml_host.script.xid(0, 79)
    ear = driver.listen(told.put)
    for _ in range(LOOKS):
        driver.discover()
    assert nvml_host.script.waits <= 1, "it pauses after a failure"
    ear.close()
    assert listeners() == [], "it ends also while NVML fails"
    assert told.empty()


@pytest.mark.parametrize("comes_back", [True, False])
def test_listening_goes_on_when_nvml_is_begun_anew(nvml_host: NvmlHost, comes_back: bool) -> None:
    driver = nvml_host.driver()
    driver.discover()
    told: SimpleQueue[Xid] = SimpleQueue()
    ear = driver.listen(told.put)
    silence(nvml_host.script, DRIVER_NOT_LOADED)
    with pytest.raises(DriverSilent):
        driver.discover()
    nvml_host.later(RENEW_S)
    with pytest.raises(DriverSilent):
        driver.discover()
    assert listeners() == []
    if comes_back:
        silence(nvml_host.script, 0)
        nvml_host.later(2 * RENEW_S)
        driver.discover()
        nvml_host.script.xid(0, 48)
        assert told.get(timeout=LONG_S) == Xid(nvml_host.uuid(0), 48)
    ear.close()
    driver.close()
    assert listeners() == []


def silence(script: Script, code: int) -> None:
    """The driver is unloaded, or loaded again with 0."""
    script.wait_code = script.global_code = script.init_code = code
