"""Under which names does Prometheus find what devices read?

Under those of DCGM-exporter, with its labels, so that dashboards made for it work as they are.
Every number has every label, an empty one where it does not apply, which Prometheus takes for none.
It does not know where readings come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from penstock_contracts.leases import LeaseOrder
from penstock_node_agent.drivers.port import Reading, Vitals
from penstock_runtime.metrics import Metric

MW_PER_W = 1000

Number = int | float | None
_READINGS: tuple[tuple[str, str, Callable[[Reading], Number]], ...] = (
    ("GPU_UTIL", "GPU utilisation in percent.", lambda r: r.utilisation_percent),
    ("MEM_COPY_UTIL", "Memory utilisation in percent.", lambda r: r.memory_busy_percent),
    ("FB_USED", "Frame buffer memory used in MiB.", lambda r: r.memory_used_mib),
    ("FB_FREE", "Frame buffer memory free in MiB.", lambda r: r.memory_free_mib),
    ("FB_RESERVED", "Frame buffer memory reserved in MiB.", lambda r: r.memory_reserved_mib),
    ("GPU_TEMP", "GPU temperature in degrees Celsius.", lambda r: r.temperature_c),
    ("MEMORY_TEMP", "Memory temperature in degrees Celsius.", lambda r: r.memory_temperature_c),
    ("SM_CLOCK", "SM clock in MHz.", lambda r: r.sm_clock_mhz),
    ("MEM_CLOCK", "Memory clock in MHz.", lambda r: r.memory_clock_mhz),
    (
        "POWER_USAGE",
        "Power draw in W.",
        lambda r: None if r.power_mw is None else r.power_mw / MW_PER_W,
    ),
    (
        "TOTAL_ENERGY_CONSUMPTION",
        "Energy since the driver was loaded in mJ.",
        lambda r: r.energy_mj,
    ),
    ("PCIE_TX_THROUGHPUT", "Sent over PCIe in kB/s.", lambda r: r.pcie_sent_kb_s),
    ("PCIE_RX_THROUGHPUT", "Received over PCIe in kB/s.", lambda r: r.pcie_received_kb_s),
    ("PCIE_REPLAY_COUNTER", "Repeats on PCIe.", lambda r: r.pcie_replays),
    ("XID_ERRORS", "The last XID; 0 = none since the agent listens.", lambda r: r.xid),
)
_VITALS: tuple[tuple[str, str, Callable[[Vitals], Number]], ...] = (
    (
        "ECC_DBE_VOL_TOTAL",
        "Uncorrectable memory errors since the driver was loaded.",
        lambda v: v.ecc_uncorrectable,
    ),
    (
        "UNCORRECTABLE_REMAPPED_ROWS",
        "Rows remapped for uncorrectable errors.",
        lambda v: v.rows_uncorrectable,
    ),
    (
        "CORRECTABLE_REMAPPED_ROWS",
        "Rows remapped for correctable errors.",
        lambda v: v.rows_correctable,
    ),
    (
        "ROW_REMAP_PENDING",
        "Whether rows wait for a reset to be remapped.",
        lambda v: v.rows_pending,
    ),
    ("ROW_REMAP_FAILURE", "Whether remapping of rows has failed.", lambda v: v.rows_failed),
)


def metrics_of(
    readings: tuple[Reading, ...], node: str, work: Mapping[str, LeaseOrder]
) -> Iterator[Metric]:
    """What is unknown is left out. `work`: per device with one job, that job's order.

    All are gauges: Prometheus' library adds `_total` to the name of a counter, which no dashboard
    of DCGM's asks for.
    """
    for reading in readings:
        labels = _labels(reading, node, work.get(reading.uuid))
        for name, description, value_of in _READINGS:
            yield _metric(name, description, value_of(reading), labels)
        for name, description, value_in in _VITALS:
            value = None if reading.vitals is None else value_in(reading.vitals)
            yield _metric(name, description, value, labels)


def _metric(name: str, description: str, value: Number, labels: dict[str, str]) -> Metric:
    number = int(value) if isinstance(value, bool) else value
    return Metric(f"DCGM_FI_DEV_{name}", "gauge", description, number, labels)


def _labels(reading: Reading, node: str, order: LeaseOrder | None) -> dict[str, str]:
    """`UUID` is the GPU's, also of an instance; `hpc_job` is how DCGM-exporter calls a job."""
    return {
        "gpu": str(reading.index),
        "UUID": reading.parent or reading.uuid,
        "pci_bus_id": reading.pci_bus,
        "device": "" if reading.minor is None else f"nvidia{reading.minor}",
        "modelName": reading.product or reading.model,
        "GPU_I_PROFILE": reading.profile,
        "GPU_I_ID": "" if reading.gpu_instance is None else str(reading.gpu_instance),
        "Hostname": node,
        "DCGM_FI_DRIVER_VERSION": reading.driver_version,
        "hpc_job": "" if order is None else order.job_id,
        "tenant": "" if order is None else order.tenant,
    }
