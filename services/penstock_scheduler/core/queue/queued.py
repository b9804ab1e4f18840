"""Who waits?

Jobs by the shape that they have in line, the first first; and shapes by what they ask for, whoever
asks. Removal is lazy: entries that count no longer are dropped when they come first. It does not
know who is next among shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush

from penstock_contracts.errors import InvariantError
from penstock_scheduler.core.queue.backlog import Share, size_of
from penstock_scheduler.core.queue.order import Place
from penstock_scheduler.core.queue.quotas.rules import Leaf
from penstock_scheduler.core.shapes import Shape, demand_of
from penstock_scheduler.core.state import Job


class Queued:
    """`all`: how much waits. `_demands`: what each shape asks for; `_asking`: the reverse, and
    `_asked`: by how many jobs. `_firsts`: what is known of each leaf, for whoever asks again."""

    def __init__(self) -> None:
        self._heaps: dict[Shape, list[Place]] = {}
        self._demands: dict[Shape, Shape] = {}
        self._asking: dict[Shape, dict[Shape, None]] = {}
        self._asked: dict[Shape, int] = {}
        self._in_leaf: dict[Leaf, dict[Shape, None]] = {}
        self._firsts: dict[Leaf, dict[bool, Shape | None]] = {}
        self._jobs: dict[str, tuple[Shape, Place, str, int]] = {}
        self._tenants: dict[str, Share] = {}
        self.all = Share()

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._jobs

    # -- asked by decisions
    def share_of(self, tenant: str) -> Share:
        """What waits of a tenant."""
        return self._tenants.get(tenant) or Share()

    @property
    def demand_count(self) -> int:
        return len(self._asking)

    def demands(self) -> list[Shape]:
        """What is asked for, whoever asks; in no particular order."""
        return list(self._asking)

    def asking(self, demand: Shape) -> list[Shape]:
        """The shapes that ask for that."""
        return list(self._asking.get(demand, ()))

    def shapes(self) -> list[Shape]:
        """The shapes that wait, in no particular order."""
        return list(self._heaps)

    def waiting(self) -> Iterator[tuple[str, Shape]]:
        """Every job in line with its shape."""
        for job_id, (shape, *_) in self._jobs.items():
            yield job_id, shape

    def jobs_of(self, shape: Shape) -> list[str]:
        """Ids of the waiting jobs of a shape, first come first."""
        return [p[2] for p in sorted(self._heaps.get(shape, ())) if self._counts(shape, p)]

    def queue_of(self, shape: Shape) -> Iterator[str]:
        """The same, found as they are asked for."""
        return (place[2] for place, _ in self._places(0, shape))

    def position(self, job_id: str) -> int | None:
        """How many of its pool are ahead in line, whatever their shape; None when not waiting."""
        entry = self._jobs.get(job_id)
        if entry is None or entry[0].leaf is None:
            return None
        pool, place = entry[0].leaf.pool, entry[1]
        return sum(
            1
            for shape, other, *_ in self._jobs.values()
            if other < place and shape.leaf is not None and shape.leaf.pool == pool
        )

    # -- parts
    def _put(self, job: Job, shape: Shape, place: Place) -> bool:
        """The job waits; whether it is the first of its shape."""
        size = size_of(job.spec)
        self._jobs[job.spec.job_id] = (shape, place, job.tenant, size)
        for share in (self.all, self._tenants.setdefault(job.tenant, Share())):
            share.count(1, size, shape)
        heap = self._heaps.get(shape)
        if heap is None:
            heap = self._begin(shape)
        heappush(heap, place)
        self._asked[self._demands[shape]] += 1
        self._look_anew(shape)
        return heap[0] is place

    def _take(self, job_id: str) -> tuple[Shape, Place] | None:
        """The job waits no more; None when it did not."""
        entry = self._jobs.pop(job_id, None)
        if entry is None:
            return None
        shape, place, tenant, size = entry
        for share in (self.all, self._tenants[tenant]):
            share.count(-1, size, shape)
        if not self._tenants[tenant].jobs:
            del self._tenants[tenant]
        self._asked[self._demands[shape]] -= 1
        self._look_anew(shape)
        return shape, place

    def _look_anew(self, shape: Shape) -> None:
        """Who is first in its leaf may be another."""
        if self._firsts and shape.leaf is not None:
            self._firsts.pop(shape.leaf, None)

    def _head(self, shape: Shape) -> Place | None:
        """The first of a shape; None when there is none."""
        heap = self._heaps.get(shape)
        while heap:
            if self._counts(shape, heap[0]):
                return heap[0]
            heappop(heap)
        return None

    def _places(self, at: int, shape: Shape) -> Iterator[tuple[Place, int]]:
        """All places of a shape in order, each with `at`."""
        first = self._head(shape)
        if first is None:
            return
        yield first, at
        heap = list(self._heaps.get(shape, ()))
        while heap:
            place = heappop(heap)
            if place != first and self._counts(shape, place):
                yield place, at

    def _counts(self, shape: Shape, place: Place) -> bool:
        entry = self._jobs.get(place[2])
        return entry is not None and entry[1] == place and entry[0] == shape

    def _begin(self, shape: Shape) -> list[Place]:
        if shape.leaf is None:
            raise InvariantError("a shape in line counts nowhere")
        demand = self._demands[shape] = demand_of(shape)
        self._asking.setdefault(demand, {})[shape] = None
        self._asked.setdefault(demand, 0)
        self._in_leaf.setdefault(shape.leaf, {})[shape] = None
        heap = self._heaps[shape] = []
        return heap

    def _forget(self, shape: Shape) -> Shape | None:
        """None of the shape waits any more. What it asked for, if nobody asks for that now."""
        demand = self._demands.pop(shape)
        del self._heaps[shape], self._asking[demand][shape]
        if shape.leaf is not None:
            del self._in_leaf[shape.leaf][shape]
            if not self._in_leaf[shape.leaf]:
                del self._in_leaf[shape.leaf]
        if self._asking[demand]:
            return None
        del self._asking[demand], self._asked[demand]
        return demand
