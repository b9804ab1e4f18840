"""What do NVIDIA devices say about themselves?

Through NVML (module `pynvml`), imported only when this driver is asked for. What NVML does not
support on a device is None. It does not know who uses the devices.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from penstock_contracts.nodes import Device
from penstock_node_agent.drivers.host import host_capacity
from penstock_node_agent.drivers.links import link_domains
from penstock_node_agent.drivers.port import Capacity, DriverSilent, Reading

MIB = 1 << 20
GPU_IS_LOST = 15
"""NVML_ERROR_GPU_IS_LOST: it has fallen off the bus, or has otherwise become inaccessible."""


class NvmlUnavailable(Exception):
    """There is no NVML on this host, or it does not initialise."""


class NvmlDriver:
    """Raises NvmlUnavailable when made on a host without a working NVML."""

    name = "nvml"

    def __init__(self, nvml: Any = None) -> None:
        if nvml is None:
            try:
                nvml = importlib.import_module("pynvml")
            except ImportError as error:
                raise NvmlUnavailable(f"python module pynvml is missing: {error}") from error
        self._nvml = nvml
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            raise NvmlUnavailable(str(error)) from error

    def discover(self) -> tuple[Device, ...]:
        found = [self._describe(index) for index in range(self._count())]
        handles = [(d.uuid, handle) for d, handle in found if d.healthy and handle is not None]
        links = link_domains(self._nvml, handles)
        return tuple(
            replace(device, link_domain=links[device.uuid]) if device.uuid in links else device
            for device, _ in found
        )

    def capacity(self) -> Capacity:
        return host_capacity()

    def sample(self) -> tuple[Reading, ...]:
        return tuple(self._read(index) for index in range(self._count()))

    def visible_devices(self, uuids: Sequence[str]) -> str:
        return ",".join(uuids)

    def close(self) -> None:
        self._ask(self._nvml.nvmlShutdown)

    def _count(self) -> int:
        try:
            return int(self._nvml.nvmlDeviceGetCount())
        except self._nvml.NVMLError as error:
            raise DriverSilent(str(error)) from error

    def _describe(self, index: int) -> tuple[Device, Any]:
        """A device and NVML's handle of it, None when it gives none."""
        nvml = self._nvml
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            uuid = _text(nvml.nvmlDeviceGetUUID(handle))
        except nvml.NVMLError as error:
            lost = Device(
                uuid=f"NVML-{index}",
                index=index,
                model="unknown",
                healthy=False,
                health_reason=str(error),
            )
            return lost, None
        memory, health_reason = None, ""
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        except nvml.NVMLError as error:
            if getattr(error, "value", None) == GPU_IS_LOST:
                health_reason = str(error)
        capability = self._ask(nvml.nvmlDeviceGetCudaComputeCapability, handle)
        numa_node = self._ask(nvml.nvmlDeviceGetNumaNodeId, handle)
        device = Device(
            uuid=uuid,
            index=index,
            model=_model(_text(self._ask(nvml.nvmlDeviceGetName, handle) or "unknown")),
            memory_mib=memory.total // MIB if memory is not None else None,
            numa_node=numa_node,
            compute_capability=f"{capability[0]}.{capability[1]}" if capability else "",
            driver_version=_text(self._ask(nvml.nvmlSystemGetDriverVersion) or ""),
            healthy=not health_reason,
            health_reason=health_reason,
        )
        return device, handle

    def _read(self, index: int) -> Reading:
        nvml = self._nvml
        handle = self._ask(nvml.nvmlDeviceGetHandleByIndex, index)
        if handle is None:
            return Reading(uuid=f"NVML-{index}", index=index, model="unknown")
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        rates = self._ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        return Reading(
            uuid=_text(self._ask(nvml.nvmlDeviceGetUUID, handle) or f"NVML-{index}"),
            index=index,
            model=_model(_text(self._ask(nvml.nvmlDeviceGetName, handle) or "unknown")),
            utilisation_percent=rates.gpu if rates is not None else None,
            memory_used_mib=memory.used // MIB if memory is not None else None,
            memory_free_mib=memory.free // MIB if memory is not None else None,
            temperature_c=self._ask(
                nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU
            ),
            power_mw=self._ask(nvml.nvmlDeviceGetPowerUsage, handle),
            energy_mj=self._ask(nvml.nvmlDeviceGetTotalEnergyConsumption, handle),
            sm_clock_mhz=self._ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
        )

    def _ask(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """What NVML answers, None when it does not know."""
        try:
            return call(*arguments)
        except self._nvml.NVMLError:
            return None


def _text(value: str | bytes) -> str:
    """Older bindings answer bytes."""
    return value.decode() if isinstance(value, bytes) else value


def _model(name: str) -> str:
    """`NVIDIA H100 80GB HBM3` as `H100`, as operators write it: without vendor and form factor."""
    words = [
        word for word in name.split() if word not in ("NVIDIA", "Tesla", "GeForce", "Graphics")
    ]
    return words[0].split("-")[0] if words and words[0] != "RTX" else "-".join(words) or name
