"""Who is granted what, next?

The first job in line that its quota allows, that somebody pays for, and that fits: first into a
place that is kept for it, then into what is free, then into what others want only later. One job at
a time, so that each is decided on the state that the last one left. It does not know whose turn it
is, nor where a job fits.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from penstock_contracts.journal import JobFact, LeaseGranted
from penstock_contracts.queue_facts import BACKFILL, PREEMPTION, PlaceGivenUp
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.money.budgets import refuses
from penstock_scheduler.core.money.charges import with_site
from penstock_scheduler.core.money.payable import place_payable
from penstock_scheduler.core.money.paying import Deal, deal_of
from penstock_scheduler.core.placing.placement import Placed, any_may_hold, place
from penstock_scheduler.core.queue import heads
from penstock_scheduler.core.queue.keeping import fulfilment, guests
from penstock_scheduler.core.queue.quotas.promises import holding
from penstock_scheduler.core.queue.quotas.shares import ask_of
from penstock_scheduler.core.shapes import Shape
from penstock_scheduler.core.state import Job, Node
from penstock_scheduler.core.telling.reasons import Reasons


def decide_next(state: State, reasons: Reasons, now_ns: int) -> Sequence[JobFact]:
    """The next grant, or what must be said before it; nothing when nobody fits.

    Shapes found not to fit are passed over until something is freed: a cache, not state.
    """
    if state.reservations.look(now_ns // 1_000_000):
        state.places.look_again()
        state.line.reconsider()
    if state.budgets.look(now_ns // 1_000_000):
        state.line.reconsider_all_unpaid()
    if state.places:
        facts = fulfilment.decide(state) or _fulfil(state, reasons, now_ns)
        if facts:
            return facts
    while (first := state.line.first(now_ns)) is not None:
        job_id = _next_of(state, first[0][2], first[1])
        if job_id is None:
            state.line.leave_to_places(first[1])
            continue
        facts = _try(state, reasons, job_id, first[1], now_ns)
        if facts:
            return facts
    return ()


def _next_of(state: State, first: str, shape: Shape) -> str | None:
    """The first of the shape for whom nobody has had to make room: who has such a place takes no
    other. `first`: the first of all."""
    if not state.places.is_promised(first):
        return first
    ids = state.line.queue_of(shape)
    return next((one for one in ids if not state.places.is_promised(one)), None)


def _fulfil(state: State, reasons: Reasons, now_ns: int) -> Sequence[JobFact]:
    """Grants the place that was kept for a job, now that it is free."""
    for job_id, placed, cause in fulfilment.ready(state, now_ns):
        job = state.jobs[job_id]
        shape = state.shape_of(job)
        ask = ask_of((shape, *shape.alternatives)[placed.alternative])
        if shape.leaf is None or holding(state, shape.leaf, ask, job_id) is not None:
            if cause == PREEMPTION:
                continue  # those who fill its quotas are ending
            return (PlaceGivenUp(job_id, "quota"),)
        if cause == BACKFILL and fulfilment.is_overtaken(state, job_id, now_ns):
            return (PlaceGivenUp(job_id, "overtaken"),)
        deal = deal_of(state, job, shape, placed, now_ns)
        if deal is None:
            return (PlaceGivenUp(job_id, "budget"),)
        return _granted(state, reasons, job, shape, placed, deal)
    return ()


def _try(
    state: State, reasons: Reasons, job_id: str, shape: Shape, now_ns: int
) -> Sequence[JobFact]:
    """Grants a job, or passes its shape over; what stands in for the latter is a fact, too."""
    line, job = state.line, state.jobs[job_id]
    if _is_unpaid(state, shape):
        line.leave_unpaid(shape)
        return ()
    among, quotas = _allowed(state, shape, job_id)
    if quotas and not among:
        line.hold_back(shape, quotas)
        return ()
    hopes = line.hopes(shape)
    placed = None
    if hopes is None or any_may_hold(shape, hopes, state.nodes):
        state.capacity.packer.reseed(job.order)
        placed = place(shape, state.nodes, state.capacity, among)
        if placed is None and state.places:
            placed = guests.place_short(state, shape, now_ns)
            if placed is not None and among is not None and placed.alternative not in among:
                placed = None
    if placed is None:
        if among is not None:
            line.hold_back(shape, quotas, partly=True)
            return ()
        return heads.decide_blocked(state, job, shape, now_ns)
    deal = deal_of(state, job, shape, placed, now_ns)
    if deal is None:
        payable = place_payable(state, job, shape, among, now_ns)
        if payable is None:
            return heads.decide_blocked(state, job, shape, now_ns, has_room=True)
        placed, deal = payable
    return _granted(state, reasons, job, shape, placed, deal)


def _is_unpaid(state: State, shape: Shape) -> bool:
    """Whether it needs no look for a place: there is nothing left to pay with."""
    purse = shape.purse
    if purse is None:
        return False
    return refuses(state.budgets.acting(purse.tenant, purse.project)) is not None


def _allowed(
    state: State, shape: Shape, job_id: str
) -> tuple[Collection[int] | None, Collection[str]]:
    """Which of its alternatives the maxima allow now, None = all; and of each other the quota whose
    maximum says no."""
    leaf = shape.leaf
    if leaf is None or not leaf.quota:
        return None, ()
    options = (shape, *shape.alternatives)
    held = [holding(state, leaf, ask_of(option), job_id) for option in options]
    quotas = dict.fromkeys(quota.name for quota in held if quota is not None)
    if not quotas:
        return None, ()
    return [number for number, one in enumerate(held) if one is None], quotas


def _granted(
    state: State, reasons: Reasons, job: Job, shape: Shape, placed: Placed, deal: Deal
) -> Sequence[JobFact]:
    reasons.keep(job, shape, placed, state)
    return (_grant(job, shape, placed, deal, state.nodes),)


def _grant(job: Job, shape: Shape, placed: Placed, deal: Deal, nodes: dict[str, Node]) -> JobFact:
    taken = (shape, *shape.alternatives)[placed.alternative]
    return LeaseGranted(
        job.spec.job_id,
        job.attempt,
        tuple(with_site(place, nodes) for place in placed.ranks),
        taken.gpu_milli,
        taken.cpu_milli,
        taken.memory_mib,
        job.tenant,
        placed.alternative,
        job.spec.project,
        job.spec.tier,
        deal.paid_ms,
        deal.reserved,
    )
