"""Under which names do dashboards find a node's devices?

DCGM-exporter's names and labels, which GPU dashboards query. It does not know where readings come
from.
"""

from __future__ import annotations

from collections.abc import Iterator

from penstock_node_agent.drivers.port import DeviceDriver, Reading
from penstock_runtime.metrics import Metric

MW_PER_W = 1000

_FIELDS = (
    ("DCGM_FI_DEV_GPU_UTIL", "gauge", "GPU utilisation in percent.", "utilisation_percent"),
    ("DCGM_FI_DEV_FB_USED", "gauge", "Frame buffer memory used in MiB.", "memory_used_mib"),
    ("DCGM_FI_DEV_FB_FREE", "gauge", "Frame buffer memory free in MiB.", "memory_free_mib"),
    ("DCGM_FI_DEV_GPU_TEMP", "gauge", "GPU temperature in degrees Celsius.", "temperature_c"),
    ("DCGM_FI_DEV_SM_CLOCK", "gauge", "SM clock in MHz.", "sm_clock_mhz"),
    (
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "counter",
        "Energy since the driver was loaded in mJ.",
        "energy_mj",
    ),
)


def device_metrics(driver: DeviceDriver, node: str) -> Iterator[Metric]:
    """Readings of now; a reading that a device does not give is left out."""
    for reading in driver.sample():
        labels = {
            "gpu": str(reading.index),
            "UUID": reading.uuid,
            "modelName": reading.model,
            "Hostname": node,
        }
        for name, kind, description, field in _FIELDS:
            value = getattr(reading, field)
            yield Metric(
                name, "counter" if kind == "counter" else "gauge", description, value, labels
            )
        yield Metric(
            "DCGM_FI_DEV_POWER_USAGE", "gauge", "Power draw in W.", _power_w(reading), labels
        )


def _power_w(reading: Reading) -> float | None:
    return None if reading.power_mw is None else reading.power_mw / MW_PER_W
