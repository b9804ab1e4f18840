"""Which leases had a node's devices, with which segments, and where do they lie on the axis?

Joins leases with the segments of their node, new ones and those that were carried on from a
checkpoint; says which segments are nobody's. Positions of segments stand on their lease's axis,
which may drift from the node's; so a lease that followed another in the journal is never placed
before that one's end. It does not know device time.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from penstock_metering.core.boots import Boot
from penstock_metering.core.checkpoints import Carried, Checkpoint, Findings, Missing, Segments
from penstock_metering.core.node_facts import LeaseView, Line, NodeFacts
from penstock_metering.core.rows import LeaseKey


class Late(Exception):
    """Facts came that change time before the checkpoint: an older one is needed."""


class Tenancy(msgspec.Struct, kw_only=True):
    """One lease. `home`: the boots (places in the list) that it is placed in. `begun`: by how many
    ms it was moved on devices where it began before the checkpoint; `moved`: the same for all that
    it is placed on. `lines`: segments of it on devices of its own that may reach behind the
    checkpoint."""

    lease: LeaseView
    segments: Segments
    begun: dict[str, int] = {}
    boots: set[str] = set()
    lines: list[Line] = []
    home: list[int] = []
    moved: dict[str, int] = {}
    guessed: bool = False
    """That it had no segment yet at the checkpoint: where it was placed was a guess."""
    was_open: bool = False
    """That it was carried from the checkpoint, and not released then."""

    def end_ms(self, device: str) -> int | None:
        """Where it is over on the device; None = it is not."""
        if self.lease.released_ms is None or self.lease.released_seq is None:
            return None
        last_ms = self.segments.last_ms
        end_ms = self.lease.released_ms if last_ms is None else max(self.lease.released_ms, last_ms)
        return end_ms + self.moved.get(device, 0)

    @property
    def missing(self) -> Missing | None:
        lease, had = self.lease, self.segments.had
        if lease.released_seq is None or lease.segments is None or had == lease.segments:
            return None
        return Missing(lease.key, lease.attempt, had, lease.segments, lease.released_seq)

    @property
    def awaits(self) -> bool:
        """Whether more segments may come."""
        lease, had = self.lease, self.segments.had
        if lease.segments is not None:
            return had < lease.segments
        return had > 0 or (lease.released_seq is None and lease.exited_ms is None)


class Register(msgspec.Struct, kw_only=True):
    """All that was found in the lines. `strays`: use of nobody's lease; `fresh`: lines that no
    checkpoint has seen, of devices that the node had in that boot or not."""

    tenancies: dict[LeaseKey, Tenancy]
    strays: list[Line] = []
    stray_keys: set[LeaseKey] = set()
    fresh: list[Line] = []
    findings: Findings
    unsure_ms: int | None = None
    """From when on there is use of leases that may only not have been read of yet."""


def register(base: Checkpoint, facts: NodeFacts) -> Register:
    """Raises Late."""
    tenancies = {carried.key: _resume(carried, facts) for carried in base.carried}
    for key, lease in facts.leases.items():
        if key not in tenancies and lease.node == facts.node and key[0] > base.leases_to:
            if key in base.strays:
                raise Late(f"use was nobody's until lease {key} became known")
            tenancies[key] = Tenancy(lease=lease, segments=Segments())
    found = Register(
        tenancies=tenancies, stray_keys=set(base.strays), findings=base.findings.copy()
    )
    seen: set[tuple[LeaseKey, int]] = set()
    for line in facts.lines:
        _enter(found, base, facts, line, seen)
    return found


def _resume(carried: Carried, facts: NodeFacts) -> Tenancy:
    lease = facts.leases.get(carried.key)
    if lease is None:
        raise Late(f"lease {carried.key} is not known any more")
    return Tenancy(
        lease=lease,
        segments=carried.segments.copy(),
        begun=carried.begun,
        boots=set(carried.boots),
        guessed=not carried.boots,
        was_open=not carried.released,
    )


def _enter(
    found: Register,
    base: Checkpoint,
    facts: NodeFacts,
    line: Line,
    seen: set[tuple[LeaseKey, int]],
) -> None:
    is_fresh = line.number > base.usage_to
    if is_fresh:
        found.fresh.append(line)
    key = line.lease_key
    tenancy = found.tenancies.get(key)
    lease = facts.leases.get(key) if tenancy is None else tenancy.lease
    if tenancy is None:
        if is_fresh and lease is not None and lease.node == facts.node:
            raise Late(f"lease {key} was over, and has another segment")
        if is_fresh or key in found.stray_keys:
            found.strays.append(line)
            found.stray_keys.add(key)
        if is_fresh and lease is None and key[0] > facts.jobs_seq:
            found.unsure_ms = min(found.unsure_ms or line.t0_ms, line.t0_ms)
    else:
        is_own = _is_own(line, tenancy.lease)
        if is_own:
            tenancy.lines.append(line)
            tenancy.boots.add(line.boot_id)
        else:
            found.strays.append(line)
    if is_fresh and (key, line.seq) not in seen:
        seen.add((key, line.seq))
        if tenancy is not None:
            _join(found, tenancy, line)
    if is_fresh:
        _judge(found.findings, facts, line, lease)


def _join(found: Register, tenancy: Tenancy, line: Line) -> None:
    for seq, begins_ms, ended_ms in tenancy.segments.add(line.seq, line.t0_ms, line.t1_ms):
        found.findings.find(
            "segments_not_contiguous",
            f"{_name(line, seq)} begins at {begins_ms}, the last ended at {ended_ms}",
        )


def _judge(findings: Findings, facts: NodeFacts, line: Line, lease: LeaseView | None) -> None:
    if lease is None:
        if line.lease_seq > facts.unread_to_seq:  # else its grant stood in what is missing
            findings.find("segment_without_lease", f"{_name(line)} belongs to no lease")
    elif lease.node != facts.node or not _is_own(line, lease):
        findings.find(
            "segment_not_of_lease",
            f"{_name(line)} is on {facts.node} {line.device}, its lease not",
        )


def _is_own(line: Line, lease: LeaseView) -> bool:
    if not line.device:
        return not lease.devices
    return line.device in lease.devices and line.milli == lease.gpu_milli


def _name(line: Line, seq: int | None = None) -> str:
    number = line.seq if seq is None else seq
    return f"segment {number} of job {line.job_id} (lease {line.lease_seq}, rank {line.rank})"


def settle_in(tenancies: Iterable[Tenancy], boots: Sequence[Boot], base: Checkpoint) -> None:
    """Say in which boots each lease is: where it ran, else where it was granted. Raises Late."""
    places = {boot.boot_id: place for place, boot in enumerate(boots)}
    current_ms = base.start_ms if len(base.boots) > 1 else None
    for tenancy in tenancies:
        if tenancy.boots:
            tenancy.home = sorted(places[name] for name in tenancy.boots if name in places)
            placed_before = current_ms is not None and tenancy.lease.granted_ms < current_ms
            if tenancy.guessed and (placed_before or (tenancy.begun and 0 not in tenancy.home)):
                raise Late(f"lease {tenancy.lease.key} ran in another boot than it was granted in")
        else:
            tenancy.home = _granted_in(tenancy.lease.granted_ms, boots, current_ms)
        released_ms = tenancy.lease.released_ms if tenancy.was_open else None
        if not tenancy.home and released_ms is not None and released_ms < base.start_ms:
            raise Late(f"lease {tenancy.lease.key} was released before its node's last boot")


def _granted_in(granted_ms: int, boots: Sequence[Boot], current_ms: int | None) -> list[int]:
    """The last boot that began before; else the first, unless that is not there any more."""
    if current_ms is not None and granted_ms < current_ms:
        return []
    found = 0
    for place, boot in enumerate(boots):
        if boot.start_ms <= granted_ms:
            found = place
    return [found] if boots else []


def place(tenancies: Iterable[Tenancy], device: str) -> Iterator[tuple[Tenancy, int]]:
    """Each lease with the ms to move it by, so that it begins behind those released before it."""
    released: list[tuple[int, int]] = []
    free_from_ms: int | None = None
    for tenancy in sorted(tenancies, key=lambda tenancy: tenancy.lease.key):
        lease = tenancy.lease
        while released and released[0][0] <= lease.key[0]:
            end_ms = heapq.heappop(released)[1]
            free_from_ms = end_ms if free_from_ms is None else max(free_from_ms, end_ms)
        moved_ms = tenancy.begun.get(device)
        if moved_ms is None:
            moved_ms = 0 if free_from_ms is None else max(0, free_from_ms - lease.granted_ms)
        tenancy.moved[device] = moved_ms
        end = tenancy.end_ms(device)
        if end is not None and lease.released_seq is not None:
            heapq.heappush(released, (lease.released_seq, end))
        yield tenancy, moved_ms
