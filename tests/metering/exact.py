"""What does a lease cost, in fractions and the plain way?

A second account of rating, made apart from the first: every ms that is used is looked up by itself
(between instants at which anything changes), nothing is rounded before the end. With it, random
leases to try. It does not know how rating goes about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from random import Random

import msgspec

from penstock_contracts.prices import Asked, PriceVersion, resolve
from penstock_metering.core.rating import UsageLine
from penstock_metering.core.rows import LeaseRow

HOUR_MS = 3_600_000
UNITS = {
    "gpu_hour": Fraction(1, 1_000 * HOUR_MS),
    "cpu_hour": Fraction(1, 1_000 * HOUR_MS),
    "gib_hour": Fraction(1, 1_024 * HOUR_MS),
    "kwh": Fraction(1, 3_600_000_000),
    "job": Fraction(1),
}
Costs = dict[tuple[str, int], int]
"""Micro-currency by (SKU, price version)."""


class Case(msgspec.Struct):
    lease: LeaseRow
    models: dict[str, str]
    versions: list[PriceVersion]
    lines: list[UsageLine]


def exact_costs(case: Case) -> Costs:
    """Each SKU and version of the lease, rounded half to even at the end."""
    sums: dict[tuple[str, int], Fraction] = {}
    lease = case.lease
    for device in lease.devices or ("",):
        model = case.models.get(device, "")
        sku = f"gpu/{model}" if model else "gpu"
        taken = _disjoint(lease, [line for line in case.lines if line.device == device])
        runs = [run[:2] for run in taken]
        held = _held(lease, runs)
        milli = lease.gpu_milli
        if device:
            _by_time(case, sums, sku, runs, held, milli)
            _by_energy(case, sums, taken)
        else:
            _by_time(case, sums, "cpu", runs, held, lease.cpu_milli)
        if device == (lease.devices or ("",))[0]:
            if device:
                _by_time(case, sums, "cpu/beside-gpu", runs, held, lease.cpu_milli)
            _by_time(case, sums, "memory", runs, held, lease.memory_mib)
            price = _price(case, "job", runs[0][0]) if runs and not lease.rank else None
            if price is not None:
                sums["job", price.version] = Fraction(price.micro)
    return {key: round(value) for key, value in sums.items() if value}


def _disjoint(lease: LeaseRow, lines: Iterable[UsageLine]) -> list[tuple[int, int, UsageLine]]:
    until = lease.granted_ms
    runs = []
    for line in sorted(lines, key=lambda line: (line.t0_ms, line.seq)):
        start, end = max(line.t0_ms, until), line.t1_ms
        if lease.released_ms is not None:
            end = min(end, lease.released_ms)
        if start < end:
            runs.append((start, end, line))
            until = end
    return runs


def _held(lease: LeaseRow, runs: Sequence[tuple[int, int]]) -> list[tuple[str, int, int]]:
    if lease.started_ms is None:
        return []
    start = min(lease.started_ms, runs[0][0]) if runs else lease.started_ms
    if lease.released_ms is not None:
        start = min(start, lease.released_ms)
    held = [("preparing", lease.granted_ms, start)]
    if lease.exited_ms is not None and lease.released_ms is not None:
        end = max(lease.exited_ms, runs[-1][1]) if runs else lease.exited_ms
        held.append(("settling", max(end, start), lease.released_ms))
    return [span for span in held if span[1] < span[2]]


def _by_time(
    case: Case,
    sums: dict[tuple[str, int], Fraction],
    sku: str,
    runs: Sequence[tuple[int, int]],
    held: Sequence[tuple[str, int, int]],
    amount: int,
) -> None:
    billed: list[tuple[int, int, PriceVersion]] = []
    for state, start, end in [*held, *(("running", *run) for run in runs)]:
        for cut, following in pairwise(_cuts(case, start, end)):
            price = _price(case, sku, cut)
            if price is not None and state in price.billable and amount:
                billed.append((cut, following, price))
    if not billed:
        return
    total_ms = sum(end - start for start, end, _ in billed)
    _, last_ms, last = max(billed, key=lambda span: span[1])
    least_ms = last.minimum_ms if runs else 0
    paid_ms = max(least_ms, -(-total_ms // last.granularity_ms) * last.granularity_ms)
    for start, end, price in [*billed, (last_ms, last_ms + paid_ms - total_ms, last)]:
        amount_of_unit = amount * (end - start) * UNITS[price.unit]
        key = sku, price.version
        sums[key] = sums.get(key, Fraction(0)) + amount_of_unit * price.micro


def _by_energy(
    case: Case,
    sums: dict[tuple[str, int], Fraction],
    taken: Iterable[tuple[int, int, UsageLine]],
) -> None:
    """In whole mJ: what a segment has drawn by an instant is rounded down."""
    for start, end, line in taken:
        if line.energy_mj is None:
            continue
        share = Fraction(line.energy_mj, line.t1_ms - line.t0_ms)
        for cut, following in pairwise(_cuts(case, start, end)):
            price = _price(case, "energy", cut)
            if price is not None and "running" in price.billable:
                drawn = int(share * (following - line.t0_ms)) - int(share * (cut - line.t0_ms))
                key = "energy", price.version
                sums[key] = sums.get(key, Fraction(0)) + drawn * UNITS["kwh"] * price.micro


def _cuts(case: Case, start: int, end: int) -> list[int]:
    between = {v.effective_from_ms for v in case.versions if start < v.effective_from_ms < end}
    return sorted({start, end, *between})


def _price(case: Case, sku: str, at_ms: int) -> PriceVersion | None:
    lease = case.lease
    return resolve(case.versions, Asked(sku, lease.tenant, lease.site, lease.tier), at_ms)


# -- random leases -------------------------------------------------------------------------------
DAY_MS = 86_400_000
_BILLABLE = (("running",), ("running",), ("preparing", "running"), ("running", "settling"), ())
_SKUS = {
    "gpu": "gpu_hour", "gpu/H100": "gpu_hour", "cpu": "cpu_hour", "cpu/beside-gpu": "cpu_hour",
    "memory": "gib_hour", "energy": "kwh", "job": "job",
}  # fmt: skip


def random_versions(random: Random, begin_ms: int) -> list[PriceVersion]:
    versions = []
    for number in range(1, random.randint(2, 9)):
        sku = random.choice(list(_SKUS))
        versions.append(
            PriceVersion(
                sku=sku,
                version=number,
                effective_from_ms=random.choice((0, begin_ms + random.randint(0, 200_000))),
                unit=_SKUS[sku],  # type: ignore[arg-type]
                micro=random.choice((0, 1, random.randint(2, 9_999_999))),
                tenant=random.choice(("", "", "acme")),
                site=random.choice(("", "", "berlin")),
                tier=random.choice(("", "", "spot")),  # type: ignore[arg-type]
                granularity_ms=random.choice((1, 1, 1_000, 60_000)),
                minimum_ms=random.choice((0, 0, 10_000, 60_000)),
                billable=random.choice(_BILLABLE),  # type: ignore[arg-type]
            )
        )
    return versions


def random_case(random: Random, versions: list[PriceVersion], begin_ms: int) -> Case:
    """A lease that was released: some ran, some never did, some reported more than they held."""
    devices = tuple(f"GPU-{index}" for index in range(random.choice((0, 1, 1, 2))))
    granted = begin_ms + random.randint(0, 60_000)
    started = granted + random.randint(0, 20_000)
    ran = random.random() < 0.95
    at_ms, lines = started, []
    for seq in range(random.randint(0, 4) if ran else 0):
        end_ms = at_ms + random.choice((0, 1, random.randint(1, 70_000)))
        for device in devices or ("",):
            energy = random.choice((None, random.randint(0, 90_000_000)))
            milli = random.choice((1_000, 250))
            lines.append(UsageLine(seq, device, milli, at_ms, end_ms, energy if device else None))
        at_ms = end_ms - random.choice((0, 0, 0, 5))
    milli = 250 if lines and lines[0].milli == 250 else 1_000
    lines = [line._replace(milli=milli) for line in lines]
    exited = at_ms + random.randint(0, 100)
    released = exited + random.choice((0, random.randint(0, 5_000), -random.randint(0, 3_000)))
    released = max(granted, released)
    lease = LeaseRow(
        lease_seq=7,
        job_id="01MCC5RM000000000000000001",
        rank=random.choice((0, 0, 1)),
        tenant=random.choice(("acme", "lab")),
        attempt=1,
        node="n1",
        devices=devices,
        gpu_milli=milli,
        cpu_milli=milli,
        granted_ms=granted,
        started_ms=started if ran or random.random() < 0.5 else None,
        exited_ms=random.choice((exited, exited, None)),
        released_ms=released,
        released_seq=9,
        tier=random.choice(("", "spot")),
        site=random.choice(("", "berlin")),
        memory_mib=random.choice((0, 1, 4_096)),
    )
    random.shuffle(lines)
    models = {device: random.choice(("H100", "A100")) for device in devices}
    return Case(lease, models, versions, lines)
