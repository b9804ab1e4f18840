"""What is kept free for whom?

A waiting job may have a place: nothing is put into it that could still be there when the job is to
start. What leases hold there that will have ended by then counts as coming, so that nothing is kept
twice. It does not know why a place was chosen, nor who is next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from penstock_contracts.errors import InvariantError
from penstock_contracts.jobs import QUEUED
from penstock_contracts.queue_facts import PREEMPTION, KeptRank, PlaceGivenUp, PlaceKept
from penstock_scheduler.core.queue.keeping.bounds import surely_s
from penstock_scheduler.core.queue.keeping.kept import Kept, held_by
from penstock_scheduler.core.shapes import Shape, shape_of
from penstock_scheduler.core.state import Job, Lease, LeaseId, Node

if TYPE_CHECKING:
    from penstock_scheduler.core.fold import State


class Place(msgspec.Struct, kw_only=True):
    """A place as it stands since entry `seq`. `coming`: jobs whose end it waits for. `short`: the
    node on which something was missing last, a cache."""

    fact: PlaceKept
    seq: int
    kept_ns: int
    shape: Shape
    nodes: dict[str, list[KeptRank]]
    coming: frozenset[str]
    short: str = ""

    def counts_on(self, lease: Lease) -> bool:
        """Whether what the lease holds will be free when the job is to start."""
        end_ms = sure_end_ms(lease)
        if end_ms is not None and end_ms <= self.fact.at_ms:
            return True
        return lease.job_id in self.coming and lease.lease_seq <= self.seq


class PlaceImage(msgspec.Struct, frozen=True):
    """A place in a snapshot."""

    fact: PlaceKept
    seq: int
    kept_ns: int


def sure_end_ms(lease: Lease) -> int | None:
    """By then the lease has surely ended; that follows from the grant alone."""
    surely = surely_s(lease.spec)
    return None if surely is None else lease.granted_ns // 1_000_000 + 1000 * surely


class Places:
    """The places that are kept. `leases` are the state's; `changed`: those to look at, as something
    has changed on one of their nodes: a cache."""

    def __init__(self, leases: Mapping[LeaseId, Lease]) -> None:
        self._leases = leases
        self._by_job: dict[str, Place] = {}
        self._by_node: dict[str, dict[str, None]] = {}
        self.changed: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._by_job)

    def __iter__(self) -> Iterator[Place]:
        return iter(self._by_job.values())

    def of(self, job_id: str) -> PlaceKept | None:
        """What was said of the job's place."""
        place = self._by_job.get(job_id)
        return None if place is None else place.fact

    def is_promised(self, job_id: str) -> bool:
        """Whether others have had to make room for it."""
        place = self._by_job.get(job_id)
        return place is not None and place.fact.cause == PREEMPTION

    def get(self, job_id: str) -> Place | None:
        return self._by_job.get(job_id)

    def on(self, node: str) -> list[PlaceKept]:
        """The places of which a part lies on the node."""
        return [self._by_job[job_id].fact for job_id in self._by_node.get(node, ())]

    def nodes(self) -> Collection[str]:
        """On which something is kept."""
        return self._by_node

    # -- what changes
    def keep(self, job: Job, fact: PlaceKept, seq: int, now_ns: int) -> dict[str, None]:
        """The job has this place, and no other any more; the nodes that this concerns."""
        touched = self.drop(fact.job_id)
        nodes: dict[str, list[KeptRank]] = {}
        for rank in fact.ranks:
            nodes.setdefault(rank.node, []).append(rank)
        self._by_job[fact.job_id] = Place(
            fact=fact,
            seq=seq,
            kept_ns=now_ns,
            shape=shape_of(job.spec.resolved(fact.alternative), (), job.tenant),
            nodes=nodes,
            coming=frozenset(fact.victims + fact.awaits),
        )
        for name in nodes:
            self._by_node.setdefault(name, {})[fact.job_id] = None
        self.changed[fact.job_id] = None
        return {**touched, **dict.fromkeys(nodes)}

    def drop(self, job_id: str) -> dict[str, None]:
        """Nothing is kept for it any more; the nodes that this concerns."""
        place = self._by_job.pop(job_id, None)
        self.changed.pop(job_id, None)
        if place is None:
            return {}
        for name in place.nodes:
            beside = self._by_node[name]
            del beside[job_id]
            if not beside:
                del self._by_node[name]
        return dict.fromkeys(place.nodes)

    def look_again(self) -> None:
        """Time has changed what may begin where."""
        self.changed = dict.fromkeys(self._by_job)

    def refresh(self, name: str, node: Node | None) -> None:
        """Something has changed there: notes what is kept of it now."""
        beside = self._by_node.get(name, ())
        for job_id in beside:
            self.changed[job_id] = None
        if node is not None:
            node.kept = self.kept_on(node) if beside else None

    # -- what is kept
    def kept_on(
        self,
        node: Node,
        lifted: Collection[str] = (),
        gone: Collection[LeaseId] = (),
    ) -> Kept | None:
        """What of a node is not for others. `lifted`: jobs whose places do not count; `gone`:
        leases that are thought to have ended."""
        beside = self._by_node.get(node.image.node, ())
        places = [self._by_job[job_id] for job_id in beside if job_id not in lifted]
        if not places:
            return None
        # What one lease holds counts for one place: in the same order wherever this is made out.
        ids = sorted(node.leases) if len(places) > 1 else node.leases
        leases = [self._leases[i] for i in ids if i not in gone]
        left = [(lease, held_by(lease, node)) for lease in leases if _any(places, lease)]
        kept = Kept([0] * len(node.image.devices))
        for place in places:
            mine = demand_of(place.nodes[node.image.node], place.shape, node)
            for lease, held in left:
                if place.counts_on(lease):
                    mine.settle(held)
            kept.add(mine)
        return kept

    def images(self) -> list[PlaceImage]:
        """What a snapshot holds."""
        return [PlaceImage(one.fact, one.seq, one.kept_ns) for one in self]


def _any(places: Iterable[Place], lease: Lease) -> bool:
    return any(place.counts_on(lease) for place in places)


def demand_of(ranks: Iterable[KeptRank], shape: Shape, node: Node) -> Kept:
    """What ranks of a shape take of a node; devices that it has no more are left out."""
    taken = Kept([0] * len(node.image.devices))
    index = {uuid: at for at, (uuid, _, _) in enumerate(node.image.devices)}
    for rank in ranks:
        taken.cpu_milli += shape.cpu_milli
        taken.memory_mib += shape.memory_mib
        taken.units += shape.order_units
        for uuid in rank.devices:
            if uuid in index:
                taken.devices[index[uuid]] += shape.gpu_milli
    return taken


# -- folds


def place_kept(state: State, fact: PlaceKept, seq: int, now_ns: int) -> None:
    """The place is kept, also from what is free already."""
    job = state.jobs.get(fact.job_id)
    if job is None or job.state != QUEUED:
        raise InvariantError(f"a place is kept for job {fact.job_id}, which does not wait")
    _look_at(state, state.places.keep(job, fact, seq, now_ns))


def place_given_up(state: State, fact: PlaceGivenUp, seq: int, now_ns: int) -> None:
    """Others may have it."""
    give_up(state, fact.job_id)


def give_up(state: State, job_id: str) -> None:
    """The job needs no place any more, for whatever reason."""
    place = state.places.get(job_id) if state.places else None
    if place is not None:
        if place.fact.cause == PREEMPTION:
            job = state.jobs[job_id]
            state.shares.release(state.leaf_of(job.tenant, job.spec))
        _look_at(state, state.places.drop(job_id))


def clear(state: State) -> None:
    """All of them are given up: other rules hold."""
    for job_id in [place.fact.job_id for place in state.places]:
        give_up(state, job_id)


def _look_at(state: State, names: Iterable[str]) -> None:
    for name in names:
        node = state.nodes.get(name)
        if node is not None:
            state.capacity.update(name, node)
            state.line.reconsider(node)


def restore(state: State, images: Iterable[PlaceImage]) -> None:
    """The places of a snapshot, when its jobs, nodes and leases are there."""
    for image in images:
        job = state.jobs[image.fact.job_id]
        _look_at(state, state.places.keep(job, image.fact, image.seq, image.kept_ns))
