"""Which events does the ledger's order of segments lead to?

Lines of one segment, one for each device, make one event. A segment whose lease is not known yet
holds back what follows it, so that the order never changes; one that no lease can belong to is left
out, as the ledger does not bill it. It does not know where lines come from, nor who hears of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

import msgspec

from penstock_contracts.ids import segment_id, traceparent
from penstock_contracts.metered import (
    EVENT_SOURCE,
    EVENT_TYPE,
    MeteredDevice,
    MeteredUse,
    subject_of,
)
from penstock_metering.core.months import MS_PER_DAY, date_of_day

_encode = msgspec.json.Encoder().encode


class LeaseOf(NamedTuple):
    """What an event says of the lease that a segment names."""

    tenant: str
    project: str
    tier: str
    site: str
    node: str
    attempt: int


class SegmentLine(NamedTuple):
    """One ledger line, in the ledger's order. `lease` None: the ledger knows none."""

    batch: int
    lease_seq: int
    job_id: str
    rank: int
    seq: int
    device: str
    milli: int
    t0_ms: int
    t1_ms: int
    energy_mj: int | None
    used_milli_ms: int | None
    node: str
    model: str
    lease: LeaseOf | None


class Place(msgspec.Struct, frozen=True, order=True):
    """Of a segment in the order in which the ledger took them: batch, and index within it."""

    batch: int = 0
    index: int = -1


class Event(NamedTuple):
    """A message to publish; `data` and `headers` are a CloudEvent in binary mode."""

    place: Place
    id: str
    subject: str
    data: bytes
    headers: dict[str, str]


class Told(NamedTuple):
    """`next_place`: behind what needs to be looked at no more. `is_held`: a lease is awaited."""

    events: list[Event]
    next_place: Place
    is_held: bool = False


def tell(
    lines: Iterable[SegmentLine], after: Place, last_batch: int, jobs_seq: int, jobs_end: int
) -> Told:
    """Events of whole batches up to `last_batch`, behind `after`. JOBS is folded up to `jobs_seq`
    and reaches `jobs_end`: a lease in between may still become known, and the events end there."""
    found: list[Event] = []
    for batch, of_batch in groupby(lines, key=lambda line: line.batch):
        segments = groupby(of_batch, key=lambda line: line[:5])
        for index, (_, of_segment) in enumerate(segments):
            place = Place(batch, index)
            own = list(of_segment)
            if place <= after:
                continue
            lease, lease_seq = own[0].lease, own[0].lease_seq
            if lease is None and jobs_seq < lease_seq <= jobs_end:
                return Told(found, Place(batch, index - 1), is_held=True)
            if lease is not None and lease.node == own[0].node:
                found.append(_event(place, own, lease))
    return Told(found, Place(last_batch + 1))


def _event(place: Place, lines: list[SegmentLine], lease: LeaseOf) -> Event:
    first = lines[0]
    length_ms = first.t1_ms - first.t0_ms
    devices = tuple(
        MeteredDevice(line.device, line.model, line.used_milli_ms, line.energy_mj)
        for line in lines
        if line.device
    )
    milli = first.milli
    use = MeteredUse(
        id=segment_id(first.lease_seq, first.job_id, lease.attempt, first.rank, first.seq),
        batch=place.batch,
        index=place.index,
        tenant=lease.tenant,
        project=lease.project,
        tier=lease.tier,
        job_id=first.job_id,
        attempt=lease.attempt,
        lease_seq=first.lease_seq,
        rank=first.rank,
        seq=first.seq,
        node=first.node,
        site=lease.site,
        t0_ms=first.t0_ms,
        t1_ms=first.t1_ms,
        devices=devices,
        gpu_milli=milli if devices else 0,
        cpu_milli=0 if devices else milli,
        gpu_milli_ms=len(devices) * milli * length_ms,
        cpu_milli_ms=0 if devices else milli * length_ms,
    )
    headers = {
        "ce-specversion": "1.0",
        "ce-id": use.id,
        "ce-type": EVENT_TYPE,
        "ce-source": f"{EVENT_SOURCE}/{use.node}",
        "ce-subject": use.tenant,
        "ce-time": _instant(use.t1_ms),
        "ce-datacontenttype": "application/json",
        "traceparent": traceparent(use.job_id, 0, "job"),
    }
    return Event(place, use.id, subject_of(use.tenant), _encode(use), headers)


def _instant(at_ms: int) -> str:
    """RFC 3339, UTC."""
    day, rest = divmod(at_ms, MS_PER_DAY)
    seconds, ms = divmod(rest, 1000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{date_of_day(day)}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"
