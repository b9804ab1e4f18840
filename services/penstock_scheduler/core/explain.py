"""Why is a job where it is?

A typed answer for every state, from committed state: what it needs, what is free, who is ahead, and
which places were considered. It does not know when that will change.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.explanations import Explanation
from penstock_contracts.jobs import PLACED, PREPARING, QUEUED
from penstock_contracts.journal import NodeImaged
from penstock_scheduler.core.affording import why_unpaid
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.placement import fits_elsewhere, place, without_refusals
from penstock_scheduler.core.queue.resting_jobs import TRIES_MAX
from penstock_scheduler.core.reasons import Reason, Reasons, considered_now
from penstock_scheduler.core.state import Job, Shape, shape_of
from penstock_scheduler.core.waits import free_in_words, needs_of, obstacles_of, would_do


def explain(state: State, job: Job, reasons: Reasons, now_ns: int = 0) -> Explanation:
    """The explanation of a live job. `reasons`: those of the decisions made lately."""
    if job.state == QUEUED:
        return _resting(job, now_ns) or _unpaid(state, job, now_ns) or _waiting(state, job)
    nodes = ", ".join(sorted({rank.node for rank in job.ranks}))
    if job.stop_reason:
        ended = sum(rank.exited is not None for rank in job.ranks)
        progress = f"{ended} of {len(job.ranks)} rank(s) have ended on {nodes}"
        sentence = f"stopping ({job.stop_reason}): {progress}"
        return _explanation(job, "stopping", sentence)
    if job.state in (PLACED, PREPARING):
        ready = sum(rank.prepared or rank.started for rank in job.ranks)
        sentence = f"starting on {nodes}: {ready} of {len(job.ranks)} rank(s) prepared"
        found = _explanation(job, "preparing", sentence)
    else:
        sentence = f"running on {nodes} as attempt {job.attempt}"
        found = _explanation(job, "running", sentence)
    taken = shape_of(job.spec.resolved(job.alternative), job.avoid, job.tenant)
    found = msgspec.structs.replace(found, needed=needs_of(taken), alternative=job.alternative)
    return _with_reason(found, reasons.of(job, state))


def _with_reason(found: Explanation, reason: Reason) -> Explanation:
    return msgspec.structs.replace(
        found,
        policy=reason.policy,
        as_of=reason.as_of,
        considered=reason.able,
        places=reason.places,
    )


def _explanation(
    job: Job,
    code: str,
    sentence: str,
    needed: str = "",
    free: str = "",
    position: int | None = None,
) -> Explanation:
    return Explanation(
        job_id=job.spec.job_id,
        state=job.state,
        code=code,
        sentence=sentence,
        needed=needed,
        free=free,
        position=position,
    )


def _resting(job: Job, now_ns: int) -> Explanation | None:
    if job.rests_until_ns is None:
        return None
    left_s = max(0, -(-(job.rests_until_ns - now_ns) // 1_000_000_000))
    why = f"; the last one: {job.trouble}" if job.trouble else ""
    sentence = (
        f"resting for another {left_s} s: {job.failed_starts} attempts in a row could not be "
        f"started, and at {TRIES_MAX} it is given up{why}"
    )
    return _explanation(job, "resting", sentence, _needed(job.shape))


def _needed(shape: Shape) -> str:
    return " or ".join(needs_of(option) for option in (shape, *shape.alternatives))


def _unpaid(state: State, job: Job, now_ns: int) -> Explanation | None:
    why = why_unpaid(state, job, now_ns)
    if why is None:
        return None
    shape = job.shape
    needed = _needed(shape)
    position = state.line.position(job.spec.job_id)
    sentence = f"waiting to be paid for: {why}"
    return _explanation(job, "waiting_for_budget", sentence, needed, "", position)


def _waiting(state: State, job: Job) -> Explanation:
    shape = job.shape
    needed = _needed(shape)
    position = state.line.position(job.spec.job_id)
    if not state.nodes:
        return _explanation(
            job, "no_nodes", "no node has joined the mesh yet", needed, "", position
        )
    if not any(node.schedulable for node in state.nodes.values()):
        states = sorted({_closed_because(n.image) for n in state.nodes.values()})
        sentence = f"no node takes work now: all {len(state.nodes)} are {' or '.join(states)}"
        found = _explanation(job, "no_schedulable_node", sentence, needed, "", position)
        return msgspec.structs.replace(found, obstacles=obstacles_of(shape, state))
    ahead = f"; {position} job(s) ahead in line" if position else ""
    placed = place(shape, state.nodes, state.capacity)
    left_out = _left_out(shape, state)
    asked = shape if left_out else without_refusals(shape)
    options = obstacles_of(asked, state)
    free = free_in_words(shape, options[0])
    if left_out:
        free += f"; not asked while others could hold it: {', '.join(left_out)} (refused it)"
    if placed is not None:
        nodes = ", ".join(sorted({rank.node for rank in placed.ranks}))
        sentence = f"room is there ({free}): {nodes} in the next round{ahead}"
        found = _explanation(job, "waiting_behind", sentence, needed, free, position)
        found = _with_reason(found, considered_now(shape, placed, state))
        return msgspec.structs.replace(found, obstacles=options)
    take = would_do(asked, options)
    fit = options[0].ranks_fit
    ranks = "" if fit is None else f"{fit} of {shape.ranks} rank(s) would fit now; "
    sentence = f"waiting for {needed}: {ranks}{take + '; ' if take else ''}{free}{ahead}"
    found = _explanation(job, "waiting_for_devices", sentence, needed, free, position)
    return msgspec.structs.replace(found, obstacles=options)


def _left_out(shape: Shape, state: State) -> tuple[str, ...]:
    """Nodes that are not asked because they have refused the job and others could hold it."""
    elsewhere = shape.avoid and fits_elsewhere(shape, state.nodes, state.capacity)
    return shape.avoid if elsewhere else ()


def _closed_because(image: NodeImaged) -> str:
    if image.draining:
        return "draining"
    if image.cordoned:
        return "cordoned"
    if image.closed:
        return image.closed
    if image.failing:
        return "resting, as the work of several tenants failed there"
    if image.refusals:
        return "resting after it refused work"
    return str(image.liveness)
