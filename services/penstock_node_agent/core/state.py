"""What does an agent remember?

The whole state: folded from the journal's events by `machine.handle`, written as one snapshot when
the journal is compacted. It does not know how it changes.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.errors import InvariantError
from penstock_contracts.leases import RUN, Declined, Exited, LeaseOrder, ReportItem
from penstock_contracts.nodes import Device, NodeDescription
from penstock_contracts.usage import DeviceSlice, Segment, UsageBatch

HELD = "held"
READYING = "readying"
PREPARED = "prepared"
SPAWNING = "spawning"
RUNNING = "running"
ENDED = "ended"
FINISHING = "finishing"
OVER = "over"
STAGES = (HELD, READYING, PREPARED, SPAWNING, RUNNING, ENDED, FINISHING, OVER)
"""A lease moves forward only. `readying`: what it needs around its command is being got. `ended`:
its process is gone, not all it left. `finishing`: its outputs are being stored, its devices looked
at. `over`: nothing is here. Most leases need nothing and skip `readying` and `finishing`."""
UNBEGUN = (HELD, READYING, PREPARED)

MS_NS = 1_000_000


class Share(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What one of its devices did for a lease since its last segment; None = unknown for a part of
    that. Its use is counted up to `upto_ns`."""

    upto_ns: int
    energy_mj: int | None = 0
    used_milli_ns: int | None = 0


class Lease(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One rank's lease. `desired` false: the scheduler dropped it, it ends and is forgotten.
    `tale`: what was told of it.

    `began_ms`, `open_ms` (start of the segment that is not closed yet) are on the lease's axis.
    `fault`: which of its devices failed or erred first, and how. `contact_ns`: when this host had
    last been heard by whoever ordered it, CLOCK_BOOTTIME; its `disconnect_s` counts from there.
    `unready`: what it needs is not there, or may not be since the agent began anew. `gone_ns`:
    nothing of its processes is left since then. `untold`: how it ended, told once its outputs are
    stored. `shares`: of the devices that have been read since it began.
    """

    key: str
    order: LeaseOrder
    received_ns: int
    contact_ns: int = 0
    stage: str = HELD
    desired: bool = True
    slot: int | None = None
    port: int | None = None
    told: bool = False
    began_ms: int | None = None
    open_ms: int = 0
    segments: int = 0
    stopping: str = ""
    tale: list[ReportItem] = []
    fault: str = ""
    unready: bool = False
    gone_ns: int | None = None
    untold: Exited | Declined | None = None
    shares: dict[str, Share] = {}

    def boot_ns(self, at_ms: int) -> int:
        """An instant on the lease's axis, as CLOCK_BOOTTIME."""
        return at_ms * MS_NS - self.order.granted_ns + self.received_ns

    def axis_ms(self, at_ns: int) -> int:
        """An instant on the lease's axis: the grant's server time plus the host's own clock."""
        return (self.order.granted_ns + at_ns - self.received_ns) // MS_NS

    @property
    def unproven(self) -> bool:
        """Ordered to run and not begun: with a `disconnect_s` it needs an order that is fresh when
        it begins, and asks for one."""
        due = self.stage in UNBEGUN and self.order.phase == RUN and not self.unready
        return due and self.order.disconnect_s is not None

    @property
    def unbegun(self) -> bool:
        """Nothing was asked of the reaper."""
        return self.stage in UNBEGUN or (self.stage == SPAWNING and self.unready)


class Drop(msgspec.Struct, frozen=True):
    """Bytes `[start, end)` of an output that there was no room for."""

    stream: str
    start: int
    end: int


class Spool(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An attempt's output on disk. `out`, `err`: bytes that are stored by the broker; `*_final`
    None while it may still grow. `lost`: there may be more than anybody has told. `drops`: what was
    given up and is not said yet, in ascending order per stream. `bases`: at which offset of the
    stream its file begins, where its job has emptied it."""

    slot: int
    tenant: str
    job_id: str
    attempt: int
    rank: int
    out: int = 0
    err: int = 0
    out_final: int | None = None
    err_final: int | None = None
    lost: bool = False
    drops: list[Drop] = []
    bases: dict[str, int] = {}

    def length(self, stream: str, file_bytes: int) -> int:
        """Of the stream when it has ended and its file holds so much. A file that is shorter than
        what is stored of it was emptied: what it holds comes behind that."""
        done = self.out if stream == "stdout" else self.err
        if self.bases.get(stream, 0) + file_bytes < done:
            self.bases[stream] = done
        return self.bases.get(stream, 0) + file_bytes

    @property
    def delivered(self) -> bool:
        final = self.out_final is not None and self.err_final is not None
        return final and self.out >= (self.out_final or 0) and self.err >= (self.err_final or 0)


class Counter(msgspec.Struct, kw_only=True):
    """A device's time in this boot, counted apart from the segments' own delivery."""

    since_ms: int
    running_milli_ms: int = 0


class Gauge(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A device's newest reading, at `at_ns`, and what it did since its last slice (`open_ms`, on
    the node's axis); None = unknown for a part of that. Its use is counted up to `upto_ns`."""

    at_ns: int
    open_ms: int
    energy_mj: int | None = None
    used_milli: int | None = None
    slices: int = 0
    drawn_mj: int | None = 0
    done_milli_ns: int | None = 0
    upto_ns: int = 0


class State(msgspec.Struct, kw_only=True):
    """`current`: the newest lease key per job and rank. `former`: unsent usage of earlier boots.
    `described`: what was last said of the node. `strays`: what the reaper runs and nobody here
    knows. `waiting`: keys of leases whose devices are not
    free yet, or whose order was too old to begin them. `closed`: why nothing new is taken, by code.
    `checks`: devices are looked at before and
    after each lease. `slots_dirty`: slots that hold something of
    an attempt that is over, and whether they may be used again once they are empty."""

    node: str
    boot_id: str = ""
    starts: int = 0
    advertise_address: str = "127.0.0.1"
    anchor_ns: int = 0
    joined_ms: int = 0
    counted_ms: int = 0
    ready: bool = False
    strays: list[str] = []
    as_of: int = 0
    batch: int = 0
    devices: dict[str, Device] = {}
    described: NodeDescription | None = None
    own_offers: tuple[str, ...] = ()
    own_facts: dict[str, str] = {}
    reaper_offers: tuple[str, ...] = ()
    reaper_facts: dict[str, str] = {}
    closed: dict[str, str] = {}
    leases: dict[str, Lease] = {}
    current: dict[str, str] = {}
    counters: dict[str, Counter] = {}
    gauges: dict[str, Gauge] = {}
    reports: list[ReportItem] = []
    usage: list[Segment] = []
    slices: list[DeviceSlice] = []
    former: list[UsageBatch] = []
    spools: dict[str, Spool] = {}
    slots: int = 0
    slots_free: list[int] = []
    slots_dirty: dict[int, bool] = {}
    waiting: list[str] = []
    checks: bool = False

    def axis_ms(self, at_ns: int) -> int:
        """An instant on the node's axis: wall time at the boot's first start plus the host's own
        clock."""
        return self.joined_ms + (at_ns - self.anchor_ns) // MS_NS

    def held_keys(self) -> list[str]:
        """What the heartbeat's digest is over: the leases of the desired state as of `as_of`, but
        for those whose order has to be sent again."""
        leases = self.leases.items()
        return [key for key, lease in leases if lease.desired and not lease.unproven]

    def ports_taken(self) -> set[int]:
        """Rendezvous ports that leases hold."""
        held = (lease for lease in self.leases.values() if lease.stage != OVER)
        return {lease.port for lease in held if lease.port is not None}

    def at_work(self) -> bool:
        """Whether the reaper has anything to do, or will have."""
        busy = (SPAWNING, RUNNING, ENDED, FINISHING)
        return bool(self.strays) or any(lease.stage in busy for lease in self.leases.values())

    def running(self) -> int:
        return sum(lease.stage == RUNNING for lease in self.leases.values())


def check(state: State) -> None:
    """Raises InvariantError when the state contradicts itself."""
    slots = [spool.slot for spool in state.spools.values()]
    unused = [*state.slots_free, *state.slots_dirty]
    if len(slots) + len(unused) != len({*slots, *unused}):
        raise InvariantError(f"a slot is used twice: {sorted(slots)} {sorted(unused)}")
    for key, lease in state.leases.items():
        if not key == lease.key == lease.order.key:
            raise InvariantError(f"lease {key} holds the order of {lease.order.key}")
        used = lease.stage in (READYING, SPAWNING, RUNNING, FINISHING)
        if used and key not in state.spools:
            raise InvariantError(f"lease {key} is {lease.stage} without a spool")
        if not lease.desired and lease.stage == OVER:
            raise InvariantError(f"lease {key} is over and dropped but not forgotten")
        if lease.untold is not None and lease.stage not in (ENDED, FINISHING):
            raise InvariantError(f"lease {key} is {lease.stage} and its end is not told")
    for who, key in state.current.items():
        if key not in state.leases:
            raise InvariantError(f"{who} points at the forgotten lease {key}")
