"""What does inventory hold of one node, and how do facts change it?

It does not know how a fact is decided.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock_contracts.errors import InvariantError
from penstock_contracts.nodes import (
    ALIVE,
    LOST,
    NodeCordoned,
    NodeDescription,
    NodeFenced,
    NodeLivenessChanged,
    NodeUncordoned,
    NodeView,
)
from penstock_inventory.core.membership import Member

FORMER_BOOTS_MAX = 32
"""Boots of a node that are remembered as over; nobody keeps older messages than of so many."""

_replace = msgspec.structs.replace


class Node(msgspec.Struct, frozen=True):
    """What inventory holds of a node. `reason` is the operator's, for the cordon. `fenced`: an
    operator has vouched for this boot since the node was last alive. `former_boots`: that are over,
    oldest first."""

    description: NodeDescription
    liveness: str = ALIVE
    cordoned: bool = False
    draining: bool = False
    deadline_ns: int | None = None
    reason: str = ""
    fenced: bool = False
    former_boots: tuple[str, ...] = ()


def register(node: Node | None, description: NodeDescription) -> Node:
    """The node as it describes itself now."""
    if node is None:
        return Node(description)
    same_boot = node.description.boot_id == description.boot_id
    return _replace(
        node,
        description=description,
        fenced=node.fenced and same_boot,
        former_boots=_former(node, description.boot_id),
    )


def view(name: str, node: Node | None, member: Member | None, seen_age_ms: int | None) -> NodeView:
    """As it is shown. A host that was admitted and has not said yet what it is is shown as lost."""
    unknown = NodeDescription(node=name, boot_id="-", joined_ms=0, cpu_milli=0, memory_mib=0)
    node = node or Node(unknown, liveness=LOST)
    return NodeView(
        description=node.description,
        liveness=node.liveness,
        cordoned=node.cordoned,
        draining=node.draining,
        reason=node.reason,
        seen_age_ms=seen_age_ms,
        schedulable=node.liveness == ALIVE and not node.cordoned,
        key="" if member is None else member.key,
        revoked=member is not None and member.revoked,
    )


def _former(node: Node, boot_id: str) -> tuple[str, ...]:
    """The boots that are over now. A journal of before may go back to one of them: those that it
    had left out of order may come again."""
    former, present = node.former_boots, node.description.boot_id
    if boot_id == present:
        return former
    if boot_id in former:
        return former[: former.index(boot_id)]
    return (*former, present)[-FORMER_BOOTS_MAX:]


def fold(node: Node, fact: Any) -> Node:
    if isinstance(fact, NodeLivenessChanged):
        back = fact.liveness == ALIVE
        return _replace(node, liveness=fact.liveness, fenced=node.fenced and not back)
    if isinstance(fact, NodeCordoned):
        return _replace(
            node,
            cordoned=True,
            draining=fact.drain,
            deadline_ns=fact.deadline_ns,
            reason=fact.reason,
        )
    if isinstance(fact, NodeUncordoned):
        return _replace(node, cordoned=False, draining=False, deadline_ns=None, reason="")
    if isinstance(fact, NodeFenced):
        return _replace(node, fenced=True)
    raise InvariantError(f"inventory knows no fact {type(fact).__name__}")
