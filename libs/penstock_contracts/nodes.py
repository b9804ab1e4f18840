"""What is a node, and what does inventory say about it?

Devices and nodes as agents describe them, heartbeats, and the facts of the NODES journal, whose
only writer is inventory. It does not know who uses the devices.
"""

from __future__ import annotations

import functools
import re
from typing import Annotated

import msgspec
from msgspec import Meta

from penstock_contracts.bounds import (
    DEADLINE_S_MAX,
    DEVICES_PER_NODE_MAX,
    NODE_FACTS_MAX,
    NODE_LABELS_MAX,
    OFFERS_MAX,
    REASON_LETTERS_MAX,
    Address,
    Capacity,
    DeviceId,
    Identity,
    Instant,
    Label,
    Name,
    Number,
    Small,
)
from penstock_contracts.joining import JoiningFact

ALIVE = "alive"
SUSPECT = "suspect"
LOST = "lost"
NO_NEW_WORK = "no_new_work"
"""The fact in which a node says why it takes none now."""


_INSTANCE = re.compile(r"-(MIG|([0-9]+c\.)?[0-9]+g\.[^-]*)\Z")


@functools.lru_cache(maxsize=4096)
def is_instance(model: str) -> bool:
    """Whether the model is an instance of a GPU, such as H100-1g.10gb: a program can use one of
    them, and none beside other devices."""
    return _INSTANCE.search(model) is not None


class Device(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One accelerator. `memory_mib`, `numa_node`, `ecc` (errors are corrected) None = unknown.
    `healthy` false = not to be used: `health_code` says why to programs, `health_reason` to people.
    `parent`: the device of which this is an instance (MIG).
    """

    uuid: DeviceId
    index: Small
    model: Label
    memory_mib: Capacity | None = None
    numa_node: Small | None = None
    link_domain: Label = ""
    compute_capability: Label = ""
    driver_version: Label = ""
    healthy: bool = True
    health_reason: Label = ""
    health_code: Label = ""
    pci_bus: Label = ""
    cuda_version: Label = ""
    ecc: bool | None = None
    parent: Label = ""


class NodeDescription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node as its agent describes it when it starts and whenever that changes.

    `boot_id` is new with every boot of the host (a changed one proves that nothing of before still
    runs). `joined_ms` is the agent's own instant from which it counts its devices' time in this
    boot. `offers`: what it can do beyond running a program (`work.OFFERS`). `facts`: what it has
    found about itself; `no_new_work` says why it takes none now.
    """

    node: Name
    boot_id: Identity
    joined_ms: Instant
    cpu_milli: Capacity
    memory_mib: Capacity
    devices: Annotated[tuple[Device, ...], Meta(max_length=DEVICES_PER_NODE_MAX)] = ()
    labels: Annotated[dict[Label, Label], Meta(max_length=NODE_LABELS_MAX)] = {}
    advertise_address: Address = "127.0.0.1"
    driver: Label = ""
    version: Label = ""
    offers: Annotated[tuple[Label, ...], Meta(max_length=OFFERS_MAX)] = ()
    facts: Annotated[dict[Label, Label], Meta(max_length=NODE_FACTS_MAX)] = {}


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Once a second from each agent. `sent_boot_ns` is the host's CLOCK_BOOTTIME at sending: a
    renewal counts from it. `as_of` and `digest` (lease_digest of the keys held) let the scheduler
    see a mismatch.
    """

    node: Name
    boot_id: Name
    sent_boot_ns: Number
    as_of: Number
    digest: Name
    running: Number = 0


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
    deadline_ns: Number | None = None
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
    """The node is forgotten, and its key, if it had one, is nobody any more."""

    node: str


NodeFact = (
    NodeRegistered
    | NodeLivenessChanged
    | NodeCordoned
    | NodeUncordoned
    | NodeFenced
    | NodeRemoved
    | JoiningFact
)


class NodeCommand(msgspec.Struct, frozen=True, omit_defaults=True):
    """Payload of `command.node.<node>.<verb>`; verbs cordon, uncordon, drain, fence, remove."""

    reason: Annotated[str, Meta(max_length=REASON_LETTERS_MAX)] = ""
    deadline_s: Annotated[int, Meta(ge=0, le=DEADLINE_S_MAX)] | None = None


class NodeView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node as inventory shows it. `schedulable` = alive, not cordoned. `key`: whose credential it
    has joined with, "" = it came with one from elsewhere; `revoked`: the key is nobody any more.
    """

    description: NodeDescription
    liveness: str
    cordoned: bool = False
    draining: bool = False
    reason: str = ""
    seen_age_ms: int | None = None
    schedulable: bool = True
    key: str = ""
    revoked: bool = False
