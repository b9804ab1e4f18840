"""How is running time counted?

Twice, from the same stamped milliseconds: as segments that leave for the ledger, and as cumulative
counters per device, so that the ledger can be checked against them. It does not know prices, nor
which instants they are.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.usage import DeviceCounter, Segment, UsageBatch
from penstock_node_agent.core.drawn import close_slices, retire_slices, take_drawn
from penstock_node_agent.core.state import RUNNING, Counter, Lease, State

BATCH_BYTES = 400_000
SEGMENT_BYTES = 320
DEVICE_BYTES = 104
SLICE_BYTES = 240
"""A batch and its counters stay well below the broker's largest message, 1 MiB, however many
devices there are."""
SEGMENTS_OWED_MAX = 20_000
"""With so many unsent, running segments just grow: nothing is lost, and the disk is bounded."""


def close_segment(state: State, lease: Lease, to_ms: int, *, last: bool) -> None:
    """End the open segment at `to_ms` and begin the next there."""
    order = lease.order
    used, energy = take_drawn(state, lease, to_ms)
    known = [of_one for of_one in energy if of_one is not None]
    state.usage.append(
        Segment(
            lease_seq=order.lease_seq,
            job_id=order.job_id,
            tenant=order.tenant,
            attempt=order.attempt,
            rank=order.rank,
            seq=lease.segments,
            t0_ms=lease.open_ms,
            t1_ms=to_ms,
            devices=order.devices,
            gpu_milli=order.gpu_milli,
            cpu_milli=order.cpu_milli,
            energy_mj=sum(known) if known and len(known) == len(energy) else None,
            last=last,
            used_milli_ms=used,
            device_energy_mj=energy,
        )
    )
    for uuid in order.devices:
        counter = state.counters.get(uuid)
        if counter is not None:
            counter.running_milli_ms += (to_ms - lease.open_ms) * order.gpu_milli
    lease.segments += 1
    lease.open_ms = to_ms


def cut_all(state: State, at_ns: int, *, audit: bool = False) -> None:
    """Close what is open of everything that runs."""
    state.counted_ms = max(state.counted_ms, state.axis_ms(at_ns))
    close_slices(state, at_ns, audit=audit)
    if len(state.usage) >= SEGMENTS_OWED_MAX:
        return
    for lease in state.leases.values():
        if lease.stage == RUNNING and lease.axis_ms(at_ns) > lease.open_ms:
            close_segment(state, lease, lease.axis_ms(at_ns), last=False)


def count_device(state: State, uuid: str, at_ms: int) -> None:
    """Begin to count a device that appears; one that is known goes on."""
    if uuid not in state.counters:
        state.counters[uuid] = Counter(since_ms=at_ms)


def next_batch(state: State, at_ns: int) -> UsageBatch | None:
    """The next message for the ledger; None when nothing is owed. Numbered when it is about to
    go."""
    if state.former:
        return state.former[0]
    if not (state.usage or state.slices):
        return None
    return batch_now(state, at_ns)


def batch_now(state: State, at_ns: int) -> UsageBatch:
    """The oldest segments; with the last of them the counters, which cover all segments closed so
    far, and as many slices as there is room for."""
    count = _count_that_fits(state.usage)
    complete = count == len(state.usage)
    room = BATCH_BYTES - sum(map(_bytes_of, state.usage[:count]))
    return UsageBatch(
        node=state.node,
        boot_id=state.boot_id,
        batch=state.batch + 1,
        segments=tuple(state.usage[:count]),
        counters=_counters(state, state.axis_ms(at_ns)) if complete else (),
        slices=tuple(state.slices[: 1 + max(0, room) // SLICE_BYTES]) if complete else (),
    )


def retire_boot(state: State) -> None:
    """The host has booted again: what the former boot owes leaves under its own name."""
    retire_slices(state)
    while state.usage or state.slices:
        batch = batch_now(state, state.anchor_ns)
        if batch.counters:
            counters = _counters(state, state.counted_ms)
            batch = msgspec.structs.replace(batch, counters=counters)
        state.former.append(batch)
        state.batch = batch.batch
        del state.usage[: len(batch.segments)]
        del state.slices[: len(batch.slices)]
    state.counters.clear()
    state.batch = 0


def _count_that_fits(segments: list[Segment]) -> int:
    room = BATCH_BYTES
    for count, segment in enumerate(segments):
        room -= _bytes_of(segment)
        if room < 0 and count:
            return count
    return len(segments)


def _bytes_of(segment: Segment) -> int:
    return SEGMENT_BYTES + DEVICE_BYTES * len(segment.devices)


def _counters(state: State, upto_ms: int) -> tuple[DeviceCounter, ...]:
    return tuple(
        DeviceCounter(
            uuid, counter.since_ms, max(upto_ms, counter.since_ms), counter.running_milli_ms
        )
        for uuid, counter in state.counters.items()
    )
