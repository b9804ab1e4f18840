"""What may be asked and ordered of the queue?

Part of the registry: the policy as a whole, and how it stands with pools and quotas. It does not
know who answers how.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.bounds import Instant, Name, Number
from penstock_contracts.message_type import ASKERS, SCHEDULER, SERVICE, MessageType
from penstock_contracts.queries import Answer, Empty
from penstock_contracts.questions import query
from penstock_contracts.queue_policy import PolicyVersion, QueuePolicy


class SetPolicy(msgspec.Struct, frozen=True, omit_defaults=True):
    """`command.scheduler.set_policy`: all of it anew. `key` is a ULID that the asker draws:
    repeating changes nothing. `based_on`: the version it was made from; another one holding now is
    refused as `policy_changed`, None = whatever holds."""

    key: Name
    policy: QueuePolicy
    based_on: Number | None = None


class QueueQuery(msgspec.Struct, frozen=True, omit_defaults=True):
    """`query.scheduler.queue`: quotas whose name sorts behind `after`."""

    after: Name = ""


class QuotaView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One quota now. `used_milli_s`: decayed use of the dominant resource, in milli-GPU seconds;
    `share_milli`: of what its parent's children used, in thousandths; `fair_milli`: what its weight
    would give it. `over_milli`: held beyond its guarantee; `owed_milli`: wanted and guaranteed, and
    not held."""

    name: str
    parent: str
    pool: str
    tenant: str = ""
    project: str = ""
    guaranteed_gpu_milli: int = 0
    maximum_gpu_milli: int | None = None
    maximum_cpu_milli: int | None = None
    weight: int = 1
    held_gpu_milli: int = 0
    held_cpu_milli: int = 0
    waiting_jobs: int = 0
    waiting_gpu_milli: int = 0
    used_milli_s: int = 0
    share_milli: int | None = None
    fair_milli: int | None = None
    over_milli: int = 0
    owed_milli: int = 0


class PlaceKeptView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept for a waiting job, on `nodes` and `nodes_more` others."""

    job_id: str
    tenant: str
    cause: str
    at_ms: Instant
    gpu_milli: int
    nodes: tuple[str, ...]
    nodes_more: int = 0


class PoolView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One pool now. `own_…`: of what its jobs hold and wait for, that of jobs which no quota
    counts. `head`: who is first in line, and `held_up` whether others wait for it. `kept_more`:
    so many places are kept beside those told."""

    name: str
    order: str
    backfill: str
    preempt: str
    nodes: int
    nodes_open: int
    gpu_milli: int
    gpu_milli_held: int
    cpu_milli: int
    cpu_milli_held: int
    waiting_jobs: int = 0
    waiting_gpu_milli: int = 0
    head: str = ""
    held_up: bool = False
    kept: tuple[PlaceKeptView, ...] = ()
    kept_more: int = 0
    own_gpu_milli_held: int = 0
    own_waiting_jobs: int = 0


class QueueView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How it stands; as of entry `seq` of JOBS. Pools are in each page; quotas by name: with
    `more`, ask again after the last one."""

    seq: int
    version: int
    pools: tuple[PoolView, ...]
    quotas: tuple[QuotaView, ...] = ()
    more: bool = False


QUEUE: tuple[MessageType, ...] = (
    MessageType(
        name="command_scheduler_set_policy",
        subject="command.scheduler.set_policy",
        carrier=SERVICE,
        payload=SetPolicy,
        answer=Answer[PolicyVersion],
        key="key: repeating changes nothing",
        writers=ASKERS,
        readers=(SCHEDULER,),
        summary="Sets pools, quotas and reservations; answered once that is committed.",
    ),
    query("scheduler", "policy", Empty, Answer[PolicyVersion], "The queue's policy that holds."),
    query("scheduler", "queue", QueueQuery, Answer[QueueView], "How pools and quotas stand."),
)
