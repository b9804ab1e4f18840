"""How do facts about nodes change the state?

Part of `fold`. It does not decide anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_contracts.journal import NodeForgotten, NodeImaged
from penstock_scheduler.core.state import Node, new_node

if TYPE_CHECKING:
    from penstock_scheduler.core.fold import State


def node_imaged(state: State, fact: NodeImaged, seq: int, now_ns: int) -> None:
    """The node is as this says; what it holds, it holds on."""
    old = state.nodes.get(fact.node)
    node = new_node(fact)
    put_in_pool(state, node, old)
    state.nodes[fact.node] = node
    if old is None or old.image.devices != fact.devices:
        state.fleet_changed_ns = now_ns
    if old is None or old.image.boot_id != fact.boot_id or old.image.failing > fact.failing:
        state.failing.forget(fact.node)
    node.unheard = old.unheard if old is not None else state.touches.is_on
    for lease_id in old.leases if old is not None else state.homeless.pop(fact.node, {}):
        node.hold(state.leases[lease_id])
    state.capacity.update(fact.node, node)
    state.line.reconsider(node)
    state.touches.node(fact.node)


def node_forgotten(state: State, fact: NodeForgotten, seq: int, now_ns: int) -> None:
    """There is no such node any more; leases on it stand until their release is proven."""
    node = state.nodes.pop(fact.node, None)
    state.failing.forget(fact.node)
    state.capacity.update(fact.node, None)
    state.fleet_changed_ns = now_ns
    state.line.reconsider()
    if node is not None:
        state.shares.resize(node.pool, *size_of(node, -1))
    if node is not None and node.leases:
        state.homeless[fact.node] = dict.fromkeys(sorted(node.leases))


def put_in_pool(state: State, node: Node, old: Node | None = None) -> None:
    """The first pool whose labels it has; `old`: the node as it was."""
    pool = state.rules.pool_of(node.image.labels)
    node.pool = "" if pool is None else pool.name
    if old is not None:
        if (old.pool, size_of(old)) == (node.pool, size_of(node)):
            return
        state.shares.resize(old.pool, *size_of(old, -1))
    state.shares.resize(node.pool, *size_of(node))


def size_of(node: Node, sign: int = 1) -> tuple[int, int]:
    """Milli-GPU and milli-CPU of a node, whatever state it is in."""
    return sign * len(node.image.devices) * GPU_MILLI_WHOLE, sign * node.image.cpu_milli
