"""What do a node's devices read now, and under which names is it found?

Sampled every few seconds, published on `node.<node>.sample`, and shown to Prometheus under
DCGM-exporter's names and labels, which GPU dashboards query. It does not know where readings come
from.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Literal

import msgspec

from penstock_bus.port import Bus, Outage
from penstock_contracts.ids import ROOT
from penstock_node_agent.drivers.port import DeviceDriver, DriverSilent, Reading
from penstock_runtime.metrics import Metric

MW_PER_W = 1000

Kind = Literal["counter", "gauge"]

_FIELDS: tuple[tuple[str, Kind, str, str], ...] = (
    ("DCGM_FI_DEV_GPU_UTIL", "gauge", "GPU utilisation in percent.", "utilisation_percent"),
    ("DCGM_FI_DEV_FB_USED", "gauge", "Frame buffer memory used in MiB.", "memory_used_mib"),
    ("DCGM_FI_DEV_FB_FREE", "gauge", "Frame buffer memory free in MiB.", "memory_free_mib"),
    ("DCGM_FI_DEV_GPU_TEMP", "gauge", "GPU temperature in degrees Celsius.", "temperature_c"),
    ("DCGM_FI_DEV_SM_CLOCK", "gauge", "SM clock in MHz.", "sm_clock_mhz"),
    ("DCGM_FI_DEV_POWER_USAGE", "gauge", "Power draw in W.", "power_mw"),
    (
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "counter",
        "Energy since the driver was loaded in mJ.",
        "energy_mj",
    ),
)

log = logging.getLogger(__name__)


class Sampler:
    """The newest readings of a driver."""

    def __init__(self, bus: Bus, driver: DeviceDriver, node: str, interval_s: float) -> None:
        self._bus, self._driver, self._node = bus, driver, node
        self._interval_s = interval_s
        self._readings: tuple[Reading, ...] = ()

    async def keep(self) -> None:
        """Sample until cancelled; a driver may take its time on a thread."""
        while True:
            try:
                self._readings = await asyncio.to_thread(self._driver.sample)
            except DriverSilent as error:
                self._readings = ()
                log.error("the devices cannot be read: %s", error)
            known = self._known()
            if known:
                with suppress(Outage):  # the next sample replaces it
                    self._bus.publish_nowait(
                        f"{ROOT}.node.{self._node}.sample", msgspec.json.encode(known)
                    )
            await asyncio.sleep(self._interval_s)

    def metrics(self) -> Iterator[Metric]:
        """Newest readings; what a device does not say is left out."""
        for reading in self._readings:
            labels = {
                "gpu": str(reading.index),
                "UUID": reading.uuid,
                "modelName": reading.model,
                "Hostname": self._node,
            }
            for name, kind, description, field in _FIELDS:
                yield Metric(name, kind, description, _value(reading, field), labels)

    def _known(self) -> dict[str, float]:
        values = {
            f"{reading.uuid}.{field}": getattr(reading, field)
            for reading in self._readings
            for _, _, _, field in _FIELDS
        }
        return {name: value for name, value in values.items() if value is not None}


def _value(reading: Reading, field: str) -> float | None:
    value: int | None = getattr(reading, field)
    return value / MW_PER_W if field == "power_mw" and value is not None else value
