"""Which two accounts of device time are compared?

What the store hands to the conservation check: ledger lines and leases on one side, the agents' own
counters on the other. It does not know how they are compared.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from penstock_metering.core.rows import LeaseKey, LeaseRow, NodeChange


class Line(NamedTuple):
    """One segment on one device (or on the host's processors: `device` empty), as the ledger has
    it. `node`, `boot_id` and `batch` tell in which message it came."""

    lease_seq: int
    job_id: str
    rank: int
    seq: int
    device: str
    milli: int
    t0_ms: int
    t1_ms: int
    node: str
    boot_id: str
    batch: int

    @property
    def lease_key(self) -> LeaseKey:
        return self[0], self[1], self[2]


class Counter(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent itself counted for a device in one boot, as of its message `batch`."""

    node: str
    boot_id: str
    uuid: str
    batch: int
    since_ms: int
    upto_ms: int
    running_milli_ms: int


CounterKey = tuple[str, str, str]
"""(node, boot id, device UUID)"""


class Books(msgspec.Struct, kw_only=True):
    """Everything one audit compares, read at one point. `now_ms` is the mesh's time; `answered`
    nodes have just closed their books; leases released up to `settled_seq` of JOBS must be
    complete; entries of JOBS up to `unread_to_seq` are missing (0 = none)."""

    changes: list[NodeChange]
    leases: dict[LeaseKey, LeaseRow]
    lines: list[Line]
    counters: dict[CounterKey, Counter]
    answered: frozenset[str]
    settled_seq: int
    now_ms: int
    unread_to_seq: int = 0
