"""Why is a job where it is?

A typed answer for every state, from committed state: why it waits, or where it is and which places
were considered. It does not know who asks.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.explanations import Explanation
from penstock_contracts.jobs import PLACED, PREPARING, QUEUED
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.shapes import shape_of
from penstock_scheduler.core.state import Job
from penstock_scheduler.core.telling.reasons import Reasons
from penstock_scheduler.core.telling.waiting import explanation, said_of, why_waiting, with_reason
from penstock_scheduler.core.telling.waits import needs_of


def explain(state: State, job: Job, reasons: Reasons, now_ns: int = 0) -> Explanation:
    """The explanation of a live job. `reasons`: those of the decisions made lately."""
    if job.state == QUEUED:
        return why_waiting(state, job, now_ns)
    nodes = ", ".join(sorted({rank.node for rank in job.ranks}))
    if job.stop_reason:
        ended = sum(rank.exited is not None for rank in job.ranks)
        progress = f"{ended} of {len(job.ranks)} rank(s) have ended on {nodes}"
        sentence = f"stopping ({job.stop_reason}): {progress}"
        return explanation(job, "stopping", sentence)
    if job.state in (PLACED, PREPARING):
        ready = sum(rank.prepared or rank.started for rank in job.ranks)
        sentence = f"starting on {nodes}: {ready} of {len(job.ranks)} rank(s) prepared"
        found = explanation(job, "preparing", sentence)
    else:
        sentence = f"running on {nodes} as attempt {job.attempt}"
        found = explanation(job, "running", sentence)
    taken = shape_of(job.spec.resolved(job.alternative), job.avoid, job.tenant)
    found = msgspec.structs.replace(found, needed=needs_of(taken), alternative=job.alternative)
    found = msgspec.structs.replace(found, said=said_of(job))
    return with_reason(found, reasons.of(job, state))
