"""Whom does the first in line hold up that does not fit?

Nobody, as a rule; under `fifo` all of its pool, under `hold` so for a while. A job that no node
could take now holds up nobody, nor does one that has a place to come, or for which nobody could pay
if there were room. It does not know why it does not fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock_contracts.journal import JobFact
from penstock_contracts.queue_facts import HeadHeld, HeadPassed
from penstock_scheduler.core.money.payable import could_pay
from penstock_scheduler.core.placing.placement import may_ever_run
from penstock_scheduler.core.queue.order import place_of
from penstock_scheduler.core.shapes import Shape, plain
from penstock_scheduler.core.state import Job

if TYPE_CHECKING:
    from penstock_scheduler.core.fold import State


def decide_blocked(
    state: State, job: Job, shape: Shape, now_ns: int, *, has_room: bool = False
) -> Sequence[JobFact]:
    """The job is next and fits nowhere: its shape is passed over, or its pool waits for it.
    `has_room`: only where nobody can pay for it."""
    pool, job_id = state.rules.pool_named(job.spec.pool), job.spec.job_id
    in_turn = pool.order in ("fifo", "hold") and not job.passed
    in_turn = in_turn and _may_hold_up(state, job_id, shape)
    if (has_room and not in_turn) or (in_turn and not could_pay(state, job, shape, now_ns)):
        state.line.leave_unpaid(shape)
        return ()
    if not in_turn:
        state.line.pass_over(shape)
        return ()
    if pool.order == "hold" and state.heads.get(pool.name, ("", 0))[0] != job_id:
        return (HeadHeld(pool.name, job_id),)
    state.line.wait_for(shape, place_of(job, pool))
    return ()


def decide_passed(state: State, now_ns: int) -> list[JobFact]:
    """Who has held up others for long enough does so no more."""
    return [
        HeadPassed(name, job_id)
        for name, (job_id, since_ns) in sorted(state.heads.items())
        if now_ns >= since_ns + state.rules.pool_named(name).hold_s * 1_000_000_000
    ]


def _may_hold_up(state: State, job_id: str, shape: Shape) -> bool:
    if state.places.of(job_id) is not None:
        return False
    return may_ever_run(plain(shape), state.nodes, state.capacity)
