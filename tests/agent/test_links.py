"""Is what NVML says of links told as domains, and nothing that it does not say?"""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from penstock_node_agent.drivers.links import link_domains


class NvmlError(Exception):
    pass


class Fabric(ctypes.Structure):
    _fields_ = (
        ("clusterUuid", ctypes.c_ubyte * 16),
        ("status", ctypes.c_uint),
        ("cliqueId", ctypes.c_uint),
        ("state", ctypes.c_uint),
    )


class Nvml:
    """`links`: pairs with NVLink between them. `fabric`: device → (first byte of the cluster's
    UUID, clique, state); None = a driver that does not know fabrics."""

    NVMLError = NvmlError
    NVML_P2P_CAPS_INDEX_NVLINK = 2
    NVML_P2P_STATUS_OK = 0
    NVML_GPU_FABRIC_STATE_COMPLETED = 3
    c_nvmlGpuFabricInfo_t = Fabric

    def __init__(self, *links: str, fabric: dict | None = None) -> None:
        self.links, self.fabric = {frozenset(link) for link in links}, fabric

    def nvmlDeviceGetP2PStatus(self, one: str, other: str, index: int) -> int:
        assert index == self.NVML_P2P_CAPS_INDEX_NVLINK
        if "broken" in (one, other):
            raise NvmlError("Unknown Error")
        return 0 if {one, other} in self.links else 5

    def nvmlDeviceGetGpuFabricInfo(self, handle: str, info: Any) -> None:
        if self.fabric is None:
            raise NvmlError("Function Not Found")
        if handle in self.fabric:
            found = info._obj
            found.clusterUuid[0], found.cliqueId, found.state = self.fabric[handle]


def domains(nvml: Nvml, *handles: str) -> dict[str, str]:
    return link_domains(nvml, [(f"GPU-{handle}", handle) for handle in handles])


def test_devices_linked_directly_or_through_others_are_one_domain_called_by_the_first() -> None:
    assert domains(Nvml("ab", "bc", "de"), *"cabedf") == {
        "GPU-a": "GPU-a",
        "GPU-b": "GPU-a",
        "GPU-c": "GPU-a",
        "GPU-d": "GPU-d",
        "GPU-e": "GPU-d",
    }


def test_a_device_that_does_not_answer_is_linked_with_none() -> None:
    assert domains(Nvml("ab"), "broken", "a", "b") == {"GPU-a": "GPU-a", "GPU-b": "GPU-a"}


def test_a_fabric_that_is_ready_is_a_domain_over_hosts() -> None:
    fabric = {"a": (7, 1, 3), "b": (7, 1, 3), "c": (7, 2, 3), "d": (7, 1, 2), "e": (0, 0, 3)}
    found = domains(Nvml("de", fabric=fabric), *"abcde")
    assert found["GPU-a"] == found["GPU-b"] == "07" + "00" * 15 + "/1"
    assert found["GPU-c"] == "07" + "00" * 15 + "/2"
    assert found["GPU-d"] == found["GPU-e"] == "GPU-d", "not ready, or of this host only"


@pytest.mark.parametrize("missing", ["c_nvmlGpuFabricInfo_t", "nvmlDeviceGetGpuFabricInfo"])
def test_bindings_that_know_no_fabric_are_no_failure(missing: str, monkeypatch) -> None:
    monkeypatch.delattr(Nvml, missing)
    assert domains(Nvml("ab"), *"ab") == {"GPU-a": "GPU-a", "GPU-b": "GPU-a"}
