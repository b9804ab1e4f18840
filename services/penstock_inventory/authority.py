"""What does inventory need to let keys in and to put them out?

The port, and the real one over the keys that the mesh was set up with. It does not know who is let
in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Authority(Protocol):
    """Signs what inventory has committed. The real one: `penstock_bus.authority`."""

    def invite(self, key: str, expires_s: int) -> str:
        """Claims with which `key` may ask to join, until then (Unix time)."""
        ...

    def admit(self, key: str, node: str) -> tuple[str, str, int]:
        """Claims with which `key` is `node`, those with which it may ask for the next ones, and
        until when the first are good."""
        ...

    async def revoke(self, keys: Mapping[str, int]) -> None:
        """Has the broker hold that all of `keys`, and no others, are nobody; whoever is connected
        with one is put out. Raises Outage, BusRefusal."""
        ...

    async def close(self) -> None: ...
