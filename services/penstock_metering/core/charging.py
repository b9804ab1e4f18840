"""How much of what a lease used is to be paid?

What was used in a state that its price bills. Once a lease is released, its billed time on each
device is rounded up to the granularity and to no less than the minimum, once, whatever it is cut
into; the excess over what was used stands in the last part. It does not know amounts of money.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock_contracts.prices import CPU, GPU, MEMORY, unit_of
from penstock_metering.core.book import PriceBook
from penstock_metering.core.parts import FLAT, HOST, RUNNING, Part
from penstock_metering.core.rows import LeaseRow

_NOT_TIME = ("kwh", "job")


def charge(parts: Sequence[Part], lease: LeaseRow, book: PriceBook) -> None:
    """Sets `billed_quantity` and `runs` of all parts of a lease."""
    for part in parts:
        price = book.by_number.get(part.price_version)
        is_billed = price is not None and part.state in (FLAT, *price.billable)
        part.billed_quantity = part.quantity if is_billed else 0
        part.runs = 0
    if lease.released_seq is not None:
        _round(parts, lease, book)
    if lease.rank == 0:
        _count_run(parts, lease)


def _round(parts: Sequence[Part], lease: LeaseRow, book: PriceBook) -> None:
    groups: dict[tuple[str, str], list[Part]] = {}
    ran = {part.device for part in parts if part.state == RUNNING}
    for part in parts:
        if part.billed_quantity and unit_of(part.sku) not in _NOT_TIME:
            groups.setdefault((part.device, part.sku), []).append(part)
    for (device, _), billed in groups.items():
        last = max(billed, key=lambda part: (part.t1_ms, part.key))
        price = book.by_number[last.price_version]
        amount = _amount(last, lease)
        total = sum(part.billed_quantity for part in billed)
        grain = price.granularity_ms * amount
        has_run = bool(ran) if device == HOST else device in ran
        least = price.minimum_ms * amount if has_run else 0
        last.billed_quantity += max(least, -(-total // grain) * grain) - total


def _amount(part: Part, lease: LeaseRow) -> int:
    """How much of the SKU is used in 1 ms."""
    if part.device:
        return lease.gpu_milli
    return lease.memory_mib if part.sku == MEMORY else lease.cpu_milli


def _count_run(parts: Sequence[Part], lease: LeaseRow) -> None:
    first = lease.devices[0] if lease.devices else HOST
    began = [
        part
        for part in parts
        if part.device == first
        and part.state == RUNNING
        and (part.sku.startswith(GPU) if first else part.sku == CPU)
    ]
    if began:
        min(began, key=lambda part: (part.t0_ms, part.key)).runs = 1
