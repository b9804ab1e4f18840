"""Which host with NVIDIA devices does a test have?

The real driver and the real binding over the tests' own NVML library. It does not know what is
expected of them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from nvml.library import Gpu, Script, loaded, write_script
from penstock_contracts.nodes import Device
from penstock_node_agent.drivers.nvml import RENEW_S, NvmlDriver


class NvmlHost:
    """`script`: what NVML says; `clock_s`: what the driver takes for the time."""

    def __init__(self, library: Path, directory: Path, gpus: int) -> None:
        self.path = directory / "nvml.script"
        self.script: Script = write_script(self.path, gpus)
        self.clock_s = 0.0
        self._loaded: AbstractContextManager[Any] = loaded(library, self.path)
        self._drivers: list[NvmlDriver] = []

    def __enter__(self) -> NvmlHost:
        self.module = self._loaded.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for driver in self._drivers:
            driver.close()
        self._loaded.__exit__(*error)

    @property
    def gpus(self) -> Any:
        return self.script.gpu

    def gpu(self, place: int) -> Gpu:
        gpu: Gpu = self.script.gpu[place]
        return gpu

    def uuid(self, place: int) -> str:
        return str(self.gpu(place).uuid.decode())

    def driver(self) -> NvmlDriver:
        """Ended with the test."""
        driver = NvmlDriver(self.module, now_s=lambda: self.clock_s, sysfs=self.path.parent)
        self._drivers.append(driver)
        return driver

    def later(self, seconds: float = RENEW_S) -> None:
        """Long enough, unless told otherwise, that NVML may be begun anew."""
        self.clock_s += seconds


def health(devices: tuple[Device, ...]) -> dict[str, tuple[str, str]]:
    """What is wrong with the sick ones."""
    return {d.uuid: (d.health_code, d.health_reason) for d in devices if not d.healthy}
