"""How are measurements told? One JSON object a line on stdout, progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence


def emit(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def percentile(samples: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def spread(samples_ms: Sequence[float]) -> dict[str, float | int]:
    """p50, p99, smallest, largest and count, in ms."""
    return {
        "p50_ms": round(percentile(samples_ms, 50), 3),
        "p90_ms": round(percentile(samples_ms, 90), 3),
        "p99_ms": round(percentile(samples_ms, 99), 3),
        "min_ms": round(min(samples_ms), 3),
        "max_ms": round(max(samples_ms), 3),
        "samples": len(samples_ms),
    }
