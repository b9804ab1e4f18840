"""May another job wait, as far as the queue's policy goes?

A pool that is not there, more than a quota ever allows, and more jobs in line than it lets wait are
refused. It does not know what else a request is refused for, nor when a job will run.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock_contracts.errors import Refusal
from penstock_contracts.jobs import JobSpec
from penstock_contracts.queue_policy import Quota
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.queue.quotas.shares import Ask, ask_of

UNKNOWN_POOL, OVER_QUOTA, QUEUE_FULL = "unknown_pool", "over_quota", "queue_full"


def quotas_of(state: State, tenant: str, spec: JobSpec) -> tuple[Quota, ...]:
    """The quotas in which such a job would count, from the leaf upwards."""
    rules = state.rules
    return rules.path(state.leaf_of(tenant, spec)) if rules.quotas else ()


def not_queued(
    state: State, tenant: str, spec: JobSpec, asked: Mapping[str, int]
) -> Refusal | None:
    """Why a new job may not wait; `asked`: so many of each quota come before it in its request."""
    if not state.rules.knows_pool(spec.pool):
        pools = ", ".join(pool.name for pool in state.rules.pools[:8])
        sentence = f"there is no pool {spec.pool}; there are: {pools}"
        return Refusal(UNKNOWN_POOL, sentence, "pool")
    quotas = quotas_of(state, tenant, spec)
    for quota in quotas:
        if quota.queued_max is None:
            continue
        waiting = state.shares.waiting_jobs(quota.name) + asked.get(quota.name, 0)
        if waiting >= quota.queued_max:
            sentence = (
                f"{waiting} job(s) wait in quota {quota.name}, and no more than "
                f"{quota.queued_max} may; try later"
            )
            return Refusal(QUEUE_FULL, sentence)
    return _never_allowed(state, tenant, spec, quotas) if quotas else None


def _never_allowed(
    state: State, tenant: str, spec: JobSpec, quotas: tuple[Quota, ...]
) -> Refusal | None:
    shape = state.shape_in_line(tenant, spec)
    refusing = None
    for option in (shape, *shape.alternatives):
        ask = ask_of(option)
        refusing = next((quota for quota in quotas if never_allows(quota, ask)), None)
        if refusing is None:
            return None
    ask = ask_of(shape)
    return None if refusing is None else Refusal(OVER_QUOTA, over_maximum(refusing, ask))


def never_allows(quota: Quota, ask: Ask) -> bool:
    """Whether this is more than the quota allows even when nothing else is held of it."""
    gpu, cpu = quota.maximum_gpu_milli, quota.maximum_cpu_milli
    return (gpu is not None and ask.gpu_milli > gpu) or (cpu is not None and ask.cpu_milli > cpu)


def over_maximum(quota: Quota, ask: Ask) -> str:
    """Says which limit is in the way for ever."""
    gpu = quota.maximum_gpu_milli
    if gpu is not None and ask.gpu_milli > gpu:
        return (
            f"it asks for {in_units(ask.gpu_milli)} GPU(s) in all, and quota {quota.name} allows "
            f"{in_units(gpu)} at most"
        )
    cpu = quota.maximum_cpu_milli or 0
    return (
        f"it asks for {in_units(ask.cpu_milli)} core(s) in all, and quota {quota.name} allows "
        f"{in_units(cpu)} at most"
    )


def in_units(milli: int) -> str:
    """`8`, `0.25`."""
    whole, rest = divmod(milli, 1000)
    return f"{whole}.{rest:03d}".rstrip("0") if rest else str(whole)
