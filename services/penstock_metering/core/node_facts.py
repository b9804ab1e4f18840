"""What is known of one node's time behind a checkpoint?

What the ledger hands to the derivation: node changes, leases, segments, counters, demand. It does
not know how they are compared.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from penstock_metering.core.accounts import Counter
from penstock_metering.core.boots import Numbered
from penstock_metering.core.demand import Demand
from penstock_metering.core.rows import LeaseKey


class Line(NamedTuple):
    """One segment on one device (or on the host's processors: `device` empty), as the ledger has
    it. `number` is the ledger's own of the message that brought it, in the order of commits;
    `boot_id` and `batch` are what its node calls that message."""

    lease_seq: int
    job_id: str
    rank: int
    seq: int
    device: str
    milli: int
    t0_ms: int
    t1_ms: int
    energy_mj: int | None
    used_milli_ms: int | None
    number: int
    boot_id: str
    batch: int

    @property
    def lease_key(self) -> LeaseKey:
        return self[0], self[1], self[2]

    @property
    def quantity(self) -> int:
        return self.milli * (self.t1_ms - self.t0_ms)


class LeaseView(NamedTuple):
    """A lease, as far as time goes."""

    key: LeaseKey
    node: str
    attempt: int
    devices: tuple[str, ...]
    gpu_milli: int
    granted_ms: int
    exited_ms: int | None
    segments: int | None
    released_ms: int | None
    released_seq: int | None


class NodeFacts(msgspec.Struct, kw_only=True):
    """`changes` behind the checkpoint's; `lines` of messages from its `usage_from` on, up to
    `usage_to`; `leases` on the node behind its `leases_to`, those it carries, and whatever else the
    new lines name. `jobs_seq`, `jobs_ms`: up to where and when JOBS is read; entries of it up to
    `unread_to_seq` are missing (0 = none). `is_whole`: there is nothing behind these. `models`: of
    its devices, by UUID."""

    node: str
    changes: list[Numbered] = []
    leases: dict[LeaseKey, LeaseView] = {}
    lines: list[Line] = []
    counters: dict[tuple[str, str], Counter] = {}
    demand: Demand = msgspec.field(default_factory=Demand)
    models: dict[str, str] = {}
    usage_to: int = 0
    leases_to: int = 0
    jobs_seq: int = 0
    jobs_ms: int = 0
    unread_to_seq: int = 0
    is_whole: bool = True
