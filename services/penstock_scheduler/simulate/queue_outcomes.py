"""What do the stories of fleets come to?

Waiting and completion, use, work done twice and shares, of all fleets of a trace together; and of
the waiting that an oracle would save, how much a policy saves. It does not know how they went.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from penstock_scheduler.simulate.outcomes import DIGITS
from penstock_scheduler.simulate.queue_world import Story

HOUR_MILLI_MS = 3_600_000_000
FIRST, ORACLE = "fifo", "sjf"
"""Between these two is the gap that policies close."""


def line_of(policy: str, stories: Sequence[Story], left_out: int) -> dict[str, Any]:
    """What is printed of one policy. Times in seconds."""
    done = [one for story in stories for one in story.done]
    makespan_ms = max(story.makespan_ms for story in stories)
    room = sum(story.capacity_milli for story in stories) * makespan_ms
    worked = sum(one.worked_ms * one.gpu_milli for one in done)
    held = sum(story.held_milli_ms for story in stories)
    errors = {name: error for story in stories for name, error in story.share_error.items()}
    return {
        "policy": policy,
        "fleets": len(stories),
        "gpus": sum(story.capacity_milli for story in stories) // 1000,
        "jobs": len(done),
        "left_out": left_out,
        "never_ran": sum(story.refused for story in stories),
        "queueing_s": _spread([one.queued_ms / 1000 for one in done]),
        "completion_s": _spread([one.completed_ms / 1000 for one in done]),
        "makespan_s": round(makespan_ms / 1000, DIGITS),
        "utilisation_percent": round(100 * worked / room, DIGITS) if room else None,
        "held_percent": round(100 * held / room, DIGITS) if room else None,
        "preemptions": sum(one.yielded for one in done),
        "gpu_hours_lost": round(
            sum(one.lost_ms * one.gpu_milli for one in done) / HOUR_MILLI_MS, DIGITS
        ),
        "share_error_percent": {name: round(error, DIGITS) for name, error in errors.items()},
        "by_fleet": {
            story.fleet: {
                "jobs": len(story.done),
                "queueing_mean_s": _mean([one.queued_ms / 1000 for one in story.done]),
                "preemptions": sum(one.yielded for one in story.done),
            }
            for story in stories
        },
    }


def summary(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of each policy the means; and of what lies between strict order of arrival and an oracle's
    order, how much of the waiting it saves, where both were tried."""
    means = {line["policy"]: line["queueing_s"]["mean"] for line in lines}
    first, oracle = means.get(FIRST), means.get(ORACLE)
    found = []
    for line in lines:
        one = {what: line[what] for what in ("policy", "utilisation_percent", "gpu_hours_lost")}
        one["queueing_mean_s"] = mean = line["queueing_s"]["mean"]
        one["completion_mean_s"] = line["completion_s"]["mean"]
        if mean is not None and first is not None and oracle is not None and first > oracle:
            one["gap_closed_percent"] = round(100 * (first - mean) / (first - oracle), DIGITS)
        found.append(one)
    return {"summary": found}


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    ordered = sorted(values)
    return {
        "mean": _mean(ordered),
        "p50": _quantile(ordered, 50),
        "p99": _quantile(ordered, 99),
        "max": _quantile(ordered, 100),
    }


def _mean(values: Sequence[float]) -> float | None:
    return round(fmean(values), DIGITS) if values else None


def _quantile(ordered: Sequence[float], percent: int) -> float | None:
    """The least value that so many percent do not exceed."""
    if not ordered:
        return None
    return round(ordered[max(0, -(-len(ordered) * percent // 100) - 1)], DIGITS)
