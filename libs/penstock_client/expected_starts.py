"""How is it said when a job is expected to start, and how good that was?

Words from instants. It does not know how anything is expected.
"""

from __future__ import annotations

from penstock_client.durations import format_duration, format_instant

NOT_LATE_MS = 1_000
"""What is placed within a second of what was said came when it was said."""


def what_was_said(start_ms: int | None, said_ms: int, placed_ms: int | None) -> str:
    """What was expected of an attempt's start, when, and what came of it, where that is known."""
    said = f"as was said at {format_instant(said_ms)}"
    if start_ms is None:
        return f"nobody could say at {format_instant(said_ms)}{_after(said_ms, placed_ms)}"
    if placed_ms is None:
        return f"{format_instant(start_ms)}, {said}"
    off_ms = placed_ms - start_ms
    if abs(off_ms) < NOT_LATE_MS:
        came = "it came when it was expected"
    else:
        came = f"it came {format_duration(abs(off_ms))} {'later' if off_ms > 0 else 'earlier'}"
    return f"{format_instant(start_ms)}, {said}; {came}"


def _after(said_ms: int, placed_ms: int | None) -> str:
    if placed_ms is None:
        return ""
    return f"; it came {format_duration(placed_ms - said_ms)} after that"


def what_is_expected(start_ms: int, now_ms: int) -> str:
    """An instant to come, and how far off that is."""
    if start_ms <= now_ms:
        return "now"
    return f"{format_instant(start_ms)}, in {format_duration(start_ms - now_ms)}"
