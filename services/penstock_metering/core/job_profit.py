"""What remained of what single jobs brought?

Of a month's jobs there are too many to divide every amount among all of them; so what is told of
one is its exact share of each line and of each device's cost, rounded by itself, and all others
together get what is left. It does not know which jobs are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from penstock_contracts.costs import PPM, CostVersion
from penstock_contracts.prices import QUANTITY_PER_UNIT
from penstock_contracts.profits import NOT_BILLED, NOT_SOLD
from penstock_metering.core.costs import Cells, rounded
from penstock_metering.core.device_days import SOLD_COUNT, DeviceDays
from penstock_metering.core.profit import HOURS, REVENUE, SHARES, Tally
from penstock_metering.core.sales import Sales
from penstock_metering.core.spread import Integers, sums_by_group

OTHER_JOBS = "all other jobs"
_PER_GPU_HOUR = QUANTITY_PER_UNIT["gpu_hour"]


class JobUse(NamedTuple):
    """What a job used of one SKU on one device: indexes into jobs, devices (−1 = none) and lines
    (−1 = none), as in `Sales`; `payout` is what its owner gets, where there is one."""

    job: int
    device: int
    line: int
    ran: int
    billed: int
    payout: CostVersion | None = None


class Rates(NamedTuple):
    """Of each line what it bills in all; of each device what ran on it, and per (component,
    currency) what its sold time cost."""

    billed: Integers
    ran: Integers
    costs: dict[tuple[str, str], Integers]


def rates(days: DeviceDays, cells: Cells, sales: Sales) -> Rates:
    lined, placed = np.flatnonzero(sales.line >= 0), np.flatnonzero(sales.device >= 0)
    ran = np.maximum(sales.ran[placed], 0)
    return Rates(
        billed=sums_by_group(sales.billed[lined], sales.line[lined], len(sales.lines)),
        ran=sums_by_group(ran, sales.device[placed], len(days.devices)),
        costs={
            key: sums_by_group(micro[:, :SOLD_COUNT].sum(axis=1), days.device, len(days.devices))
            for key, micro in cells.items()
        },
    )


def tally_of_jobs(
    tenants: Tally, jobs: Sequence[str], uses: Iterable[JobUse], sales: Sales, of: Rates
) -> Tally:
    """The jobs, what the rest of `tenants` (a tally by owner) holds beside tenants, and last all
    other jobs together: what sums to the same as `tenants`."""
    tally = Tally([*jobs, NOT_SOLD, NOT_BILLED, OTHER_JOBS])
    for key, micro in tenants.amounts.items():
        tally.amounts[key] = np.zeros(len(tally.names), dtype=np.int64)
        tally.amounts[key][-3:-1] = micro[-2:]
    for use in uses:
        _add(tally, use, sales, of)
    for key, micro in tenants.amounts.items():
        tally.amounts[key][-1] = micro.sum() - tally.amounts[key].sum()
    tally.capacity[-3] = tenants.capacity.sum()
    tally.sold[-1] = tenants.sold.sum() - tally.sold.sum()
    return tally


def _add(tally: Tally, use: JobUse, sales: Sales, of: Rates) -> None:
    tally.sold[use.job] += use.ran
    if use.line >= 0 and of.billed[use.line] > 0:
        line = sales.lines[use.line]
        revenue = rounded(line.amount_micro * use.billed, int(of.billed[use.line]))
        tally.amounts[REVENUE, line.currency][use.job] += revenue
        if use.payout is not None and use.payout.share_ppm:
            share = rounded(revenue * use.payout.share_ppm, PPM)
            tally.amounts[SHARES, line.currency][use.job] += share
    if use.payout is not None and use.payout.micro and use.ran > 0:
        hours = rounded(use.payout.micro * use.ran, _PER_GPU_HOUR)
        tally.amounts[HOURS, use.payout.currency][use.job] += hours
    if use.device >= 0 and use.ran > 0 and of.ran[use.device] > 0:
        for key, micro in of.costs.items():
            cost = int(micro[use.device]) * use.ran
            tally.amounts[key][use.job] += rounded(cost, int(of.ran[use.device]))
