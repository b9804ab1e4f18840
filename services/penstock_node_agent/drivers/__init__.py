"""Which drivers are there, and which one does a setting name?"""

from __future__ import annotations

from penstock_node_agent.drivers.cpu import CpuDriver
from penstock_node_agent.drivers.nvml import NvmlDriver, NvmlUnavailable
from penstock_node_agent.drivers.port import DeviceDriver
from penstock_node_agent.drivers.simulated import SimulatedDriver, parse_simulated

SIMULATED_PREFIX = "simulated:"


def check_setting(setting: str) -> None:
    """Raises ValueError when `driver_for` would not know the setting."""
    if setting.startswith(SIMULATED_PREFIX):
        parse_simulated(setting.removeprefix(SIMULATED_PREFIX))
    elif setting not in ("auto", "nvml", "cpu"):
        raise ValueError(
            f"setting driver is wrong: {setting!r} is none of auto, nvml, cpu, "
            "simulated:COUNTxMODEL"
        )


def driver_for(setting: str, *, node: str) -> DeviceDriver:
    """`auto` (NVML if it is there, else CPU-only), `nvml`, `cpu` or `simulated:8xH100`.

    Raises ValueError for another setting, NvmlUnavailable when NVML was asked for by name.
    """
    check_setting(setting)
    if setting == "cpu":
        return CpuDriver()
    if setting.startswith(SIMULATED_PREFIX):
        return SimulatedDriver(parse_simulated(setting.removeprefix(SIMULATED_PREFIX)), node=node)
    if setting == "nvml":
        return NvmlDriver()
    try:
        return NvmlDriver()
    except NvmlUnavailable:
        return CpuDriver()
