"""What has a job in common with others that fit exactly where it does?

Its shape, with its alternatives, its pool, and what else decides whether it may begin. It does not
know what is free.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.jobs import CPU_MILLI_DEFAULT, JobSpec
from penstock_contracts.work import PAID_TIME, needs
from penstock_scheduler.core.money.purse import Purse
from penstock_scheduler.core.orders.room import order_units
from penstock_scheduler.core.queue.keeping.bounds import bound_s
from penstock_scheduler.core.queue.quotas.rules import Leaf


class Shape(msgspec.Struct, frozen=True, cache_hash=True):
    """What two jobs have in common when one fits exactly where the other does.

    `alternatives` to it, best first, have none themselves; `node_labels` are sorted; `apart`:
    `tenant/word`, leases of which it shares no node with, "" = none; `needs`: what a node must
    offer; `purse`: who pays, where that may hold it up; `leaf`: where it counts, so in which
    pool it is; `claim`: the right to have others yield: -1 = none (spot), 0 = what is guaranteed to
    its quota, else its class + 1, before which lower ones yield; `bound_s`: after about so long its
    place is surely free again, 0 = nobody can say; `owner`: for whom it might be set aside.
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
    leaf: Leaf | None = None
    claim: int = 0
    bound_s: int = 0
    owner: str = ""


def apart_of(spec: JobSpec, tenant: str) -> str:
    """Jobs with the same share no node; "" = with whomever."""
    return f"{tenant}/{spec.apart}" if spec.apart else ""


def shape_of(
    spec: JobSpec,
    avoid: tuple[str, ...] = (),
    tenant: str = "",
    leaf: Leaf | None = None,
    claim: int = 0,
) -> Shape:
    """The spec's shape with the default reserve filled in, and those of its alternatives."""
    choices = range(1, len(spec.alternatives) + 1)
    alternatives = tuple(_shape_of(spec.resolved(i), avoid, tenant, leaf, claim) for i in choices)
    return _shape_of(spec.resolved(0), avoid, tenant, leaf, claim, alternatives)


def paid_from(shape: Shape, purse: Purse | None) -> Shape:
    """The shape of jobs with that purse; where a budget caps them, on nodes that can see to it."""
    if purse is None:
        return shape
    needs_too = (*shape.needs, PAID_TIME) if purse.capped else shape.needs
    alternatives = tuple(paid_from(option, purse) for option in shape.alternatives)
    return msgspec.structs.replace(shape, needs=needs_too, purse=purse, alternatives=alternatives)


def owned_by(shape: Shape, owner: str) -> Shape:
    """The shape of jobs for whom nodes may be set aside under that name."""
    if not owner:
        return shape
    alternatives = tuple(owned_by(option, owner) for option in shape.alternatives)
    return msgspec.structs.replace(shape, owner=owner, alternatives=alternatives)


def demand_of(shape: Shape) -> Shape:
    """What fits wherever this fits, in whose quota it may count and whoever pays."""
    leaf = shape.leaf
    if leaf is None or (not leaf.quota and shape.purse is None and shape.claim <= 0):
        return shape
    return _demanded(shape, Leaf(leaf.pool))


def _demanded(shape: Shape, pool: Leaf) -> Shape:
    alternatives = tuple(_demanded(option, pool) for option in shape.alternatives)
    return msgspec.structs.replace(
        shape, purse=None, leaf=pool, claim=min(shape.claim, 0), alternatives=alternatives
    )


def plain(shape: Shape) -> Shape:
    """What is asked of the pool, whoever asks and pays."""
    needs_else = shape.needs[:-1] if shape.purse and shape.purse.capped else shape.needs
    pool = None if shape.leaf is None else Leaf(shape.leaf.pool)
    alternatives = tuple(map(plain, shape.alternatives))
    return msgspec.structs.replace(
        shape,
        needs=needs_else,
        purse=None,
        leaf=pool,
        claim=0,
        bound_s=0,
        owner="",
        alternatives=alternatives,
    )


def _shape_of(
    spec: JobSpec,
    avoid: tuple[str, ...],
    tenant: str,
    leaf: Leaf | None,
    claim: int,
    alternatives: tuple[Shape, ...] = (),
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
        None,
        leaf,
        claim,
        bound_s(spec) if leaf is not None else 0,
    )


def choices_of(shape: Shape) -> tuple[Shape, ...]:
    """What it asks first, then each of its alternatives, in the order of their numbers: each alone,
    so that what is found for one is not a place of another."""
    if not shape.alternatives:
        return (shape,)
    return (msgspec.structs.replace(shape, alternatives=()), *shape.alternatives)
