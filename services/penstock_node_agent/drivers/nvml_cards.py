"""What is a GPU on this host, and into which instances is it cut?

A card is one GPU since NVML was begun: what does not change of it is asked once. What it says now
is asked again and again elsewhere. It does not know health, nor who uses it.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from penstock_node_agent.drivers.nvml_calls import DeviceFailed, DeviceHidden, Nvml
from penstock_node_agent.drivers.port import MemoryUse, Vitals

MIB = 1 << 20
MIG_ON = 1
NUMA_WORDS = 4
"""NUMA nodes are told as bits of so many words of 64."""
INSTANCES_MAX = 64
_MIG_NAME = re.compile(r"(?P<gpu>.*) MIG (?P<profile>\S+)")


class Instance(NamedTuple):
    """A part of a GPU that is used by itself. `compute_instance`: what of a GPU instance."""

    handle: Any
    uuid: str
    model: str
    product: str
    profile: str
    gpu_instance: int | None
    compute_instance: int | None


class Pcie(NamedTuple):
    """Counters when they were read last."""

    at_s: float
    sent_bytes: int
    received_bytes: int


class Card:
    """`cut`: MIG mode is on, so that only its instances can be used. `vitals`: when it last told
    them. Raises DeviceLost, DeviceFailed when it does not even say who it is."""

    def __init__(self, nvml: Nvml, index: int, sysfs: Path) -> None:
        self._nvml = nvml
        self._answered: set[str] = set()
        self.index = index
        self.handle = nvml.demand("nvmlDeviceGetHandleByIndex", index)
        if self.handle is None:  # as in a container that was given others
            raise DeviceHidden(index)
        self.address = address_of(self.handle)
        uuid = text(nvml.demand("nvmlDeviceGetUUID", self.handle) or "")
        if not uuid:
            raise DeviceFailed("it does not say its UUID")
        self.uuid = uuid
        self.product = text(self.ask("nvmlDeviceGetName", self.handle) or "unknown")
        self.model = model_of(self.product)
        pci = self.ask("nvmlDeviceGetPciInfo_v3", self.handle)
        self.pci_bus = "" if pci is None else text(pci.busId)
        self.minor: int | None = self.ask("nvmlDeviceGetMinorNumber", self.handle)
        capability = self.ask("nvmlDeviceGetCudaComputeCapability", self.handle)
        self.capability = f"{capability[0]}.{capability[1]}" if capability else ""
        ecc = self.ask("nvmlDeviceGetEccMode", self.handle)
        self.ecc = None if ecc is None else bool(ecc[0])
        self.numa_node = self._numa_node(sysfs)
        self.cut = False
        self.instances: tuple[Instance, ...] = ()
        self.utilisation_seen_us = 0
        self.pcie: Pcie | None = None
        self.vitals: tuple[float, Vitals] | None = None

    def ask(self, call: str, *arguments: Any) -> Any:
        """The answer, None when it gives none, for whatever reason."""
        answer = self._nvml.ask(call, *arguments)
        if answer is not None:
            self._answered.add(call)
        return answer

    def must(self, call: str, *arguments: Any) -> Any:
        """The answer, None when it never gave one. Raises DeviceLost, and DeviceFailed when it has
        answered this before."""
        try:
            answer = self._nvml.demand(call, *arguments)
        except DeviceFailed:
            if call in self._answered:
                raise
            return None
        if answer is not None:
            self._answered.add(call)
        return answer

    def memory(self, handle: Any) -> MemoryUse:
        """Of the GPU, or of one of its instances. Raises as `must`."""
        version = getattr(self._nvml.module, "nvmlMemory_v2", None)
        told = None
        if version is not None:
            told = self.must("nvmlDeviceGetMemoryInfo", handle, version)
        reserved = None if told is None else told.reserved // MIB
        if told is None:  # drivers before 510: what is used counts what is reserved
            told = self.must("nvmlDeviceGetMemoryInfo", handle)
        if told is None:
            return MemoryUse()
        return MemoryUse(
            used_mib=told.used // MIB, reserved_mib=reserved, total_mib=told.total // MIB
        )

    def look_for_instances(self) -> None:
        """MIG may be repartitioned at any time. Raises as `must`."""
        mode = self.must("nvmlDeviceGetMigMode", self.handle)
        self.cut = bool(mode) and mode[0] == MIG_ON
        self.instances = tuple(self._found()) if self.cut else ()

    def _found(self) -> Iterator[Instance]:
        places = self.ask("nvmlDeviceGetMaxMigDeviceCount", self.handle) or 0
        known = {instance.uuid: instance for instance in self.instances}
        for place in range(min(places, INSTANCES_MAX)):
            handle = self.ask("nvmlDeviceGetMigDeviceHandleByIndex", self.handle, place)
            uuid = None if handle is None else self.ask("nvmlDeviceGetUUID", handle)
            if not uuid:
                continue
            before = known.get(text(uuid))
            if before is not None:
                yield before._replace(handle=handle)
            else:
                yield self._instance(handle, text(uuid))

    def _instance(self, handle: Any, uuid: str) -> Instance:
        product = text(self.ask("nvmlDeviceGetName", handle) or "")
        named = _MIG_NAME.fullmatch(product)
        profile = named["profile"] if named else self._profile(handle)
        return Instance(
            handle=handle,
            uuid=uuid,
            model=f"{self.model}-{profile}" if profile else f"{self.model}-MIG",
            product=product or self.product,
            profile=profile,
            gpu_instance=self.ask("nvmlDeviceGetGpuInstanceId", handle),
            compute_instance=self.ask("nvmlDeviceGetComputeInstanceId", handle),
        )

    def _profile(self, handle: Any) -> str:
        """As NVIDIA writes it: slices of the GPU and memory, of an instance that has no name."""
        about = self.ask("nvmlDeviceGetAttributes_v2", handle)
        if about is None:
            return ""
        return f"{about.gpuInstanceSliceCount}g.{-(-about.memorySizeMB // 1024)}gb"

    def _numa_node(self, sysfs: Path) -> int | None:
        scope = getattr(self._nvml.module, "NVML_AFFINITY_SCOPE_NODE", 0)
        words = self.ask("nvmlDeviceGetMemoryAffinity", self.handle, NUMA_WORDS, scope)
        for place, bits in enumerate(map(int, words or ())):
            if bits:
                return place * 64 + (bits & -bits).bit_length() - 1
        domain, _, rest = self.pci_bus.partition(":")
        path = sysfs / f"{domain[-4:]}:{rest}".lower() / "numa_node"
        try:
            node = int(path.read_text("ascii"))
        except (OSError, ValueError):
            return None
        return node if node >= 0 else None


def address_of(handle: Any) -> int:
    """What a handle points at, by which events name their device."""
    if isinstance(handle, int):
        return handle
    return ctypes.cast(handle, ctypes.c_void_p).value or 0


def text(value: str | bytes) -> str:
    """Older bindings answer bytes."""
    return value.decode() if isinstance(value, bytes) else value


def model_of(product: str) -> str:
    """`NVIDIA H100 80GB HBM3` as `H100`, as operators write it: without vendor and form factor."""
    words = [w for w in product.split() if w not in ("NVIDIA", "Tesla", "GeForce", "Graphics")]
    return words[0].split("-")[0] if words and words[0] != "RTX" else "-".join(words) or product
