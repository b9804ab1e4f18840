"""What does the scheduler know?

The state that `apply` alone changes: jobs that have not ended, leases whose release is not proven,
nodes with what is free on them, and the ids remembered. Leases stand apart from jobs, because a
device stays taken until its node proves the release, whatever became of the job. It does not know
how facts are decided.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.jobs import CPU_MILLI_DEFAULT, GPU_MILLI_WHOLE, QUEUED, RANKS_MAX, JobSpec
from penstock_contracts.journal import NodeImaged, RankExited
from penstock_contracts.leases import Rendezvous
from penstock_contracts.work import PAID_TIME, needs
from penstock_scheduler.core.order_room import NODE_UNITS, order_units
from penstock_scheduler.core.purse import Purse

LOG_SIZES_MAX = 2 * RANKS_MAX
"""Outputs whose sizes a job's end tells: in one fact, which a broker takes up to 1 MiB."""

DIGEST_LOST = ""
"""Stands for a job of which only the end is known: whatever is asked under its id is that job."""
LeaseId = tuple[str, int, int]
"""(job id, attempt, rank)."""


class Lease(msgspec.Struct, kw_only=True):
    """One rank's hold on its node. `uuids` name its devices; `spec` is what was granted: of several
    alternatives, the one taken."""

    job_id: str
    tenant: str
    attempt: int
    rank: int
    lease_seq: int
    granted_ns: int
    node: str
    uuids: tuple[str, ...]
    gpu_milli: int
    cpu_milli: int
    memory_mib: int
    local_rank: int
    spec: JobSpec
    ready: Rendezvous | None = None
    stop_reason: str = ""
    paid_ms: int | None = None

    @property
    def id(self) -> LeaseId:
        return (self.job_id, self.attempt, self.rank)


class Rank(msgspec.Struct):
    """Progress of one rank of the current attempt."""

    node: str
    uuids: tuple[str, ...] = ()
    prepared: bool = False
    started: bool = False
    rendezvous: Rendezvous | None = None
    exited: RankExited | None = None


DEVICE_FAILURES_MAX = 3
"""So many attempts may meet a device that fails before one counts as a retry: a job is not to be
blamed for a device, and one on which devices fail again and again is not to go through them all."""


class Job(msgspec.Struct, kw_only=True):
    """A job that has not ended. `order` is its place in line, kept over retries. `failed_starts`:
    so many attempts in a row were not started, the last one for `trouble`; it waits outside the
    line until `rests_until_ns`, None = it does not."""

    tenant: str
    spec: JobSpec
    digest: str
    order: int
    submitted_ns: int
    state: str = QUEUED
    attempt: int = 1
    retries_used: int = 0
    device_failures: int = 0
    avoid: tuple[str, ...] = ()
    ranks: list[Rank] = []
    alternative: int = 0
    lease_seq: int = 0
    placed_ns: int | None = None
    started_ms: int | None = None
    stop_reason: str = ""
    cancel_reason: str | None = None
    first_failure: int | None = None
    log_bytes: dict[str, int] = {}
    failed_starts: int = 0
    trouble: str = ""
    rests_until_ns: int | None = None

    @property
    def shape(self) -> Shape:
        return shape_of(self.spec, self.avoid, self.tenant)

    def drop_old_sizes(self) -> None:
        """Before another attempt: of the oldest, nobody is told any more how much output it had."""
        over = len(self.log_bytes) + 2 * self.spec.ranks - LOG_SIZES_MAX
        for name in list(self.log_bytes)[: max(0, over)]:
            del self.log_bytes[name]


class Shape(msgspec.Struct, frozen=True, cache_hash=True):
    """What two jobs have in common when one fits exactly where the other does.

    `alternatives` to it, best first, have none themselves; `node_labels` are sorted; `apart`:
    `tenant/word`, leases of which it shares no node with, "" = none; `needs`: what a node must
    offer; `purse`: who pays, where that may hold it up.
    """

    ranks: int
    gpus: int
    gpu_milli: int
    gpu_memory_mib: int | None
    gpu_models: tuple[str, ...]
    cpu_milli: int
    memory_mib: int
    order_units: int
    avoid: tuple[str, ...] = ()
    alternatives: tuple[Shape, ...] = ()
    near: str = ""
    near_required: bool = False
    spread: str = ""
    spread_ranks: int = 1
    node_labels: tuple[tuple[str, str], ...] = ()
    apart: str = ""
    needs: tuple[str, ...] = ()
    purse: Purse | None = None


class Node(msgspec.Struct):
    """A node's image and what is free of it. `free`: milli-GPU per device, in the image's order.
    `open`: the image allows new work. `trials`: leases granted after it has refused some, while
    none of them has started. `unheard`: it has not answered since the take-over, so it may hold
    leases of a journal that was cut, under sequences that are still to be given. `apart`: how many
    leases here keep apart from others with the same `tenant/word`.
    """

    image: NodeImaged
    free: list[int]
    cpu_free: int
    memory_free: int
    order_units_free: int
    leases: set[LeaseId]
    open: bool
    trials: set[LeaseId]
    unheard: bool = False
    apart: dict[str, int] = {}

    @property
    def schedulable(self) -> bool:
        return self.open and not self.trials and not self.unheard

    def may_hold(self, shape: Shape) -> bool:
        """Whether more room on this node may be what a job of this shape waits for: one rank at
        least must fit. Cheap, and sure only when it says no: thousands of shapes may wait."""
        if not self.schedulable:
            return False
        if shape.alternatives and any(map(self.may_hold, shape.alternatives)):
            return True
        return (
            self.cpu_free >= shape.cpu_milli
            and self.memory_free >= shape.memory_mib
            and self.order_units_free >= shape.order_units
            and sum(self.free) >= shape.gpus * shape.gpu_milli
        )

    def hold(self, lease: Lease) -> None:
        self.leases.add(lease.id)
        self._charge(lease, 1)
        if self.image.refused_ns is not None and lease.granted_ns > self.image.refused_ns:
            self.trials.add(lease.id)

    def drop(self, lease: Lease) -> None:
        self.leases.discard(lease.id)
        self._charge(lease, -1)
        if self.trials:
            self.trials.discard(lease.id)

    def _charge(self, lease: Lease, sign: int) -> None:
        self.cpu_free -= sign * lease.cpu_milli
        self.memory_free -= sign * lease.memory_mib
        self.order_units_free -= sign * order_units(lease.spec)
        if lease.uuids:
            held = set(lease.uuids)
            for index, (uuid, _, _) in enumerate(self.image.devices):
                if uuid in held:
                    self.free[index] -= sign * lease.gpu_milli
        if lease.spec.apart:
            self._keep_apart(apart_of(lease.spec, lease.tenant), sign)

    def _keep_apart(self, word: str, sign: int) -> None:
        self.apart[word] = self.apart.get(word, 0) + sign
        if not self.apart[word]:
            del self.apart[word]


def apart_of(spec: JobSpec, tenant: str) -> str:
    """Jobs with the same share no node; "" = with whomever."""
    return f"{tenant}/{spec.apart}" if spec.apart else ""


def shape_of(spec: JobSpec, avoid: tuple[str, ...] = (), tenant: str = "") -> Shape:
    """The spec's shape with the default reserve filled in, and those of its alternatives."""
    choices = range(1, len(spec.alternatives) + 1)
    alternatives = tuple(_shape_of(spec.resolved(i), avoid, tenant) for i in choices)
    return _shape_of(spec.resolved(0), avoid, tenant, alternatives)


def paid_from(shape: Shape, purse: Purse | None) -> Shape:
    """The shape of jobs with that purse; where a budget caps them, on nodes that can see to it."""
    if purse is None:
        return shape
    needs_too = (*shape.needs, PAID_TIME) if purse.capped else shape.needs
    alternatives = tuple(paid_from(option, purse) for option in shape.alternatives)
    return msgspec.structs.replace(shape, needs=needs_too, purse=purse, alternatives=alternatives)


def unpaid(shape: Shape) -> Shape:
    """The shape, whoever pays for it."""
    if shape.purse is None:
        return shape
    needs_else = shape.needs[:-1] if shape.purse.capped else shape.needs
    alternatives = tuple(map(unpaid, shape.alternatives))
    return msgspec.structs.replace(shape, needs=needs_else, purse=None, alternatives=alternatives)


def _shape_of(
    spec: JobSpec, avoid: tuple[str, ...], tenant: str, alternatives: tuple[Shape, ...] = ()
) -> Shape:
    return Shape(
        spec.ranks,
        spec.gpus,
        spec.gpu_milli,
        spec.gpu_memory_mib,
        spec.gpu_models,
        CPU_MILLI_DEFAULT if spec.cpu_milli is None else spec.cpu_milli,
        spec.memory_mib or 0,
        order_units(spec),
        avoid,
        alternatives,
        spec.near,
        spec.near_required,
        spec.spread,
        spec.spread_ranks,
        tuple(sorted(spec.node_labels.items())) if spec.node_labels else (),
        apart_of(spec, tenant),
        needs(spec),
    )


def new_node(image: NodeImaged) -> Node:
    """A node with nothing on it."""
    closed = image.cordoned or image.draining or image.resting or bool(image.closed)
    return Node(
        image=image,
        free=[GPU_MILLI_WHOLE] * len(image.devices),
        cpu_free=image.cpu_milli,
        memory_free=image.memory_mib,
        order_units_free=NODE_UNITS,
        leases=set(),
        open=image.liveness == "alive" and not closed,
        trials=set(),
    )


def is_failure(exit_: RankExited) -> bool:
    """Whether a rank's end is a failure of its own."""
    return not (exit_.reason == "exited" and exit_.exit_code == 0)


def may_stop(job: Job) -> bool:
    """Whether the attempt can still be asked to end."""
    return job.state != QUEUED and not job.stop_reason
