"""Which drivers are there, and which one does a setting name?"""

from __future__ import annotations

from penstock_node_agent.drivers.command import CommandDriver
from penstock_node_agent.drivers.cpu import CpuDriver
from penstock_node_agent.drivers.late import LateDriver
from penstock_node_agent.drivers.nvml import NvmlDriver
from penstock_node_agent.drivers.nvml_calls import NvmlUnavailable
from penstock_node_agent.drivers.port import DeviceDriver
from penstock_node_agent.drivers.simulated import SimulatedDriver, parse_simulated

SIMULATED_PREFIX = "simulated:"
COMMAND_PREFIX = "command:"


def check_setting(setting: str) -> None:
    """Raises ValueError when `driver_for` would not know the setting."""
    if setting.startswith(SIMULATED_PREFIX):
        parse_simulated(setting.removeprefix(SIMULATED_PREFIX))
    elif setting.startswith(COMMAND_PREFIX):
        if not setting.startswith(f"{COMMAND_PREFIX}/"):
            raise ValueError(f"setting driver is wrong: {setting!r} names no absolute path")
    elif setting not in ("auto", "nvml", "cpu"):
        raise ValueError(
            f"setting driver is wrong: {setting!r} is none of auto, nvml, cpu, "
            "command:/PROGRAM, simulated:COUNTxMODEL"
        )


def driver_for(setting: str, *, node: str) -> DeviceDriver:
    """`auto` (CPU-only until there is an NVML), `nvml`, `cpu`, `command:/PROGRAM` or
    `simulated:8xH100`.

    Raises ValueError for another setting, NvmlUnavailable and CommandUnavailable when what was
    asked for by name does not answer.
    """
    check_setting(setting)
    if setting == "cpu":
        return CpuDriver()
    if setting.startswith(SIMULATED_PREFIX):
        return SimulatedDriver(parse_simulated(setting.removeprefix(SIMULATED_PREFIX)), node=node)
    if setting.startswith(COMMAND_PREFIX):
        return CommandDriver(setting.removeprefix(COMMAND_PREFIX))
    if setting == "nvml":
        return NvmlDriver()
    try:
        return NvmlDriver()
    except NvmlUnavailable:
        return LateDriver(NvmlDriver)
