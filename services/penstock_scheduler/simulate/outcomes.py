"""What do several runs say together?

Means, spreads, and differences paired by seed. It does not know what was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

DIGITS = 4


class Spread(NamedTuple):
    """Mean and standard deviation (n - 1) over seeds; `sd` is None with one seed."""

    mean: float
    sd: float | None


def spread(values: Sequence[float]) -> Spread:
    sd = round(stdev(values), DIGITS) if len(values) > 1 else None
    return Spread(round(fmean(values), DIGITS), sd)


def paired(values: Sequence[float], to: Sequence[float]) -> dict[str, Any]:
    """Of the differences, seed by seed, the spread, the standard error of the mean, and the least
    and the greatest."""
    differences = [value - other for value, other in zip(values, to, strict=True)]
    found = spread(differences)
    se = None if found.sd is None else round(found.sd / len(differences) ** 0.5, DIGITS)
    ends = {
        "least": round(min(differences), DIGITS),
        "greatest": round(max(differences), DIGITS),
    }
    return {**found._asdict(), "se": se, **ends}


def replays_summary(lines: Sequence[dict[str, Any]], policies: Sequence[str]) -> dict[str, Any]:
    """Of the lines of replays, by policy: waiting and allocation, and both paired with the first
    policy's. A replay in which no job could run has waited 0 s; one in which nobody waited is as
    full then as ever."""
    found: list[dict[str, Any]] = []
    first = _measures(lines, policies[0])
    for policy in policies:
        own = _measures(lines, policy)
        line: dict[str, Any] = {"policy": policy, "seeds": len(own["allocated_percent"])}
        line |= {what: spread(values)._asdict() for what, values in own.items()}
        if policy != policies[0]:
            pairs = {what: paired(values, first[what]) for what, values in own.items()}
            line["paired_difference"] = {"to": policies[0]} | pairs
        found.append(line)
    return {"summary": found}


def _measures(lines: Sequence[dict[str, Any]], policy: str) -> dict[str, list[float]]:
    own = [line for line in lines if line["policy"] == policy]
    return {
        "queueing_mean_s": [line["queueing_s"]["mean"] or 0.0 for line in own],
        "waited": [line["waited"] for line in own],
        "allocated_percent": [line["allocated_percent"] for line in own],
        "allocated_percent_while_waiting": [
            line["allocated_percent_while_waiting"] or line["allocated_percent"] for line in own
        ],
        "fragmented_percent": [line["fragmented_percent"] for line in own],
        "ended_s": [line["ended_s"] for line in own],
    }
