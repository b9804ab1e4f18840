"""What does the agent find through NVML, and what does it make of what NVML does not say?

The real binding on a library that answers what the test writes down.
"""

from __future__ import annotations

import msgspec
import pytest

from agent.nvml_host import NvmlHost, health
from nvml.library import fit_gpu
from penstock_contracts.nodes import Device
from penstock_node_agent.drivers.nvml_cards import model_of
from penstock_node_agent.drivers.port import DRIVER_ERROR, MIG_EMPTY, OFF_BUS

GPU_IS_LOST, RESET_REQUIRED, UNKNOWN = 15, 16, 999
NOT_SUPPORTED, NO_PERMISSION = 3, 4


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


def test_a_gpu_that_the_agent_may_not_use_is_none_of_its_devices(nvml_host: NvmlHost) -> None:
    nvml_host.gpu(0).fail("nvmlDeviceGetHandleByIndex_v2", NO_PERMISSION)
    driver = nvml_host.driver()
    assert [device.uuid for device in driver.discover()] == [nvml_host.uuid(1)]
    assert len(driver.sample()) == len(driver.vitals()) == 1


def test_devices_can_be_told_to_others(nvml_host: NvmlHost) -> None:
    fit_gpu(nvml_host.script, 2).cut("1g.10gb")
    devices = nvml_host.driver().discover()
    assert msgspec.json.decode(msgspec.json.encode(devices), type=tuple[Device, ...]) == devices
