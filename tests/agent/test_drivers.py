"""What do the drivers say about devices, and what do they leave unknown?"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from penstock_node_agent.drivers import driver_for
from penstock_node_agent.drivers.cpu import CpuDriver
from penstock_node_agent.drivers.nvml import NvmlDriver, NvmlUnavailable
from penstock_node_agent.ports import PortRange, can_bind, parse_port_range
from penstock_node_agent.readings import Sampler


class NvmlError(Exception):
    pass


class FakeNvml:
    """Two devices: a whole one, and one of which NVML supports nothing but the name. What is not
    declared here raises, as an unexpected call should."""

    NVMLError = NvmlError
    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1
    NVML_P2P_CAPS_INDEX_NVLINK = 2
    NVML_P2P_STATUS_OK = 0

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.shut_down = False

    def nvmlInit(self) -> None:
        if self.broken:
            raise NvmlError("Driver Not Loaded")

    def nvmlShutdown(self) -> None:
        self.shut_down = True

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.1"

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}"

    def nvmlDeviceGetP2PStatus(self, handle: int, other: int, index: int) -> int:
        return 1

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:
        return ("NVIDIA H100 80GB HBM3", b"NVIDIA GeForce RTX 4090")[handle]

    def __getattr__(self, name: str) -> Any:
        answers: dict[str, Any] = {
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=80 << 30, used=1 << 30, free=79 << 30),
            "nvmlDeviceGetCudaComputeCapability": (9, 0),
            "nvmlDeviceGetNumaNodeId": 1,
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=0),
            "nvmlDeviceGetTemperature": 41,
            "nvmlDeviceGetPowerUsage": 71_500,
            "nvmlDeviceGetTotalEnergyConsumption": 123,
            "nvmlDeviceGetClockInfo": 1980,
        }
        if name not in answers:
            raise AttributeError(name)
        answer = answers[name]

        def call(handle: int, *_: Any) -> Any:
            if handle == 1:
                raise NvmlError("Not Supported")
            return answer

        return call


class PublishedBus:
    """Notes what is published; nothing else is expected of it."""

    def __init__(self) -> None:
        self.published: list[tuple[str, dict[str, float]]] = []

    def publish_nowait(self, subject: str, payload: bytes) -> None:
        self.published.append((subject, msgspec.json.decode(payload)))


def test_nvml_describes_what_it_knows_and_leaves_the_rest_unknown() -> None:
    driver = NvmlDriver(FakeNvml())
    whole, bare = driver.discover()
    assert (whole.uuid, whole.model, whole.memory_mib) == ("GPU-0", "H100", 81_920)
    assert (whole.numa_node, whole.compute_capability, whole.driver_version) == (1, "9.0", "580.1")
    assert (bare.model, bare.memory_mib, bare.numa_node) == ("RTX-4090", None, None)
    assert driver.visible_devices(("GPU-1", "GPU-0")) == "GPU-1,GPU-0"


@pytest.mark.lesson(24)
async def test_zero_is_a_reading_and_unknown_is_none(eventually: Any) -> None:
    whole, bare = NvmlDriver(FakeNvml()).sample()
    assert (whole.utilisation_percent, whole.power_mw, whole.energy_mj) == (0, 71_500, 123)
    assert (bare.utilisation_percent, bare.power_mw, bare.energy_mj) == (None, None, None)
    bus = PublishedBus()
    sampler = Sampler(bus, NvmlDriver(FakeNvml()), "n1", 10.0)  # type: ignore[arg-type]
    task = asyncio.ensure_future(sampler.keep())
    await eventually(lambda: bus.published)
    task.cancel()
    power = {m.labels["gpu"]: m.value for m in sampler.metrics() if "POWER_USAGE" in m.name}
    assert power == {"0": 71.5, "1": None}
    (subject, payload), *_ = bus.published
    assert subject == "penstock.v1.node.n1.sample"
    assert payload["GPU-0.utilisation_percent"] == 0
    assert not [name for name in payload if name.startswith("GPU-1")]


def test_a_host_without_nvml_is_a_cpu_node_unless_nvml_was_asked_for() -> None:
    with pytest.raises(NvmlUnavailable, match="Driver Not Loaded"):
        NvmlDriver(FakeNvml(broken=True))
    assert isinstance(driver_for("cpu", node="n1"), CpuDriver)
    assert CpuDriver().discover() == ()


def test_simulated_devices_are_as_declared_whatever_the_machine_has() -> None:
    driver = driver_for("simulated:8xH100", node="n7")
    devices = driver.discover()
    assert [device.uuid for device in devices] == [f"SIM-n7-{index}" for index in range(8)]
    assert {device.memory_mib for device in devices} == {81_920}
    assert (driver.capacity().cpu_milli, driver.capacity().memory_mib) == (128_000, 1_048_576)
    assert driver.visible_devices(("SIM-n7-2", "SIM-n7-0")) == "2,0"
    unknown = driver_for("simulated:1xUnheardOf", node="n7").discover()
    assert unknown[0].memory_mib is None
    assert all(reading.power_mw is None for reading in driver.sample())


@pytest.mark.parametrize(
    ("setting", "domains"),
    [
        ("simulated:4xH100", ["n7/0"] * 4),
        ("simulated:4xH100/2", ["n7/0", "n7/0", "n7/1", "n7/1"]),
        ("simulated:2xGB200@tray-1", ["tray-1", "tray-1"]),
    ],
)
def test_simulated_links_are_as_declared(setting: str, domains: list[str]) -> None:
    devices = driver_for(setting, node="n7").discover()
    assert [device.link_domain for device in devices] == domains


@pytest.mark.parametrize(
    "setting",
    ["tpu", "simulated:", "simulated:8", "simulated:99xH100", "simulated:8xH100/0"],
)
def test_a_wrong_driver_is_refused_with_its_name(setting: str) -> None:
    with pytest.raises(ValueError, match=setting.removeprefix("simulated:") or "''"):
        driver_for(setting, node="n1")


def test_a_port_is_given_once_and_only_when_it_can_be_bound() -> None:
    is_free = partial(can_bind, "127.0.0.1")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert PortRange(port, port, is_free).find(set()) is None
    assert PortRange(port, port, is_free).find(set()) == port
    assert PortRange(port, port, is_free).find({port}) is None


@pytest.mark.parametrize("text", ["", "5", "0-9", "9-5", "1-70000", "a-b"])
def test_a_wrong_port_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_port_range(text)
