"""Which day and month is an instant in?

Periods are calendar months in UTC, written `2026-11`; days are counted from 1970-01-01. Integer
arithmetic on the proleptic Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date
algorithms"), since a core knows no clock and no time zone.
"""

from __future__ import annotations

import re

MS_PER_DAY = 86_400_000
_MONTH = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])")
_DAYS_PER_ERA = 146_097
_EPOCH_DAYS = 719_468


def is_month(text: str) -> bool:
    """Whether it is written as a month is: `2026-11`."""
    return _MONTH.fullmatch(text) is not None


def day_of(at_ms: int) -> int:
    """The day of a Unix time in ms, counted from 1970-01-01."""
    return at_ms // MS_PER_DAY


def month_of(at_ms: int) -> str:
    """The month of a Unix time in ms."""
    return month_of_day(day_of(at_ms))


def month_of_day(day: int) -> str:
    year, month, _ = _civil(day)
    return f"{year:04}-{month:02}"


def date_of_day(day: int) -> str:
    """`2026-11-23`."""
    year, month, of_month = _civil(day)
    return f"{year:04}-{month:02}-{of_month:02}"


def next_month(month: str) -> str:
    year, number = _parts(month)
    return f"{year + number // 12:04}-{number % 12 + 1:02}"


def month_bounds_ms(month: str) -> tuple[int, int]:
    """The month as half-open Unix time `[start_ms, end_ms)`."""
    return _first_day(month) * MS_PER_DAY, _first_day(next_month(month)) * MS_PER_DAY


def month_days(month: str) -> range:
    """Its days, counted from 1970-01-01."""
    return range(_first_day(month), _first_day(next_month(month)))


def posting_month(month: str, closed_until: str) -> str:
    """Where use of `month` is billed: there, or in the first month that is open when it is closed.
    `closed_until` is the last closed month; empty = none is."""
    return max(month, next_month(closed_until)) if closed_until else month


def _parts(month: str) -> tuple[int, int]:
    year, _, number = month.partition("-")
    return int(year), int(number)


def _first_day(month: str) -> int:
    year, number = _parts(month)
    year -= number <= 2
    era, of_era = divmod(year, 400)
    of_year = (153 * ((number + 9) % 12) + 2) // 5
    return era * _DAYS_PER_ERA + of_era * 365 + of_era // 4 - of_era // 100 + of_year - _EPOCH_DAYS


def _civil(day: int) -> tuple[int, int, int]:
    """(year, month, day of month)"""
    era, of_era = divmod(day + _EPOCH_DAYS, _DAYS_PER_ERA)
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    return year + era * 400 + (month <= 2), month, of_year - (153 * shifted + 2) // 5 + 1
