"""What is missing, so that jobs wait?

It does not know who waits, nor for how long.
"""

from __future__ import annotations

from penstock_contracts.journal import DemandNoted, JobFact
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.queue.line import Line
from penstock_scheduler.core.queue.quotas.shares import ask_of
from penstock_scheduler.core.shapes import Shape


def decide_demand(state: State, now_ns: int) -> list[JobFact]:
    """Why jobs wait, when that is for other reasons than was said."""
    if state.line.first(now_ns) is not None:
        return []  # it is still being tried where they fit
    blocked = blocked_of(state.line) if state.nodes else {}
    return [] if blocked.keys() == state.demand.keys() else [DemandNoted(blocked)]


def blocked_of(line: Line) -> dict[str, int]:
    """Milli-GPU that shapes passed over ask for, by what they wait for, and by model where they
    would take some only."""
    found: dict[str, int] = {}
    for demand, jobs, reason in line.passed_over():
        asked = jobs * ask_of(demand).gpu_milli
        if asked:
            for model in _wanted_models(demand):
                key = f"{reason}/{model}" if model else reason
                found[key] = found.get(key, 0) + asked
    return found


def _wanted_models(shape: Shape) -> tuple[str, ...]:
    """The models on which it could run; one empty name when it takes any."""
    choices = (shape, *shape.alternatives)
    if any(not choice.gpu_models for choice in choices):
        return ("",)
    return tuple(dict.fromkeys(model for choice in choices for model in choice.gpu_models))
