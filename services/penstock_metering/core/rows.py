"""What does metering remember about jobs, leases and nodes?

The records that the folds change and the store keeps. Mutable on purpose: each has one fold as its
only writer. They do not know how they are stored.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.jobs import QUEUED
from penstock_contracts.work import StoredOutput


class JobRow(msgspec.Struct, kw_only=True):
    """One accepted job. `spec` is its JSON; times are Unix ms, None = not yet. `expected_ms`: when
    its attempt was expected to be placed, as was said at `estimated_ms`."""

    job_id: str
    tenant: str
    spec: str
    submitted_seq: int
    submitted_ms: int
    state: str = QUEUED
    attempt: int = 1
    placed_ms: int | None = None
    started_ms: int | None = None
    finished_seq: int | None = None
    finished_ms: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    message: str = ""
    log_bytes: dict[str, int] | None = None
    expected_ms: int | None = None
    estimated_ms: int | None = None


LeaseKey = tuple[int, str, int]
"""(lease_seq, job_id, rank)"""


class LeaseRow(msgspec.Struct, kw_only=True):
    """One rank's lease, from grant to proven release. Instants stand on the lease's own axis.

    `segments`: how many usage segments its agent says it has; None = not said. `released_seq` is
    the JOBS sequence of the release. `project`, `tier` and `site` are what prices depend on.
    """

    lease_seq: int
    job_id: str
    rank: int
    tenant: str
    attempt: int
    node: str
    devices: tuple[str, ...]
    gpu_milli: int
    cpu_milli: int
    granted_ms: int
    started_ms: int | None = None
    exited_ms: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    segments: int | None = None
    released_ms: int | None = None
    released_seq: int | None = None
    evidence: str = ""
    outputs: tuple[StoredOutput, ...] = ()
    project: str = ""
    tier: str = ""
    site: str = ""
    memory_mib: int = 0

    @property
    def key(self) -> LeaseKey:
        return self.lease_seq, self.job_id, self.rank


class NodeChange(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that changed what a node's free devices are worth. `seq` of NODES.

    `kind`: `boot` (a new boot id, counting from `joined_ms`), `devices` (`broken` are the UUIDs not
    to be used), `liveness`, `cordoned`, `uncordoned`, `removed`.
    """

    seq: int
    node: str
    at_ms: int
    kind: str
    boot_id: str = ""
    joined_ms: int = 0
    liveness: str = ""
    devices: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    site: str = ""


class Anomaly(msgspec.Struct, frozen=True):
    """Something that must never happen and did: `stream` and `seq` say where it was seen."""

    stream: str
    seq: int
    code: str
    sentence: str
