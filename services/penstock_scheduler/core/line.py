"""Who is next?

The waiting jobs, grouped by shape: when one job of a shape does not fit, none of that shape does,
so the shape is passed over until something is freed, however many wait. Whose turn it is among
shapes is said by `queue.order`. It does not know what fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush, merge

from penstock_scheduler.core.backlog import Share, size_of
from penstock_scheduler.core.queue.order import Place, Turn, Turns
from penstock_scheduler.core.queue.shares import Shares, ask_of
from penstock_scheduler.core.shapes import Shape
from penstock_scheduler.core.state import Job, Node

FREED_MAX = 32
"""When more nodes than that have room again, it is no use to look at each of them alone."""


class Line:
    """Waiting jobs. Removal is lazy: `_waiting` says which entries still count. `turns`: the first
    of each shape that is not passed over. `_hopes`: where alone such a shape may fit, as it fitted
    nowhere before something was freed there. `_unpaid` and `_held_back`: passed over for a reason
    that only the tenant's money, or a release in that quota, can change."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._heaps: dict[Shape, list[Place]] = {}
        self.turns = Turns(shares, self._open_head)
        self._passed_over: dict[Shape, None] = {}
        self._hopes: dict[Shape, dict[str, None]] = {}
        self._freed: dict[str, Node] = {}
        self._freed_anywhere = False
        self._waiting: dict[str, tuple[Shape, Place, str, int]] = {}
        self._tenants: dict[str, Share] = {}
        self._unpaid: dict[str, dict[Shape, None]] = {}
        self._held_back: dict[str, dict[Shape, None]] = {}
        self._quota_of: dict[Shape, str] = {}
        self.all = Share()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._waiting

    def add(self, job: Job, shape: Shape, place: Place) -> None:
        """Puts a job in line, as of that shape; adding it twice changes nothing."""
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
        self.turns.joined(place, shape)

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
        self.turns.left(job_id, shape)
        head = self._head(shape)
        if head is None:
            self.turns.drop(shape)
        elif place < head:
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

    def first(self, now_ns: int) -> tuple[Place, Shape] | None:
        """The next job in line whose shape is not passed over, and whose pool waits for nobody."""
        self._look_again()
        return self.turns.first(now_ns)

    def wait_for(self, shape: Shape, place: Place) -> None:
        """Its pool waits for this job, which fits nowhere now."""
        if shape.leaf is not None:
            self.turns.stop(shape.leaf.pool, place, shape)

    def pass_over(self, shape: Shape, *, unpaid: bool = False, quota: str = "") -> None:
        """The shape fits nowhere now, or nobody can pay for it (`unpaid`), or the maximum of that
        quota holds it back."""
        self._passed_over[shape] = None
        self._hopes.pop(shape, None)
        self.turns.touch(shape)
        if shape.purse is not None:
            mine = self._unpaid.setdefault(shape.purse.tenant, {})
            if unpaid:
                mine[shape] = None
            else:
                mine.pop(shape, None)
        if quota:
            self._held_back.setdefault(quota, {})[shape] = None
            self._quota_of[shape] = quota
        else:
            self._quota_of.pop(shape, None)

    def reconsider_unpaid(self, tenant: str) -> None:
        """What the tenant may spend has changed."""
        for shape in self._unpaid.pop(tenant, {}):
            self._look_at(shape)

    def _look_at(self, shape: Shape) -> None:
        if shape in self._passed_over:
            del self._passed_over[shape]
            head = self._head(shape)
            if head is not None:
                self._lead(shape, head)

    def reconsider_all_unpaid(self) -> None:
        """What things cost has changed."""
        for tenant in list(self._unpaid):
            self.reconsider_unpaid(tenant)

    def passed_over(self) -> Iterator[tuple[Shape, str]]:
        """The shapes that are, and for want of what: `fit`, `quota` or `budget`."""
        for shape in self._passed_over:
            reason = "quota" if shape in self._quota_of else "fit"
            yield shape, "budget" if self._is_unpaid(shape) else reason

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
        self.turns.go_on(None if node is None else node.pool)

    def _look_again(self) -> None:
        """Shapes that were refused by nodes are no matter of one node."""
        for leaf in self._shares.take_released():
            for account in self._shares.path(leaf):
                for shape in self._held_back.pop(account.name, ()):
                    if self._quota_of.pop(shape, None) is not None:
                        self._look_at(shape)
        anywhere, freed = self._freed_anywhere, self._freed
        if not (anywhere or freed):
            return
        self._freed_anywhere, self._freed = False, {}
        for shape in list(self._hopes):
            self._hope(shape, anywhere, freed)
        for shape in list(self._passed_over):
            if self._hope(shape, anywhere, freed):
                self._look_at(shape)

    def _hope(self, shape: Shape, anywhere: bool, freed: dict[str, Node]) -> bool:
        if anywhere or shape.avoid:
            self._hopes.pop(shape, None)
            return True
        if shape in self._quota_of:
            return False
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

    def in_order(
        self, pool: str, now_ns: int, *, every: bool = False
    ) -> Iterator[tuple[str, Shape]]:
        """The jobs of a pool that only room is missing for, next first, those that are passed over
        among them; `every`: also those that a quota or a budget holds back. Of several quotas the
        first of each, then the second."""
        self._look_again()
        leaves = self.turns.in_order(pool, now_ns, lambda turn: self._first_in(turn, every))
        queues = [self._queue_of(turn, every) for turn in leaves]
        while queues:
            left = []
            for queue in queues:
                found = next(queue, None)
                if found is not None:
                    yield found
                    left.append(queue)
            queues = left

    def ahead(self, job_id: str, now_ns: int, count: int) -> list[str]:
        """At most so many of those before it in its pool, next first."""
        entry = self._waiting.get(job_id)
        if entry is None or entry[0].leaf is None:
            return []
        found: list[str] = []
        for other, _ in self.in_order(entry[0].leaf.pool, now_ns, every=True):
            if other == job_id or len(found) >= count:
                break
            found.append(other)
        return found

    def position(self, job_id: str) -> int | None:
        """How many of its pool are ahead in line, whatever their shape; None when not waiting."""
        entry = self._waiting.get(job_id)
        if entry is None or entry[0].leaf is None:
            return None
        pool, place = entry[0].leaf.pool, entry[1]
        return sum(
            1
            for shape, other, *_ in self._waiting.values()
            if other < place and shape.leaf is not None and shape.leaf.pool == pool
        )

    def _is_held_back(self, shape: Shape) -> bool:
        return shape in self._passed_over and (shape in self._quota_of or self._is_unpaid(shape))

    def _first_in(self, turn: Turn, every: bool) -> tuple[Place, Shape] | None:
        heads = (
            (place, shape)
            for shape in list(turn.shapes)
            if (every or not self._is_held_back(shape)) and (place := self._head(shape)) is not None
        )
        return min(heads, key=lambda head: head[0], default=None)

    def _queue_of(self, turn: Turn, every: bool) -> Iterator[tuple[str, Shape]]:
        """All that wait in a leaf, first come first; costs little while few are taken."""
        shapes = [one for one in turn.shapes if every or not self._is_held_back(one)]
        for place, at in merge(*(self._places(at, shape) for at, shape in enumerate(shapes))):
            yield place[2], shapes[at]

    def _places(self, at: int, shape: Shape) -> Iterator[tuple[Place, int]]:
        first = self._head(shape)
        if first is None:
            return
        yield first, at
        heap = list(self._heaps.get(shape, ()))
        while heap:
            place = heappop(heap)
            if place != first and self._counts(shape, place):
                yield place, at

    def _wait(self, shape: Shape, sign: int) -> None:
        if shape.leaf is not None:
            self._shares.wait(shape.leaf, sign, sign * ask_of(shape).gpu_milli)

    def _counts(self, shape: Shape, place: Place) -> bool:
        entry = self._waiting.get(place[2])
        return entry is not None and entry[1] == place and entry[0] == shape

    def _lead(self, shape: Shape, head: Place) -> None:
        if shape not in self._passed_over:
            self.turns.lead(shape, head)

    def _open_head(self, shape: Shape) -> Place | None:
        return None if shape in self._passed_over else self._head(shape)

    def _head(self, shape: Shape) -> Place | None:
        heap = self._heaps.get(shape)
        while heap:
            if self._counts(shape, heap[0]):
                return heap[0]
            heappop(heap)
        self._heaps.pop(shape, None)
        self._passed_over.pop(shape, None)
        self._hopes.pop(shape, None)
        self._quota_of.pop(shape, None)
        return None
