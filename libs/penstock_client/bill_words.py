"""How is what stands on a bill said to a person?

Quantities and amounts exactly, as far as digits go, and a line in words. It does not know terminals
nor HTML.
"""

from __future__ import annotations

from datetime import UTC, datetime

from penstock_contracts.bills import Bill, BillLine
from penstock_contracts.prices import (
    CPU,
    CPU_BESIDE_GPU,
    ENERGY,
    GPU,
    GPU_PREFIX,
    JOB,
    MEMORY,
    QUANTITY_PER_UNIT,
)

DIGITS = 6
_SCALE = 10**DIGITS
_UNITS = {
    "gpu_hour": "GPU h",
    "cpu_hour": "core h",
    "gib_hour": "GiB h",
    "kwh": "kWh",
    "job": "started",
}
_USES = {
    GPU: "GPU time",
    CPU: "CPU time",
    CPU_BESIDE_GPU: "CPU time beside GPUs",
    MEMORY: "Memory",
    ENERGY: "Energy of devices",
    JOB: "Jobs started",
}
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def unit_words(unit: str) -> str:
    return _UNITS.get(unit, unit)


def quantity_words(quantity: int, unit: str) -> str:
    """In hours, kWh or pieces, to a millionth: `1,234.5`. The last digit is rounded half to even
    for the eye; the amount is computed from the whole quantity."""
    per_unit = QUANTITY_PER_UNIT.get(unit, 1)
    size = abs(quantity) * _SCALE
    whole, rest = divmod(size, per_unit)
    whole += 2 * rest > per_unit or (2 * rest == per_unit and whole % 2 == 1)
    return ("-" if quantity < 0 and whole else "") + _digits(whole, 0)


def money_words(micro: int) -> str:
    """Every digit there is, two at least: `1,234.567891`, `25.00`."""
    return ("-" if micro < 0 else "") + _digits(abs(micro), 2)


def _digits(scaled: int, least: int) -> str:
    whole, rest = divmod(scaled, _SCALE)
    behind = f"{rest:0{DIGITS}}".rstrip("0").ljust(least, "0")
    return f"{whole:,}.{behind}" if behind else f"{whole:,}"


def month_words(month: str) -> str:
    """`November 2026`"""
    year, _, number = month.partition("-")
    return f"{_MONTHS[int(number) - 1]} {year}"


def day_words(at_ms: int) -> str:
    """The day in UTC: `2 December 2026`."""
    day = datetime.fromtimestamp(at_ms / 1000, UTC)
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def title_words(bill: Bill) -> str:
    """`Invoice INV-000001`, `Credit note CN-000003`, `Draft of an invoice`."""
    kind = bill.kind.replace("_", " ")
    if bill.number:
        return f"{kind.capitalize()} {bill.number}"
    return f"Draft of {'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def use_words(sku: str) -> str:
    if sku.startswith(GPU_PREFIX):
        return f"GPU time on {sku.removeprefix(GPU_PREFIX)}"
    return _USES.get(sku, sku)


def line_words(line: BillLine, bill: Bill) -> str:
    """What the line is for."""
    if line.kind == "rounding":
        return "Rounding"
    if line.kind == "credit_note":
        place = f", line {line.refers}" if line.refers else ""
        return f"Credit for {bill.refers}{place}"
    tier = line.tier.replace("_", "-")
    off = f"{money_words(line.discount_ppm * 100).removesuffix('.00')} % off the list price"
    parts = (tier, line.site and f"site {line.site}", line.discount_ppm and off)
    qualified = ", ".join(part for part in parts if part)
    return use_words(line.sku) + (f" ({qualified})" if qualified else "")


def correction_words(line: BillLine) -> str:
    """Of a line that corrects a closed month."""
    return f"Correction for {month_words(line.corrects)}" if line.corrects else ""
