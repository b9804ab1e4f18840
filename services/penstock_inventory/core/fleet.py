"""Which nodes exist, are they alive, and may they get work?

The state behind the NODES journal: decides facts, folds them, shows views. When a node was last
heard is not part of it (`presence`): that is forgotten with the process. It does not know who
uses the devices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from penstock_contracts.errors import InvariantError, Refusal
from penstock_contracts.nodes import (
    ALIVE,
    LOST,
    NodeCordoned,
    NodeDescription,
    NodeFenced,
    NodeLivenessChanged,
    NodeRegistered,
    NodeRemoved,
    NodeUncordoned,
    NodeView,
)
from penstock_inventory.core.events import (
    CORDON,
    DRAIN,
    FENCE,
    REMOVE,
    UNCORDON,
    Command,
    Described,
    Doubted,
    Returned,
    Silent,
)

NANOSECONDS = 1_000_000_000
MILLISECONDS = 1_000
FORMER_BOOTS_MAX = 32
"""Boots of a node that are remembered as over; nobody keeps older messages than of so many."""


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


_decode_nodes = msgspec.json.Decoder(dict[str, Node]).decode
_encode = msgspec.json.Encoder().encode
_replace = msgspec.structs.replace


class Fleet:
    """The core of inventory. `nodes` is changed by `apply` only."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}

    # -- deciding ----------------------------------------------------------------------------------
    def decide(self, event: Any, now_ns: int, next_seq: int) -> Sequence[Any]:
        """The facts that follow from an event; none from what is known or refused."""
        if isinstance(event, Described):
            return self._describe(event.description)
        if isinstance(event, Silent):
            return self._judge_silence(event)
        if isinstance(event, Returned):
            return self._judge_return(event)
        if isinstance(event, Doubted):
            return [fact for name in sorted(self.nodes) for fact in self._say_again(name)]
        if isinstance(event, Command):
            if self.refusal_of(event) is not None:
                return ()
            return _OBEY[event.verb](self.nodes[event.node], event, now_ns)
        raise InvariantError(f"inventory knows no event {type(event).__name__}")

    def settle(self, now_ns: int, next_seq: int) -> Sequence[Any]:
        return ()

    def refusal_of(self, command: Command) -> Refusal | None:
        """Why a command cannot be obeyed now."""
        node = self.nodes.get(command.node)
        if node is None:
            return Refusal("unknown_node", f"There is no node {command.node}.", "node")
        if command.verb not in _OBEY:
            return Refusal("unknown_verb", f"A node cannot {command.verb}.", "verb")
        if command.verb == REMOVE and node.liveness == ALIVE:
            return Refusal(
                "node_alive",
                f"{command.node} is alive and would come back; stop its agent, then remove it.",
            )
        return None

    def _describe(self, description: NodeDescription) -> Sequence[Any]:
        """A boot that another has followed is over: who says that it is there repeats an old
        message. The order tells so, not `joined_ms`: a host's clock may have been set back."""
        node = self.nodes.get(description.node)
        if node is not None:
            known = node.description == description
            if known or description.boot_id in node.former_boots:
                return ()
        return (NodeRegistered(description),)

    def _judge_silence(self, event: Silent) -> Sequence[Any]:
        node = self.nodes.get(event.node)
        if node is None or node.liveness in (event.liveness, LOST):
            return ()
        reason = f"no heartbeat for {event.silent_ms / MILLISECONDS:.1f} s"
        return (NodeLivenessChanged(event.node, event.liveness, reason),)

    def _judge_return(self, event: Returned) -> Sequence[Any]:
        node = self.nodes.get(event.node)
        if node is None or node.liveness == ALIVE:
            return ()
        return (NodeLivenessChanged(event.node, ALIVE, "heartbeats are back"),)

    def _say_again(self, name: str) -> Sequence[Any]:
        """What holds of a node, but for its description: nodes give that themselves, and an older
        one would tell of a boot that is over."""
        node = self.nodes[name]
        liveness = NodeLivenessChanged(name, node.liveness, "said again")
        if not node.cordoned:
            return (liveness, NodeUncordoned(name))
        cordon = NodeCordoned(
            name, drain=node.draining, deadline_ns=node.deadline_ns, reason=node.reason
        )
        return (liveness, cordon)

    # -- folding -----------------------------------------------------------------------------------
    def apply(self, fact: Any, seq: int, now_ns: int) -> None:
        """Fold one fact."""
        if isinstance(fact, NodeRegistered):
            self._register(fact.description)
            return
        node = self.nodes.get(fact.node)
        if node is None:
            raise InvariantError(f"NODES {seq} speaks of {fact.node}, which is not registered")
        if isinstance(fact, NodeRemoved):
            del self.nodes[fact.node]
            return
        self.nodes[fact.node] = _fold(node, fact)

    def apply_after_gap(self, fact: Any, seq: int, now_ns: int) -> bool:
        """Of a node whose registration is lost nothing can be folded: it comes again."""
        if not isinstance(fact, NodeRegistered) and fact.node not in self.nodes:
            return False
        self.apply(fact, seq, now_ns)
        return True

    def _register(self, description: NodeDescription) -> None:
        node = self.nodes.get(description.node)
        if node is None:
            self.nodes[description.node] = Node(description)
            return
        same_boot = node.description.boot_id == description.boot_id
        self.nodes[description.node] = _replace(
            node,
            description=description,
            fenced=node.fenced and same_boot,
            former_boots=_former(node, description.boot_id),
        )

    def snapshot(self) -> bytes:
        return _encode(self.nodes)

    def restore(self, data: bytes) -> None:
        """Raises msgspec.DecodeError."""
        self.nodes = _decode_nodes(data)

    # -- showing -----------------------------------------------------------------------------------
    def view(self, name: str, seen_age_ms: int | None) -> NodeView | None:
        """A node as it is shown; None when there is no such node."""
        node = self.nodes.get(name)
        if node is None:
            return None
        return NodeView(
            description=node.description,
            liveness=node.liveness,
            cordoned=node.cordoned,
            draining=node.draining,
            reason=node.reason,
            seen_age_ms=seen_age_ms,
            schedulable=node.liveness == ALIVE and not node.cordoned,
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


def _fold(node: Node, fact: Any) -> Node:
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


def _remove(node: Node, command: Command, now_ns: int) -> Sequence[Any]:
    return (NodeRemoved(command.node),)


_OBEY: dict[str, Callable[[Node, Command, int], Sequence[Any]]] = {
    CORDON: _cordon,
    UNCORDON: _uncordon,
    DRAIN: _drain,
    FENCE: _fence,
    REMOVE: _remove,
}
