"""What does the scheduler know about a node?

Enough to place work on it, or why not to. It does not know what runs there.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.bounds import Number


class NodeImaged(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="node_imaged",
    tag_field="fact",
    omit_defaults=True,
):
    """What the scheduler took from NODES about a node: enough to place on it, or why not to.

    `refusals`: how often in a row its agent has declined work, last at `refused_ns`; `resting`: it
    gets none until it has rested from that. `failing`: that was not declined, but the work of
    several tenants failed there; then only work that succeeds, or lasts, makes it whole. `links`:
    the link domain of each device, parallel to `devices`, "" = not known; empty when none is known.
    `offers`: what the node can do beyond running a program. `closed`: why it takes no new work now,
    as it says itself.
    """

    node: str
    boot_id: str
    cpu_milli: Number
    memory_mib: Number
    devices: tuple[tuple[str, str, Number | None], ...] = ()
    """(UUID, model, memory in MiB) of each device, in order."""
    unhealthy: tuple[str, ...] = ()
    liveness: str = "alive"
    cordoned: bool = False
    draining: bool = False
    drain_deadline_ns: Number | None = None
    labels: dict[str, str] = {}
    address: str = ""
    refusals: Number = 0
    refused_ns: Number | None = None
    resting: bool = False
    links: tuple[str, ...] = ()
    offers: tuple[str, ...] = ()
    closed: str = ""
    failing: bool = False


class NodeForgotten(msgspec.Struct, frozen=True, tag="node_forgotten", tag_field="fact"):
    node: str
