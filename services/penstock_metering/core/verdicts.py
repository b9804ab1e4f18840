"""How are profit and loss told: which line, what breaks even, and why is it so?

Turns sums into lines, worst first, each with its break-even price, its break-even utilisation and
a sentence. It does not know how the sums were made.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from penstock_contracts.prices import QUANTITY_PER_UNIT
from penstock_contracts.profits import NOT_BILLED, NOT_SOLD, ProfitLine
from penstock_metering.core.costs import ENERGY, rounded
from penstock_metering.core.profit import HOURS, IDLE, IDLE_ENERGY, REVENUE, SHARES, Tally
from penstock_metering.core.spread import Integers

Which: TypeAlias = int | npt.NDArray[np.bool_]
"""One key, or those that are marked."""

GPU_HOUR = QUANTITY_PER_UNIT["gpu_hour"]
PPM = 1_000_000
_WORDS = {
    "held": "held for work that did not run yet or any more",
    "free_no_demand": "free with nobody asking for it",
    "free_fragmented": "free, but in no shape that any waiting job could use",
    "free_quota": "free while waiting jobs were not allowed to use it",
    "draining": "kept from new work",
    "broken": "broken",
    "unknown": "out of sight",
}


def lines_of(tally: Tally, limit: int) -> tuple[list[ProfitLine], list[ProfitLine]]:
    """The worst `limit` lines, worst first, and the rest as one line a currency."""
    ranked: list[tuple[int, int, str]] = []
    for currency in tally.currencies:
        profit = tally.profit(currency)
        there = np.flatnonzero(_is_there(tally, currency))
        ranked += [(int(profit[at]), int(at), currency) for at in _least(profit, there, limit)]
    ranked.sort()
    lines = [line_of(tally, at, currency) for _, at, currency in ranked[:limit]]
    others = []
    for currency in tally.currencies:
        shown = [at for _, at, own in ranked[:limit] if own == currency]
        rest = _is_there(tally, currency)
        rest[shown] = False
        if rest.any():
            others.append(_sum_line(tally, rest, currency, f"{int(rest.sum())} others"))
    return lines, others


def job_lines(tally: Tally) -> tuple[list[ProfitLine], list[ProfitLine]]:
    """All lines of a tally of jobs, worst first, and its last key, all other jobs, for itself."""
    lines, _ = lines_of(tally, len(tally.names) * max(1, len(tally.currencies)))
    rest = tally.names[-1]
    others = [line for line in lines if line.key == rest and line.sold_milli_ms]
    return [line for line in lines if line.key != rest], others


def totals_of(tally: Tally) -> list[ProfitLine]:
    """One line a currency over all keys."""
    everything = np.ones(len(tally.names), dtype=bool)
    return [_sum_line(tally, everything, currency, "total") for currency in tally.currencies]


def line_of(tally: Tally, at: int, currency: str) -> ProfitLine:
    line = _sum_line(tally, at, currency, tally.names[at])
    return msgspec.structs.replace(line, why=_why(tally, at, line))


def _is_there(tally: Tally, currency: str) -> npt.NDArray[np.bool_]:
    """Keys with anything to tell in this currency; time counts in every currency."""
    there: npt.NDArray[np.bool_] = (tally.capacity != 0) | (tally.sold != 0)
    for (_, own), micro in tally.amounts.items():
        if own == currency:
            there |= micro != 0
    return there


def _least(profit: Integers, there: npt.NDArray[Any], limit: int) -> list[int]:
    order = np.lexsort((there, profit[there]))[:limit]
    found: list[int] = there[order].tolist()
    return found


def _sum_line(tally: Tally, which: Which, currency: str, key: str) -> ProfitLine:
    def total(what: str) -> int:
        micro = tally.amounts.get((what, currency))
        return 0 if micro is None else int(micro[which].sum())

    parts = {name: total(name) for name in ("energy", "depreciation", "rent", "hosting")}
    payout = total(SHARES) + total(HOURS)
    revenue, cost = total(REVENUE), payout + sum(parts.values())
    capacity, sold = int(tally.capacity[which].sum()), int(tally.sold[which].sum())
    price, share = None, None
    if capacity and sold:
        price = _price(cost - total(SHARES), revenue, total(SHARES), sold)
        share = _utilisation(
            fixed=cost - payout - parts[ENERGY],
            idle_energy=total(IDLE_ENERGY),
            gained=revenue - payout - parts[ENERGY] + total(IDLE_ENERGY),
            sold=sold,
            capacity=capacity,
        )
    return ProfitLine(
        key=key,
        currency=currency,
        revenue_micro=revenue,
        payout_micro=payout,
        energy_micro=parts["energy"],
        depreciation_micro=parts["depreciation"],
        rent_micro=parts["rent"],
        hosting_micro=parts["hosting"],
        cost_micro=cost,
        profit_micro=revenue - cost,
        idle_micro=total(IDLE),
        capacity_milli_ms=capacity,
        sold_milli_ms=sold,
        break_even_micro=price,
        break_even_ppm=share,
    )


def _price(cost: int, revenue: int, shares: int, sold: int) -> int | None:
    """Micro per GPU-hour sold at which nothing is lost, when owners get the same share of it."""
    kept, of = (revenue - shares, revenue) if revenue > 0 else (1, 1)
    return rounded(cost * GPU_HOUR * of, sold * kept) if kept > 0 else None


def _utilisation(
    *, fixed: int, idle_energy: int, gained: int, sold: int, capacity: int
) -> int | None:
    """The part u of the time that must be sold, in ppm rounded up, for nothing to be lost:
    `u·C·g = F + (1 − u)·C·e`, where g is what a sold hour leaves after energy and payouts, e what
    the energy of an unsold hour costs. None when selling more makes it worse."""
    unsold = capacity - sold
    if not unsold:
        return -(-fixed * PPM // gained) if gained > 0 else None
    numerator = (fixed * unsold + idle_energy * capacity) * sold
    denominator = capacity * (gained * unsold + idle_energy * sold)
    return -(-numerator * PPM // denominator) if denominator > 0 else None


def _why(tally: Tally, at: int, line: ProfitLine) -> str:
    """The greatest cause of a loss; of a gain what it rests on."""
    if not line.capacity_milli_ms or line.key in (NOT_SOLD, NOT_BILLED):
        return ""
    causes = sorted(
        (-int(micro[at]), state)
        for (state, currency), micro in tally.idle_costs.items()
        if currency == line.currency and micro[at] > 0
    )
    below = line.cost_micro - line.idle_micro - line.revenue_micro
    if line.sold_milli_ms and below > 0 and (not causes or below >= -causes[0][0]):
        return (
            f"sold {_percent(line.sold_milli_ms, line.capacity_milli_ms)} of the time at "
            f"{_per_hour(line.revenue_micro, line)}, which costs "
            f"{_per_hour(line.cost_micro - line.idle_micro, line)} while it is sold"
        )
    if causes:
        cost, state = causes[0]
        time = int(tally.idle_time[state][at])
        return (
            f"{_WORDS[state]} for {_percent(time, line.capacity_milli_ms)} of the time, "
            f"which cost {_money(-cost)} {line.currency}"
        )
    return f"sold {_percent(line.sold_milli_ms, line.capacity_milli_ms)} of the time"


def _per_hour(micro: int, line: ProfitLine) -> str:
    return f"{_money(rounded(micro * GPU_HOUR, line.sold_milli_ms))} {line.currency} a GPU-hour"


def _money(micro: int) -> str:
    cents = rounded(micro, 10_000)
    sign, cents = ("-", -cents) if cents < 0 else ("", cents)
    return f"{sign}{cents // 100}.{cents % 100:02}"


def _percent(part: int, whole: int) -> str:
    tenths = rounded(part * 1_000, whole)
    return f"{tenths // 10}.{tenths % 10} %"


def known_ppm(known_ms: int, capacity_milli_ms: int) -> int | None:
    """How much of device time has measured energy."""
    total = capacity_milli_ms // 1_000
    return min(PPM, known_ms * PPM // total) if total else None
