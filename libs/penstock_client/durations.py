"""How do people write and read lengths of time, instants and amounts?

Text to whole seconds or Unix ms and back. It does not know what the time is for, nor the time now.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

_UNITS_S = {"d": 86_400, "h": 3_600, "m": 60, "s": 1, "": 1}
DURATION_S_MAX = 100 * 366 * 86_400
_PART = re.compile(r"([0-9]+)([dhms]?)")
_WHOLE = re.compile(r"([0-9]+[dhm])*([0-9]+s?)?")


def parse_duration_s(text: str) -> int:
    """`90`, `90s`, `5m`, `1h30m`, `2d`: seconds. Raises ValueError."""
    text = text.strip().lower().replace(" ", "")
    if not text or not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a length of time; write 90, 90s, 5m or 1h30m")
    total_s = sum(int(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))
    if total_s > DURATION_S_MAX:
        raise ValueError(f"{text[:40]!r} is longer than a century")
    return total_s


def parse_instant_ms(text: str, now_ms: int) -> int:
    """An ISO 8601 date or time (UTC unless it says otherwise), or a length of time ago (`24h`)."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            return now_ms - parse_duration_s(text) * 1000
        except ValueError:
            raise ValueError(
                f"{text!r} is neither a time such as 2026-11-23T08:00 nor a length such as 24h"
            ) from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def format_duration(ms: int | None) -> str:
    """`1h 02m`, `3m 05s`, `4.2s`, `12ms`; unknown is `-`."""
    if ms is None:
        return "-"
    if ms < 1000:
        return f"{ms}ms"
    if ms < 60_000:
        return f"{ms / 1000:.1f}s"
    minutes, seconds = divmod(ms // 1000, 60)
    if minutes < 60:
        return f"{minutes}m {seconds:02}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02}m" if hours < 48 else f"{hours // 24}d {hours % 24:02}h"


def format_instant(ms: int | None) -> str:
    """Local time to the second; unknown is `-`."""
    if ms is None:
        return "-"
    return datetime.fromtimestamp(ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def format_money(micro: int | None, currency: str) -> str:
    """Micro-currency as `12.345678 USD`; unknown is `-`."""
    if micro is None:
        return "-"
    sign, micro = "-" if micro < 0 else "", abs(micro)
    return f"{sign}{micro // 1_000_000}.{micro % 1_000_000:06} {currency}".rstrip()


def format_gpu_hours(milli_ms: int | None) -> str:
    """Milli-GPU (or milli-core) ms as hours of a whole one; unknown is `-`."""
    return "-" if milli_ms is None else f"{milli_ms / 3_600_000_000:.6f}"
