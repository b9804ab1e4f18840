"""How much of what a node has to tell fits into one report?

It does not send it.
"""

from __future__ import annotations

from itertools import islice, takewhile

import msgspec

from penstock_contracts.leases import Described, NodeReport
from penstock_node_agent.core.state import State

ITEMS_MAX = 500
BYTES_MAX = 512 * 1024
"""Well below the broker's largest message, 1 MiB, whatever the items say."""

_encode = msgspec.json.Encoder().encode


def next_report(state: State) -> tuple[bytes, int]:
    """The oldest steps of leases, up to the next description, and how many they are."""
    steps = takewhile(lambda item: not isinstance(item, Described), state.reports)
    items = tuple(islice(steps, ITEMS_MAX))
    payload = _encode(NodeReport(state.node, state.boot_id, items))
    while len(payload) > BYTES_MAX and len(items) > 1:
        items = items[: len(items) // 2]
        payload = _encode(NodeReport(state.node, state.boot_id, items))
    return payload, len(items)
