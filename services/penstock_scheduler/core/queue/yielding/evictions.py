"""Where would a job go if others went, and who of them must?

On the nodes where least is lost, in an exact placement; of those who may be asked to yield only who
holds what that placement needs. What is asked to end already counts as gone. It does not know who
may be asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from penstock_contracts.asks import LINK
from penstock_contracts.journal import RankPlacement
from penstock_contracts.queue_facts import BACKFILL, KeptRank
from penstock_scheduler.core.packing.layout import Array
from penstock_scheduler.core.queue.keeping.futures import place_in, room_if, write
from penstock_scheduler.core.queue.keeping.kept import Kept
from penstock_scheduler.core.queue.yielding.openings import fitting, has_room, is_apart
from penstock_scheduler.core.queue.yielding.victims import Runner, Standing, Wants
from penstock_scheduler.core.shapes import Shape
from penstock_scheduler.core.state import Job, LeaseId

if TYPE_CHECKING:
    from penstock_scheduler.core.fold import State

VICTIM_COST = 60 * 1_000
"""To end one attempt more is worth losing a minute of one GPU: in milli-GPU x s, as all costs."""
OTHER_COST = 1 << 36
"""Spot work yields before all else, whatever is lost of it."""
COST_MAX = 1 << 44
FIRST_TRIED = 16
"""For each device it asks for, so many of those of whom least is lost are looked at first."""
CANDIDATES_MAX = 4_096


class Eviction(msgspec.Struct, frozen=True):
    """`awaits`: jobs that are ending already and hold a part of it; `given_up`: jobs for which it
    is not kept any more."""

    ranks: tuple[RankPlacement, ...]
    victims: tuple[Runner, ...]
    awaits: tuple[str, ...]
    given_up: tuple[str, ...]


def evict(
    state: State, job: Job, option: Shape, wants: Wants, standing: Standing
) -> Eviction | None:
    """Who must go so that the job can begin for sure, and where it begins; None = nobody's going
    would do, or nobody needs to go."""
    all_of_them = standing.candidates(wants)
    candidates = list(islice(all_of_them, FIRST_TRIED * option.ranks * max(1, option.gpus)))
    search = _Search(state, job, option, wants, standing)
    found = search.best(candidates)
    if found is None:
        first = len(candidates)
        candidates += islice(all_of_them, CANDIDATES_MAX)
        if len(candidates) > first:
            found = search.best(candidates)
    if found is None:
        some = standing.affordable(wants, candidates)
        if len(some) < len(candidates):
            found = search.best(some)
    return found


class _Search:
    """One job's, as one of its alternatives."""

    def __init__(
        self, state: State, job: Job, option: Shape, wants: Wants, standing: Standing
    ) -> None:
        self._state, self._option, self._wants, self._standing = state, option, wants, standing
        self._own = job.spec.job_id
        self._lifted = _lifted(state, self._own, wants, standing)

    def best(self, candidates: Sequence[Runner]) -> Eviction | None:
        """With least loss, as far as that is seen node by node."""
        everything = self._gone(candidates)
        by_node = _by_node(candidates)
        rooms = self._rooms(by_node, everything)
        if self._option.ranks == 1 and not self._fits_one(rooms):
            return None
        costs = self._costs(by_node)
        fleet = self._state.capacity.packer.fleet.copy()
        for name, room in rooms.items():
            if room is not None:
                write(fleet, name, room)
        placed = place_in(fleet, self._option, self._state, everything, None, costs)
        if placed is None:
            return None
        cheapest = self._allowed(self._cheapest(placed.ranks, by_node), candidates)
        if len(cheapest) < len(candidates) and self._option.near != LINK:
            ranks = self._ranks(placed.ranks, cheapest)
            found = None if ranks is None else self._proven(ranks, cheapest)
            if found is not None:
                return found
        return self._proven(placed.ranks, candidates)

    def _rooms(
        self, by_node: dict[str, list[Runner]], gone: Collection[LeaseId]
    ) -> dict[str, Kept | None]:
        """What would be free of the nodes that would change, when those have gone."""
        names = dict.fromkeys(by_node)
        for job_id in self._lifted:
            place = self._state.places.get(job_id)
            names |= dict.fromkeys(place.nodes if place is not None else ())
        rooms = {name: room_if(self._state, name, gone, self._lifted) for name in names}
        return self._standing.rooms() | rooms

    def _fits_one(self, rooms: dict[str, Kept | None]) -> bool:
        """Whether one of these nodes would do, as far as room goes: others change nothing."""
        nodes = self._state.nodes
        return any(
            room is not None and fitting(self._option, nodes[name], room, 1)
            for name, room in rooms.items()
        )

    def _ranks(
        self, ranks: Sequence[RankPlacement], gone: Iterable[Runner]
    ) -> tuple[RankPlacement, ...] | None:
        """The same nodes, with the devices that are free there when only those have gone."""
        all_gone = self._gone(gone)
        left: dict[str, list[list[int]]] = {}
        found: list[RankPlacement] = []
        for rank in ranks:
            node = self._state.nodes[rank.node]
            if rank.node not in left:
                room = room_if(self._state, rank.node, all_gone, self._lifted)
                most = sum(other.node == rank.node for other in ranks)
                left[rank.node] = [] if room is None else fitting(self._option, node, room, most)
            if rank.local_rank >= len(left[rank.node]):
                return None
            devices = left[rank.node][rank.local_rank]
            uuids = tuple(node.image.devices[index][0] for index in devices)
            found.append(msgspec.structs.replace(rank, devices=uuids))
        return tuple(found)

    def _gone(self, runners: Iterable[Runner]) -> dict[LeaseId, None]:
        gone = dict(self._standing.leaving)
        for one in runners:
            gone.update((lease.id, None) for lease in one.leases)
        return gone

    def _costs(self, by_node: dict[str, list[Runner]]) -> Array:
        """By column of the fleet: what would be lost, about, for one rank to fit there."""
        fleet = self._state.capacity.packer.fleet
        costs = np.zeros(fleet.count, np.int64)
        for name, runners in by_node.items():
            node = self._state.nodes[name]
            room = room_if(self._state, name, self._standing.leaving, self._lifted)
            if room is None:
                continue
            need = self._option.gpus * self._option.gpu_milli - sum(room.devices)
            need = 0 if fitting(self._option, node, room, 1) else max(need, 1)
            cost = 0
            for one in runners:
                if need <= 0:
                    break
                cost += VICTIM_COST + one.lost // 1000 + (0 if one.is_spot else OTHER_COST)
                need -= max(
                    1, sum(len(x.uuids) * x.gpu_milli for x in one.leases if x.node == name)
                )
            costs[fleet.columns[name]] = min(cost, COST_MAX)
        return costs

    def _cheapest(
        self, ranks: Sequence[RankPlacement], by_node: dict[str, list[Runner]]
    ) -> list[Runner]:
        """On the nodes that were chosen, who loses least so that as many ranks fit."""
        counts: dict[str, int] = {}
        for rank in ranks:
            counts[rank.node] = counts.get(rank.node, 0) + 1
        chosen: dict[str, Runner] = {}
        for name, count in counts.items():
            mine: list[Runner] = []
            for one in (None, *by_node.get(name, ())):
                if one is not None and one.job_id not in chosen:
                    chosen[one.job_id] = one
                    mine.append(one)
                if self._fit(name, count, chosen.values()):
                    break
            for one in reversed(mine):
                without = [other for other in chosen.values() if other is not one]
                if self._fit(name, count, without):
                    del chosen[one.job_id]
        return list(chosen.values())

    def _allowed(self, chosen: list[Runner], candidates: Sequence[Runner]) -> list[Runner]:
        """With so many more that the maxima above allow the job, where others fill them."""
        for one in candidates:
            if self._standing.allows(self._wants, chosen):
                break
            if one not in chosen and self._standing.counts_with(self._wants, one):
                chosen.append(one)
        return chosen

    def _fit(self, name: str, count: int, gone: Iterable[Runner]) -> bool:
        all_gone = self._gone(gone)
        room = room_if(self._state, name, all_gone, self._lifted)
        if room is None or is_apart(self._state, self._option, name, all_gone):
            return False
        return len(fitting(self._option, self._state.nodes[name], room, count)) >= count

    def _proven(
        self, ranks: tuple[RankPlacement, ...], candidates: Sequence[Runner]
    ) -> Eviction | None:
        """Only who is needed for that placement; nothing when they may not all be asked."""
        nodes: dict[str, list[KeptRank]] = {}
        for rank in ranks:
            nodes.setdefault(rank.node, []).append(KeptRank(rank.rank, rank.node, rank.devices))
        if not self._holds(nodes, candidates, nodes):
            return None
        victims = list(candidates)
        for one in reversed(victims.copy()):
            without = [other for other in victims if other is not one]
            is_idle = self._holds(nodes, without, {x.node for x in one.leases})
            if is_idle and self._standing.allows(self._wants, without):
                victims = without
        if len(self._standing.affordable(self._wants, victims)) < len(victims):
            return None
        if not self._standing.allows(self._wants, victims):
            return None
        given_up = self._given_up(nodes, victims)
        awaits = self._awaits(nodes)
        if not victims and not given_up and not (awaits and self._wants.guarantor is not None):
            return None
        return Eviction(ranks, tuple(victims), awaits, given_up)

    def _holds(
        self,
        nodes: dict[str, list[KeptRank]],
        victims: Iterable[Runner],
        names: Collection[str],
        lifted: Collection[str] | None = None,
    ) -> bool:
        """Whether the ranks still fit on those of the nodes."""
        gone = self._gone(victims)
        lifted = self._lifted if lifted is None else lifted
        return all(
            has_room(self._state, self._option, name, ranks, gone, lifted)
            for name, ranks in nodes.items()
            if name in names
        )

    def _given_up(
        self, nodes: dict[str, list[KeptRank]], victims: Sequence[Runner]
    ) -> tuple[str, ...]:
        """For whom a part of it was kept."""
        lifted = dict.fromkeys(self._lifted)
        for job_id in self._lifted:
            place = self._state.places.get(job_id)
            if job_id == self._own or place is None:
                continue
            without = {one: None for one in lifted if one != job_id}
            if self._holds(nodes, victims, place.nodes, without):
                lifted = without
        return tuple(one for one in lifted if one != self._own)

    def _awaits(self, nodes: dict[str, list[KeptRank]]) -> tuple[str, ...]:
        """Who is ending there already."""
        leaving = (self._state.leases[one] for one in self._standing.leaving)
        return tuple(sorted({lease.job_id for lease in leaving if lease.node in nodes}))


def _lifted(state: State, own: str, wants: Wants, standing: Standing) -> tuple[str, ...]:
    """Whose places do not count: its own, and for one who takes what is guaranteed those of jobs
    without such a right."""
    found = [own] if state.places.get(own) is not None else []
    if wants.guarantor is None:
        return tuple(found)
    for place in state.places:
        job_id = place.fact.job_id
        if place.fact.cause != BACKFILL or job_id == own:
            continue
        if standing.wants(state.jobs[job_id], place.shape).guarantor is None:
            found.append(job_id)
    return tuple(sorted(found))


def _by_node(candidates: Iterable[Runner]) -> dict[str, list[Runner]]:
    """Who is on which node, in the same order."""
    found: dict[str, list[Runner]] = {}
    for one in candidates:
        for name in dict.fromkeys(lease.node for lease in one.leases):
            found.setdefault(name, []).append(one)
    return found
