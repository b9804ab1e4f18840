"""What follows from an operator's command?

One function per verb, over what is held of the node and of its key. It does not change anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from penstock_contracts.errors import Refusal
from penstock_contracts.joining import NodeRevoked
from penstock_contracts.nodes import (
    ALIVE,
    LOST,
    NodeCordoned,
    NodeFenced,
    NodeLivenessChanged,
    NodeRemoved,
    NodeUncordoned,
)
from penstock_inventory.core.events import (
    CORDON,
    DRAIN,
    FENCE,
    REMOVE,
    UNCORDON,
    VERBS,
    Command,
)
from penstock_inventory.core.membership import Member
from penstock_inventory.core.node import Node

NANOSECONDS = 1_000_000_000
PUT_OUT = "its key was revoked"


def refusal_of(command: Command, node: Node | None, member: Member | None) -> Refusal | None:
    """Why a command cannot be obeyed now."""
    if command.verb not in VERBS:
        return Refusal("unknown_verb", f"A node cannot {command.verb}.", "verb")
    if node is None:
        if member is not None and command.verb == REMOVE:
            return None
        return Refusal("unknown_node", f"There is no node {command.node}.", "node")
    if command.verb == REMOVE and member is None and node.liveness == ALIVE:
        return Refusal(
            "node_alive",
            f"{command.node} is alive and would come back; stop its agent, then remove it.",
        )
    if command.verb == UNCORDON and member is not None and member.revoked:
        return Refusal(
            "node_revoked", f"{command.node} was put out; remove it, and have its host join anew."
        )
    return None


def obey(command: Command, node: Node | None, member: Member | None, now_ns: int) -> Sequence[Any]:
    """The facts that follow from a command that is not refused; none from a repeated one."""
    if command.verb == REMOVE:
        return _remove(command.node, node, member)
    return () if node is None else _OBEY[command.verb](node, command, now_ns)


def _remove(name: str, node: Node | None, member: Member | None) -> Sequence[Any]:
    """A node that is away is forgotten. One that is alive is put out at once, but what runs there
    stays charged to it: that it does not run is for an operator to say, by a fence, or by removing
    the node once more."""
    if node is None or member is None or node.liveness != ALIVE:
        return (NodeRemoved(name),)
    facts: list[Any] = [NodeRevoked(name, member.key)]
    if not node.cordoned:
        facts.append(NodeCordoned(name, reason=PUT_OUT))
    return (*facts, NodeLivenessChanged(name, LOST, PUT_OUT))


def _cordon(node: Node, command: Command, now_ns: int) -> Sequence[Any]:
    if node.cordoned:
        return ()
    return (NodeCordoned(command.node, reason=command.reason),)


def _uncordon(node: Node, command: Command, now_ns: int) -> Sequence[Any]:
    return (NodeUncordoned(command.node),) if node.cordoned else ()


def _drain(node: Node, command: Command, now_ns: int) -> Sequence[Any]:
    """A repeat moves the deadline only when it names one."""
    if node.draining and command.deadline_s is None:
        return ()
    deadline_ns = None
    if command.deadline_s is not None:
        deadline_ns = now_ns + command.deadline_s * NANOSECONDS
    fact = NodeCordoned(
        command.node, drain=True, deadline_ns=deadline_ns, reason=command.reason or node.reason
    )
    return (fact,)


def _fence(node: Node, command: Command, now_ns: int) -> Sequence[Any]:
    """While a node is away it need be vouched for only once; one that is alive may get new work."""
    if node.fenced and node.liveness != ALIVE:
        return ()
    return (NodeFenced(command.node, node.description.boot_id, command.reason),)


_OBEY: dict[str, Callable[[Node, Command, int], Sequence[Any]]] = {
    CORDON: _cordon,
    UNCORDON: _uncordon,
    DRAIN: _drain,
    FENCE: _fence,
}
