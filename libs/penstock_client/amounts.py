"""How do people write and read amounts of money and shares?

Text to integer micro-currency and back, exactly: no binary fraction is ever in between. It does not
know what the amounts are for.
"""

from __future__ import annotations

import re

MICRO = 1_000_000
PPM = 1_000_000
_AMOUNT = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,6}))?")
_PERCENT = re.compile(r"([0-9]{1,3})(?:\.([0-9]{1,4}))?\s*%")


def parse_micro(text: str) -> int:
    """`28000`, `0.115`: micro-currency. Raises ValueError."""
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:40]!r} is not an amount; write 28000 or 0.115")
    return int(found[1]) * MICRO + int((found[2] or "").ljust(6, "0"))


def parse_ppm(text: str) -> int:
    """`70%`, `12.5 %`: parts per million, at most all of it. Raises ValueError."""
    found = _PERCENT.fullmatch(text.strip())
    ppm = int(found[1]) * 10_000 + int((found[2] or "").ljust(4, "0")) if found else PPM + 1
    if ppm > PPM:
        raise ValueError(f"{text[:40]!r} is not a share; write 70% or 12.5%")
    return ppm


def format_cents(micro: int | None) -> str:
    """`1,234.56`, rounded half to even for the eye; unknown is `-`."""
    if micro is None:
        return "-"
    cents, rest = divmod(abs(micro), 10_000)
    cents += rest > 5_000 or (rest == 5_000 and cents % 2 == 1)
    sign = "-" if micro < 0 and cents else ""
    return f"{sign}{cents // 100:,}.{cents % 100:02}"


def format_share(part: int | None, whole: int = PPM) -> str:
    """`12.3 %`; unknown, or of nothing, is `-`."""
    return "-" if part is None or not whole else f"{100 * part / whole:.1f} %"
