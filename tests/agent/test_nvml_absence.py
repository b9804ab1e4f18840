"""What does the agent do when NVML is not there, goes, comes back, or never answers?

The real binding on a library that answers what the test writes down.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest

from agent.nvml_host import NvmlHost, health
from penstock_node_agent.drivers import driver_for, nvml
from penstock_node_agent.drivers.late import TRY_S, LateDriver
from penstock_node_agent.drivers.nvml import RENEW_S, NvmlDriver
from penstock_node_agent.drivers.nvml_calls import NvmlUnavailable
from penstock_node_agent.drivers.port import DriverSilent, Xid

DRIVER_NOT_LOADED, MISMATCH = 9, 18
LONG_S = 30.0


def test_a_gpu_that_comes_back_is_found_by_beginning_anew(nvml_host: NvmlHost) -> None:
    driver = nvml_host.driver()
    well = driver.discover()
    nvml_host.gpu(1).present = 0
    assert list(health(driver.discover())) == [nvml_host.uuid(1)]
    nvml_host.later()
    assert driver.discover() == well[:1], "it is not even listed any more"
    nvml_host.gpu(1).present = 1
    nvml_host.later(RENEW_S)
    assert driver.discover() == well[:1], "tried less and less often"
    nvml_host.later(RENEW_S)
    assert driver.discover() == well
    inits = nvml_host.script.inits
    nvml_host.later(10 * RENEW_S)
    driver.discover()
    assert nvml_host.script.inits == inits, "nothing is missing"


@pytest.mark.lesson(24)
@pytest.mark.parametrize("code", [DRIVER_NOT_LOADED, MISMATCH])
def test_a_driver_that_does_not_answer_says_nothing_about_its_devices(
    nvml_host: NvmlHost, code: int
) -> None:
    driver = nvml_host.driver()
    well = driver.discover()
    nvml_host.script.global_code = code
    asked: tuple[Callable[[], Any], ...] = (
        driver.discover,
        driver.sample,
        driver.vitals,
        lambda: driver.memory_in_use((nvml_host.uuid(0),)),
    )
    for ask in asked:
        with pytest.raises(DriverSilent):
            ask()
    nvml_host.script.init_code = code
    nvml_host.later()
    with pytest.raises(DriverSilent):
        driver.discover()
    nvml_host.script.init_code = nvml_host.script.global_code = 0
    with pytest.raises(DriverSilent, match="anew in a while"):
        driver.discover()
    nvml_host.later(2 * RENEW_S)
    assert driver.discover() == well


def test_nvml_asked_for_by_name_must_be_there(nvml_host: NvmlHost) -> None:
    nvml_host.script.init_code = DRIVER_NOT_LOADED
    with pytest.raises(NvmlUnavailable, match="Driver Not Loaded"):
        driver_for("nvml", node="n1")


def test_a_host_without_the_binding_has_no_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(NvmlUnavailable, match="pynvml"):
        NvmlDriver()


def test_a_driver_that_is_loaded_late_is_found_by_looking(nvml_host: NvmlHost) -> None:
    nvml_host.script.init_code = DRIVER_NOT_LOADED
    driver = driver_for("auto", node="n1")
    assert isinstance(driver, LateDriver)
    assert (driver.name, driver.can_check, driver.discover()) == ("cpu", False, ())
    late = LateDriver(nvml_host.driver, now_s=lambda: nvml_host.clock_s)
    told: SimpleQueue[Xid] = SimpleQueue()
    ear, unheard = late.listen(told.put), late.listen(told.put)
    unheard.close()
    nvml_host.later(TRY_S)
    assert late.discover() == (), "still not there"
    nvml_host.script.init_code = 0
    assert late.discover() == (), "not tried at every look"
    nvml_host.later(TRY_S)
    assert [device.uuid for device in late.discover()] == [nvml_host.uuid(0), nvml_host.uuid(1)]
    assert (late.name, late.can_check, len(late.vitals())) == ("nvml", True, 2)
    nvml_host.script.xid(1, 79)
    while not told:
        pass
    assert told.get(timeout=LONG_S) == Xid(nvml_host.uuid(1), 79)
    ear.close()
    assert told.empty(), "the other had closed its ear"


def test_a_question_that_does_not_come_back_does_not_keep_the_agent_from_ending(
    nvml_host: NvmlHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvml, "CLOSE_S_MAX", 0.01)
    driver = nvml_host.driver()
    calls = nvml_host.script.calls
    nvml_host.script.latency_us = 500_000
    asking = threading.Thread(target=driver.discover)
    asking.start()
    while nvml_host.script.calls == calls:
        asking.join(0.001)
    driver.close()
    assert asking.is_alive(), "it was not waited for"
    nvml_host.script.latency_us = 0
    asking.join(LONG_S)
