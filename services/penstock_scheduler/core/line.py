"""Who is next?

The waiting jobs, grouped by shape: when one job of a shape does not fit, none of that shape does,
so the shape is passed over until something is freed, however many wait. Order is priority (9
first), then age. It does not know what fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush

import msgspec

from penstock_contracts.jobs import JobSpec
from penstock_scheduler.core.queue.shares import Shares, ask_of
from penstock_scheduler.core.shapes import Shape
from penstock_scheduler.core.state import Job, Node

_encode = msgspec.json.Encoder().encode

FREED_MAX = 32
"""When more nodes than that have room again, it is no use to look at each of them alone."""
HEADS_SPARE = 1_000
"""Entries that count no longer are removed when there are so many more than shapes."""

Place = tuple[int, int, str]
"""(minus priority, order, job id): the smallest goes first."""


def place_of(job: Job) -> Place:
    """A job's place in line."""
    return (-job.spec.priority, job.order, job.spec.job_id)


def size_of(spec: JobSpec) -> int:
    """What a request takes up, in bytes."""
    return len(_encode(spec))


class Share(msgspec.Struct):
    """What waits of somebody: how many jobs, how large their requests are together, and how many
    of each shape."""

    jobs: int = 0
    bytes: int = 0
    shapes: dict[Shape, int] = {}

    def count(self, sign: int, size: int, shape: Shape | None = None) -> None:
        self.jobs += sign
        self.bytes += sign * size
        if shape is not None:
            self.shapes[shape] = self.shapes.get(shape, 0) + sign
            if not self.shapes[shape]:
                del self.shapes[shape]


class Line:
    """Waiting jobs. Removal is lazy: `_waiting` says which entries still count. `_heads`: the first
    of each shape that is not passed over, among entries that no longer are. `_hopes`: where alone
    such a shape may fit, as it fitted nowhere before something was freed there."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._heaps: dict[Shape, list[Place]] = {}
        self._heads: list[tuple[Place, int, Shape]] = []
        self._led = 0
        self._passed_over: dict[Shape, None] = {}
        self._hopes: dict[Shape, dict[str, None]] = {}
        self._freed: dict[str, Node] = {}
        self._freed_anywhere = False
        self._waiting: dict[str, tuple[Shape, Place, str, int]] = {}
        self._tenants: dict[str, Share] = {}
        self._unpaid: dict[str, dict[Shape, None]] = {}
        self.all = Share()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._waiting

    def add(self, job: Job, shape: Shape) -> None:
        """Puts a job in line, as of that shape; adding it twice changes nothing."""
        place = place_of(job)
        if job.spec.job_id in self._waiting:
            return
        self._wait(shape, 1)
        size = size_of(job.spec)
        self._waiting[job.spec.job_id] = (shape, place, job.tenant, size)
        for share in (self.all, self._tenants.setdefault(job.tenant, Share())):
            share.count(1, size, shape)
        heap = self._heaps.setdefault(shape, [])
        heappush(heap, place)
        if heap[0] is place:  # what was first before is still there: `remove` sees to that
            self._lead(shape, place)

    def remove(self, job_id: str) -> None:
        """Takes a job out of line; a missing one changes nothing."""
        entry = self._waiting.pop(job_id, None)
        if entry is None:
            return
        shape, place, tenant, size = entry
        self._wait(shape, -1)
        for share in (self.all, self._tenants[tenant]):
            share.count(-1, size, shape)
        if not self._tenants[tenant].jobs:
            del self._tenants[tenant]
        head = self._head(shape)
        if head is not None and place < head:
            self._lead(shape, head)

    def share_of(self, tenant: str) -> Share:
        """What waits of a tenant."""
        return self._tenants.get(tenant) or Share()

    @property
    def shape_count(self) -> int:
        return len(self._heaps)

    def shapes(self) -> list[Shape]:
        """The shapes that wait, in no particular order."""
        return list(self._heaps)

    def first(self) -> tuple[Place, Shape] | None:
        """The first job in line whose shape is not passed over."""
        self._look_again()
        heads = self._heads
        while heads:
            place, _, shape = heads[0]
            if shape not in self._passed_over and self._head(shape) == place:
                return place, shape
            heappop(heads)
        return None

    def pass_over(self, shape: Shape, *, unpaid: bool = False) -> None:
        """The shape fits nowhere now, or nobody can pay for it (`unpaid`)."""
        self._passed_over[shape] = None
        self._hopes.pop(shape, None)
        if shape.purse is not None:
            mine = self._unpaid.setdefault(shape.purse.tenant, {})
            if unpaid:
                mine[shape] = None
            else:
                mine.pop(shape, None)

    def reconsider_unpaid(self, tenant: str) -> None:
        """What the tenant may spend has changed."""
        for shape in self._unpaid.pop(tenant, {}):
            if shape in self._passed_over:
                del self._passed_over[shape]
                head = self._head(shape)
                if head is not None:
                    self._lead(shape, head)

    def reconsider_all_unpaid(self) -> None:
        """What things cost has changed."""
        for tenant in list(self._unpaid):
            self.reconsider_unpaid(tenant)

    def blocked(self) -> dict[str, int]:
        """Milli-GPU that shapes passed over ask for, by what they wait for, and by model where
        they would take some only."""
        found: dict[str, int] = {}
        for shape in self._passed_over:
            jobs = self.all.shapes.get(shape, 0)
            asked = jobs * shape.ranks * shape.gpus * shape.gpu_milli
            if asked:
                reason = "budget" if self._is_unpaid(shape) else "fit"
                for model in _wanted_models(shape):
                    key = f"{reason}/{model}" if model else reason
                    found[key] = found.get(key, 0) + asked
        return found

    def hopes(self, shape: Shape) -> Iterable[str] | None:
        """The nodes on which alone it may fit; None = any."""
        return self._hopes.get(shape)

    def reconsider(self, node: Node | None = None) -> None:
        """Something is freed on this node; None = more may be possible anywhere. Shapes that it may
        do for are no longer passed over."""
        if node is not None and not self._freed_anywhere:
            self._freed[node.image.node] = node
        if node is None or len(self._freed) > FREED_MAX:
            self._freed_anywhere = True
            self._freed.clear()

    def _look_again(self) -> None:
        """Shapes that were refused by nodes are no matter of one node."""
        anywhere, freed = self._freed_anywhere, self._freed
        if not (anywhere or freed):
            return
        self._freed_anywhere, self._freed = False, {}
        for shape in list(self._hopes):
            self._hope(shape, anywhere, freed)
        for shape in list(self._passed_over):
            if self._hope(shape, anywhere, freed):
                del self._passed_over[shape]
                head = self._head(shape)
                if head is not None:
                    self._lead(shape, head)

    def _hope(self, shape: Shape, anywhere: bool, freed: dict[str, Node]) -> bool:
        if anywhere or shape.avoid:
            self._hopes.pop(shape, None)
            return True
        names = [name for name, node in freed.items() if node.may_hold(shape)]
        if self._is_unpaid(shape):  # it was not for want of room that it was passed over
            return bool(names)
        if names:
            self._hopes.setdefault(shape, {}).update(dict.fromkeys(names))
        return bool(names)

    def _is_unpaid(self, shape: Shape) -> bool:
        return shape.purse is not None and shape in self._unpaid.get(shape.purse.tenant, ())

    def waiting(self) -> Iterator[tuple[str, Shape]]:
        """Every job in line with its shape."""
        for job_id, (shape, *_) in self._waiting.items():
            yield job_id, shape

    def jobs_of(self, shape: Shape) -> list[str]:
        """Ids of the waiting jobs of a shape, first come first."""
        return [p[2] for p in sorted(self._heaps.get(shape, ())) if self._counts(shape, p)]

    def position(self, job_id: str) -> int | None:
        """How many are ahead in line, whatever their shape; None when not waiting."""
        entry = self._waiting.get(job_id)
        if entry is None:
            return None
        return sum(1 for _, place, *_ in self._waiting.values() if place < entry[1])

    def _wait(self, shape: Shape, sign: int) -> None:
        if shape.leaf is not None:
            self._shares.wait(shape.leaf, sign, sign * ask_of(shape).gpu_milli)

    def _counts(self, shape: Shape, place: Place) -> bool:
        entry = self._waiting.get(place[2])
        return entry is not None and entry[1] == place and entry[0] == shape

    def _lead(self, shape: Shape, head: Place) -> None:
        if shape in self._passed_over:
            return
        self._led += 1  # of equal places no shapes are compared
        heappush(self._heads, (head, self._led, shape))
        if len(self._heads) > HEADS_SPARE + 2 * len(self._heaps):  # a standby asks for none
            self._heads = []
            for one in list(self._heaps):
                place = self._head(one)
                if place is not None and one not in self._passed_over:
                    self._led += 1
                    self._heads.append((place, self._led, one))
            heapify(self._heads)

    def _head(self, shape: Shape) -> Place | None:
        heap = self._heaps.get(shape)
        while heap:
            if self._counts(shape, heap[0]):
                return heap[0]
            heappop(heap)
        self._heaps.pop(shape, None)
        self._passed_over.pop(shape, None)
        self._hopes.pop(shape, None)
        return None


def _wanted_models(shape: Shape) -> tuple[str, ...]:
    """The models on which it could run; one empty name when it takes any."""
    choices = (shape, *shape.alternatives)
    if any(not choice.gpu_models for choice in choices):
        return ("",)
    return tuple(dict.fromkeys(model for choice in choices for model in choice.gpu_models))
