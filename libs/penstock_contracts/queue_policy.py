"""Who may use how much of which nodes, and in which order?

The whole policy of the queue as an operator writes it: pools of nodes with a policy each, the tree
of quotas, and times for which nodes are set aside. It does not know who holds or waits for what.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock_contracts.asks import Text
from penstock_contracts.bounds import NODE_LABELS_MAX, Instant, Label, Number
from penstock_contracts.jobs import Project, Seconds

POOLS_MAX = 64
QUOTAS_MAX = 2_000
RESERVATIONS_MAX = 256
NODES_RESERVED_MAX = 1_024
QUOTA_DEPTH_MAX = 8
WEIGHT_MAX = 1_000_000
DEFAULT_POOL = "default"

Token = Annotated[str, Meta(max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$(?!\n)")]
MaybeToken = Annotated[str, Meta(max_length=63, pattern=r"^([A-Za-z0-9][A-Za-z0-9_.-]*)?$(?!\n)")]
NodeName = Annotated[str, Meta(max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$(?!\n)")]
Milli = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Order = Literal["fifo", "skip", "hold", "tiered"]
Backfill = Literal["none", "easy", "conservative"]
Preempt = Literal["none", "reclaim", "all"]


class Pool(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Nodes that have all of `node_labels`, in the order of the policy the first pool that does;
    without labels, all that are left. A job names its pool, or goes to the one called `default`, or
    where none is, to the first.

    `order`: `fifo` = strictly, whoever is first holds up all behind it; `skip` = the first that
    fits; `hold` = as `fifo`, but for at most `hold_s`; `tiered` = by class of priority, where
    `aging_s` of waiting make up for one class, and within a class the shorter ones first, by what
    is expected of them. `backfill`: what may run before a job that waits for its turn, without
    delaying it: `easy` = of the first one that is blocked, `conservative` = of each. `preempt`:
    running work yields never; `reclaim` = to quotas that want back what is guaranteed to them, and
    spot to all else; `all` = also to higher classes of the same quota.
    """

    name: Token
    node_labels: Annotated[dict[Text, Text], Meta(max_length=NODE_LABELS_MAX)] = {}
    order: Order = "tiered"
    backfill: Backfill = "easy"
    preempt: Preempt = "reclaim"
    hold_s: Seconds = 600
    aging_s: Seconds = 86_400


class Quota(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node of the tree of a pool's quotas: organisation, team, project, as deep as one likes.

    `parent` "" = the pool itself; `pool` "" = that of the parent, on top the one of jobs that name
    none. What names a `tenant` counts its jobs (of its `project`, where it names one) and has none
    below it; others sum up what is below them. `guaranteed_gpu_milli` is there whenever it is
    wanted; what of it is idle others may borrow, up to their `maximum_…` (None = no bound), in the
    ratio of their `weight`. `queued_max`: so many jobs may wait.
    """

    name: Token
    parent: MaybeToken = ""
    pool: MaybeToken = ""
    tenant: Project = ""
    project: Project = ""
    guaranteed_gpu_milli: Milli = 0
    maximum_gpu_milli: Milli | None = None
    maximum_cpu_milli: Milli | None = None
    queued_max: Annotated[int, Meta(ge=0, le=500_000)] | None = None
    weight: Annotated[int, Meta(ge=1, le=WEIGHT_MAX)] = 1


class Reservation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Nodes set aside from `start_ms` to `end_ms` for a tenant (and project); for nobody = a
    maintenance window. The nodes are named, or all that have `node_labels`."""

    name: Token
    start_ms: Instant
    end_ms: Instant
    nodes: Annotated[tuple[NodeName, ...], Meta(max_length=NODES_RESERVED_MAX)] = ()
    node_labels: Annotated[dict[Text, Text], Meta(max_length=NODE_LABELS_MAX)] = {}
    tenant: Project = ""
    project: Project = ""
    reason: Label = ""


class QueuePolicy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All of it. Without pools, one of all nodes by the name `default`, as `Pool` has it.
    `half_life_s`: use so long ago counts half where shares are compared. `predicts`: where a job
    states no time limit, what similar ones took is expected of it."""

    pools: Annotated[tuple[Pool, ...], Meta(max_length=POOLS_MAX)] = ()
    quotas: Annotated[tuple[Quota, ...], Meta(max_length=QUOTAS_MAX)] = ()
    reservations: Annotated[tuple[Reservation, ...], Meta(max_length=RESERVATIONS_MAX)] = ()
    half_life_s: Seconds = 86_400
    predicts: bool = True


def home_pool(pools: tuple[Pool, ...]) -> str:
    """Where jobs go that name no pool: the last pool of a list is often the one for most of them,
    as nodes go to the first that has their labels."""
    if not pools or any(pool.name == DEFAULT_POOL for pool in pools):
        return DEFAULT_POOL
    return pools[0].name


class PolicyFault(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is wrong, and where: `part` of the policy ("" = all of it), the entry's `index` there,
    and its field."""

    code: str
    sentence: str
    part: str
    index: int
    field: str = ""

    @property
    def path(self) -> str:
        """`quotas[3].weight`."""
        return f"{self.part}[{self.index}].{self.field}".rstrip(".") if self.part else self.field


class PolicyVersion(msgspec.Struct, frozen=True, omit_defaults=True):
    """A policy as it holds. 0 = the one that nobody has set."""

    version: Number
    policy: QueuePolicy
    set_ms: Instant = 0
