"""How do the two accounts of one node's time compare?

What an audit adds up over all nodes: made whenever a node is derived, up to its newest counters. It
does not know which nodes answer an audit.
"""

from __future__ import annotations

import msgspec

from penstock_metering.core.checkpoints import Findings, Missing, Totals


class NodeBalance(msgspec.Struct, kw_only=True):
    """`totals` are over all boots. `ends_ms`: up to when each device of the present boot is
    counted; empty for a node that is removed. `uncounted`: those of them that no counter was ever
    sent of. `watermark_ms`: the least instant that the others are counted to, on the node's own
    axis. `missing`: leases that are over without all their segments."""

    totals: Totals = msgspec.field(default_factory=Totals)
    ends_ms: dict[str, int] = {}
    uncounted: list[str] = []
    watermark_ms: int | None = None
    is_lost: bool = False
    site: str = ""
    missing: list[Missing] = []
    findings: Findings = msgspec.field(default_factory=Findings)
