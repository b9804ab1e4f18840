"""What does an agent say about use?

Segments (who ran on what, from when to when) and counters (what the agent itself counted per
device): two accounts of the same time, made apart, which must agree. It does not know prices.
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

    `seq` counts from 0 within the lease; segment n starts where n−1 ended. `energy_mj` None =
    unknown. A job without GPUs has no devices and is metered by `cpu_milli`.
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


class UsageBatch(msgspec.Struct, frozen=True, omit_defaults=True):
    """All a node owes in one message. `batch` counts up within a boot; counters are cumulative,
    and are exact as of all segments of this and earlier batches.
    """

    node: Name
    boot_id: Identity
    batch: Number
    segments: tuple[Segment, ...] = ()
    counters: tuple[DeviceCounter, ...] = ()


class AuditReply(msgspec.Struct, frozen=True):
    """Answers `node.<node>.audit`: segments are closed, counters taken, and the batch stored as
    `usage_seq` of USAGE (0 when the broker did not acknowledge in time)."""

    node: Name
    boot_id: Name
    usage_seq: Number
