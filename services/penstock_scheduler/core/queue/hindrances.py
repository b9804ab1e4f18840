"""What of the queue's policy is in the way of a job that waits?

Its quotas, what is kept and set aside for others, and who is first: as values and in words. It does
not know what is free, nor when that will change.
"""

from __future__ import annotations

from typing import NamedTuple

from penstock_contracts.explanations import KeptPlace
from penstock_contracts.queue_facts import PREEMPTION, PlaceKept
from penstock_contracts.queue_policy import Reservation
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.queue.admission import in_units, never_allows, over_maximum
from penstock_scheduler.core.queue.keeping.futures import Future
from penstock_scheduler.core.queue.keeping.reservations import holds, keeps_out
from penstock_scheduler.core.queue.quotas.promises import holding
from penstock_scheduler.core.queue.quotas.shares import ask_of
from penstock_scheduler.core.queue.starts import is_unknown
from penstock_scheduler.core.shapes import Shape
from penstock_scheduler.core.state import Job

SHOWN_MAX = 5
"""So many places, jobs and nodes are named."""


class Held(NamedTuple):
    """The quota that holds a job back, and what that means, in words."""

    quota: str
    sentence: str


def held_by_quota(state: State, shape: Shape, job_id: str) -> Held | None:
    """Whose maximum none of the job's choices is within; None = one of them is."""
    leaf = shape.leaf
    if leaf is None or not leaf.quota:
        return None
    found = []
    for option in (shape, *shape.alternatives):
        quota = holding(state, leaf, ask_of(option), job_id)
        if quota is None:
            return None
        found.append(quota)
    quota, ask = found[0], ask_of(shape)
    if never_allows(quota, ask):
        return Held(
            quota.name, f"as the policy is now it can never run: {over_maximum(quota, ask)}"
        )
    account = state.shares.quotas[quota.name]
    gpu, cpu = quota.maximum_gpu_milli, quota.maximum_cpu_milli
    over_gpu = 0 if gpu is None else account.held_gpu + ask.gpu_milli - gpu
    if ask.gpu_milli and over_gpu > 0 and gpu is not None:
        what, held, most, asked, over = "GPU(s)", account.held_gpu, gpu, ask.gpu_milli, over_gpu
    else:
        most = account.held_cpu if cpu is None else cpu
        what, held, asked = "core(s)", account.held_cpu, ask.cpu_milli
        over = held + asked - most
    sentence = (
        f"quota {quota.name} holds {in_units(held)} of at most {in_units(most)} {what}, and the "
        f"job asks for {in_units(asked)}"
    )
    if over > 0:
        return Held(quota.name, f"{sentence}: {in_units(over)} more have to be given back")
    return Held(quota.name, f"{sentence}: the rest is promised to a job for which others yield")


def own_place(state: State, job_id: str) -> KeptPlace | None:
    """What is kept for the job itself."""
    fact = state.places.of(job_id)
    return None if fact is None else _place(state, fact)


def own_place_in_words(state: State, place: KeptPlace, now_ms: int) -> str:
    """What is kept for it, and what it waits for."""
    kept = state.places.get(place.job_id)
    victims = () if kept is None else kept.fact.victims
    where = ", ".join(place.nodes)
    if kept is not None and is_unknown(kept):
        return f"a place is kept for it on {where}, where nobody knows when work ends"
    if place.cause == PREEMPTION and victims:
        left = sum(victim in state.jobs for victim in victims)
        asked = f"{len(victims)} job(s) there were asked to yield, {left} of them live"
        return f"a place is kept for it on {where}: {asked}; it is free {in_time(place, now_ms)}"
    return f"a place is kept for it on {where}, where work is to end {in_time(place, now_ms)}"


def in_time(place: KeptPlace, now_ms: int) -> str:
    """`in 40 s`, or that it should have been by now."""
    left_s = -(-(place.at_ms - now_ms) // 1000)
    return f"in {left_s} s" if left_s > 0 else "any moment"


def kept_for_others(state: State, shape: Shape, job_id: str) -> tuple[KeptPlace, ...]:
    """What is kept for others just where the job would fit otherwise; none when it would not."""
    others = [place.fact.job_id for place in state.places if place.fact.job_id != job_id]
    if not others:
        return ()
    placed = Future(state, lifted=others).place(shape)
    if placed is None:
        return ()
    facts: dict[str, PlaceKept] = {}
    for rank in placed.ranks:
        for fact in state.places.on(rank.node):
            if fact.job_id != job_id:
                facts[fact.job_id] = fact
    return tuple(_place(state, fact) for fact in list(facts.values())[:SHOWN_MAX])


def kept_in_words(places: tuple[KeptPlace, ...], now_ms: int) -> str:
    """For whom, and when that is to begin."""
    whose = ", ".join(
        f"job {place.job_id} of {place.tenant} ({in_time(place, now_ms)})" for place in places
    )
    return (
        f"room is there, but it is kept for {whose}; who states a time_limit_s and ends before "
        f"may go first"
    )


def set_aside(state: State, shape: Shape, now_ms: int) -> tuple[Reservation, ...]:
    """Reservations that keep the job from nodes of its pool now."""
    pool = "" if shape.leaf is None else shape.leaf.pool
    return tuple(
        one
        for one in state.reservations
        if keeps_out(one, shape, now_ms)
        and any(node.pool == pool and holds(one, node) for node in state.nodes.values())
    )


def set_aside_in_words(one: Reservation, shape: Shape, now_ms: int) -> str:
    """`maint: nodes are set aside for nobody in 600 s, and the job might still run then`."""
    whom = one.tenant or "nobody"
    if now_ms >= one.start_ms:
        until_s = -(-(one.end_ms - now_ms) // 1000)
        return f"nodes are set aside for {whom} for another {until_s} s ({one.name})"
    starts_s = -(-(one.start_ms - now_ms) // 1000)
    known = "by its limit it" if shape.bound_s else "it states no time_limit_s and"
    return (
        f"nodes are set aside for {whom} in {starts_s} s ({one.name}), and {known} might still "
        f"run then"
    )


def behind(state: State, job_id: str, now_ns: int) -> tuple[str, ...]:
    """The first few of those ahead of it in its pool."""
    return tuple(state.line.ahead(job_id, now_ns, SHOWN_MAX))


def held_up_by(state: State, job: Job, shape: Shape, now_ns: int) -> str:
    """Who holds up the whole pool, in words; "" = nobody but those that fit."""
    if shape.leaf is None:
        return ""
    pool = state.rules.pool_named(shape.leaf.pool)
    head = state.line.turns.stopped_by(pool.name)
    if head is None or head == job.spec.job_id:
        return ""
    order = "strictly in order"
    if pool.order == "hold":
        since_ns = state.heads.get(pool.name, (head, now_ns))[1]
        left_s = max(0, pool.hold_s - (now_ns - since_ns) // 1_000_000_000)
        order = f"in order, for {left_s} s more at most"
    return f"pool {pool.name} goes {order}, and job {head} is first"


def _place(state: State, fact: PlaceKept) -> KeptPlace:
    nodes = sorted({rank.node for rank in fact.ranks})
    return KeptPlace(
        job_id=fact.job_id,
        tenant=state.jobs[fact.job_id].tenant,
        cause=fact.cause,
        at_ms=fact.at_ms,
        nodes=tuple(nodes[:SHOWN_MAX]),
    )
