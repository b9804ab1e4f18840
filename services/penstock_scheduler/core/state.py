"""What does the scheduler know?

The state that `apply` alone changes: jobs that have not ended, leases whose release is not proven,
nodes with what is free on them, and the ids remembered. Leases stand apart from jobs, because a
device stays taken until its node proves the release, whatever became of the job. It does not know
how facts are decided.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.jobs import GPU_MILLI_WHOLE, QUEUED, RANKS_MAX, JobSpec
from penstock_contracts.journal import NodeImaged, RankExited
from penstock_contracts.leases import Rendezvous
from penstock_scheduler.core.orders.room import NODE_UNITS, order_units
from penstock_scheduler.core.queue.keeping.kept import Kept
from penstock_scheduler.core.shapes import Shape as Shape
from penstock_scheduler.core.shapes import apart_of as apart_of
from penstock_scheduler.core.shapes import paid_from as paid_from
from penstock_scheduler.core.shapes import plain as plain
from penstock_scheduler.core.shapes import shape_of as shape_of

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
    """A job that has not ended. `order` is its place in line, kept over retries; `since_ns`: from
    when on its waiting counts; `expected_ms`: how long it was expected to run when it last came
    into line; `passed`: it has held up others for long enough; `yielded`: so many attempts were
    stopped for others, and `saved_ms` of their work were saved. `failed_starts`: so many attempts
    in a row were not started, the last one for `trouble`; it waits outside the line until
    `rests_until_ns`, None = it does not. `expected_start_ms`: when this attempt was expected to be
    placed, as was said at `estimated_ms`."""

    tenant: str
    spec: JobSpec
    digest: str
    order: int
    submitted_ns: int
    state: str = QUEUED
    attempt: int = 1
    since_ns: int = 0
    expected_ms: int | None = None
    passed: bool = False
    yielded: int = 0
    saved_ms: int = 0
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
    expected_start_ms: int | None = None
    estimated_ms: int | None = None

    @property
    def shape(self) -> Shape:
        return shape_of(self.spec, self.avoid, self.tenant)

    def drop_old_sizes(self) -> None:
        """Before another attempt: of the oldest, nobody is told any more how much output it had."""
        over = len(self.log_bytes) + 2 * self.spec.ranks - LOG_SIZES_MAX
        for name in list(self.log_bytes)[: max(0, over)]:
            del self.log_bytes[name]


class Node(msgspec.Struct):
    """A node's image and what is free of it. `free`: milli-GPU per device, in the image's order.
    `open`: the image allows new work. `trials`: leases granted after it has refused some, while
    none of them has started. `unheard`: it has not answered since the take-over, so it may hold
    leases of a journal that was cut, under sequences that are still to be given. `apart`: how many
    leases here keep apart from others with the same `tenant/word`. `kept`: what of it is not for
    whoever has no place here.
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
    pool: str = ""
    kept: Kept | None = None

    @property
    def schedulable(self) -> bool:
        return self.open and not self.trials and not self.unheard

    def may_hold(self, shape: Shape) -> bool:
        """Whether more room on this node may be what a job of this shape waits for: one rank at
        least must fit. Cheap, and sure only when it says no: thousands of shapes may wait."""
        if not self.schedulable or (shape.leaf is not None and shape.leaf.pool != self.pool):
            return False
        if shape.alternatives and any(map(self.may_hold, shape.alternatives)):
            return True
        free = sum(self.free) if self.kept is None or shape.bound_s else self.kept.left(self.free)
        return (
            self.cpu_free >= shape.cpu_milli
            and self.memory_free >= shape.memory_mib
            and self.order_units_free >= shape.order_units
            and free >= shape.gpus * shape.gpu_milli
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
