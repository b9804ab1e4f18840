"""What can be asked of the services, and what do they answer?

Requests and answers on `query.<service>.<what>`. An answer is either the documented type or
`{"refusal": {...}}`. Answers speak of committed state only. It does not know how they are computed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta

from penstock_contracts.bounds import Instant, Label, Number
from penstock_contracts.errors import Refusal
from penstock_contracts.jobs import JobSpec
from penstock_contracts.nodes import NodeView
from penstock_contracts.work import StoredOutput

PAGE_MAX = 1_000
PAGE_BYTES_MAX = 768 * 1024
"""An answer fits one message of the broker; what is left comes with the next page."""
Limit = Annotated[int, Meta(ge=1, le=PAGE_MAX)]

T = TypeVar("T")
_encode = msgspec.json.Encoder().encode


class Answer(msgspec.Struct, Generic[T], frozen=True, omit_defaults=True):
    """Exactly one of the two is set."""

    value: T | None = None
    refusal: Refusal | None = None


class Empty(msgspec.Struct, frozen=True):
    pass


class JobQuery(msgspec.Struct, frozen=True):
    """`query.scheduler.job`, `query.scheduler.explain`, `query.metering.job`."""

    job_id: Label


class JobsQuery(msgspec.Struct, frozen=True, omit_defaults=True):
    """`query.scheduler.jobs` (live ones) and `query.metering.jobs` (finished ones, newest first).

    `before` pages: only jobs with a smaller id."""

    tenant: Label = ""
    state: Label = ""
    limit: Limit = 100
    before: Label = ""


class RankView(msgspec.Struct, frozen=True, omit_defaults=True):
    rank: int
    node: str
    devices: tuple[str, ...] = ()
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    released: bool = False
    outputs: tuple[StoredOutput, ...] = ()


class JobView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job as scheduler (live) or metering (finished) shows it. Times are Unix ms, None = not yet.

    `state` also `stopping` while an ending attempt still holds devices. `gpu_milli_ms` and
    `cost_micro` are metering's. `alternative`: which of its choices a placed job got, 0 = its own.
    `expected_ms`: when this attempt was expected to be placed, as was said at `estimated_ms`; None
    = nothing was said, or at that instant that nobody could say.
    """

    job_id: str
    tenant: str
    state: str
    attempt: int
    spec: JobSpec
    submitted_ms: int
    placed_ms: int | None = None
    started_ms: int | None = None
    finished_ms: int | None = None
    ranks: tuple[RankView, ...] = ()
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    message: str = ""
    log_bytes: dict[str, int] | None = None
    gpu_milli_ms: int | None = None
    cpu_milli_ms: int | None = None
    cost_micro: int | None = None
    currency: str = ""
    alternative: int = 0
    expected_ms: int | None = None
    estimated_ms: int | None = None


class JobsView(msgspec.Struct, frozen=True):
    jobs: tuple[JobView, ...]
    more: bool = False


def jobs_page(views: Iterable[JobView], limit: int) -> JobsView:
    """As many of the jobs as `limit` and one message allow."""
    page: list[JobView] = []
    room = PAGE_BYTES_MAX
    for view in views:
        room -= len(_encode(view))
        if page and (room < 0 or len(page) == limit):
            return JobsView(tuple(page), more=True)
        page.append(view)
    return JobsView(tuple(page))


class DeviceUse(msgspec.Struct, frozen=True):
    uuid: str
    model: str
    free_milli: int
    healthy: bool


class NodeUse(msgspec.Struct, frozen=True, kw_only=True):
    """A node as the scheduler sees it: what is free on it, and whether it may get work. `resting`:
    why it gets none for a while, and then one lease as a trial: `refuses`, or `work_fails` (that of
    several tenants)."""

    node: str
    schedulable: bool
    liveness: str
    cordoned: bool
    draining: bool
    cpu_milli: int
    cpu_milli_free: int
    memory_mib: int
    memory_mib_free: int
    devices: tuple[DeviceUse, ...]
    leases: int
    resting: str = ""


class NodesQuery(msgspec.Struct, frozen=True, omit_defaults=True):
    """`query.inventory.nodes`, `query.scheduler.nodes`: nodes whose name sorts behind `after`."""

    after: Label = ""


class NodesUseView(msgspec.Struct, frozen=True, omit_defaults=True):
    """By name, as of JOBS sequence `seq`. With `more`, ask again after the last one."""

    seq: int
    nodes: tuple[NodeUse, ...]
    more: bool = False


class NodesView(msgspec.Struct, frozen=True, omit_defaults=True):
    """By name, as of NODES sequence `seq`. With `more`, ask again after the last one."""

    seq: int
    nodes: tuple[NodeView, ...]
    more: bool = False


class NodeQuery(msgspec.Struct, frozen=True):
    node: Label


class UsageQuery(msgspec.Struct, frozen=True, omit_defaults=True):
    """`query.metering.usage`. Half-open `[from_ms, to_ms)`; None = unbounded. `project` None = all
    of them, "" = what belongs to none; `by_project`: each by itself."""

    tenant: Label = ""
    from_ms: Instant | None = None
    to_ms: Instant | None = None
    project: Label | None = None
    by_project: bool = False


class UsageLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One tenant's use of one SKU at one price. `quantity` in `unit` was used, `billed_quantity` is
    to be paid. `price_micro_per_hour` is for one of `per` (`gpu_hour`, `cpu_hour`, `gib_hour`,
    `kwh`, `job`), whose quantities are counted in `unit`. `cost_micro` is before the free allowance
    of a month, which its bill takes off. `price_version` 0: there was no price. `jobs` that began
    to run in that time, each attempt by itself.
    """

    tenant: str
    sku: str
    unit: str
    quantity: int
    price_micro_per_hour: int
    cost_micro: int
    currency: str
    jobs: int = 0
    project: str = ""
    per: str = "gpu_hour"
    billed_quantity: int = 0
    price_version: int = 0


class UsageView(msgspec.Struct, frozen=True):
    lines: tuple[UsageLine, ...]
    from_ms: int | None
    to_ms: int | None


class Finding(msgspec.Struct, frozen=True):
    """One violation an audit found."""

    code: str
    sentence: str


class SchedulerAudit(msgspec.Struct, frozen=True, kw_only=True):
    """`query.scheduler.audit`: invariants over committed state as of JOBS `seq`."""

    seq: int
    nodes_seq: int
    accepted: int
    live: int
    finished: dict[str, int]
    leases: int
    findings: tuple[Finding, ...]


class InventoryAudit(msgspec.Struct, frozen=True, kw_only=True):
    """`query.inventory.audit`."""

    seq: int
    nodes: int
    devices: int
    findings: tuple[Finding, ...]


class MeteringAuditQuery(msgspec.Struct, frozen=True):
    """`query.metering.audit`: answer only when JOBS and NODES are folded up to these, live agents
    have closed their segments and all of it is ingested (at most ~15 s).
    """

    jobs_seq: Number
    nodes_seq: Number


class MeteringAudit(msgspec.Struct, frozen=True, kw_only=True):
    """`accepted`/`finished` count jobs as of JOBS ≤ `jobs_seq`. `device_ms` per timeline state, in
    milli-GPU·ms, sums to capacity. `unaccounted_ms` = Σ|ledger − counters| per device and state, in
    GPU·ms rounded up; `silent` nodes are compared up to their last report."""

    jobs_seq: int
    nodes_seq: int
    watermark_ms: int
    accepted: int
    finished: dict[str, int]
    unaccounted_ms: int
    device_milli_ms: dict[str, int]
    capacity_milli_ms: int
    silent: tuple[str, ...]
    findings: tuple[Finding, ...]
