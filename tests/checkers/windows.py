"""Is what is set aside for a time free for whom it is set aside, by then?

Looks at every grant on nodes that are reserved or soon will be, and at who was not asked to end
when the time had come. It does not know how long anybody really takes.
"""

from __future__ import annotations

from collections.abc import Iterator

from penstock_contracts.journal import LeaseGranted, StopRequested
from penstock_contracts.node_images import NodeImaged
from penstock_contracts.queue_policy import Reservation
from tests.checkers.history import History, Violation
from tests.checkers.queueing import Scene, Told, Wanted, follow_queue, surely_ms

RESERVED = "reserved"
LATE_MS = 15_000
"""Within this whoever leads has asked all to end that are in the way, and once more looked."""
EARLY_MS = 10_000
"""So long before, apart from its grace, work is asked at the earliest."""

Broken = tuple[str, str]


def check_windows(history: History) -> list[Violation]:
    """Every job that began where it must not, stayed where it must not, or was sent off for
    nothing."""
    walk = _Walk()
    return [
        Violation(
            code=code, sentence=f"JOBS {told.seq} {what}",
            job_id=getattr(told.fact, "job_id", None), at_ns=told.at_ns,
        )
        for told, scene in follow_queue(history)
        for code, what in walk.judge(told, scene)
    ]  # fmt: skip


class _Walk:
    """`seen`: since when, and in which term, somebody is in the way of a reservation. `blamed`: of
    whom it has been said."""

    def __init__(self) -> None:
        self._seq = 0
        self._seen: dict[tuple[str, str, int], tuple[int, int]] = {}
        self._blamed: set[tuple[str, str, int]] = set()

    def judge(self, told: Told, scene: Scene) -> Iterator[Broken]:
        reservations = scene.policy.policy.reservations
        if not reservations:
            self._seen.clear()
        elif isinstance(told.fact, LeaseGranted):
            yield from _begun(told, scene)
        elif isinstance(told.fact, StopRequested) and told.fact.reason == RESERVED:
            yield from _sent_off(told, scene)
        if reservations and told.seq != self._seq:
            yield from self._stays(told, scene)
        self._seq = told.seq

    def _stays(self, told: Told, scene: Scene) -> Iterator[Broken]:
        now_ms = told.now_ns // 1_000_000
        there = set()
        for one in scene.policy.policy.reservations:
            if not one.start_ms <= now_ms < one.end_ms:
                continue
            for lease in scene.leases.values():
                wanted, image = scene.wanted[lease.job_id], scene.images.get(lease.node)
                job = scene.jobs.get(lease.job_id)
                lives = job is not None and job.attempt == lease.attempt
                asked = (lease.job_id, lease.attempt) in scene.stopping
                if image is None or not lives or asked or _may(one, wanted):
                    continue
                if lease.exited is None and holds(one, image):
                    there.add((one.name, lease.job_id, lease.attempt))
        for key in [key for key in self._seen if key not in there]:
            del self._seen[key]
        for key in sorted(there - self._blamed):
            since_ms, term = self._seen.setdefault(key, (now_ms, told.term))
            if term != told.term:
                self._seen[key] = (now_ms, told.term)
            elif now_ms - since_ms > LATE_MS:
                self._blamed.add(key)
                yield "window_not_cleared", f"leaves {key[1]} in the way of reservation {key[0]}"


def _begun(told: Told, scene: Scene) -> Iterator[Broken]:
    fact: LeaseGranted = told.fact
    wanted = scene.wanted.get(fact.job_id)
    if wanted is None:
        return
    now_ms = told.now_ns // 1_000_000
    surely = surely_ms(wanted.spec.resolved(fact.alternative))
    for one in scene.policy.policy.reservations:
        over = now_ms >= one.end_ms
        in_time = surely is not None and now_ms + surely <= one.start_ms
        if over or in_time or _may(one, wanted):
            continue
        if surely is None and now_ms < one.start_ms:
            continue  # how far ahead it is no use to begin is for the scheduler to say
        for node in sorted({place.node for place in fact.ranks}):
            if node in scene.images and holds(one, scene.images[node]):
                yield "begun_in_window", f"grants {fact.job_id} on {node}, set aside as {one.name}"


def _sent_off(told: Told, scene: Scene) -> Iterator[Broken]:
    """Only who is in the way of a time that is near; or stays too long where something is kept."""
    fact: StopRequested = told.fact
    wanted = scene.wanted.get(fact.job_id)
    if wanted is None or scene.places:
        return
    now_ms = told.now_ns // 1_000_000
    ahead_ms = 1_000 * wanted.spec.grace_s + EARLY_MS
    nodes = {lease.node for lease in scene.leases.values() if lease.job_id == fact.job_id}
    near = any(
        one.start_ms - ahead_ms <= now_ms < one.end_ms
        and not _may(one, wanted)
        and any(node in scene.images and holds(one, scene.images[node]) for node in nodes)
        for one in scene.policy.policy.reservations
    )
    if not near:
        yield "sent_off_for_nothing", f"ends {fact.job_id} for a reservation that there is not"


def _may(one: Reservation, wanted: Wanted) -> bool:
    """Whether it is set aside for him."""
    mine = bool(one.tenant) and one.tenant == wanted.tenant
    return mine and one.project in ("", wanted.spec.project)


def holds(one: Reservation, image: NodeImaged) -> bool:
    """Whether the node is one of those set aside."""
    if one.nodes:
        return image.node in one.nodes
    return bool(one.node_labels) and not one.node_labels.items() - image.labels.items()
