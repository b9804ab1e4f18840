"""Which nodes are there, with which devices, and what changed about them when?

Folds the facts of the NODES journal into a present view and the changes that the device timelines
are made of. It does not know who used the devices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from penstock_contracts.nodes import (
    ALIVE,
    LOST,
    NodeCordoned,
    NodeLivenessChanged,
    NodeRegistered,
    NodeRemoved,
    NodeUncordoned,
    NodeView,
)
from penstock_metering.core.history import NS_PER_MS
from penstock_metering.core.rows import NodeChange

SITE = "site"
"""The label that says where a node stands."""


class NodeState(msgspec.Struct, kw_only=True):
    """A node now. `devices` maps UUID to model; `site` is what its label says."""

    node: str
    boot_id: str
    joined_ms: int
    devices: dict[str, str]
    broken: tuple[str, ...]
    liveness: str = ALIVE
    site: str = ""

    @property
    def answers(self) -> bool:
        """Whether it is worth asking."""
        return self.liveness != LOST


class Fleet:
    """`apply` is the only way in; `take_changes` empties what the next commit must store."""

    def __init__(self, nodes: Iterable[NodeState] = ()) -> None:
        self.nodes: dict[str, NodeState] = {node.node: node for node in nodes}
        self._changes: list[NodeChange] = []
        self._changed_nodes: dict[str, NodeState | None] = {}

    def apply(self, seq: int, now_ns: int, facts: Iterable[Any]) -> None:
        """Fold one entry: `seq` is its place in NODES, `now_ns` its instant."""
        at_ms = now_ns // NS_PER_MS
        for fact in facts:
            fold = _FOLDS.get(type(fact))
            if fold is not None:
                fold(self, seq, at_ms, fact)

    def take_changes(self) -> tuple[list[NodeChange], dict[str, NodeState | None]]:
        """Changes to append, and nodes as they are now (None = removed)."""
        changes = self._changes, self._changed_nodes
        self._changes, self._changed_nodes = [], {}
        return changes

    def adopt(self, seq: int, views: Sequence[NodeView], now_ms: int) -> None:
        """Take nodes as inventory has them as of `seq`: what they were since their boot, or since
        they were last heard of, is not known."""
        for view in views:
            name = view.description.node
            at_ms = now_ms if name in self.nodes else view.description.joined_ms
            self._registered(seq, at_ms, NodeRegistered(view.description))
            if self.nodes[name].liveness != view.liveness:
                self._liveness(seq, at_ms, NodeLivenessChanged(name, view.liveness, ""))
            self._note(seq, at_ms, self.nodes[name], _STANDING[view.cordoned])
        there = {view.description.node for view in views}
        for name in sorted(set(self.nodes) - there):
            self._removed(seq, now_ms, NodeRemoved(name))

    def _registered(self, seq: int, at_ms: int, fact: NodeRegistered) -> None:
        said = fact.description
        devices = {device.uuid: device.model for device in said.devices}
        broken = tuple(device.uuid for device in said.devices if not device.healthy)
        before = self.nodes.get(said.node)
        now = NodeState(
            node=said.node,
            boot_id=said.boot_id,
            joined_ms=said.joined_ms,
            devices=devices,
            broken=broken,
            liveness=ALIVE if before is None else before.liveness,
            site=said.labels.get(SITE, ""),
        )
        if before is None or before.boot_id != now.boot_id:
            self._note(seq, at_ms, now, "boot")
        as_it_was = before and (before.devices, before.broken, before.site)
        if as_it_was != (devices, broken, now.site):
            self._note(seq, at_ms, now, "devices")
        self.nodes[said.node] = self._changed_nodes[said.node] = now

    def _liveness(self, seq: int, at_ms: int, fact: NodeLivenessChanged) -> None:
        node = self.nodes.get(fact.node)
        if node is not None:
            node.liveness = fact.liveness
            self._changed_nodes[fact.node] = node
            self._note(seq, at_ms, node, "liveness")

    def _cordoned(self, seq: int, at_ms: int, fact: NodeCordoned) -> None:
        if fact.node in self.nodes:
            self._note(seq, at_ms, self.nodes[fact.node], "cordoned")

    def _uncordoned(self, seq: int, at_ms: int, fact: NodeUncordoned) -> None:
        if fact.node in self.nodes:
            self._note(seq, at_ms, self.nodes[fact.node], "uncordoned")

    def _removed(self, seq: int, at_ms: int, fact: NodeRemoved) -> None:
        node = self.nodes.pop(fact.node, None)
        if node is not None:
            self._changed_nodes[fact.node] = None
            self._note(seq, at_ms, node, "removed")

    def _note(self, seq: int, at_ms: int, node: NodeState, kind: str) -> None:
        self._changes.append(
            NodeChange(
                seq=seq,
                node=node.node,
                at_ms=at_ms,
                kind=kind,
                boot_id=node.boot_id,
                joined_ms=node.joined_ms,
                liveness=node.liveness,
                devices=tuple(node.devices),
                broken=node.broken,
                site=node.site,
            )
        )


_STANDING = {True: "cordoned", False: "uncordoned"}

_FOLDS: dict[type, Callable[[Fleet, int, int, Any], None]] = {
    NodeRegistered: Fleet._registered,
    NodeLivenessChanged: Fleet._liveness,
    NodeCordoned: Fleet._cordoned,
    NodeUncordoned: Fleet._uncordoned,
    NodeRemoved: Fleet._removed,
}
