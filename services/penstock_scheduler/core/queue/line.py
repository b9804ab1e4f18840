"""Who is next?

When one job does not fit, none that asks for the same does, so all of them are passed over until
something is freed, however many wait, in however many quotas. Whose turn it is is said by
`turns`. It does not know what fits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from heapq import merge

from penstock_scheduler.core.queue.order import Place
from penstock_scheduler.core.queue.queued import Queued
from penstock_scheduler.core.queue.quotas.shares import Account, Shares, ask_of
from penstock_scheduler.core.queue.turns import Turns
from penstock_scheduler.core.shapes import Shape
from penstock_scheduler.core.state import Job, Node

FREED_MAX = 32
"""When more nodes than that have room again, it is no use to look at each of them alone."""

FIT, QUOTA, BUDGET, PLACE = "fit", "quota", "budget", "place"


class Line(Queued):
    """Waiting jobs. `turns`: who is next. `_closed`: what is asked for and fits nowhere now;
    `_hopes`: where alone it may fit, as it fitted nowhere before something was freed there.
    `_shut`: shapes that wait for money, their quota or places of their own, and for which;
    `_alone`: those for which some room would do as well."""

    def __init__(self, shares: Shares) -> None:
        super().__init__()
        self._shares = shares
        self.turns = Turns(shares, self._open_head, self.asking, self._is_open)
        self._closed: dict[Shape, None] = {}
        self._hopes: dict[Shape, dict[str, None]] = {}
        self._shut: dict[Shape, str] = {}
        self._alone: dict[Shape, None] = {}
        self._freed: dict[str, Node] = {}
        self._freed_anywhere = False
        self._unpaid: dict[str, dict[Shape, None]] = {}
        self._held_back: dict[str, dict[Shape, None]] = {}

    def add(self, job: Job, shape: Shape, place: Place) -> None:
        """Puts a job in line, as of that shape; adding it twice changes nothing."""
        if job.spec.job_id in self:
            return
        self._count(shape, 1)
        is_first = self._put(job, shape, place)
        if self._shut and self._shut.get(shape) == PLACE:
            self._look_at(shape, PLACE)
        elif is_first:  # what was first before is still there: `remove` sees to that
            self._lead(shape, place)
        self.turns.joined(place, shape)

    def remove(self, job_id: str) -> None:
        """Takes a job out of line; a missing one changes nothing."""
        entry = self._take(job_id)
        if entry is None:
            return
        shape, place = entry
        self._count(shape, -1)
        self.turns.left(job_id, shape)
        head = self._head(shape)
        if head is None:
            self._drop(shape)
        elif place < head:
            self._lead(shape, head)

    def first(self, now_ns: int) -> tuple[Place, Shape] | None:
        """The next job in line whose shape is not passed over, and whose pool waits for nobody."""
        self._look_again()
        return self.turns.first(now_ns)

    def wait_for(self, shape: Shape, place: Place) -> None:
        """Its pool waits for this job, which fits nowhere now."""
        if shape.leaf is not None:
            self.turns.stop(shape.leaf.pool, place, shape)

    def pass_over(self, shape: Shape) -> None:
        """What is asked for fits nowhere now, whoever asks."""
        demand = self._demands[shape]
        self._closed[demand] = None
        self._hopes.pop(demand, None)

    def hold_back(self, shape: Shape, quotas: Collection[str], *, partly: bool = False) -> None:
        """The maxima of these do not allow its alternatives now; `partly`: some are allowed, which
        fit nowhere now."""
        for quota in quotas:
            self._held_back.setdefault(quota, {})[shape] = None
        if partly:
            self._alone[shape] = None
        self._close(shape, QUOTA)

    def leave_unpaid(self, shape: Shape) -> None:
        """Nobody can pay for it now."""
        if shape.purse is not None:
            self._unpaid.setdefault(shape.purse.tenant, {})[shape] = None
        self._alone[shape] = None
        self._close(shape, BUDGET)

    def leave_to_places(self, shape: Shape) -> None:
        """All of the shape have places to come, and take no others."""
        self._alone[shape] = None
        self._close(shape, PLACE)

    def _close(self, shape: Shape, reason: str) -> None:
        self._shut[shape] = reason
        self._look_anew(shape)
        self.turns.shut(self._demands[shape], shape)

    def reconsider_unpaid(self, tenant: str) -> None:
        """What the tenant may spend has changed."""
        self.turns.pay_anew(tenant)
        for shape in self._unpaid.pop(tenant, {}):
            self._look_at(shape, BUDGET)

    def reconsider_all_unpaid(self) -> None:
        """What things cost has changed."""
        self.turns.go_on()
        for tenant in list(self._unpaid):
            self.reconsider_unpaid(tenant)

    def _look_at(self, shape: Shape, reason: str) -> None:
        if self._shut.get(shape) == reason:
            del self._shut[shape]
            self._look_anew(shape)
            self._alone.pop(shape, None)
            head = self._head(shape)
            if head is not None:
                self._lead(shape, head)

    def passed_over(self) -> Iterator[tuple[Shape, int, str]]:
        """What is, how many jobs ask for it, and for want of what they wait: `fit`, `quota` or
        `budget`."""
        apart: dict[Shape, int] = {}
        for shape, reason in self._shut.items():
            demand, jobs = self._demands[shape], self.all.shapes.get(shape, 0)
            apart[demand] = apart.get(demand, 0) + jobs
            yield demand, jobs, reason if reason in (QUOTA, BUDGET) else FIT
        for demand in self._closed:
            yield demand, self._asked[demand] - apart.get(demand, 0), FIT

    def hopes(self, shape: Shape) -> Iterable[str] | None:
        """The nodes on which alone it may fit; None = any."""
        return self._hopes.get(self._demands[shape])

    def reconsider(self, node: Node | None = None) -> None:
        """Something is freed on this node; None = more may be possible anywhere. What it may do for
        is no longer passed over."""
        if node is not None and not self._freed_anywhere:
            self._freed[node.image.node] = node
        if node is None or len(self._freed) > FREED_MAX:
            self._freed_anywhere = True
            self._freed.clear()
        self.turns.go_on(None if node is None else node.pool)

    def _look_again(self) -> None:
        """What was refused by nodes is no matter of one node."""
        for leaf in self._shares.take_released():
            for account in self._shares.path(leaf):
                for shape in self._held_back.pop(account.name, ()):
                    self._look_at(shape, QUOTA)
        anywhere, freed = self._freed_anywhere, self._freed
        if not (anywhere or freed):
            return
        self._freed_anywhere, self._freed = False, {}
        for shape in list(self._alone):
            if anywhere or any(node.may_hold(shape) for node in freed.values()):
                self._look_at(shape, self._shut[shape])
        for demand in list(self._hopes):
            self._hope(demand, anywhere, freed)
        for demand in list(self._closed):
            if self._hope(demand, anywhere, freed):
                del self._closed[demand]
                self.turns.touch(demand)

    def _hope(self, demand: Shape, anywhere: bool, freed: dict[str, Node]) -> bool:
        if anywhere or demand.avoid:
            self._hopes.pop(demand, None)
            return True
        names = [name for name, node in freed.items() if node.may_hold(demand)]
        if names:
            self._hopes.setdefault(demand, {}).update(dict.fromkeys(names))
        return bool(names)

    def in_order(
        self, pool: str, now_ns: int, *, every: bool = False
    ) -> Iterator[tuple[str, Shape]]:
        """The jobs of a pool that only room is missing for, next first, those that are passed over
        among them; `every`: also those that a quota or a budget holds back. Of several quotas the
        first of each, then the second."""
        self._look_again()
        leaves = self.turns.in_order(pool, now_ns, lambda leaf: self._first_in(leaf, every))
        queues = [self._queue_of(leaf, every) for leaf in leaves]
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
        entry = self._jobs.get(job_id)
        if entry is None or entry[0].leaf is None:
            return []
        found: list[str] = []
        for other, _ in self.in_order(entry[0].leaf.pool, now_ns, every=True):
            if other == job_id or len(found) >= count:
                break
            found.append(other)
        return found

    def _first_in(self, account: Account, every: bool) -> Shape | None:
        """Remembered for a leaf until something changes there."""
        leaf = account.leaf
        if leaf is None or leaf not in self._in_leaf:
            return None
        known = self._firsts.setdefault(leaf, {})
        if every not in known:
            heads = [
                (place, at, shape)
                for at, shape in enumerate(self._shapes_in(account, every))
                if (place := self._head(shape)) is not None
            ]
            known[every] = min(heads)[2] if heads else None
        return known[every]

    def _shapes_in(self, account: Account, every: bool) -> list[Shape]:
        shapes = {} if account.leaf is None else self._in_leaf.get(account.leaf, {})
        return [shape for shape in shapes if every or shape not in self._shut]

    def _queue_of(self, account: Account, every: bool) -> Iterator[tuple[str, Shape]]:
        """All that wait in a leaf, first come first; costs little while few are taken."""
        shapes = self._shapes_in(account, every)
        for place, at in merge(*(self._places(at, shape) for at, shape in enumerate(shapes))):
            yield place[2], shapes[at]

    def _lead(self, shape: Shape, head: Place) -> None:
        if shape not in self._shut:
            self.turns.lead(self._demands[shape], shape, head)

    def _is_open(self, demand: Shape) -> bool:
        return demand not in self._closed

    def _open_head(self, shape: Shape) -> Place | None:
        return None if shape in self._shut else self._head(shape)

    def _drop(self, shape: Shape) -> None:
        """None of the shape waits any more."""
        demand = self._demands[shape]
        gone = self._forget(shape)
        self._shut.pop(shape, None)
        self._alone.pop(shape, None)
        if gone is not None:
            self._closed.pop(demand, None)
            self._hopes.pop(demand, None)
        self.turns.drop(demand, shape, last=gone is not None)

    def _count(self, shape: Shape, sign: int) -> None:
        if shape.leaf is not None:
            self._shares.wait(shape.leaf, sign, sign * ask_of(shape).gpu_milli)
