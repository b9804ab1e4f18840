"""On which card do these tests run? On the first that NVML finds; without one they are skipped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.conftest import agent_factory, mesh
from penstock_node_agent.drivers.nvml import NvmlDriver
from penstock_node_agent.drivers.nvml_calls import NvmlUnavailable

__all__ = ["agent_factory", "mesh"]


@pytest.fixture(scope="session")
def card() -> Iterator[NvmlDriver]:
    """The driver, with at least one healthy device that is no instance."""
    try:
        driver = NvmlDriver()
    except NvmlUnavailable as error:
        pytest.skip(f"no NVIDIA card here: NVML says {error}")
    if not any(device.healthy and not device.parent for device in driver.discover()):
        driver.close()
        pytest.skip("no NVIDIA card here: NVML finds no whole GPU that is well")
    yield driver
    driver.close()
