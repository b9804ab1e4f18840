"""What can happen to an agent?

Every event that changes its state, as it is handled and as it stands in the agent's journal.
Instants (`at_ns`) are CLOCK_BOOTTIME of the host. It does not know what follows from them.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.leases import LeaseOrder, NodeDesired
from penstock_contracts.nodes import Device
from penstock_contracts.work import StoredOutput


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="event"):
    pass


class Ended(Event, frozen=True, kw_only=True, omit_defaults=True, tag="ended"):
    """The reaper has waited for it. `gone_ns` None: something of it is still there."""

    at_ns: int
    key: str
    reason: str
    code: int | None = None
    signal: int | None = None
    message: str = ""
    out_bytes: int = 0
    err_bytes: int = 0
    gone_ns: int | None = None


class Recalled(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended in the boot before, as the reaper's log of that boot says. `order`: what
    is needed of it; `began_ns` None: it never ran."""

    order: LeaseOrder
    received_ns: int
    slot: int
    began_ns: int | None
    end: Ended


class AgentStarted(Event, frozen=True, kw_only=True, omit_defaults=True, tag="agent_started"):
    """`wall_ms` anchors the node's time axis when the boot is new. `spool_bytes`: sizes of stdout
    and stderr found on disk, per lease key. `slots`: all that were found there.
    `recalled`: ends that a journal of another boot may have lost. `checks`: devices are looked at
    before and after each lease. The rest describes the node."""

    at_ns: int
    wall_ms: int
    boot_id: str
    spool_bytes: dict[str, tuple[int, int]] = {}
    slots: tuple[int, ...] = ()
    recalled: tuple[Recalled, ...] = ()
    cpu_milli: int
    memory_mib: int
    devices: tuple[Device, ...] = ()
    labels: dict[str, str] = {}
    advertise_address: str = "127.0.0.1"
    driver: str = ""
    version: str = ""
    offers: tuple[str, ...] = ()
    facts: dict[str, str] = {}
    checks: bool = False


class DevicesSeen(Event, frozen=True, kw_only=True, omit_defaults=True, tag="devices_seen"):
    """What is to be said of the devices has changed; `devices` are all of them. A driver may come
    late (`driver`), and with it `checks`; empty and None = as before."""

    at_ns: int
    devices: tuple[Device, ...]
    driver: str = ""
    checks: bool | None = None


class DeviceRead(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one device reads: its energy counter, and how much of it is used. None = not said."""

    uuid: str
    energy_mj: int | None = None
    used_milli: int | None = None


class DevicesRead(Event, frozen=True, kw_only=True, omit_defaults=True, tag="devices_read"):
    """Some of the node's devices were read at about that time."""

    at_ns: int
    readings: tuple[DeviceRead, ...]


class AbilitiesChanged(
    Event, frozen=True, kw_only=True, omit_defaults=True, tag="abilities_changed"
):
    """The agent can do more or less than when it started."""

    gained: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    facts: dict[str, str] = {}


class DeviceErred(Event, frozen=True, kw_only=True, omit_defaults=True, tag="device_erred"):
    """A driver has told an error of a device on which somebody works."""

    uuid: str
    said: str


class Reconnected(Event, frozen=True, kw_only=True, omit_defaults=True, tag="reconnected"):
    """The broker was away, and may have lost what it acknowledged."""


class Ordered(Event, frozen=True, kw_only=True, omit_defaults=True, tag="ordered"):
    """A desired state that `judge` accepted."""

    at_ns: int
    desired: NodeDesired


class PortFound(Event, frozen=True, kw_only=True, omit_defaults=True, tag="port_found"):
    """`port` None: none of the range could be bound."""

    at_ns: int
    key: str
    port: int | None


class Readied(Event, frozen=True, kw_only=True, omit_defaults=True, tag="readied"):
    """What it needs around its command is there; with a `code` it cannot be, and `blame` says by
    whose fault: `job` or `node`."""

    at_ns: int
    key: str
    code: str = ""
    message: str = ""
    blame: str = "job"


class Began(Event, frozen=True, kw_only=True, omit_defaults=True, tag="began"):
    """The reaper has spawned it."""

    at_ns: int
    key: str


class Gone(Event, frozen=True, kw_only=True, omit_defaults=True, tag="gone"):
    """Nothing of it is left."""

    at_ns: int
    key: str


class Finished(Event, frozen=True, kw_only=True, omit_defaults=True, tag="finished"):
    """Its outputs are stored, or will not be: with a `code`, one that was required is not. `held`:
    devices that are not free of it, and why; it is said again when they are."""

    at_ns: int
    key: str
    outputs: tuple[StoredOutput, ...] = ()
    held: dict[str, str] = {}
    code: str = ""
    message: str = ""


class ReaperReady(Event, frozen=True, kw_only=True, omit_defaults=True, tag="reaper_ready"):
    """A reaper is there and has told all it knows, about `keys`, and what it can do."""

    at_ns: int
    keys: tuple[str, ...] = ()
    offers: tuple[str, ...] = ()
    facts: dict[str, str] = {}


class SegmentsCut(Event, frozen=True, kw_only=True, omit_defaults=True, tag="segments_cut"):
    """A minute is over, or somebody audits (`audit`). Every end up to `at_ns` has been told."""

    at_ns: int
    audit: bool = False


class NodeStopping(Event, frozen=True, kw_only=True, omit_defaults=True, tag="node_stopping"):
    """All work is about to be stopped; nothing more is taken."""

    at_ns: int


class ReportsDelivered(
    Event, frozen=True, kw_only=True, omit_defaults=True, tag="reports_delivered"
):
    """The oldest `count` items are stored."""

    count: int


class BatchNumbered(Event, frozen=True, kw_only=True, omit_defaults=True, tag="batch_numbered"):
    """A usage batch is about to be published under this number."""

    batch: int


class UsageDelivered(Event, frozen=True, kw_only=True, omit_defaults=True, tag="usage_delivered"):
    """The oldest `count` segments and `slices` are stored, or the oldest batch of a former
    boot."""

    count: int = 0
    slices: int = 0
    former: bool = False


class LogsDelivered(Event, frozen=True, kw_only=True, omit_defaults=True, tag="logs_delivered"):
    """One stream's output is stored up to `offset`."""

    key: str
    stream: str
    offset: int


class LogsDropped(Event, frozen=True, kw_only=True, omit_defaults=True, tag="logs_dropped"):
    """There was no room for these bytes, `[start, end)` of one stream's output."""

    key: str
    stream: str
    start: int
    end: int


class LogsCut(Event, frozen=True, kw_only=True, omit_defaults=True, tag="logs_cut"):
    """The job has emptied its own output file: what it holds now comes behind `offset`."""

    key: str
    stream: str
    offset: int


class Closed(Event, frozen=True, kw_only=True, omit_defaults=True, tag="closed"):
    """The node takes nothing new, and why; without a `reason` this one is none any more."""

    at_ns: int
    code: str
    reason: str = ""


class SlotCleared(Event, frozen=True, kw_only=True, omit_defaults=True, tag="slot_cleared"):
    """The slot's directory and spool files are empty."""

    slot: int


AnyEvent = (
    AgentStarted
    | DevicesSeen
    | DevicesRead
    | AbilitiesChanged
    | DeviceErred
    | Reconnected
    | Ordered
    | PortFound
    | Readied
    | Began
    | Ended
    | Gone
    | Finished
    | ReaperReady
    | SegmentsCut
    | NodeStopping
    | ReportsDelivered
    | BatchNumbered
    | UsageDelivered
    | LogsDelivered
    | LogsDropped
    | LogsCut
    | Closed
    | SlotCleared
)

MUST_SYNC = (AgentStarted, PortFound, SegmentsCut, NodeStopping, LogsDropped)
"""What must be on the disk before anything follows from it. Of the rest, ends are told again by the
reaper, which forgets them only after a sync; acknowledgements, by repeating. An order must be
written, not synced: only a power loss could take it back, and after one the boot is another, for
which no order of before counts (`NodeDesired.boot_id`)."""
