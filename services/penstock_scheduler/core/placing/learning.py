"""When is it said anew what will be asked for?

At a take-over, when the fleet has changed, and when enough jobs were seen since the last time. What
an operator has given stands until it is given no more. It does not know how shapes are counted.
"""

from __future__ import annotations

from collections import Counter

from penstock_contracts.expectations import WorkloadExpected
from penstock_contracts.journal import JobFact
from penstock_scheduler.core.events import ExpectationOffered
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.placing.expectation import given, told_devices
from penstock_scheduler.core.state import Shape


def decide_offered(state: State, event: ExpectationOffered, now_ns: int) -> list[JobFact]:
    """What is given is taken when it differs from what stands; what is learned, when nothing
    stands that was learned for this fleet."""
    standing, devices = state.expectation.fact, state.capacity.models()
    if event.given is not None:
        fact = given(event.given, devices)
        return [] if fact == standing else [fact]
    if standing is not None and not standing.given and standing.devices == told_devices(devices):
        return []
    return [_learned(state, now_ns)]


def decide_due(state: State, now_ns: int) -> list[JobFact]:
    """Whether enough was seen to learn from."""
    standing = state.expectation.fact
    if not state.expectation.is_due or (standing is not None and standing.given):
        return []
    return [_learned(state, now_ns)]


def _learned(state: State, now_ns: int) -> WorkloadExpected:
    """Jobs that have waited since before this entry, so found no room, count once more."""
    waiting: Counter[Shape] = Counter()
    for job_id, shape in state.line.waiting():
        if state.jobs[job_id].submitted_ns < now_ns:
            waiting[shape] += 1
    return state.expectation.learned(state.capacity.models(), waiting.items())
