"""Why does a job wait?

Because it rests, nobody pays, a quota holds it back, a place is kept for it or for others, its pool
waits for somebody, or there is no room; with who is ahead, what would do, and when it is expected
to begin. It does not know what becomes of jobs that wait no more.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock_contracts.explanations import Explanation, StartSaid
from penstock_contracts.journal import NodeImaged
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.money.affording import why_unpaid
from penstock_scheduler.core.placing.placement import fits_elsewhere, place, without_refusals
from penstock_scheduler.core.queue import hindrances
from penstock_scheduler.core.queue.starts import expected_start_ms
from penstock_scheduler.core.resting.jobs import TRIES_MAX
from penstock_scheduler.core.shapes import Shape
from penstock_scheduler.core.state import Job, Node
from penstock_scheduler.core.telling.reasons import Reason, considered_now
from penstock_scheduler.core.telling.waits import free_in_words, needs_of, obstacles_of, would_do

NS_PER_MS = 1_000_000
UNPAID = "waiting_for_budget"


def why_waiting(state: State, job: Job, now_ns: int) -> Explanation:
    """The explanation of a job that waits. `now_ns` 0: nothing is said of what is to come."""
    shape = state.shape_of(job)
    found = (
        _resting(job, now_ns)
        or _unpaid(state, job, now_ns)
        or _held_back(state, job, shape)
        or _placed_later(state, job, now_ns)
        or _without_nodes(state, job, shape)
        or _without_room(state, job, shape, now_ns)
    )
    leaf = shape.leaf
    found = msgspec.structs.replace(
        found,
        position=state.line.position(job.spec.job_id),
        needed=_needed(job.shape),
        pool="" if leaf is None or state.rules.is_plain else leaf.pool,
        behind=hindrances.behind(state, job.spec.job_id, now_ns),
        said=said_of(job),
    )
    if not now_ns or found.code in (UNPAID, "no_nodes"):
        return found
    return _with_expected(found, expected_start_ms(state, job, now_ns), now_ns)


def _with_expected(found: Explanation, start_ms: int | None, now_ns: int) -> Explanation:
    if start_ms is None:
        when = "nobody can say when it begins"
    else:
        left_s = -(-(start_ms - now_ns // NS_PER_MS) // 1000)
        when = f"it is expected to begin in {left_s} s" if left_s > 0 else "it may begin any moment"
    return msgspec.structs.replace(
        found, sentence=f"{found.sentence}; {when}", expected_start_ms=start_ms
    )


def said_of(job: Job) -> StartSaid | None:
    """What was said of the start of this attempt, and what came of it."""
    if job.estimated_ms is None:
        return None
    placed_ms = None if job.placed_ns is None else job.placed_ns // NS_PER_MS
    return StartSaid(said_ms=job.estimated_ms, start_ms=job.expected_start_ms, placed_ms=placed_ms)


def with_reason(found: Explanation, reason: Reason) -> Explanation:
    return msgspec.structs.replace(
        found,
        policy=reason.policy,
        as_of=reason.as_of,
        considered=reason.able,
        places=reason.places,
    )


def explanation(job: Job, code: str, sentence: str, free: str = "") -> Explanation:
    return Explanation(
        job_id=job.spec.job_id, state=job.state, code=code, sentence=sentence, free=free
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
    return explanation(job, "resting", sentence)


def _needed(shape: Shape) -> str:
    return " or ".join(needs_of(option) for option in (shape, *shape.alternatives))


def _unpaid(state: State, job: Job, now_ns: int) -> Explanation | None:
    why = why_unpaid(state, job, now_ns)
    return None if why is None else explanation(job, UNPAID, f"waiting to be paid for: {why}")


def _held_back(state: State, job: Job, shape: Shape) -> Explanation | None:
    held = hindrances.held_by_quota(state, shape, job.spec.job_id)
    if held is None:
        return None
    found = explanation(job, "waiting_for_quota", held.sentence)
    return msgspec.structs.replace(found, quota=held.quota)


def _placed_later(state: State, job: Job, now_ns: int) -> Explanation | None:
    own = hindrances.own_place(state, job.spec.job_id)
    if own is None:
        return None
    sentence = hindrances.own_place_in_words(state, own, now_ns // NS_PER_MS)
    found = explanation(job, "waiting_for_place", sentence)
    return msgspec.structs.replace(found, place=own)


def _without_nodes(state: State, job: Job, shape: Shape) -> Explanation | None:
    if not state.nodes:
        return explanation(job, "no_nodes", "no node has joined the mesh yet")
    mine = _nodes_of(state, shape)
    whose = "" if state.rules.is_plain or shape.leaf is None else f" of pool {shape.leaf.pool}"
    if not mine:
        return explanation(job, "no_nodes", f"there is no node{whose}")
    if any(node.schedulable for node in mine):
        return None
    states = sorted({_closed_because(node.image) for node in mine})
    sentence = f"no node{whose} takes work now: all {len(mine)} are {' or '.join(states)}"
    found = explanation(job, "no_schedulable_node", sentence)
    return msgspec.structs.replace(found, obstacles=obstacles_of(shape, state))


def _nodes_of(state: State, shape: Shape) -> Sequence[Node]:
    pool = "" if shape.leaf is None else shape.leaf.pool
    return [node for node in state.nodes.values() if node.pool == pool]


def _without_room(state: State, job: Job, shape: Shape, now_ns: int) -> Explanation:
    job_id, now_ms = job.spec.job_id, now_ns // NS_PER_MS
    position = state.line.position(job_id)
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
        held_up = hindrances.held_up_by(state, job, shape, now_ns)
        when = held_up or f"{nodes} in the next round"
        sentence = f"room is there ({free}): {when}{ahead}"
        found = explanation(job, "waiting_behind", sentence, free)
        found = with_reason(found, considered_now(shape, placed, state))
        return msgspec.structs.replace(found, obstacles=options)
    kept = hindrances.kept_for_others(state, shape, job_id)
    closed = hindrances.set_aside(state, shape, now_ms)
    if kept:
        sentence = f"{hindrances.kept_in_words(kept, now_ms)}{ahead}"
        found = explanation(job, "room_is_kept", sentence, free)
    else:
        take = would_do(asked, options)
        fit = options[0].ranks_fit
        ranks = "" if fit is None else f"{fit} of {shape.ranks} rank(s) would fit now; "
        lacks = f"{ranks}{take + '; ' if take else ''}{free}{ahead}"
        sentence = f"waiting for {_needed(job.shape)}: {lacks}"
        found = explanation(job, "waiting_for_devices", sentence, free)
    if closed:
        apart = "; ".join(hindrances.set_aside_in_words(one, shape, now_ms) for one in closed)
        sentence = f"{found.sentence}; {apart}"
        names = tuple(one.name for one in closed)
        found = msgspec.structs.replace(found, sentence=sentence, reservations=names)
    return msgspec.structs.replace(found, obstacles=options, in_the_way=kept)


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
