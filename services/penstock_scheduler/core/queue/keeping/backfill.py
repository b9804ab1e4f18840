"""When does a job that is blocked begin, and where?

From when what runs is expected to end, and an exact placement on the fleet as it will be. That
place is kept for the first of a pool, or for each of the first ones, so that what comes later
delays it no more. Decided at every tick, from the state alone. It does not know who goes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock_contracts.journal import JobFact
from penstock_contracts.queue_facts import BACKFILL, KeptRank, PlaceGivenUp, PlaceKept
from penstock_contracts.queue_policy import Pool
from penstock_scheduler.core.queue.keeping.ends import Ends, Start
from penstock_scheduler.core.queue.keeping.places import Place, sure_end_ms
from penstock_scheduler.core.queue.keeping.reservations import in_the_way
from penstock_scheduler.core.shapes import Shape
from penstock_scheduler.core.state import Job

if TYPE_CHECKING:
    from penstock_scheduler.core.fold import State

PLACES_MAX = {"none": 0, "easy": 1, "conservative": 32}
"""So many jobs of a pool have a place at once."""
LOOKED_AT_MAX = 64
"""So many waiting jobs are looked at for one that may have a place."""
NEW_MAX = 4
"""Places that one tick gives to jobs of a pool."""
GAIN_MS_MIN = 5_000
"""For less than that a place is not made anew."""
BETTER_EVERY_S = 5
"""So often one of the places is looked at anew."""
AWAITS_MAX = 1_024


def earliest(
    state: State, job: Job, shape: Shape, now_ns: int, ends: Ends | None = None
) -> Start | None:
    """When the job could begin if nothing else were placed before, besides what is kept for others;
    None = never on the nodes that take work now. `ends`: those of now, where they are known."""
    ends = Ends(state, now_ns) if ends is None else ends
    return ends.first_fit(shape, job.spec.job_id)


def decide(state: State, now_ns: int) -> list[JobFact]:
    """Keeps places for those who are first, and better ones for those who have one."""
    facts: list[JobFact] = []
    ends = Ends(state, now_ns)
    for pool in state.rules.pools:
        most = PLACES_MAX[pool.backfill]
        mine = [place for place in state.places if _is_of(place, pool, state)]
        facts += _new(state, pool, most, mine, ends) if most else []
        if not facts and mine:
            facts += _better(state, mine, ends)
        if facts:
            return facts  # what it changes is seen at the next tick
    return facts


def _is_of(place: Place, pool: Pool, state: State) -> bool:
    job = state.jobs[place.fact.job_id]
    return place.fact.cause == BACKFILL and state.rules.pool_named(job.spec.pool) is pool


def _new(state: State, pool: Pool, most: int, mine: list[Place], ends: Ends) -> list[JobFact]:
    """A place for the first of the pool that has none, where one may be kept."""
    looked_at, never = 0, set()
    for job_id, shape in state.line.in_order(pool.name, ends.now_ms * 1_000_000):
        looked_at += 1
        if looked_at > LOOKED_AT_MAX:
            break
        if state.places.get(job_id) is not None:
            continue
        job = state.jobs[job_id]
        yields = _yielding(mine, job, state) if len(mine) >= most else None
        if len(mine) >= most and yields is None:
            break
        start = None if shape in never else ends.first_fit(shape, job_id, beside=True)
        if start is None or start.at_ms <= ends.now_ms:
            never.add(shape)
            continue  # as things are it can never run, and holds up nobody; or it is next anyway
        if _is_meant_for_others(state, shape, start, ends.now_ms):
            never.add(shape)
            continue
        facts: list[JobFact] = []
        if yields is not None:
            facts.append(PlaceGivenUp(yields.fact.job_id, "a job of a higher class is first"))
        return [*facts, _kept(state, job, start, ends)]
    return []


def _is_meant_for_others(state: State, shape: Shape, start: Start, now_ms: int) -> bool:
    """Whether a node there is set aside for a tenant who is not to be kept from it until then."""
    for name in {rank.node: None for rank in start.placed.ranks}:
        window = in_the_way(state, state.nodes[name], shape, now_ms)
        if window is not None and window.tenant:
            return True
    return False


def _yielding(mine: list[Place], job: Job, state: State) -> Place | None:
    """The last place of a job of a lower class."""
    for place in reversed(mine):
        if state.jobs[place.fact.job_id].spec.priority < job.spec.priority:
            return place
    return None


def _better(state: State, mine: list[Place], ends: Ends) -> list[JobFact]:
    """One of the places, each time another: earlier, or what it waited for is late."""
    turn, rest = divmod(ends.now_ms // 1000, BETTER_EVERY_S)
    if rest:
        return []
    place = mine[turn % len(mine)]
    job = state.jobs[place.fact.job_id]
    start = ends.first_fit(state.shape_of(job), place.fact.job_id, beside=True)
    late = bool(place.fact.awaits) and place.fact.at_ms <= ends.now_ms
    if start is None or (start.at_ms > place.fact.at_ms - GAIN_MS_MIN and not late):
        return []
    if late and _ranks(start) == place.fact.ranks and start.at_ms < ends.now_ms + GAIN_MS_MIN:
        return []
    better = _kept(state, job, start, ends)
    if start.at_ms > ends.now_ms and _is_less_sure(better, place.fact):
        return []
    return [better]


def _is_less_sure(better: PlaceKept, before: PlaceKept) -> bool:
    """Whether a promise would be put off for something that is only expected."""
    if before.sure_ms is None:
        return False
    return better.sure_ms is None or better.sure_ms > before.sure_ms


def _kept(state: State, job: Job, start: Start, ends: Ends) -> PlaceKept:
    awaits: dict[str, None] = {}
    sure_ms: int | None = start.at_ms
    for name in {rank.node: None for rank in start.placed.ranks}:
        for lease_id in sorted(state.nodes[name].leases):
            lease = state.leases[lease_id]
            if ends.of(lease_id) > start.at_ms:
                continue
            end_ms = sure_end_ms(lease)
            if end_ms is None or end_ms > start.at_ms:
                awaits[lease.job_id] = None
            if sure_ms is not None:
                sure_ms = None if end_ms is None else max(sure_ms, end_ms)
    return PlaceKept(
        job.spec.job_id,
        _ranks(start),
        start.at_ms,
        BACKFILL,
        start.placed.alternative,
        (),
        tuple(awaits)[:AWAITS_MAX],
        sure_ms,
    )


def _ranks(start: Start) -> tuple[KeptRank, ...]:
    return tuple(KeptRank(one.rank, one.node, one.devices) for one in start.placed.ranks)
