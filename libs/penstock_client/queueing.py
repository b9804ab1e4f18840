"""How does an operator's wish become the queue's policy?

Asks for the policy that holds, changes it, and asks how pools and quotas stand, over one bus. It
does not know how wishes are typed, nor where policies are kept as files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from penstock_bus.port import Bus
from penstock_client.failures import Refused, refuse
from penstock_client.questions import ask, ask_on
from penstock_client.subjects import subject_of
from penstock_client.ulids import Ulids
from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_contracts.nodes import NodeView
from penstock_contracts.queries import Empty
from penstock_contracts.queue_faults import policy_faults, pools_of_quotas
from penstock_contracts.queue_messages import QueueQuery, QueueView, SetPolicy
from penstock_contracts.queue_policy import DEFAULT_POOL, PolicyVersion, Pool, QueuePolicy

ANSWER_S_MAX = 15.0
TRIES_MAX = 5
"""Somebody else may set a policy between question and command; then the change is made anew."""
POLICY_CHANGED = "policy_changed"

_new_key = Ulids().next


async def held_policy(bus: Bus) -> PolicyVersion:
    """The policy that holds."""
    return await ask(bus, "scheduler", "policy", Empty(), PolicyVersion, ANSWER_S_MAX)


async def queue(bus: Bus) -> QueueView:
    """How every pool and quota stands, page by page."""
    page = await ask(bus, "scheduler", "queue", QueueQuery(), QueueView, ANSWER_S_MAX)
    quotas = page.quotas
    while page.more and page.quotas:
        query = QueueQuery(page.quotas[-1].name)
        page = await ask(bus, "scheduler", "queue", query, QueueView, ANSWER_S_MAX)
        quotas += page.quotas
    return msgspec.structs.replace(page, quotas=quotas, more=False)


async def set_policy(
    bus: Bus, policy: QueuePolicy, based_on: int | None, key: str = ""
) -> PolicyVersion:
    """All of it anew. `based_on` None = whatever holds now; `key` "" = a new one. Raises Refused:
    `policy_changed` where another one holds than that."""
    command = SetPolicy(key=key or _new_key(), policy=policy, based_on=based_on)
    subject = subject_of("command_scheduler_set_policy")
    return await ask_on(bus, subject, "scheduler", command, PolicyVersion, ANSWER_S_MAX)


async def change_policy(
    bus: Bus, change: Callable[[QueuePolicy], QueuePolicy]
) -> tuple[PolicyVersion, PolicyVersion]:
    """What held and what holds now; the same where there was nothing to change. Raises Refused for
    what comes of `change` when it cannot be obeyed."""
    for _ in range(TRIES_MAX):
        held = await held_policy(bus)
        wanted = change(held.policy)
        if wanted == held.policy:
            return held, held
        if faults := policy_faults(wanted):
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            raise refuse(faults[0].code, faults[0].sentence + more, faults[0].path)
        try:
            return held, await set_policy(bus, wanted, held.version)
        except Refused as error:
            if error.refusal.code != POLICY_CHANGED:
                raise
    raise refuse(POLICY_CHANGED, "others change the policy all the time; try again")


def warnings(policy: QueuePolicy, nodes: Iterable[NodeView]) -> tuple[str, ...]:
    """What the present nodes do not allow for, though others might come."""
    gpu_milli = {pool.name: 0 for pool in policy.pools or (Pool(name=DEFAULT_POOL),)}
    there = dict.fromkeys(gpu_milli, 0)
    known, stray = set(), []
    for node in nodes:
        about = node.description
        known.add(about.node)
        pool = pool_of(policy, about.labels)
        if pool is None:
            stray.append(about.node)
            continue
        there[pool] += 1
        gpu_milli[pool] += GPU_MILLI_WHOLE * len(about.devices)
    found = [f"pool {name} has no node now" for name, count in there.items() if not count]
    if stray:
        names = ", ".join(sorted(stray)[:5]) + (", …" if len(stray) > 5 else "")
        found.append(f"{len(stray)} nodes are in no pool and get no work: {names}")
    found += _idle_quotas(policy)
    found += _beyond(policy, gpu_milli)
    for one in policy.reservations:
        if unknown := sorted(set(one.nodes) - known):
            found.append(f"reservation {one.name}: there is no node {unknown[0]} now")
    return tuple(found)


def pool_of(policy: QueuePolicy, labels: dict[str, str]) -> str | None:
    """The first pool whose labels the node has; None = it is in none."""
    for pool in policy.pools or (Pool(name=DEFAULT_POOL),):
        if pool.node_labels.items() <= labels.items():
            return pool.name
    return None


def _idle_quotas(policy: QueuePolicy) -> list[str]:
    """Those that count no jobs: whoever makes a tree begins with one."""
    parents = {quota.parent for quota in policy.quotas}
    return [
        f"quota {quota.name} counts no jobs: it names no tenant, and no quota is below it"
        for quota in policy.quotas
        if not quota.tenant and quota.name not in parents
    ]


def _beyond(policy: QueuePolicy, gpu_milli: dict[str, int]) -> list[str]:
    """Promises that the pools' GPUs are too few for, and bounds that they never reach."""
    found = []
    pool_of_quota = pools_of_quotas(policy)
    promised = dict.fromkeys(gpu_milli, 0)
    for quota in policy.quotas:
        pool = pool_of_quota[quota.name]
        if not quota.parent:
            promised[pool] += quota.guaranteed_gpu_milli
        bound = quota.maximum_gpu_milli
        if bound is not None and bound > gpu_milli[pool]:
            found.append(
                f"quota {quota.name}: its maximum of {_gpus(bound)} GPUs bounds nothing, "
                f"pool {pool} has {_gpus(gpu_milli[pool])}"
            )
    return [
        f"{_gpus(milli)} GPUs are guaranteed in pool {name}, which has {_gpus(gpu_milli[name])} now"
        for name, milli in promised.items()
        if milli > gpu_milli[name]
    ] + found


def _gpus(milli: int) -> str:
    return f"{milli / 1_000:g}"
