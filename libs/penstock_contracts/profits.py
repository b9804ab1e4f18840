"""What did devices, nodes, tenants and jobs bring, and what did they cost?

The question for profit and loss of a month, and its answer. Money is integer micro-currency, time
is milli-GPU·ms. It does not know how they are computed.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock_contracts.bounds import Name
from penstock_contracts.queries import Limit

By = Literal["device", "node", "model", "site", "tenant", "job"]
BY: tuple[By, ...] = ("device", "node", "model", "site", "tenant", "job")
WORST_SHOWN = 3
NOT_SOLD = "(not sold)"
"""The key, beside tenants and jobs, of what time that nobody bought cost."""
NOT_BILLED = "(not billed this month)"
"""The key of what sold time cost that no line of this month pays for."""


class ProfitQuery(msgspec.Struct, frozen=True, omit_defaults=True):
    """`query.metering.profit`. `month` as `2026-11`, empty = the present one."""

    by: By = "device"
    month: Name = ""
    limit: Limit = 100


class IdleTime(msgspec.Struct, frozen=True):
    """Why time brought nothing: `reason` is a state of device time."""

    reason: str
    milli_ms: int
    cost_micro: int
    currency: str


class Payout(msgspec.Struct, frozen=True):
    """What is owed to the owner of borrowed hosts."""

    owner: str
    micro: int
    currency: str


class ProfitLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One device, node, … in one currency. `cost_micro` is the sum of the five before it,
    `profit_micro` revenue less it; `idle_micro` is the part of it that fell on time which was not
    sold. `break_even_micro`: what a GPU-hour must bring at this
    utilisation; `break_even_ppm`: how much of the time must be sold at what it brought (above
    1,000,000: no utilisation is enough). None = cannot be said. `why`: a sentence.
    """

    key: str
    currency: str
    revenue_micro: int = 0
    payout_micro: int = 0
    energy_micro: int = 0
    depreciation_micro: int = 0
    rent_micro: int = 0
    hosting_micro: int = 0
    cost_micro: int = 0
    profit_micro: int = 0
    idle_micro: int = 0
    capacity_milli_ms: int = 0
    sold_milli_ms: int = 0
    break_even_micro: int | None = None
    break_even_ppm: int | None = None
    why: str = ""


class ProfitView(msgspec.Struct, frozen=True, kw_only=True):
    """Worst first. `others` sums up what is beyond the limit; `totals` is over everything, one line
    a currency, and equals the sum of `lines` and `others`. `models` and `worst` (devices) come with
    every question. `energy_known_ppm`: of device time, None = there was none."""

    month: str
    closed: bool
    by: By
    lines: tuple[ProfitLine, ...]
    others: tuple[ProfitLine, ...]
    totals: tuple[ProfitLine, ...]
    models: tuple[ProfitLine, ...]
    worst: tuple[ProfitLine, ...]
    idle: tuple[IdleTime, ...]
    payouts: tuple[Payout, ...]
    energy_known_ppm: int | None
