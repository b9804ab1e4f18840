"""What do a node's devices read now, and which work uses them?

Published by agents every few seconds for whoever looks on; nothing is decided or billed by it. What
a device or its driver does not say is None. It does not know how readings are taken.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from penstock_contracts.bounds import (
    DEVICES_PER_NODE_MAX,
    DeviceId,
    Instant,
    Label,
    Name,
    Number,
    Small,
)

WORK_PER_DEVICE_MAX = 64


class WorkSample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one rank of an attempt uses of a device, all its processes together. `job_id` "": what
    is no job's of this node."""

    job_id: Name = ""
    lease_seq: Number = 0
    rank: Number = 0
    processes: Number = 0
    memory_mib: Number | None = None
    utilisation_percent: Number | None = None


class DeviceSample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One device. `parent`: of an instance, its GPU; a GPU that is used by its instances only is
    here too (`offered` false), with what is measured of the whole. Memory used is without what the
    driver reserves, where it says how much. `work` None: the driver does not tell.
    """

    uuid: DeviceId
    index: Small
    model: Label
    parent: Label = ""
    offered: bool = True
    utilisation_percent: Number | None = None
    memory_busy_percent: Number | None = None
    memory_used_mib: Number | None = None
    memory_free_mib: Number | None = None
    memory_reserved_mib: Number | None = None
    temperature_c: Small | None = None
    memory_temperature_c: Small | None = None
    power_mw: Number | None = None
    energy_mj: Number | None = None
    sm_clock_mhz: Number | None = None
    memory_clock_mhz: Number | None = None
    pcie_sent_kb_s: Number | None = None
    pcie_received_kb_s: Number | None = None
    throttled: Annotated[tuple[Label, ...], Meta(max_length=8)] | None = None
    work: Annotated[tuple[WorkSample, ...], Meta(max_length=WORK_PER_DEVICE_MAX)] | None = None


class NodeSample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`at_ms`: the host's own wall clock. `every_ms`: when the next one is due."""

    node: Name
    at_ms: Instant
    every_ms: Number
    devices: Annotated[tuple[DeviceSample, ...], Meta(max_length=2 * DEVICES_PER_NODE_MAX)] = ()
