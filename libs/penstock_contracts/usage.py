"""What does an agent say about use?

Segments (who ran on what, from when to when) and counters (what the agent itself counted per
device): two accounts of the same time, made apart, which must agree. Slices say what each device
did and drew, whoever used it. It does not know prices.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from penstock_contracts.bounds import (
    DEVICES_PER_NODE_MAX,
    Capacity,
    DeviceId,
    Identity,
    Instant,
    Name,
    Number,
)
from penstock_contracts.ids import segment_id


class Segment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Running time `[t0_ms, t1_ms)` of one rank on all its devices, `gpu_milli` of each.

    `seq` counts from 0 within the lease; segment n starts where n−1 ended. A job without GPUs has
    no devices and is metered by `cpu_milli`. `used_milli_ms` (what was really used of the time
    paid for: milli-GPU times ms) and `device_energy_mj` stand in the order of `devices`, or are
    empty; None = unknown. `energy_mj`: their sum, None where one is unknown.
    """

    lease_seq: Number
    job_id: Name
    tenant: Name
    attempt: Number
    rank: Number
    seq: Number
    t0_ms: Instant
    t1_ms: Instant
    devices: Annotated[tuple[DeviceId, ...], Meta(max_length=DEVICES_PER_NODE_MAX)] = ()
    gpu_milli: Capacity = 1000
    cpu_milli: Capacity = 0
    energy_mj: Number | None = None
    last: bool = False
    used_milli_ms: Annotated[tuple[Number | None, ...], Meta(max_length=DEVICES_PER_NODE_MAX)] = ()
    device_energy_mj: Annotated[
        tuple[Number | None, ...], Meta(max_length=DEVICES_PER_NODE_MAX)
    ] = ()

    @property
    def id(self) -> str:
        return segment_id(self.lease_seq, self.job_id, self.attempt, self.rank, self.seq)


class DeviceCounter(msgspec.Struct, frozen=True):
    """What the agent counted for one device in this boot, from `since_ms` to `upto_ms` on its own
    axis.

    `running_milli_ms`: milli-GPU times ms in which work ran. `observed_ms` = `upto_ms` −
    `since_ms`.
    """

    uuid: DeviceId
    since_ms: Instant
    upto_ms: Instant
    running_milli_ms: Number


class DeviceSlice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one device did and drew from `t0_ms` to `t1_ms`, used or not, on the node's own axis.

    `seq` counts from 0 within the boot; slice n starts where n−1 ended. One ends at every quarter
    of an hour of that axis and when somebody audits, but where nothing was read for longer.
    `energy_mj`, `used_milli_ms`: None = unknown for at least a part of it.
    """

    uuid: DeviceId
    seq: Number
    t0_ms: Instant
    t1_ms: Instant
    energy_mj: Number | None = None
    used_milli_ms: Number | None = None


class UsageBatch(msgspec.Struct, frozen=True, omit_defaults=True):
    """All a node owes in one message. `batch` counts up within a boot; counters are cumulative,
    and are exact as of all segments of this and earlier batches. Slices come as they are closed.
    """

    node: Name
    boot_id: Identity
    batch: Number
    segments: tuple[Segment, ...] = ()
    counters: tuple[DeviceCounter, ...] = ()
    slices: tuple[DeviceSlice, ...] = ()


class AuditReply(msgspec.Struct, frozen=True):
    """Answers `node.<node>.audit`: segments are closed, counters taken, and the batch stored as
    `usage_seq` of USAGE (0 when the broker did not acknowledge in time)."""

    node: Name
    boot_id: Name
    usage_seq: Number
