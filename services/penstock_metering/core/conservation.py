"""Do the ledger and the agents' counters tell the same story, and does time sum to capacity?

Two accounts of the same time, made apart: usage segments, placed into leases and node facts, and
the cumulative counters of each agent. The check can fail: a segment that is lost, doubled or
overlaps another makes `unaccounted_milli_ms` positive. It does not know how either was transported.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_contracts.queries import Finding
from penstock_metering.core.accounts import Books, Counter, CounterKey, Line
from penstock_metering.core.completeness import check_leases
from penstock_metering.core.residence import Residence, boots_in_order, residences
from penstock_metering.core.rows import LeaseKey, LeaseRow, NodeChange
from penstock_metering.core.timeline import STATES, UNKNOWN, DeviceLease, sweep


class Balance(msgspec.Struct, kw_only=True):
    """The outcome. `watermark_ms`: up to where every answering node was compared; None = nothing
    was."""

    unaccounted_milli_ms: int = 0
    capacity_milli_ms: int = 0
    milli_ms: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(STATES, 0))
    watermark_ms: int | None = None
    findings: list[Finding] = []

    @property
    def unaccounted_ms(self) -> int:
        return -(-self.unaccounted_milli_ms // GPU_MILLI_WHOLE)

    def find(self, code: str, sentence: str) -> None:
        self.findings.append(Finding(code, sentence))


def balance(books: Books) -> Balance:
    """Compare the two accounts up to what the counters cover, device by device and boot by boot."""
    result = Balance()
    lines = _lines_by_device(books.lines)
    idle_leases = _leases_by_device(books.leases.values())
    boots = _boots(books)
    for home in residences(books.changes):
        key = (home.node, home.boot_id, home.uuid)
        counter = books.counters.get(key)
        runs = [line for line in lines.pop(key, ()) if counter and line.batch <= counter.batch]
        leases = _device_leases(
            books.leases,
            runs,
            [
                lease
                for lease in idle_leases.get((home.node, home.uuid), ())
                if _boot_of(lease, boots[home.node]) == home.boot_id
            ],
        )
        _weigh(result, home, counter, leases, _quantity(runs), books)
    _weigh_homeless(result, lines)
    total = sum(result.milli_ms.values())
    if total != result.capacity_milli_ms:
        result.find(
            "states_do_not_sum",
            f"device states sum to {total} milli-GPU·ms, capacity is {result.capacity_milli_ms}",
        )
    check_leases(books, result.find)
    return result


def _weigh(
    result: Balance,
    home: Residence,
    counter: Counter | None,
    leases: list[DeviceLease],
    ledger_milli_ms: int,
    books: Books,
) -> None:
    """Add one device in one boot."""
    present = home.followed_ms is None
    answered = present and home.node in books.answered
    start_ms = home.start_ms
    if start_ms is None:
        start_ms = home.seen_ms if counter is None else counter.since_ms
    end_ms = start_ms
    if counter is not None:
        end_ms = max(start_ms, counter.upto_ms)
        time = sweep(start_ms, end_ms, home.background, leases)
        not_running = time.capacity_milli_ms - time.running_milli_ms
        counted = GPU_MILLI_WHOLE * (counter.upto_ms - counter.since_ms) - counter.running_milli_ms
        result.unaccounted_milli_ms += abs(ledger_milli_ms - counter.running_milli_ms)
        result.unaccounted_milli_ms += abs(not_running - counted)
        result.capacity_milli_ms += time.capacity_milli_ms
        for state, spent in time.milli_ms.items():
            result.milli_ms[state] += spent
        if answered:
            mark_ms = result.watermark_ms
            result.watermark_ms = end_ms if mark_ms is None else min(mark_ms, end_ms)
    elif answered:
        result.find(
            "counter_missing", f"node {home.node} answered without a counter of device {home.uuid}"
        )
    if not answered or counter is None:
        until_ms = books.now_ms if home.followed_ms is None else home.followed_ms
        silent = GPU_MILLI_WHOLE * max(0, until_ms - end_ms)
        result.capacity_milli_ms += silent
        result.milli_ms[UNKNOWN] += silent


def _weigh_homeless(result: Balance, lines: dict[CounterKey, list[Line]]) -> None:
    """Use on devices that inventory never named can be neither placed nor compared."""
    for (node, _, uuid), strays in lines.items():
        quantity = _quantity(strays)
        result.unaccounted_milli_ms += quantity
        result.find(
            "device_unknown",
            f"node {node} metered {quantity} milli-GPU·ms on device {uuid}, "
            "which inventory does not list in that boot",
        )


def _quantity(lines: Iterable[Line]) -> int:
    return sum(line.milli * (line.t1_ms - line.t0_ms) for line in lines)


def _lines_by_device(lines: Iterable[Line]) -> dict[CounterKey, list[Line]]:
    found: dict[CounterKey, list[Line]] = {}
    for line in lines:
        if line.device:
            found.setdefault((line.node, line.boot_id, line.device), []).append(line)
    return found


def _leases_by_device(leases: Iterable[LeaseRow]) -> dict[tuple[str, str], list[LeaseRow]]:
    found: dict[tuple[str, str], list[LeaseRow]] = {}
    for lease in leases:
        for uuid in lease.devices:
            found.setdefault((lease.node, uuid), []).append(lease)
    return found


def _device_leases(
    known: dict[LeaseKey, LeaseRow], lines: Iterable[Line], others: Iterable[LeaseRow]
) -> list[DeviceLease]:
    """The leases that ran here with their runs, and those that only held the device. A run whose
    lease is not known counts as running, never as sold."""
    runs: dict[LeaseKey, list[Line]] = {}
    for line in lines:
        runs.setdefault(line.lease_key, []).append(line)
    for lease in others:
        runs.setdefault(lease.key, [])
    found = []
    for key in sorted(runs):
        own = known.get(key)
        intervals = tuple((line.t0_ms, line.t1_ms) for line in runs[key])
        milli = (
            runs[key][0].milli if runs[key] else GPU_MILLI_WHOLE if own is None else own.gpu_milli
        )
        found.append(
            DeviceLease(
                order=key[0],
                released_order=None if own is None else own.released_seq,
                granted_ms=intervals[0][0] if own is None else own.granted_ms,
                released_ms=intervals[0][0] if own is None else own.released_ms,
                milli=milli,
                runs=intervals,
            )
        )
    return found


def _boots(books: Books) -> dict[str, list[tuple[int, str]]]:
    """(joined_ms, boot id) of each node's boots, in their order."""
    changes: dict[str, list[NodeChange]] = {}
    for change in books.changes:
        changes.setdefault(change.node, []).append(change)
    return {
        node: [(first.joined_ms, boot_id) for boot_id, first in boots_in_order(own).items()]
        for node, own in changes.items()
    }


def _boot_of(lease: LeaseRow, boots: list[tuple[int, str]]) -> str:
    """The boot a lease was granted in: the last that began before it."""
    found = boots[0][1]
    for joined_ms, boot_id in boots:
        if joined_ms <= lease.granted_ms:
            found = boot_id
    return found
