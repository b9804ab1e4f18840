"""What does the agent find through NVML, and what does it make of what NVML does not say?

The real binding on a library that answers what the test writes down.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import msgspec
import pytest

from agent.nvml_host import NvmlHost, health
from nvml.library import fit_gpu
from penstock_contracts.nodes import Device
from penstock_node_agent.drivers import driver_for, nvml
from penstock_node_agent.drivers.late import TRY_S, LateDriver
from penstock_node_agent.drivers.nvml import RENEW_S, NvmlDriver
from penstock_node_agent.drivers.nvml_calls import NvmlUnavailable
from penstock_node_agent.drivers.nvml_cards import model_of
from penstock_node_agent.drivers.port import (
    DRIVER_ERROR,
    MIG_EMPTY,
    OFF_BUS,
    DriverSilent,
    Xid,
)

DRIVER_NOT_LOADED, GPU_IS_LOST, RESET_REQUIRED, UNKNOWN = 9, 15, 16, 999
NOT_SUPPORTED, MISMATCH = 3, 18
LONG_S = 30.0


def test_a_gpu_is_described_by_all_that_it_says_of_itself(nvml_host: NvmlHost) -> None:
    first, second = nvml_host.driver().discover()
    assert first == Device(
        uuid=nvml_host.uuid(0),
        index=0,
        model="H100",
        memory_mib=81_559,
        numa_node=0,
        compute_capability="9.0",
        driver_version="580.159.03",
        cuda_version="13.0",
        pci_bus="00000000:1B:00.0",
        ecc=True,
    )
    assert (second.uuid, second.index) == (nvml_host.uuid(1), 1)
    assert nvml_host.driver().visible_devices((second.uuid, first.uuid)) == (
        f"{second.uuid},{first.uuid}"
    )


def test_what_a_gpu_does_not_say_is_unknown(nvml_host: NvmlHost) -> None:
    gpu = nvml_host.gpu(0)
    for call in (
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetCudaComputeCapability",
        "nvmlDeviceGetPciInfo_v3",
    ):
        gpu.fail(call, NOT_SUPPORTED)
    gpu.ecc, gpu.numa_bits, gpu.mig = -1, 0, -1
    bare = nvml_host.driver().discover()[0]
    unknown = (bare.memory_mib, bare.numa_node, bare.ecc)
    assert unknown == (None, None, None)
    assert (bare.compute_capability, bare.pci_bus, bare.healthy) == ("", "", True)


def test_the_numa_node_comes_from_the_bus_where_nvml_does_not_say_it(nvml_host: NvmlHost) -> None:
    nvml_host.gpu(1).numa_bits = 0
    path = nvml_host.path.parent / "0000:1c:00.0"
    path.mkdir()
    (path / "numa_node").write_text("1\n")
    assert nvml_host.driver().discover()[1].numa_node == 1
    (path / "numa_node").write_text("-1\n")
    assert nvml_host.driver().discover()[1].numa_node is None


def test_linked_gpus_are_one_domain(nvml_host: NvmlHost) -> None:
    nvml_host.gpu(0).links, nvml_host.gpu(1).links = 0b10, 0b01
    devices = nvml_host.driver().discover()
    assert {device.link_domain for device in devices} == {nvml_host.uuid(0)}
    nvml_host.gpu(0).clique = nvml_host.gpu(1).clique = 5
    devices = nvml_host.driver().discover()
    assert {device.link_domain for device in devices} == {"07" + "00" * 15 + "/5"}


@pytest.mark.parametrize(
    ("product", "model"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA GeForce RTX 4090", "RTX-4090"),
        ("Tesla T4", "T4"),
        ("NVIDIA GH200 480GB", "GH200"),
    ],
)
def test_a_model_is_called_as_operators_call_it(product: str, model: str) -> None:
    assert model_of(product) == model


def test_instances_stand_in_place_of_their_gpu(nvml_host: NvmlHost) -> None:
    nvml_host.gpu(1).cut("3g.40gb", "1g.10gb")
    driver = nvml_host.driver()
    whole, large, small = driver.discover()
    assert (whole.uuid, whole.parent) == (nvml_host.uuid(0), "")
    assert (large.model, small.model) == ("H100-3g.40gb", "H100-1g.10gb")
    assert (large.memory_mib, small.memory_mib) == (40_960, 10_240)
    assert large.parent == small.parent == nvml_host.uuid(1)
    assert small.uuid.startswith("MIG-")
    assert (small.index, small.compute_capability, small.ecc) == (1, "9.0", True)
    assert driver.visible_devices((small.uuid,)) == small.uuid


def test_an_instance_without_a_name_is_called_by_its_slices(nvml_host: NvmlHost) -> None:
    nvml_host.gpu(0).cut("1g.10gb")
    nvml_host.gpu(0).part[0].name = b""
    assert nvml_host.driver().discover()[0].model == "H100-1g.10gb"


def test_a_gpu_that_is_cut_anew_is_seen_without_beginning_anew(nvml_host: NvmlHost) -> None:
    driver = nvml_host.driver()
    assert [device.model for device in driver.discover()] == ["H100", "H100"]
    nvml_host.gpu(0).cut("7g.80gb")
    assert [device.model for device in driver.discover()] == ["H100-7g.80gb", "H100"]
    nvml_host.gpu(0).cut("4g.40gb", "3g.40gb")
    assert [d.model for d in driver.discover()] == ["H100-4g.40gb", "H100-3g.40gb", "H100"]
    nvml_host.gpu(0).cut()
    assert health(driver.discover()) == {
        nvml_host.uuid(0): (MIG_EMPTY, "MIG mode is on, and there are no instances")
    }
    nvml_host.gpu(0).mig = 0
    assert [device.model for device in driver.discover()] == ["H100", "H100"]
    nvml_host.later()
    driver.discover()
    assert nvml_host.script.inits == 1


@pytest.mark.lesson(5, 6)
@pytest.mark.parametrize(
    ("code", "word", "reason"),
    [
        (GPU_IS_LOST, OFF_BUS, "GPU is lost"),
        (28, OFF_BUS, "GPU Not Found"),
        (UNKNOWN, DRIVER_ERROR, "Unknown Error"),
        (RESET_REQUIRED, DRIVER_ERROR, "GPU requires restart"),
    ],
)
def test_what_one_gpu_fails_to_say_is_held_against_that_gpu_alone(
    nvml_host: NvmlHost, code: int, word: str, reason: str
) -> None:
    driver = nvml_host.driver()
    assert health(driver.discover()) == {}
    nvml_host.gpu(1).fail("nvmlDeviceGetMemoryInfo_v2", code)
    assert health(driver.discover()) == {nvml_host.uuid(1): (word, reason)}
    assert [reading.memory_used_mib for reading in driver.sample()] == [0, None]
    nvml_host.gpu(1).fail("nvmlDeviceGetMemoryInfo_v2", 0)
    assert health(driver.discover()) == {}


@pytest.mark.lesson(5)
def test_instances_are_as_sick_as_their_gpu(nvml_host: NvmlHost) -> None:
    nvml_host.gpu(0).cut("3g.40gb", "3g.40gb")
    driver = nvml_host.driver()
    first, second, _ = driver.discover()
    nvml_host.gpu(0).lost = 1
    assert health(driver.discover()) == dict.fromkeys(
        (first.uuid, second.uuid), (OFF_BUS, "GPU is lost")
    )


def test_a_question_that_was_never_answered_is_no_failure(nvml_host: NvmlHost) -> None:
    nvml_host.gpu(0).fail("nvmlDeviceGetRemappedRows", UNKNOWN)
    driver = nvml_host.driver()
    assert health(driver.discover()) == {}
    first, second = driver.vitals()
    assert (first.rows_failed, first.error) == (None, "")
    assert (second.rows_failed, second.error) == (False, "")


def test_a_gpu_that_does_not_say_who_it_is_is_named_by_its_place(nvml_host: NvmlHost) -> None:
    nvml_host.gpu(1).lost = 1
    devices = nvml_host.driver().discover()
    assert health(devices) == {"NVML-1": (OFF_BUS, "GPU is lost")}
    assert devices[0].healthy


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


def test_devices_can_be_told_to_others(nvml_host: NvmlHost) -> None:
    fit_gpu(nvml_host.script, 2).cut("1g.10gb")
    devices = nvml_host.driver().discover()
    assert msgspec.json.decode(msgspec.json.encode(devices), type=tuple[Device, ...]) == devices
