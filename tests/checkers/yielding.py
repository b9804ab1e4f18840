"""Did nobody yield in vain, and nobody who need not?

Judges each attempt that was asked to yield: for whom, whether that one is entitled to it, whether
what the victims held suffices, and whether the one they yielded to then began. It does not know how
victims are chosen.
"""

from __future__ import annotations

from collections.abc import Iterator

from penstock_contracts.jobs import GPU_MILLI_WHOLE, JobSpec
from penstock_contracts.journal import (
    JobFinished,
    LeaseGranted,
    NodeForgotten,
    NodeImaged,
    PlaceGivenUp,
    PlaceKept,
    PolicySet,
    StopRequested,
)
from penstock_contracts.queue_facts import PREEMPTION
from penstock_contracts.queue_policy import Quota
from tests.checkers.history import History, Violation
from tests.checkers.places import Kept, kept_on, taken_by
from tests.checkers.queueing import Scene, Told, Wanted, follow_queue

PREEMPTED, SPOT, ALL, NONE = "preempted", "spot", "all", "none"
OWN_CHANGES = ("quota", "budget")
"""A place may be given up because he whose it is may not have it any more."""

Broken = tuple[str, str]


def check_yielding(history: History) -> list[Violation]:
    """Every attempt that yielded to nobody, in vain, or though it need not have."""
    walk = _Walk()
    found = [
        Violation(
            code=code, sentence=f"JOBS {told.seq} {what}", job_id=told.fact.job_id, at_ns=told.at_ns
        )
        for told, scene in follow_queue(history)
        for code, what in walk.judge(told, scene)
    ]
    return found + walk.left(history)


class _Walk:
    """`owed`: places for which others have yielded. `changed`: nodes of which something has, since
    places were kept."""

    def __init__(self) -> None:
        self.owed: dict[str, Kept] = {}
        self.changed: set[str] = set()

    def judge(self, told: Told, scene: Scene) -> Iterator[Broken]:
        fact = told.fact
        if isinstance(fact, PlaceKept) and fact.cause == PREEMPTION:
            self.owed[fact.job_id] = Kept(fact, told.seq)
            self.changed -= {rank.node for rank in fact.ranks}
            if fact.job_id in scene.waiting:
                yield from _suffice(Kept(fact, told.seq), scene)
                yield from _entitled(fact, scene)
        elif isinstance(fact, StopRequested) and fact.reason == PREEMPTED:
            kept = [one for one in told.beside if isinstance(one, PlaceKept)]
            if not any(fact.job_id in one.victims for one in kept):
                yield "preempted_for_nobody", f"ends {fact.job_id} for no place that it names"
        elif isinstance(fact, LeaseGranted | JobFinished):
            self.owed.pop(fact.job_id, None)
        elif isinstance(fact, PlaceGivenUp):
            place = self.owed.pop(fact.job_id, None)
            if place is not None and not self._has_cause(place, fact):
                yield "preempted_in_vain", f"gives up ({fact.reason}) what others have yielded"
        elif isinstance(fact, NodeImaged | NodeForgotten):
            self.changed.add(fact.node)
        elif isinstance(fact, PolicySet):
            self.owed.clear()

    def _has_cause(self, place: Kept, fact: PlaceGivenUp) -> bool:
        nodes = {rank.node for rank in place.fact.ranks}
        return fact.reason in OWN_CHANGES or bool(nodes & self.changed)

    def left(self, history: History) -> list[Violation]:
        """Who got nothing in the end."""
        if history.ending is None or history.ending.drained_ns is None:
            return []
        at_ns = history.ending.drained_ns
        return [
            Violation(
                code="preempted_in_vain", sentence=f"{job_id} never got what others have yielded",
                job_id=job_id, at_ns=at_ns,
            )
            for job_id in self.owed
        ]  # fmt: skip


def _suffice(place: Kept, scene: Scene) -> Iterator[Broken]:
    """What is free, and what the victims hold, is all that is kept; each of them is needed."""
    fact, wanted = place.fact, scene.waiting[place.fact.job_id]
    asked = wanted.spec.resolved(fact.alternative)
    nodes = {rank.node for rank in fact.ranks}
    awaited = {*fact.victims, *fact.awaits}
    for node in sorted(nodes & scene.images.keys()):
        image = scene.images[node]
        stays = taken_by(lease for lease in scene.on(node) if lease.job_id not in awaited)
        whole = dict.fromkeys((uuid for uuid, _, _ in image.devices), GPU_MILLI_WHOLE)
        whole |= {"cpu": image.cpu_milli, "memory": image.memory_mib}
        for what, kept in kept_on(fact, node, asked).items():
            left = whole.get(what, 0) - stays.get(what, 0)
            if left < kept:
                yield "victims_do_not_suffice", f"keeps {kept} of {what} on {node}, of {left}"
    for victim in fact.victims:
        on = {lease.node for lease in scene.leases.values() if lease.job_id == victim}
        if not on & nodes and not _makes_room(scene, wanted, scene.wanted.get(victim)):
            yield "victim_for_nothing", f"ends {victim}, which holds nothing where the place is"


def _makes_room(scene: Scene, taker: Wanted, victim: Wanted | None) -> bool:
    """Whether both count in a quota that may hold only so much."""
    if victim is None:
        return False
    bounded = {
        quota.name
        for quota in scene.policy.path_of(taker.spec, taker.tenant)
        if quota.maximum_gpu_milli is not None or quota.maximum_cpu_milli is not None
    }
    return any(one.name in bounded for one in scene.policy.path_of(victim.spec, victim.tenant))


def _entitled(fact: PlaceKept, scene: Scene) -> Iterator[Broken]:
    """Whether each victim, one after the other, has to yield to that job."""
    taker = scene.waiting[fact.job_id]
    pool = scene.policy.pool_of_job(taker.spec)
    if pool.preempt == NONE and fact.victims:
        yield "preempted_where_none_yields", f"ends {fact.victims} in pool {pool.name}"
        return
    ending = {job_id for job_id, _ in scene.stopping if _is_stopping(scene, job_id)}
    gone = set(ending)
    for victim in fact.victims:
        holder = scene.jobs.get(victim)
        if holder is None:
            yield "victim_of_no_life", f"ends {victim}, which has ended"
            continue
        ask = gpu_milli_of(taker.spec.resolved(fact.alternative))
        path = scene.policy.path_of(taker.spec, taker.tenant)
        covers = any(_held(scene, one, ending) + ask <= one.guaranteed_gpu_milli for one in path)
        if not _why_it_may(scene, taker, holder, pool.preempt, gone, covers=covers):
            yield "victim_need_not_yield", f"ends {victim} for {fact.job_id}, which may not ask it"
        gone.add(victim)


def _is_stopping(scene: Scene, job_id: str) -> bool:
    job = scene.jobs.get(job_id)
    return job is None or (job_id, job.attempt) in scene.stopping


def _why_it_may(
    scene: Scene, taker: Wanted, holder: Wanted, preempt: str, gone: set[str], *, covers: bool
) -> str:
    """By which right; empty = by none. `covers`: whether a guarantee does the taker."""
    if holder.spec.tier == SPOT and taker.spec.tier != SPOT:
        return SPOT
    mine = scene.policy.path_of(taker.spec, taker.tenant)
    theirs = scene.policy.path_of(holder.spec, holder.tenant)
    if preempt == ALL and mine[:1] == theirs[:1]:
        return ALL if holder.spec.priority <= taker.spec.priority else ""
    own = {quota.name for quota in mine}
    apart = [quota for quota in theirs if quota.name not in own]
    over = all(_held(scene, quota, gone) > quota.guaranteed_gpu_milli for quota in apart)
    return "reclaim" if over and covers and mine != theirs else ""


def _held(scene: Scene, quota: Quota, gone: set[str]) -> int:
    """Milli-GPU that count there, without jobs that are to end."""
    held = 0
    for lease in scene.leases.values():
        wanted = scene.wanted[lease.job_id]
        path = scene.policy.path_of(wanted.spec, wanted.tenant)
        if lease.job_id not in gone and any(one.name == quota.name for one in path):
            held += lease.gpu_milli * len(lease.devices)
    return held


def gpu_milli_of(asked: JobSpec) -> int:
    return asked.ranks * asked.gpus * asked.gpu_milli
