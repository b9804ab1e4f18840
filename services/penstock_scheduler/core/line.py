"""Who is next?

The waiting jobs, grouped by shape: when one job of a shape does not fit, none of that shape does,
so a round looks at each shape once, however many wait. Order is priority (9 first), then age. It
does not know what fits.
"""

from __future__ import annotations

from heapq import heappop, heappush

import msgspec

from penstock_contracts.jobs import JobSpec
from penstock_scheduler.core.state import Job, Shape

_encode = msgspec.json.Encoder().encode

Place = tuple[int, int, str]
"""(minus priority, order, job id): the smallest goes first."""


def place_of(job: Job) -> Place:
    """A job's place in line."""
    return (-job.spec.priority, job.order, job.spec.job_id)


def size_of(spec: JobSpec) -> int:
    """What a request takes up, in bytes."""
    return len(_encode(spec))


def _place_in(head: tuple[Place, Shape]) -> Place:
    return head[0]


class Share(msgspec.Struct):
    """What waits of somebody: how many jobs, how large their requests are together, and how many
    of each shape."""

    jobs: int = 0
    bytes: int = 0
    shapes: dict[Shape, int] = {}

    def count(self, sign: int, size: int) -> None:
        self.jobs += sign
        self.bytes += sign * size


class Line:
    """Waiting jobs. Removal is lazy: `waiting` says which entries still count."""

    def __init__(self) -> None:
        self._heaps: dict[Shape, list[Place]] = {}
        self._waiting: dict[str, tuple[Shape, Place, str, int]] = {}
        self._tenants: dict[str, Share] = {}
        self.all = Share()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._waiting

    def add(self, job: Job) -> None:
        """Puts a job in line; adding it twice changes nothing."""
        shape, place = job.shape, place_of(job)
        if job.spec.job_id in self._waiting:
            return
        size = size_of(job.spec)
        self._waiting[job.spec.job_id] = (shape, place, job.tenant, size)
        self.all.count(1, size)
        share = self._tenants.setdefault(job.tenant, Share())
        share.count(1, size)
        share.shapes[shape] = share.shapes.get(shape, 0) + 1
        heappush(self._heaps.setdefault(shape, []), place)

    def remove(self, job_id: str) -> None:
        """Takes a job out of line; a missing one changes nothing."""
        entry = self._waiting.pop(job_id, None)
        if entry is None:
            return
        shape, _, tenant, size = entry
        self.all.count(-1, size)
        share = self._tenants[tenant]
        share.count(-1, size)
        share.shapes[shape] -= 1
        if not share.shapes[shape]:
            del share.shapes[shape]
        if not share.jobs:
            del self._tenants[tenant]
        self._head(shape)

    def share_of(self, tenant: str) -> Share:
        """What waits of a tenant."""
        return self._tenants.get(tenant) or Share()

    @property
    def shape_count(self) -> int:
        return len(self._heaps)

    def shapes(self) -> list[Shape]:
        """The shapes that wait, in no particular order."""
        return list(self._heaps)

    def heads(self, passed_over: set[Shape]) -> list[tuple[Place, Shape]]:
        """The first of each shape that is not in `passed_over`, in line."""
        heads = []
        for shape in [shape for shape in self._heaps if shape not in passed_over]:
            place = self._head(shape)
            if place is not None:
                heads.append((place, shape))
        heads.sort(key=_place_in)
        return heads

    def jobs_of(self, shape: Shape) -> list[str]:
        """Ids of the waiting jobs of a shape, first come first."""
        return [p[2] for p in sorted(self._heaps.get(shape, ())) if self._counts(shape, p)]

    def position(self, job_id: str) -> int | None:
        """How many are ahead in line, whatever their shape; None when not waiting."""
        entry = self._waiting.get(job_id)
        if entry is None:
            return None
        return sum(1 for _, place, *_ in self._waiting.values() if place < entry[1])

    def _counts(self, shape: Shape, place: Place) -> bool:
        entry = self._waiting.get(place[2])
        return entry is not None and entry[1] == place and entry[0] == shape

    def _head(self, shape: Shape) -> Place | None:
        heap = self._heaps.get(shape)
        while heap:
            if self._counts(shape, heap[0]):
                return heap[0]
            heappop(heap)
        self._heaps.pop(shape, None)
        return None
