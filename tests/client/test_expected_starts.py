"""How is it said when a job is expected to start, and how good that was?"""

from __future__ import annotations

import pytest

from penstock_client.durations import format_instant
from penstock_client.expected_starts import what_is_expected, what_was_said

SAID_MS = 1_800_000_000_000
START_MS = SAID_MS + 600_000
SAID = f"as was said at {format_instant(SAID_MS)}"
START = format_instant(START_MS)


@pytest.mark.parametrize(
    ("placed_ms", "sentence"),
    [
        (None, f"{START}, {SAID}"),
        (START_MS + 40_000, f"{START}, {SAID}; it came 40.0s later"),
        (START_MS - 125_000, f"{START}, {SAID}; it came 2m 05s earlier"),
        (START_MS + 999, f"{START}, {SAID}; it came when it was expected"),
    ],
)
def test_it_is_said_how_far_off_an_estimate_was(placed_ms: int | None, sentence: str) -> None:
    assert what_was_said(START_MS, SAID_MS, placed_ms) == sentence


def test_where_nobody_could_say_it_is_told_how_long_it_took() -> None:
    nobody = f"nobody could say at {format_instant(SAID_MS)}"
    assert what_was_said(None, SAID_MS, None) == nobody
    assert what_was_said(None, SAID_MS, SAID_MS + 4_000) == f"{nobody}; it came 4.0s after that"


def test_an_instant_to_come_is_said_with_how_far_off_it_is() -> None:
    assert what_is_expected(START_MS, SAID_MS) == f"{START}, in 10m 00s"
    assert what_is_expected(SAID_MS, START_MS) == "now"
