"""What is a node, and what does inventory say about it?

Devices and nodes as agents describe them, heartbeats, and the facts of the NODES journal, whose
only writer is inventory. It does not know who uses the devices.
"""

from __future__ import annotations

import msgspec

ALIVE = "alive"
SUSPECT = "suspect"
LOST = "lost"


class Device(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One accelerator. `memory_mib` and `numa_node` None = unknown. `healthy` false = not to be
    used.
    """

    uuid: str
    index: int
    model: str
    memory_mib: int | None = None
    numa_node: int | None = None
    link_domain: str = ""
    compute_capability: str = ""
    driver_version: str = ""
    healthy: bool = True
    health_reason: str = ""


class NodeDescription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node as its agent describes it when it starts and whenever that changes.

    `boot_id` is new with every boot of the host (a changed one proves that nothing of before still
    runs). `joined_ms` is the agent's own instant from which it counts its devices' time in this
    boot.
    """

    node: str
    boot_id: str
    joined_ms: int
    cpu_milli: int
    memory_mib: int
    devices: tuple[Device, ...] = ()
    labels: dict[str, str] = {}
    advertise_address: str = "127.0.0.1"
    driver: str = ""
    version: str = ""


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Once a second from each agent. `sent_boot_ns` is the host's CLOCK_BOOTTIME at sending: a
    renewal counts from it. `as_of` and `digest` (lease_digest of the keys held) let the scheduler
    see a mismatch.
    """

    node: str
    boot_id: str
    sent_boot_ns: int
    as_of: int
    digest: str
    running: int = 0


class NodeRegistered(msgspec.Struct, frozen=True, tag="node_registered", tag_field="fact"):
    """The node exists with this description; also after every change of it and every reboot."""

    description: NodeDescription


class NodeLivenessChanged(
    msgspec.Struct, frozen=True, tag="node_liveness_changed", tag_field="fact"
):
    """`liveness` is one of alive, suspect, lost. Only inventory judges it."""

    node: str
    liveness: str
    reason: str


class NodeCordoned(msgspec.Struct, frozen=True, tag="node_cordoned", tag_field="fact"):
    """No new work. `drain`: wait for what runs; `deadline_ns`: then stop and requeue it."""

    node: str
    drain: bool = False
    deadline_ns: int | None = None
    reason: str = ""


class NodeUncordoned(msgspec.Struct, frozen=True, tag="node_uncordoned", tag_field="fact"):
    node: str


class NodeFenced(msgspec.Struct, frozen=True, tag="node_fenced", tag_field="fact"):
    """An operator vouches that nothing of this boot runs any more: its attempts are lost, devices
    free.
    """

    node: str
    boot_id: str
    reason: str = ""


class NodeRemoved(msgspec.Struct, frozen=True, tag="node_removed", tag_field="fact"):
    node: str


NodeFact = (
    NodeRegistered | NodeLivenessChanged | NodeCordoned | NodeUncordoned | NodeFenced | NodeRemoved
)


class NodeCommand(msgspec.Struct, frozen=True, omit_defaults=True):
    """Payload of `command.node.<node>.<verb>`; verbs cordon, uncordon, drain, fence, remove."""

    reason: str = ""
    deadline_s: int | None = None


class NodeView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node as inventory shows it. `schedulable` = alive, not cordoned."""

    description: NodeDescription
    liveness: str
    cordoned: bool = False
    draining: bool = False
    reason: str = ""
    seen_age_ms: int | None = None
    schedulable: bool = True
