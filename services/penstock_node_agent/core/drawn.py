"""What did each device do and draw, and for whom?

Readings come every few seconds; between two of them a device has drawn what its own counter says,
and was used as the later one says. Both are gathered per device, until its slice is closed, and
shared out among the leases that ran on it then, until their segments are. Nobody is told of energy
that was not read while his work ran, and none is told twice. It does not know prices.
"""

from __future__ import annotations

from typing import NamedTuple

from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_contracts.usage import DeviceSlice
from penstock_node_agent.core.events import DeviceRead, DevicesRead
from penstock_node_agent.core.state import MS_NS, RUNNING, Gauge, Lease, Share, State

QUARTER_MS = 15 * 60 * 1000
SILENT_NS = 60_000_000_000
"""Over so long a time between two readings nobody knows how a device was used."""
SLICES_OWED_MAX = 20_000
"""With so many unsent, slices just grow."""

Drawn = tuple[tuple[int | None, ...], tuple[int | None, ...]]
"""Used milli-GPU times ms, and mJ, in the order of a lease's devices; empty = nothing is known."""


class Step(NamedTuple):
    """What a device did between two readings, or in a part of that time."""

    from_ns: int
    to_ns: int
    energy_mj: int | None
    used_milli: int | None

    def split(self, at_ns: int) -> tuple[Step, Step]:
        """Before and after an instant; what it drew was drawn evenly."""
        before_mj = after_mj = None
        if self.energy_mj is not None:
            before_mj = self.energy_mj * (at_ns - self.from_ns) // (self.to_ns - self.from_ns)
            after_mj = self.energy_mj - before_mj
        before = Step(self.from_ns, at_ns, before_mj, self.used_milli)
        return before, Step(at_ns, self.to_ns, after_mj, self.used_milli)


def read(state: State, event: DevicesRead) -> None:
    """Devices of this node have been read."""
    at_work = _at_work(state)
    for reading in event.readings:
        gauge = state.gauges.get(reading.uuid)
        if gauge is not None and event.at_ns > gauge.at_ns:
            step = _step(gauge, reading, event.at_ns)
            _gather(state, reading.uuid, gauge, step)
            _share_out(at_work.get(reading.uuid, []), reading.uuid, step)
            gauge.at_ns = event.at_ns
            gauge.energy_mj, gauge.used_milli = reading.energy_mj, reading.used_milli
        elif gauge is None and reading.uuid in state.counters:
            state.gauges[reading.uuid] = Gauge(
                at_ns=event.at_ns,
                energy_mj=reading.energy_mj,
                used_milli=reading.used_milli,
                open_ms=state.axis_ms(event.at_ns),
                drawn_mj=_nothing(reading.energy_mj),
            )


def take_drawn(state: State, lease: Lease, to_ms: int) -> Drawn:
    """What its devices did for a lease since its last segment, which ends now. How a device is used
    since it was read is taken to be as it was then; what it draws stands in the next segment."""
    if not lease.shares:
        return (), ()
    at_work = _at_work(state)
    used: list[int | None] = []
    energy: list[int | None] = []
    most = (to_ms - lease.open_ms) * lease.order.gpu_milli
    for uuid in lease.order.devices:
        share, gauge = lease.shares.get(uuid), state.gauges.get(uuid)
        if share is None or gauge is None:
            used.append(None)
            energy.append(None)
            continue
        to_ns = lease.boot_ns(to_ms)
        step = Step(gauge.at_ns, max(gauge.at_ns, to_ns), 0, _still_used(gauge, to_ns))
        _add_use(share, lease, step, _milli_of(at_work.get(uuid, []), lease))
        done = share.used_milli_ns
        used.append(None if done is None else min(done // MS_NS, most))
        energy.append(share.energy_mj)
        share.energy_mj, share.used_milli_ns = _nothing(gauge.energy_mj), 0
    return tuple(used), tuple(energy)


def close_slices(state: State, at_ns: int, *, audit: bool) -> None:
    """Somebody audits, which ends all slices; or time passes, which ends those of devices that are
    not read any more."""
    now_ms = state.axis_ms(at_ns)
    for uuid, gauge in state.gauges.items():
        if audit:
            to_ns = max(gauge.at_ns, at_ns)
            _add(gauge, Step(gauge.at_ns, to_ns, 0, _still_used(gauge, at_ns)))
            _close(state, uuid, gauge, now_ms)
        elif at_ns - gauge.at_ns > SILENT_NS and now_ms // QUARTER_MS > _quarter(state, gauge):
            gauge.energy_mj = gauge.drawn_mj = gauge.done_milli_ns = None
            _close(state, uuid, gauge, now_ms // QUARTER_MS * QUARTER_MS)


def retire_slices(state: State) -> None:
    """The boot is over; what was read after its last cut is nobody's any more."""
    for uuid, gauge in state.gauges.items():
        _close(state, uuid, gauge, max(state.counted_ms, state.axis_ms(gauge.at_ns)))
    state.gauges.clear()


def _step(gauge: Gauge, reading: DeviceRead, at_ns: int) -> Step:
    """A counter that has gone back has begun anew."""
    energy_mj = None
    if gauge.energy_mj is not None and reading.energy_mj is not None:
        energy_mj = reading.energy_mj - gauge.energy_mj
        energy_mj = None if energy_mj < 0 else energy_mj
    used_milli = reading.used_milli if at_ns - gauge.at_ns <= SILENT_NS else None
    return Step(gauge.at_ns, at_ns, energy_mj, used_milli)


def _still_used(gauge: Gauge, at_ns: int) -> int | None:
    return gauge.used_milli if at_ns - gauge.at_ns <= SILENT_NS else None


def _quarter(state: State, gauge: Gauge) -> int:
    """The last one that it was read in, or that its slice was closed for."""
    return max(state.axis_ms(gauge.at_ns), gauge.open_ms) // QUARTER_MS


# -- by device -------------------------------------------------------------------------------------
def _gather(state: State, uuid: str, gauge: Gauge, step: Step) -> None:
    quarter_ms = state.axis_ms(step.to_ns) // QUARTER_MS * QUARTER_MS
    if quarter_ms <= max(state.axis_ms(step.from_ns), gauge.open_ms):
        _add(gauge, step)
        return
    before, after = step.split(state.anchor_ns + (quarter_ms - state.joined_ms) * MS_NS)
    _add(gauge, before)
    _close(state, uuid, gauge, quarter_ms)
    _add(gauge, after)


def _add(gauge: Gauge, step: Step) -> None:
    counted_ns = max(0, step.to_ns - max(step.from_ns, gauge.upto_ns))
    gauge.drawn_mj = _plus(gauge.drawn_mj, step.energy_mj)
    gauge.done_milli_ns = _plus(gauge.done_milli_ns, _times(step.used_milli, counted_ns))
    gauge.upto_ns = max(gauge.upto_ns, step.to_ns)


def _close(state: State, uuid: str, gauge: Gauge, to_ms: int) -> None:
    if to_ms <= gauge.open_ms or len(state.slices) >= SLICES_OWED_MAX:
        return
    done, most = gauge.done_milli_ns, (to_ms - gauge.open_ms) * GPU_MILLI_WHOLE
    state.slices.append(
        DeviceSlice(
            uuid=uuid,
            seq=gauge.slices,
            t0_ms=gauge.open_ms,
            t1_ms=to_ms,
            energy_mj=gauge.drawn_mj,
            used_milli_ms=None if done is None else min(done // MS_NS, most),
        )
    )
    gauge.slices += 1
    gauge.open_ms = to_ms
    gauge.drawn_mj, gauge.done_milli_ns = _nothing(gauge.energy_mj), 0


# -- by lease --------------------------------------------------------------------------------------
def _share_out(leases: list[Lease], uuid: str, step: Step) -> None:
    """By what each has of the device, and since when. One that began after the step has none."""
    for lease in leases:
        began_ns = lease.boot_ns(lease.began_ms or 0)
        from_ns = max(step.from_ns, began_ns)
        if from_ns >= step.to_ns:
            continue
        milli = _milli_of(leases, lease)
        share = lease.shares.setdefault(uuid, Share(upto_ns=lease.boot_ns(lease.open_ms)))
        drawn_mj = _times(step.energy_mj, (step.to_ns - from_ns) * lease.order.gpu_milli)
        if drawn_mj is not None:
            drawn_mj //= (step.to_ns - step.from_ns) * milli
        share.energy_mj = _plus(share.energy_mj, drawn_mj)
        _add_use(share, lease, step, milli)


def _add_use(share: Share, lease: Lease, step: Step, milli: int) -> None:
    counted_ns = max(0, step.to_ns - max(step.from_ns, share.upto_ns))
    used_milli = step.used_milli
    if used_milli is not None:
        used_milli = min(lease.order.gpu_milli, used_milli * lease.order.gpu_milli // milli)
    share.used_milli_ns = _plus(share.used_milli_ns, _times(used_milli, counted_ns))
    share.upto_ns = max(share.upto_ns, step.to_ns)


def _at_work(state: State) -> dict[str, list[Lease]]:
    """What runs on each device."""
    found: dict[str, list[Lease]] = {}
    for lease in state.leases.values():
        if lease.stage == RUNNING:
            for uuid in lease.order.devices:
                found.setdefault(uuid, []).append(lease)
    return found


def _milli_of(leases: list[Lease], lease: Lease) -> int:
    """How much of a device is in use, by this one among others."""
    others = (other.order.gpu_milli for other in leases if other is not lease)
    return max(1, lease.order.gpu_milli + sum(others))


def _nothing(energy_mj: int | None) -> int | None:
    """Where counting begins; a device that does not say stays unknown."""
    return None if energy_mj is None else 0


def _plus(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _times(one: int | None, factor: int) -> int | None:
    """Nothing is not unknown."""
    return 0 if factor == 0 else None if one is None else one * factor
