"""Which nodes exist, are they alive, and may they get work?

The state behind the NODES journal: decides facts, folds them, shows views. When a node was last
heard is not part of it (`presence`): that is forgotten with the process. It does not know who
uses the devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock_contracts.errors import InvariantError, Refusal
from penstock_contracts.joining import JoiningFact
from penstock_contracts.nodes import (
    ALIVE,
    LOST,
    NodeCordoned,
    NodeDescription,
    NodeLivenessChanged,
    NodeRegistered,
    NodeRemoved,
    NodeUncordoned,
    NodeView,
)
from penstock_inventory.core.events import (
    Approve,
    Ask,
    Command,
    Described,
    Doubted,
    Invite,
    Returned,
    Silent,
)
from penstock_inventory.core.members import Members
from penstock_inventory.core.membership import MembersImage
from penstock_inventory.core.node import Node, fold, register, view
from penstock_inventory.core.orders import obey, refusal_of

MILLISECONDS = 1_000


class _Image(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot. Of before hosts could join, it holds the nodes alone, by name."""

    image: int
    nodes: dict[str, Node]
    members: MembersImage


_IMAGE = 2

_decode_image = msgspec.json.Decoder(_Image).decode
_decode_nodes = msgspec.json.Decoder(dict[str, Node]).decode
_encode = msgspec.json.Encoder().encode
_replace = msgspec.structs.replace


class Fleet:
    """The core of inventory. `nodes` is changed by `apply` only."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.members = Members()

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
        if isinstance(event, Invite | Ask | Approve):
            return self.members.decide(event, self.nodes, now_ns)
        if isinstance(event, Command):
            if self.refusal_of(event) is not None:
                return ()
            member = self.members.members.get(event.node)
            return obey(event, self.nodes.get(event.node), member, now_ns)
        raise InvariantError(f"inventory knows no event {type(event).__name__}")

    def settle(self, now_ns: int, next_seq: int) -> Sequence[Any]:
        return ()

    def refusal_of(self, command: Command) -> Refusal | None:
        """Why a command cannot be obeyed now."""
        name = command.node
        return refusal_of(command, self.nodes.get(name), self.members.members.get(name))

    def _describe(self, description: NodeDescription) -> Sequence[Any]:
        """A boot that another has followed is over: who says that it is there repeats an old
        message. The order tells so, not `joined_ms`: a host's clock may have been set back.
        Labels that came with an invitation are the mesh's, not the host's, to choose."""
        member = self.members.members.get(description.node)
        if member is not None and member.labels:
            labels = description.labels | member.labels
            description = _replace(description, labels=labels)
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
        member = self.members.members.get(event.node)
        if node is None or node.liveness == ALIVE or (member is not None and member.revoked):
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
            name = fact.description.node
            self.nodes[name] = register(self.nodes.get(name), fact.description)
            return
        if isinstance(fact, JoiningFact):
            self.members.apply(fact, now_ns)
            return
        node = self.nodes.get(fact.node)
        if isinstance(fact, NodeRemoved) and self.members.remove(fact.node, now_ns):
            self.nodes.pop(fact.node, None)
            return
        if node is None:
            raise InvariantError(f"NODES {seq} speaks of {fact.node}, which is not registered")
        if isinstance(fact, NodeRemoved):
            del self.nodes[fact.node]
            return
        self.nodes[fact.node] = fold(node, fact)

    def apply_after_gap(self, fact: Any, seq: int, now_ns: int) -> bool:
        """Of a node whose registration is lost nothing can be folded: it comes again."""
        if isinstance(fact, JoiningFact):
            known = self.members.can_apply(fact)
        else:
            known = isinstance(fact, NodeRegistered) or fact.node in self.nodes
        if not known:
            return False
        self.apply(fact, seq, now_ns)
        return True

    def snapshot(self) -> bytes:
        return _encode(_Image(image=_IMAGE, nodes=self.nodes, members=self.members.image()))

    def restore(self, data: bytes) -> None:
        """Raises msgspec.DecodeError."""
        try:
            image = _decode_image(data)
        except msgspec.ValidationError:
            self.nodes, self.members = _decode_nodes(data), Members()
            return
        self.nodes, self.members = image.nodes, Members(image.members)

    # -- showing -----------------------------------------------------------------------------------
    def view(self, name: str, seen_age_ms: int | None) -> NodeView | None:
        """A node as it is shown; None when there is no such node."""
        node = self.nodes.get(name)
        member = self.members.members.get(name)
        if node is None and member is None:
            return None
        return view(name, node, member, seen_age_ms)
