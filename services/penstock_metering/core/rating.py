"""What did one lease use of what, at which price?

Turns a lease and its segments into parts: one for each device, SKU, state, day and price version.
Segments are clipped to the lease and to each other, and cut where a day ends or a price changes.
The parts depend on what is known, not on the order in which it became known. It does not know what
of them is to be paid, nor when.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from penstock_contracts.prices import (
    CPU,
    CPU_BESIDE_GPU,
    ENERGY,
    JOB,
    MEMORY,
    Asked,
    PriceVersion,
    gpu_sku,
)
from penstock_metering.core.book import PriceBook
from penstock_metering.core.charging import charge
from penstock_metering.core.months import MS_PER_DAY, day_of
from penstock_metering.core.parts import (
    FLAT,
    HOST,
    PREPARING,
    RUNNING,
    SETTLING,
    Part,
    PartKey,
)
from penstock_metering.core.rows import LeaseRow


class UsageLine(NamedTuple):
    """One segment on one device of the lease's own node, or on its processors (`HOST`)."""

    seq: int
    device: str
    milli: int
    t0_ms: int
    t1_ms: int
    energy_mj: int | None


class Continued(Exception):
    """What came is not behind all that was rated before: the lease must be rated from its first
    segment on."""


def _begin(line: UsageLine) -> tuple[int, int]:
    return line.t0_ms, line.seq


def rate_whole(
    lease: LeaseRow, models: Mapping[str, str], book: PriceBook, lines: Iterable[UsageLine]
) -> list[Part]:
    """Its parts from all its segments."""
    rating = LeaseRating(lease, models, book)
    rating.add(lines)
    return rating.parts()


class LeaseRating:
    """One lease. `models` by device (absent = not known). `prior`: the parts it had, when only
    later segments are added."""

    def __init__(
        self,
        lease: LeaseRow,
        models: Mapping[str, str],
        book: PriceBook,
        prior: Iterable[Part] = (),
    ) -> None:
        self._lease = lease
        self._book = book
        self._models = {device: models.get(device, "") for device in lease.devices}
        self._first = lease.devices[0] if lease.devices else HOST
        self._parts: dict[PartKey, Part] = {}
        self._ran: dict[str, tuple[int, int]] = {}
        for part in prior:
            self._take(part)

    def add(self, lines: Iterable[UsageLine]) -> None:
        """Whatever order they came in. Raises Continued."""
        lease = self._lease
        was_until = {device: ran[1] for device, ran in self._ran.items()}
        for line in sorted(lines, key=_begin):
            if line.device not in self._models and (line.device or lease.devices):
                continue  # not a device of the lease: a finding of every audit
            if line.device in was_until and line.t0_ms < was_until[line.device]:
                raise Continued
            ran = self._ran.get(line.device)
            start_ms = max(line.t0_ms, lease.granted_ms, *(ran[1:] if ran else ()))
            end_ms = line.t1_ms
            if lease.released_ms is not None:
                end_ms = min(end_ms, lease.released_ms)
            if start_ms < end_ms:
                self._ran[line.device] = (ran[0] if ran else start_ms, end_ms)
                self._run(line, start_ms, end_ms)

    def parts(self) -> list[Part]:
        """All of them, in the order of their keys, as things stand."""
        self._hold()
        self._charge_flat()
        parts = [self._parts[key] for key in sorted(self._parts) if self._parts[key].quantity]
        charge(parts, self._lease, self._book)
        return parts

    def _take(self, part: Part) -> None:
        """Part of what was rated before; held time and fees are worked out anew."""
        if part.model != self._models.get(part.device, ""):
            raise Continued
        if part.state != RUNNING or not part.quantity:
            return
        released_ms = self._lease.released_ms
        if released_ms is not None and part.t1_ms > released_ms:
            raise Continued
        self._add(part)
        if part.sku == self._own_sku(part.device):
            known = self._ran.get(part.device, (part.t0_ms, part.t1_ms))
            ran = min(known[0], part.t0_ms), max(known[1], part.t1_ms)
            self._ran[part.device] = ran

    def _own_sku(self, device: str) -> str:
        return gpu_sku(self._models[device]) if device else CPU

    def _run(self, line: UsageLine, start_ms: int, end_ms: int) -> None:
        lease = self._lease
        if line.device:
            milli = min(line.milli, lease.gpu_milli)
            self._spend(self._own_sku(line.device), line.device, RUNNING, start_ms, end_ms, milli)
            if line.energy_mj is not None and ENERGY in self._book.skus:
                self._draw(line, start_ms, end_ms, line.energy_mj)
        else:
            milli = min(line.milli, lease.cpu_milli)
            self._spend(CPU, HOST, RUNNING, start_ms, end_ms, milli)
        if line.device == self._first:
            self._spend_beside(RUNNING, start_ms, end_ms)

    def _spend_beside(self, state: str, start_ms: int, end_ms: int) -> None:
        """What the rank uses besides, where that has a price."""
        skus = self._book.skus
        if self._lease.devices and CPU_BESIDE_GPU in skus:
            cpu_milli = self._lease.cpu_milli
            self._spend(CPU_BESIDE_GPU, HOST, state, start_ms, end_ms, cpu_milli, if_priced=True)
        if MEMORY in skus:
            memory_mib = self._lease.memory_mib
            self._spend(MEMORY, HOST, state, start_ms, end_ms, memory_mib, if_priced=True)

    def _hold(self) -> None:
        """Before the first segment and after the last: of a lease that never started nothing is
        counted, whose fault it may be."""
        lease = self._lease
        if lease.started_ms is None:
            return
        devices = lease.devices or (HOST,)
        for device in devices:
            ran = self._ran.get(device)
            until_ms = lease.started_ms if ran is None else min(lease.started_ms, ran[0])
            if lease.released_ms is not None:
                until_ms = min(until_ms, lease.released_ms)
            self._hold_device(PREPARING, device, lease.granted_ms, until_ms)
            if lease.exited_ms is not None and lease.released_ms is not None:
                from_ms = lease.exited_ms if ran is None else max(lease.exited_ms, ran[1])
                from_ms = max(from_ms, until_ms, lease.granted_ms)
                self._hold_device(SETTLING, device, from_ms, lease.released_ms)

    def _hold_device(self, state: str, device: str, from_ms: int, to_ms: int) -> None:
        milli = self._lease.gpu_milli if device else self._lease.cpu_milli
        self._spend(self._own_sku(device), device, state, from_ms, to_ms, milli)
        if device == self._first:
            self._spend_beside(state, from_ms, to_ms)

    def _charge_flat(self) -> None:
        ran = self._ran.get(self._first)
        if ran is None or self._lease.rank or JOB not in self._book.skus:
            return
        price = self._book.price_at(self._asked(JOB), ran[0])
        if price is not None:
            self._put(HOST, JOB, price, FLAT, ran[0], ran[0], 1)

    def _spend(
        self,
        sku: str,
        device: str,
        state: str,
        from_ms: int,
        to_ms: int,
        amount: int,
        *,
        if_priced: bool = False,
    ) -> None:
        """`amount` of the SKU each ms."""
        for start_ms, end_ms, price in self._cut(sku, from_ms, to_ms):
            if price is not None or not if_priced:
                self._put(device, sku, price, state, start_ms, end_ms, amount * (end_ms - start_ms))

    def _draw(self, line: UsageLine, from_ms: int, to_ms: int, energy_mj: int) -> None:
        """A piece of a segment drew what its time makes up of it; pieces sum to the whole."""
        whole_ms = line.t1_ms - line.t0_ms
        for start_ms, end_ms, price in self._cut(ENERGY, from_ms, to_ms):
            if price is not None:
                before = energy_mj * (start_ms - line.t0_ms) // whole_ms
                upto = energy_mj * (end_ms - line.t0_ms) // whole_ms
                self._put(line.device, ENERGY, price, RUNNING, start_ms, end_ms, upto - before)

    def _cut(
        self, sku: str, from_ms: int, to_ms: int
    ) -> Iterator[tuple[int, int, PriceVersion | None]]:
        """Where a day ends and where the price changes."""
        if from_ms >= to_ms:
            return
        for span_ms, until_ms, price in self._book.spans(self._asked(sku), from_ms, to_ms):
            start_ms = span_ms
            while start_ms < until_ms:
                end_ms = min(until_ms, (day_of(start_ms) + 1) * MS_PER_DAY)
                yield start_ms, end_ms, price
                start_ms = end_ms

    def _asked(self, sku: str) -> Asked:
        return Asked(sku, self._lease.tenant, self._lease.site, self._lease.tier)

    def _put(
        self,
        device: str,
        sku: str,
        price: PriceVersion | None,
        state: str,
        t0_ms: int,
        t1_ms: int,
        quantity: int,
    ) -> None:
        if quantity:
            self._add(
                Part(
                    device=device,
                    model=self._models.get(device, ""),
                    sku=sku,
                    price_version=price.version if price is not None else 0,
                    state=state,
                    day=day_of(t0_ms),
                    t0_ms=t0_ms,
                    t1_ms=t1_ms,
                    quantity=quantity,
                )
            )

    def _add(self, part: Part) -> None:
        known = self._parts.get(part.key)
        if known is None:
            self._parts[part.key] = part
        else:
            known.t0_ms = min(known.t0_ms, part.t0_ms)
            known.t1_ms = max(known.t1_ms, part.t1_ms)
            known.quantity += part.quantity
