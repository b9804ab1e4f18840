"""Which NVIDIA devices reach each other over NVLink?

Devices of one fabric (a clique of a cluster, which may span hosts) or directly or indirectly linked
on this host are one link domain. Where NVML does not say so, nothing is claimed. It does not know
what a link domain is good for.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

DEVICES_MAX = 64
"""Pairs of more devices than these are not asked for."""


def link_domains(nvml: Any, devices: Sequence[tuple[str, Any]]) -> dict[str, str]:
    """UUID → domain of those that have one; `devices` are (UUID, handle). A domain within this host
    is called by its smallest UUID, so that no other host has the same."""
    found: dict[str, str] = {}
    for uuid, handle in devices:
        fabric = _fabric(nvml, handle)
        if fabric:
            found[uuid] = fabric
    alone = [device for device in devices if device[0] not in found]
    if len(alone) <= DEVICES_MAX:
        found |= _linked_here(nvml, alone)
    return found


def _fabric(nvml: Any, handle: Any) -> str:
    """`CLUSTER/CLIQUE`; empty without a fabric, or one that is not made up of more than a host."""
    try:
        info = nvml.c_nvmlGpuFabricInfo_t()
        nvml.nvmlDeviceGetGpuFabricInfo(handle, ctypes.byref(info))
    except (nvml.NVMLError, AttributeError):  # older drivers and bindings do not know it
        return ""
    cluster = bytes(info.clusterUuid)
    if info.state != nvml.NVML_GPU_FABRIC_STATE_COMPLETED or info.status or not any(cluster):
        return ""
    return f"{cluster.hex()}/{info.cliqueId}"


def _linked_here(nvml: Any, devices: Sequence[tuple[str, Any]]) -> dict[str, str]:
    domain_of = {uuid: uuid for uuid, _ in devices}
    for index, (uuid, handle) in enumerate(devices):
        for other, other_handle in devices[index + 1 :]:
            one, two = domain_of[uuid], domain_of[other]
            if one != two and _are_linked(nvml, handle, other_handle):
                for member, domain in domain_of.items():
                    if domain in (one, two):
                        domain_of[member] = min(one, two)
    domains = list(domain_of.values())
    return {uuid: domain for uuid, domain in domain_of.items() if domains.count(domain) > 1}


def _are_linked(nvml: Any, one: Any, other: Any) -> bool:
    try:
        status = nvml.nvmlDeviceGetP2PStatus(one, other, nvml.NVML_P2P_CAPS_INDEX_NVLINK)
    except nvml.NVMLError:
        return False
    return bool(status == nvml.NVML_P2P_STATUS_OK)
