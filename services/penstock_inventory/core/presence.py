"""Which nodes are heard, and which have fallen silent?

Last-heard instants of registered nodes, and the hysteresis over them. All of it is volatile: after
a take-over every node gets a fresh grace. It reads no clock, and it does not decide: what it finds
becomes events of the core.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from penstock_contracts.nodes import ALIVE, LOST, SUSPECT
from penstock_inventory.core.events import Returned, Silent
from penstock_inventory.core.node import Node

RETURN_HEARTBEATS = 2
"""So many heartbeats, each soon after the one before, make a node alive again."""
NANOSECONDS_PER_MS = 1_000_000


class Presence:
    """`now_ns` of every call is on one monotonic axis."""

    def __init__(self, *, suspect_after_ms: int, lost_after_ms: int) -> None:
        self._suspect_ns = suspect_after_ms * NANOSECONDS_PER_MS
        self._lost_ns = lost_after_ms * NANOSECONDS_PER_MS
        self._heard_ns: dict[str, int] = {}
        self._away: set[str] = set()
        self._steady: dict[str, int] = {}
        self._unheard: set[str] = set()

    def hear(self, node: str, now_ns: int) -> bool:
        """A heartbeat came in (10,000 a second: it must stay cheap); False for a node that is not
        registered."""
        before_ns = self._heard_ns.get(node)
        if before_ns is None:
            return False
        self._heard_ns[node] = now_ns
        if node in self._away:
            steady = now_ns - before_ns < self._suspect_ns and node in self._steady
            self._steady[node] = self._steady[node] + 1 if steady else 1
        if self._unheard:
            self._unheard.discard(node)
        return True

    def match(self, nodes: Mapping[str, Node], now_ns: int) -> None:
        """Know the nodes that are registered now, and which of them are not alive. A new one is
        taken as heard now."""
        for name in [name for name in self._heard_ns if name not in nodes]:
            self._forget(name)
        for name, node in nodes.items():
            self.match_one(name, node, now_ns)

    def match_one(self, name: str, node: Node | None, now_ns: int) -> None:
        """`match` for one node; None = it is no more."""
        if node is None:
            self._forget(name)
            return
        if name not in self._heard_ns:
            self._heard_ns[name] = now_ns
            self._unheard.add(name)
        if node.liveness == ALIVE:
            self._away.discard(name)
            self._steady.pop(name, None)
        else:
            self._away.add(name)

    def grant_grace(self, now_ns: int) -> None:
        """We could not have heard anybody until now: count all silence from here."""
        self._heard_ns = dict.fromkeys(self._heard_ns, now_ns)
        self._unheard = set(self._heard_ns)
        self._steady.clear()

    def judge(self, nodes: Mapping[str, Node], now_ns: int) -> list[Silent | Returned]:
        """What differs from the nodes' liveness; says the same again until that has changed."""
        found: list[Silent | Returned] = [
            Returned(name) for name in self._steadily_back() if name in nodes
        ]
        suspect_since_ns = now_ns - self._suspect_ns
        silent = [item for item in self._heard_ns.items() if item[1] <= suspect_since_ns]
        for name, heard_ns in silent:
            silent_ns = now_ns - heard_ns
            liveness = LOST if silent_ns >= self._lost_ns else SUSPECT
            node = nodes.get(name)
            if node is not None and node.liveness not in (liveness, LOST):
                found.append(Silent(name, liveness, silent_ns // NANOSECONDS_PER_MS))
        return found

    def age_ms(self, node: str, now_ns: int) -> int | None:
        """Since when the node is silent; None when it was never heard by this process."""
        heard_ns = self._heard_ns.get(node)
        if heard_ns is None or node in self._unheard:
            return None
        return (now_ns - heard_ns) // NANOSECONDS_PER_MS

    def _steadily_back(self) -> Iterable[str]:
        return sorted(name for name, count in self._steady.items() if count >= RETURN_HEARTBEATS)

    def _forget(self, name: str) -> None:
        self._heard_ns.pop(name, None)
        self._away.discard(name)
        self._steady.pop(name, None)
        self._unheard.discard(name)
