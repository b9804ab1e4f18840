"""What does an agent itself count of a device?

The other of the two accounts of device time. It does not know how they are compared.
"""

from __future__ import annotations

import msgspec


class Counter(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent itself counted for a device in one boot, as of its message `batch`."""

    node: str
    boot_id: str
    uuid: str
    batch: int
    since_ms: int
    upto_ms: int
    running_milli_ms: int


CounterKey = tuple[str, str, str]
"""(node, boot id, device UUID)"""
