"""Did nobody go first whose turn it was not?

Looks at every grant for others who had come before in the same quota: alike in everything, or,
where the first one holds up all others, whatever they ask, as long as it could run at all. It does
not know shares, nor what is expected of anybody.
"""

from __future__ import annotations

from collections.abc import Iterator

from penstock_contracts.jobs import CPU_MILLI_DEFAULT, GPU_MILLI_WHOLE, JobSpec
from penstock_contracts.journal import LeaseGranted, NodeImaged
from penstock_contracts.queue_policy import Pool
from tests.checkers.history import History, Violation
from tests.checkers.queueing import Scene, Told, Wanted, follow_queue

TIERED, FIFO, HOLD, NONE = "tiered", "fifo", "hold", "none"
OWN = ("job_id", "command", "name", "env", "labels")
"""What of a job does not matter to when and where it may run."""


def check_turns(history: History) -> list[Violation]:
    """Everybody who was overtaken."""
    return [
        Violation(
            code=code, sentence=f"JOBS {told.seq} {what}", job_id=told.fact.job_id, at_ns=told.at_ns
        )
        for told, scene in follow_queue(history)
        if isinstance(told.fact, LeaseGranted)
        for code, what in _overtaken(told, scene)
    ]  # fmt: skip


def _overtaken(told: Told, scene: Scene) -> Iterator[tuple[str, str]]:
    job_id = told.fact.job_id
    mine = scene.waiting.get(job_id)
    if mine is None or mine.attempt > 1 or job_id in scene.places:
        return
    pool = scene.policy.pool_of_job(mine.spec)
    for other in scene.waiting.values():
        before = other.number < mine.number and other.spec.priority == mine.spec.priority
        higher = other.spec.priority > mine.spec.priority
        first = other.spec.job_id
        if other.attempt > 1 or first in scene.places:  # who has a place waits for that
            continue
        if not (before or higher) or not _beside(scene, mine, other, pool):
            continue
        if before and pool.order != TIERED and _alike(mine, other):
            yield "overtaken", f"grants {job_id}, though {first}, which is alike, had come before"
        elif _holds_up(scene, pool, other) and _could_run(scene, pool, other):
            yield "head_overtaken", f"grants {job_id}, though {first} holds up pool {pool.name}"


def _beside(scene: Scene, mine: Wanted, other: Wanted, pool: Pool) -> bool:
    """Whether both count in the same place."""
    if scene.policy.pool_of_job(other.spec).name != pool.name:
        return False
    ours = scene.policy.path_of(mine.spec, mine.tenant)
    return ours == scene.policy.path_of(other.spec, other.tenant)


def _alike(mine: Wanted, other: Wanted) -> bool:
    if mine.tenant != other.tenant:
        return False
    names = (name for name in mine.spec.__struct_fields__ if name not in OWN)
    return all(getattr(mine.spec, name) == getattr(other.spec, name) for name in names)


def _holds_up(scene: Scene, pool: Pool, other: Wanted) -> bool:
    """Whether nobody may go before it, and nothing but room can keep it."""
    if pool.backfill != NONE or scene.policy.policy.reservations or other.tenant in scene.counted:
        return False
    held = pool.order == HOLD and scene.heads.get(pool.name) == other.spec.job_id
    path = scene.policy.path_of(other.spec, other.tenant)
    limits = (
        quota.maximum_gpu_milli or quota.maximum_cpu_milli or quota.guaranteed_gpu_milli
        for quota in path
    )  # whom a guarantee covers goes before whom it does not
    return (pool.order == FIFO or held) and not any(limits) and _is_plain(other.spec)


def _is_plain(spec: JobSpec) -> bool:
    """Whether it takes no more than a look at each node to know where it can run."""
    return not (
        spec.alternatives or spec.apart or spec.spread or spec.near_required or spec.container
        or spec.inputs or spec.secrets or spec.gpu_memory_mib or spec.ranks > 1 or spec.user
    )  # fmt: skip


def _could_run(scene: Scene, pool: Pool, other: Wanted) -> bool:
    return any(
        _could_hold(other.spec, image)
        for image in scene.images.values()
        if scene.policy.pool_of_node(image.labels) is pool
    )


def _could_hold(asked: JobSpec, image: NodeImaged) -> bool:
    """Whether the node takes work, and has as much when it is empty."""
    shut = image.liveness != "alive" or image.cordoned or image.draining or image.closed
    if shut or image.resting or asked.node_labels.items() - image.labels.items():
        return False
    cpu_milli = CPU_MILLI_DEFAULT if asked.cpu_milli is None else asked.cpu_milli
    if image.cpu_milli < cpu_milli or image.memory_mib < (asked.memory_mib or 0):
        return False
    well = [
        model
        for uuid, model, _ in image.devices
        if uuid not in image.unhealthy and (not asked.gpu_models or model in asked.gpu_models)
    ]
    return len(well) >= asked.gpus and asked.gpu_milli <= GPU_MILLI_WHOLE
