"""Up to where will a node's time not change any more, and what must be kept of it?

Chooses the instant of the next checkpoint: before everything that is open (leases that run,
segments not counted yet), but not far behind the newest counter. What comes late after all is
noticed, and costs a look from an older checkpoint. It does not know how time is swept.
"""

from __future__ import annotations

from penstock_metering.core.boots import BOOTS_REMEMBERED_MAX
from penstock_metering.core.checkpoints import Carried, Checkpoint, DeviceAccount
from penstock_metering.core.months import day_of
from penstock_metering.core.presence import Present
from penstock_metering.core.sweeping import UNKNOWN, Spent
from penstock_metering.core.tenancies import Tenancy

TRAIL_MS_MAX = 15 * 60_000
"""So far behind the newest counter may a checkpoint be, for what is open."""


def choose_cut(present: Present) -> tuple[int, int]:
    """The instant, and the boot (its place) that it lies in; at the latest checkpoint where there
    is no better."""
    base, boots, facts = present.base, present.boots, present.facts
    nothing = base.upto_ms, 0
    if not boots:
        return nothing
    newest = boots[-1]
    ends = [d.end_ms for d in present.devices if d.boot is newest and d.counter is not None]
    if not ends:
        return nothing
    end_ms = min(ends)
    if not facts.is_whole:
        end_ms = min(end_ms, max((line.t1_ms for line in facts.lines), default=end_ms))
    unsure_ms = present.found.unsure_ms
    if unsure_ms is not None and unsure_ms > facts.jobs_ms - TRAIL_MS_MAX:
        return nothing
    if any(line.boot_id not in {b.boot_id for b in boots} for line in present.found.fresh):
        return nothing
    tenancies = present.found.tenancies.values()
    open_ms = [facts.jobs_ms, *(_open_from_ms(t) for t in tenancies if t.awaits and t.home)]
    cut_ms = max(min(end_ms, *open_ms), end_ms - TRAIL_MS_MAX)
    for device in present.devices:
        for line, moved_ms in device.uncounted:
            cut_ms = min(cut_ms, line.t0_ms + moved_ms)
    for device in present.devices:
        if device.boot.seen_ms(device.uuid) > cut_ms:  # inventory named it later than it counted
            cut_ms = min(cut_ms, device.account.start_ms)
    cut_in = max((at for at, boot in enumerate(boots) if boot.start_ms <= cut_ms), default=-1)
    if cut_in < 0 or cut_ms <= base.upto_ms:
        return nothing
    return cut_ms, cut_in


def _open_from_ms(tenancy: Tenancy) -> int:
    last_ms = tenancy.segments.last_ms
    from_ms = tenancy.lease.granted_ms if last_ms is None else last_ms
    return from_ms + min(tenancy.moved.values(), default=0)


def cut_off(present: Present, cut_ms: int, cut_in: int) -> Checkpoint:
    """What stands at `cut_ms`, in boot number `cut_in`."""
    base, facts, boot = present.base, present.facts, present.boots[cut_in]
    over = present.boots[:cut_in]
    made = Checkpoint(
        upto_ms=cut_ms,
        usage_to=max(base.usage_to, facts.usage_to),
        leases_to=max(base.leases_to, facts.leases_to),
        demand_to=max(base.demand_to, facts.demand.upto_seq),
        boots=[*base.boots[:-1], *(b.boot_id for b in (*over, boot))][-BOOTS_REMEMBERED_MAX:],
        counted=dict(base.counted),
        start_ms=boot.start_ms,
        offset_ms=boot.offset_ms,
        totals=base.totals.copy(),
        homeless=present.homeless,
        findings=present.found.findings,
        strays=sorted(present.found.stray_keys),
    )
    for each in over:
        batches = [d.counter.batch for d in present.devices if d.boot is each and d.counter]
        made.counted[each.boot_id] = max(batches, default=-1)
    _stand(made, present, cut_ms, cut_in)
    _account(made, present, cut_ms, cut_in)
    made.carried, made.missing = [], list(base.missing)
    for tenancy in present.found.tenancies.values():
        _carry(made, tenancy, cut_ms, cut_in)
    made.usage_from = _first_needed(made, present, cut_ms)
    return made


def _stand(made: Checkpoint, present: Present, cut_ms: int, cut_in: int) -> None:
    made.standing, made.changes_to = present.base.standing, present.base.changes_to
    for at, boot in enumerate(present.boots[: cut_in + 1]):
        for number, at_ms, standing in boot.steps:
            if at == cut_in and at_ms > cut_ms:
                return
            made.changes_to, made.standing = number, standing
    boot = present.boots[cut_in]
    if made.standing.removed:
        made.followed_ms = boot.followed_ms


def _account(made: Checkpoint, present: Present, cut_ms: int, cut_in: int) -> None:
    """The sums of each device, and its days that are not over."""
    made.days = {
        uuid: {day: spent.copy() for day, spent in days.items()}
        for uuid, days in present.base.days.items()
    }
    for device in present.devices:
        at = device.at
        if at > cut_in or device.boot.seen_ms(device.uuid) > cut_ms:
            continue
        days = made.days.setdefault(device.uuid, {})
        spent = device.account.spent.copy()
        for (is_behind, day), part in device.parts.items():
            if not is_behind:
                spent.add(part)
                days.setdefault(day, Spent()).add(part)
        if at < cut_in:
            made.totals.add(device.compare(device.account.spent))
            for day, silent in device.gap:
                days.setdefault(day, Spent()).milli_ms[UNKNOWN] += silent
        else:
            made.devices[device.uuid] = DeviceAccount(
                start_ms=device.account.start_ms,
                seen_ms=device.account.seen_ms,
                batch=-1 if device.counter is None else device.counter.batch,
                ledger_milli_ms=device.account.ledger_milli_ms,
                spent=spent,
            )
    first_day = day_of(cut_ms - 1)
    made.days = {
        uuid: {day: spent for day, spent in sorted(days.items()) if day >= first_day}
        for uuid, days in sorted(made.days.items())
    }
    made.days = {uuid: days for uuid, days in made.days.items() if days}


def _carry(made: Checkpoint, tenancy: Tenancy, cut_ms: int, cut_in: int) -> None:
    lease = tenancy.lease
    ends = [tenancy.end_ms(device) for device in lease.devices or ("",)]
    if all(end is not None and end < cut_ms for end in ends):
        missing = tenancy.missing
        if missing is not None:
            made.missing.append(missing)
        return
    begun = {}
    if cut_in in tenancy.home:
        moved = ((device, tenancy.moved.get(device)) for device in lease.devices)
        begun = {
            device: moved_ms
            for device, moved_ms in moved
            if moved_ms is not None and lease.granted_ms + moved_ms < cut_ms
        }
    made.carried.append(
        Carried(
            lease.key,
            lease.granted_ms,
            lease.released_seq is not None,
            tenancy.segments,
            begun,
            tuple(sorted(tenancy.boots)),
        )
    )


def _first_needed(made: Checkpoint, present: Present, cut_ms: int) -> int:
    """The first message that holds a segment which is not summed up yet."""
    first = made.usage_to + 1
    for device in present.devices:
        for line, _ in device.uncounted:
            first = min(first, line.number)
        for line, moved_ms in device.reach:
            if line.t1_ms + moved_ms > cut_ms:
                first = min(first, line.number)
    return first
