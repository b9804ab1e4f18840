"""Which nodes have to hear something new?

Per node, the lease keys whose order changed since the shell last took them. Nothing is collected
before a shell speaks with the nodes: not on a standby, nor in a replay. It does not know what the
orders are.
"""

from __future__ import annotations

from penstock_contracts.ids import lease_key
from penstock_scheduler.core.state import Lease


class Touches:
    """`is_on`: somebody takes them."""

    def __init__(self) -> None:
        self.is_on = False
        self._keys: dict[str, set[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._keys)

    def begin(self) -> None:
        """Whoever speaks with the nodes sends everything first."""
        self.is_on = True
        self._keys = {}

    def node(self, name: str) -> None:
        """The node itself has changed."""
        if self.is_on:
            self._keys.setdefault(name, set())

    def lease(self, lease: Lease) -> None:
        if self.is_on:
            key = lease_key(lease.lease_seq, lease.job_id, lease.rank)
            self._keys.setdefault(lease.node, set()).add(key)

    def take(self) -> dict[str, set[str]]:
        """What was collected, once."""
        taken, self._keys = self._keys, {}
        return taken
