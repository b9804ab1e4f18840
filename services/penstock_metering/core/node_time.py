"""What was the time of a node's devices spent on, and do its two accounts agree?

Goes on from a checkpoint with what is known behind it: sweeps every device up to its newest
counter, compares what ran with what the agent counted, and makes the next checkpoint. The outcome
is the same from whichever checkpoint it begins, and from none. It does not know where facts are
kept.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from penstock_metering.core.balances import NodeBalance
from penstock_metering.core.boots import Boot, read_boots
from penstock_metering.core.checkpoints import Checkpoint, DeviceAccount
from penstock_metering.core.cutting import choose_cut, cut_off
from penstock_metering.core.months import MS_PER_DAY, day_of
from penstock_metering.core.node_facts import Line, NodeFacts
from penstock_metering.core.presence import DeviceTime, Present
from penstock_metering.core.sweeping import EVER, NEVER, UNKNOWN, Hold, Run, Spent, Window, sweep
from penstock_metering.core.tenancies import Late, Register, Tenancy, place, register, settle_in


class DayRow(msgspec.Struct, frozen=True):
    """One device on one day: milli-GPU·ms of each state, energy of what was sold."""

    device: str
    day: int
    site: str
    milli_ms: list[int]
    energy_sold_mj: int | None


class Advance(msgspec.Struct, frozen=True, kw_only=True):
    """`days` replace all from `first_day` on. `checkpoint` None = there is no newer one."""

    balance: NodeBalance
    first_day: int
    days: list[DayRow]
    checkpoint: Checkpoint | None


def advance(base: Checkpoint, facts: NodeFacts) -> Advance:
    """Raises Late when `base` no longer holds; never from an empty one."""
    if facts.demand.changed_before(base.upto_ms, base.demand_to):
        raise Late("what was asked for at the time became known later")
    for boot_id, batch in base.counted.items():
        if _newest_batch(facts, boot_id) > batch:
            raise Late(f"boot {boot_id} counted on")
    boots = read_boots(facts.changes, base.standing, base.boots, _current(base))
    if any(step[1] < base.upto_ms for boot in boots for step in boot.steps):
        raise Late("what became of the node became known later")
    found = register(base, facts)
    settle_in(found.tenancies.values(), boots, base)
    devices, homeless = _devices(base, facts, boots, found)
    present = Present(
        base=base, facts=facts, boots=boots, found=found, devices=devices, homeless=homeless
    )
    cut_ms, cut_in = choose_cut(present)
    for device in devices:
        _sweep(device, present, cut_ms, cut_in)
    return Advance(
        balance=_balance(present),
        first_day=day_of(base.upto_ms - 1) if base.upto_ms != EVER else day_of(EVER),
        days=list(_day_rows(present)),
        checkpoint=cut_off(present, cut_ms, cut_in) if cut_ms > base.upto_ms else None,
    )


def _newest_batch(facts: NodeFacts, boot_id: str) -> int:
    return max((c.batch for (boot, _), c in facts.counters.items() if boot == boot_id), default=-1)


def _current(base: Checkpoint) -> Boot | None:
    if not base.boots:
        return None
    return Boot(
        boot_id=base.boots[-1],
        start_ms=base.start_ms,
        offset_ms=base.offset_ms,
        devices={uuid: account.seen_ms for uuid, account in base.devices.items()},
        steps=[],
        followed_ms=base.followed_ms,
    )


def _devices(
    base: Checkpoint, facts: NodeFacts, boots: list[Boot], found: Register
) -> tuple[list[DeviceTime], dict[str, int]]:
    times = {
        (boot.boot_id, uuid): _open(base, facts, boot, at, uuid)
        for at, boot in enumerate(boots)
        for uuid in sorted(boot.devices)
    }
    gone = set(base.boots[:-1])
    homeless = dict(base.homeless)
    for line in found.fresh:
        if not line.device:
            continue
        device = times.get((line.boot_id, line.device))
        if line.boot_id in gone:
            raise Late(f"boot {line.boot_id} was over, and has another segment")
        if device is None:
            name = f"{line.boot_id}/{line.device}"
            homeless[name] = homeless.get(name, 0) + line.quantity
    for boot_id, uuid in times:
        if f"{boot_id}/{uuid}" in homeless:
            raise Late(f"use of device {uuid} was placed nowhere until it became known")
    strays: dict[tuple[str, str], list[Line]] = {}
    for line in found.strays:
        strays.setdefault((line.boot_id, line.device), []).append(line)
    here: dict[tuple[int, str], list[Tenancy]] = {}
    for tenancy in found.tenancies.values():
        for at in tenancy.home:
            for uuid in tenancy.lease.devices:
                here.setdefault((at, uuid), []).append(tenancy)
    for key, device in times.items():
        _lay(device, base, here.get((device.at, device.uuid), ()))
        for line in strays.get(key, ()):
            _run(device, line, 0, base, Run(line.t0_ms, line.t1_ms, line.milli, NEVER, NEVER))
    return list(times.values()), homeless


def _open(base: Checkpoint, facts: NodeFacts, boot: Boot, at: int, uuid: str) -> DeviceTime:
    counter = facts.counters.get((boot.boot_id, uuid))
    known = base.devices.get(uuid) if base.boots and at == 0 else None
    start_ms = boot.seen_ms(uuid)
    if known is not None and known.batch >= 0:
        start_ms = known.start_ms
    elif counter is not None:
        if boot.devices[uuid] is not None:  # only its counter says from when on it was there
            start_ms = counter.since_ms + boot.offset_ms
        if start_ms < base.upto_ms:
            raise Late(f"device {uuid} was counted later")
    account = DeviceAccount(
        start_ms=start_ms,
        seen_ms=boot.devices[uuid],
        batch=-1 if known is None else known.batch,
        ledger_milli_ms=0 if known is None else known.ledger_milli_ms,
        spent=Spent() if known is None else known.spent,
    )
    end_ms = start_ms if counter is None else max(start_ms, counter.upto_ms + boot.offset_ms)
    if known is not None and known.batch >= 0 and end_ms < base.upto_ms:
        raise Late(f"the last counter of device {uuid} reaches less far than one before")
    return DeviceTime(
        boot=boot, at=at, uuid=uuid, account=account, counter=counter, end_ms=end_ms,
        holds=[], runs=[], reach=[], uncounted=[],
    )  # fmt: skip


def _lay(device: DeviceTime, base: Checkpoint, here: Iterable[Tenancy]) -> None:
    """Put the leases of the device in this boot on its axis."""
    uuid, upto_ms = device.uuid, base.upto_ms
    for tenancy, moved_ms in place(here, uuid):
        lease = tenancy.lease
        from_ms = lease.granted_ms + moved_ms
        to_ms = None if lease.released_ms is None else lease.released_ms + moved_ms
        if _goes_on(device, base) and uuid not in tenancy.begun and from_ms < upto_ms:
            raise Late(f"lease {lease.key} became known later")
        if tenancy.was_open and to_ms is not None and from_ms < upto_ms and to_ms < upto_ms:
            raise Late(f"lease {lease.key} was released earlier than was known")
        device.holds.append(Hold(from_ms, to_ms, lease.gpu_milli))
        end_ms = NEVER if to_ms is None else to_ms
        for line in tenancy.lines:
            if line.device == uuid and line.boot_id == device.boot.boot_id:
                used = line.used_milli_ms
                run = Run(
                    line.t0_ms + moved_ms, line.t1_ms + moved_ms, line.milli, from_ms, end_ms,
                    None if used is None else min(used, line.quantity), line.energy_mj,
                )  # fmt: skip
                _run(device, line, moved_ms, base, run)


def _run(device: DeviceTime, line: Line, moved_ms: int, base: Checkpoint, run: Run) -> None:
    """What the newest counter tells of counts; what reaches behind the checkpoint is swept."""
    counter, account = device.counter, device.account
    is_fresh = line.number > base.usage_to
    is_current = _goes_on(device, base)
    if counter is None or line.batch > counter.batch:
        device.uncounted.append((line, moved_ms))
        return
    if is_fresh or line.batch > account.batch or not is_current:
        account.ledger_milli_ms += line.quantity
        if is_current and run.t0_ms < base.upto_ms:
            raise Late(f"a segment of lease {line.lease_key} came late")
    if not is_current or run.t1_ms > base.upto_ms:
        device.runs.append(run)
        device.reach.append((line, moved_ms))


def _goes_on(device: DeviceTime, base: Checkpoint) -> bool:
    """Whether the checkpoint lies in this boot."""
    return device.at == 0 and bool(base.boots)


def _sweep(device: DeviceTime, present: Present, cut_ms: int, cut_in: int) -> None:
    base, boot, goes_on = present.base, device.boot, _goes_on(device, present.base)
    if device.counter is None:
        return
    window = Window(
        start_ms=device.account.start_ms,
        end_ms=device.end_ms,
        from_ms=max(base.upto_ms, device.account.start_ms) if goes_on else EVER,
        cut_ms=cut_ms if device.at == cut_in else NEVER if device.at < cut_in else EVER,
    )
    standing = base.standing if goes_on else None
    background = boot.background(device.uuid, standing, base.upto_ms)
    reasons = present.facts.demand.of(present.facts.models.get(device.uuid, ""))
    device.parts = sweep(window, background, device.holds, device.runs, reasons)


def _balance(present: Present) -> NodeBalance:
    base, newest = present.base, present.boots[-1] if present.boots else None
    totals, findings = base.totals.copy(), present.found.findings.copy()
    balance = NodeBalance(totals=totals, findings=findings)
    for device in present.devices:
        totals.add(device.compare(device.account.spent))
        if device.boot is newest and newest.followed_ms is None:
            balance.ends_ms[device.uuid] = device.end_ms
            if device.counter is None:
                balance.uncounted.append(device.uuid)
            else:
                least_ms = device.end_ms - device.boot.offset_ms
                mark_ms = balance.watermark_ms
                balance.watermark_ms = least_ms if mark_ms is None else min(mark_ms, least_ms)
    for name, quantity in sorted(present.homeless.items()):
        totals.unaccounted_milli_ms += quantity
        findings.find(
            "device_unknown",
            f"node {present.facts.node} metered {quantity} milli-GPU·ms on device "
            f"{name.partition('/')[2]}, which inventory does not list in that boot",
        )
    missing = (t.missing for t in present.found.tenancies.values())
    balance.missing = [*base.missing, *(each for each in missing if each is not None)]
    standing = newest.steps[-1][2] if newest is not None and newest.steps else base.standing
    balance.is_lost, balance.site = standing.lost, standing.site
    return balance


def _day_rows(present: Present) -> Iterable[DayRow]:
    days: dict[tuple[str, int], Spent] = {
        (uuid, day): spent.copy()
        for uuid, known in present.base.days.items()
        for day, spent in known.items()
    }
    for device in present.devices:
        for (_, day), spent in device.parts.items():
            days.setdefault((device.uuid, day), Spent()).add(spent)
        for day, silent in device.gap:
            days.setdefault((device.uuid, day), Spent()).milli_ms[UNKNOWN] += silent
    sites = [(step[1], step[2].site) for boot in present.boots for step in boot.steps]
    for (uuid, day), spent in sorted(days.items(), key=lambda item: item[0]):
        site = present.base.standing.site
        for at_ms, later in sites:
            if at_ms < (day + 1) * MS_PER_DAY:
                site = later
        yield DayRow(uuid, day, site, spent.settled(within=True), spent.energy_mj)
