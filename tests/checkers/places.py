"""Is what is kept for one job left alone by all others?

Looks at every grant on a node of which something is kept: what is free afterwards, and what will
have been given back by then, has to suffice. It does not know why a place was chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from penstock_contracts.jobs import CPU_MILLI_DEFAULT, GPU_MILLI_WHOLE, JobSpec
from penstock_contracts.journal import LeaseGranted, PlaceKept
from tests.checkers.history import History, Violation
from tests.checkers.leases import Lease, granted
from tests.checkers.queueing import Scene, Told, follow_queue, surely_ms

Room = dict[str, int]
"""What of a node is meant: milli of a device by its UUID, `cpu`, `memory`."""


class Kept(NamedTuple):
    """A place, and the journal's sequence of its keeping."""

    fact: PlaceKept
    seq: int


def check_places(history: History) -> list[Violation]:
    """Every place that is kept for nobody or nowhere, or that another job was put into."""
    found: list[Violation] = []
    since: dict[str, int] = {}
    granted_ms: dict[int, int] = {}
    for told, scene in follow_queue(history):
        if isinstance(told.fact, PlaceKept):
            since[told.fact.job_id] = told.seq
            found += [_of(told, *broken) for broken in _wrong(told.fact, scene)]
        elif isinstance(told.fact, LeaseGranted):
            granted_ms[told.seq] = told.now_ns // 1_000_000
            if scene.places and told.fact.job_id in scene.wanted:
                kept = [Kept(fact, since[job_id]) for job_id, fact in scene.places.items()]
                found += [_of(told, *broken) for broken in _taken(told, scene, kept, granted_ms)]
    return found


def _wrong(fact: PlaceKept, scene: Scene) -> Iterator[tuple[str, str]]:
    wanted = scene.waiting.get(fact.job_id)
    if wanted is None:
        yield "place_of_nobody", f"keeps a place for {fact.job_id}, which does not wait"
        return
    if fact.alternative > len(wanted.spec.alternatives):
        yield "place_of_no_choice", f"keeps a place for no choice of {fact.job_id}"
        return
    asked = wanted.spec.resolved(fact.alternative)
    sizes = sorted(len(set(rank.devices)) for rank in fact.ranks)
    if sizes != [asked.gpus] * asked.ranks:
        yield "place_of_other_size", f"keeps {sizes} devices for {fact.job_id}"
    for rank in fact.ranks:
        image = scene.images.get(rank.node)
        here = {uuid for uuid, _, _ in image.devices} if image is not None else set()
        if image is None or set(rank.devices) - here:
            yield "place_nowhere", f"keeps {rank.devices} of {rank.node}, which are not there"


def _taken(
    told: Told, scene: Scene, places: list[Kept], granted_ms: dict[int, int]
) -> Iterator[tuple[str, str]]:
    """Of a grant: by what it leaves too little for others."""
    fact: LeaseGranted = told.fact
    mine = [lease for _, lease in granted(told.at_ns, told.seq, fact)]
    for node in sorted({lease.node for lease in mine}):
        image = scene.images.get(node)
        if image is None:
            continue
        taken = taken_by(lease for lease in mine if lease.node == node)
        leases = [*scene.on(node), *(lease for lease in mine if lease.node == node)]
        held = taken_by(leases)
        whole = dict.fromkeys((uuid for uuid, _, _ in image.devices), GPU_MILLI_WHOLE)
        whole |= {"cpu": image.cpu_milli, "memory": image.memory_mib}
        for place in places:
            if place.fact.job_id == fact.job_id:
                continue
            spec = scene.wanted[place.fact.job_id].spec.resolved(place.fact.alternative)
            coming = taken_by(lease for lease in leases if _comes(place, lease, scene, granted_ms))
            for what, kept in kept_on(place.fact, node, spec).items():
                left = whole.get(what, 0) - held.get(what, 0) + coming.get(what, 0)
                if taken.get(what) and left < kept:
                    sentence = (
                        f"grants {taken[what]} of {what} on {node} to {fact.job_id}: {left} are"
                        f" left of {kept} that are kept for {place.fact.job_id}"
                    )
                    yield "kept_place_taken", sentence


def _comes(place: Kept, lease: Lease, scene: Scene, granted_ms: dict[int, int]) -> bool:
    """Whether what the lease holds has been given back when the place is to be had."""
    wanted, begun_ms = scene.wanted[lease.job_id], granted_ms.get(lease.lease_seq)
    for choice in range(len(wanted.spec.alternatives) + 1):
        surely = surely_ms(wanted.spec.resolved(choice))
        if surely is not None and begun_ms is not None and begun_ms + surely <= place.fact.at_ms:
            return True
    awaited = lease.job_id in (*place.fact.victims, *place.fact.awaits)
    return awaited and lease.lease_seq <= place.seq


def kept_on(fact: PlaceKept, node: str, asked: JobSpec) -> Room:
    """What is kept of a node for such a job."""
    room: Room = {}
    cpu_milli = CPU_MILLI_DEFAULT if asked.cpu_milli is None else asked.cpu_milli
    for rank in fact.ranks:
        if rank.node == node:
            room["cpu"] = room.get("cpu", 0) + cpu_milli
            room["memory"] = room.get("memory", 0) + (asked.memory_mib or 0)
            for uuid in rank.devices:
                room[uuid] = room.get(uuid, 0) + asked.gpu_milli
    return room


def taken_by(leases: Iterable[Lease]) -> Room:
    """What they hold together."""
    room: Room = {}
    for lease in leases:
        room["cpu"] = room.get("cpu", 0) + lease.cpu_milli
        room["memory"] = room.get("memory", 0) + lease.memory_mib
        for uuid in lease.devices:
            room[uuid] = room.get(uuid, 0) + lease.gpu_milli
    return room


def _of(told: Told, code: str, sentence: str) -> Violation:
    return Violation(
        code=code, sentence=f"JOBS {told.seq} {sentence}", job_id=told.fact.job_id,
        at_ns=told.at_ns,
    )  # fmt: skip
