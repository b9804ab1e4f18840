"""Whose turn is it?

Between quotas: first whoever is covered by a guarantee, then who has used least for its weight,
down the tree. Within a quota one whole number a job, the smallest first, that never changes while
it waits. It does not know what fits.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from math import isqrt
from typing import NamedTuple

from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_contracts.queue_policy import Pool
from penstock_scheduler.core.queue.decay import GRID_BITS
from penstock_scheduler.core.queue.rules import Leaf
from penstock_scheduler.core.queue.shares import Account, Shares, ask_of
from penstock_scheduler.core.shapes import Shape
from penstock_scheduler.core.state import Job

AREA_FACTOR = 10
"""Of so many times what a job is expected to take, GPU by GPU, and of a class the geometric mean is
the delay by which others may go before it: so short ones go first, and long ones do not starve."""
DELAY_CLASSES_MAX = 100
DEADLINE_CLASSES = 10
"""When it must start at last, a job with a deadline counts as of this class."""
DEADLINE_MARGIN_NS = 60_000_000_000
EPOCH_BITS = GRID_BITS - 8
"""Shares are compared as of the end of such a step: 256 to a half-life."""
HORIZON = 1 << (GRID_BITS - 4)
"""And as if what is held were held for so long more: or all that is free now would go to one."""
SPARE_MAX = 1_000
"""Entries that count no longer are removed when there are so many more than others."""

Place = tuple[int, int, str]
"""(urgency, order, job id): the smallest goes first."""
Key = tuple[int, int, bool, str]
"""(0 = covered by a guarantee, use for its weight, is of no quota, name)."""


def urgency_of(job: Job, pool: Pool) -> int:
    """A job's urgency in its pool: nanoseconds where it is tiered, else its class, in which those
    that have yielded go first."""
    spec = job.spec
    if pool.order != "tiered":
        return -2 * spec.priority - (job.yielded > 0)
    aging_ns = pool.aging_s * 1_000_000_000
    expected_ms = job.expected_ms or 0
    gpus = max(1, -(-spec.ranks * spec.gpus * spec.gpu_milli // GPU_MILLI_WHOLE))
    delay_ms = isqrt(AREA_FACTOR * expected_ms * gpus * pool.aging_s * 1_000)
    delay_ns = min(delay_ms * 1_000_000, DELAY_CLASSES_MAX * aging_ns)
    urgency = job.since_ns - spec.priority * aging_ns + delay_ns
    if spec.deadline_ms is None:
        return urgency
    last_ns = spec.deadline_ms * 1_000_000 - expected_ms * 1_000_000 - DEADLINE_MARGIN_NS
    return min(urgency, last_ns - DEADLINE_CLASSES * aging_ns)


def place_of(job: Job, pool: Pool) -> Place:
    """A job's place within its quota."""
    return (urgency_of(job, pool), job.order, job.spec.job_id)


class Turn:
    """A quota, or a pool, among those beside it. `heads`: of a leaf, the first of each shape that
    is not passed over, among entries that no longer are; `below`: of others, by key. `next`: whose
    turn it is in here."""

    __slots__ = ("above", "account", "below", "heads", "key", "next", "shapes", "under")

    def __init__(self, account: Account, above: Turn | None) -> None:
        self.account = account
        self.above = above
        self.heads: list[tuple[Place, int, Shape]] = []
        self.shapes: dict[Shape, None] = {}
        self.below: list[tuple[Key, int, Turn]] = []
        self.under: list[Turn] = []
        self.key: Key | None = None
        self.next: tuple[Place, Shape] | None = None
        if above is not None:
            above.under.append(self)


class _Ranked(NamedTuple):
    key: Key
    shape: Shape
    leaves: list[Turn]


class Turns:
    """`head_of`: the first job of a shape that waits and is not passed over, else None. `stop`ped
    pools offer nobody, until something there changes."""

    def __init__(self, shares: Shares, head_of: Callable[[Shape], Place | None]) -> None:
        self._shares = shares
        self._head_of = head_of
        self._turns: dict[int, Turn] = {}
        self._stopped: dict[str, tuple[Place, Shape]] = {}
        self._dirty: dict[int, Turn] = {}
        self._as_of = (-1, -1)
        self._grid = self._pushed = 0
        self._roots = {name: self._turn(pool) for name, pool in shares.pools.items()}
        self._leaves = {Leaf(name): self._turn(own) for name, own in shares.own.items()}
        for name, account in shares.quotas.items():
            leaf = Leaf(shares.rules.pool_of_quota[name], name)
            self._leaves[leaf] = self._turn(account)

    # -- what has changed
    def lead(self, shape: Shape, place: Place) -> None:
        """The job is the first of its shape, which is not passed over."""
        turn = self._of(shape)
        turn.shapes[shape] = None
        self._pushed += 1  # of equal places no shapes are compared
        heappush(turn.heads, (place, self._pushed, shape))
        if len(turn.heads) > SPARE_MAX + 2 * len(turn.shapes):  # a standby asks for none
            self._make_anew(turn)
        self.touch(shape)

    def drop(self, shape: Shape) -> None:
        """None of the shape waits any more."""
        self._of(shape).shapes.pop(shape, None)
        self.touch(shape)

    def touch(self, shape: Shape) -> None:
        """The shape's first job may be another."""
        if self._shares.keeps_use:
            turn = self._of(shape)
            self._dirty[id(turn)] = turn

    def stop(self, pool: str, place: Place, shape: Shape) -> None:
        """The pool waits for this job."""
        self._stopped[pool] = (place, shape)

    def go_on(self, pool: str | None = None) -> None:
        """Something has changed in the pool; None = in all of them."""
        if self._stopped:
            if pool is None:
                self._stopped.clear()
            else:
                self._stopped.pop(pool, None)

    def stopped_by(self, pool: str) -> str | None:
        """The job for which the pool waits."""
        found = self._stopped.get(pool)
        return None if found is None else found[0][2]

    def joined(self, place: Place, shape: Shape) -> None:
        """A job has come into line: it may be before the one its pool waits for."""
        if self._stopped and shape.leaf is not None:
            found = self._stopped.get(shape.leaf.pool)
            if found is not None and (place < found[0] or shape.leaf != found[1].leaf):
                self.go_on(shape.leaf.pool)

    def left(self, job_id: str, shape: Shape) -> None:
        """It waits no more."""
        if self._stopped and shape.leaf and self.stopped_by(shape.leaf.pool) == job_id:
            self.go_on(shape.leaf.pool)

    # -- whose turn it is
    def first(self, now_ns: int) -> tuple[Place, Shape] | None:
        """The next job in line; of several pools, in the order of the policy."""
        if not self._shares.keeps_use:
            for name in self._roots:
                if name not in self._stopped:
                    found = self._first_of(self._leaves[Leaf(name)])
                    if found is not None:
                        return found
            return None
        self._bring_up(now_ns)
        for name, root in self._roots.items():
            if name not in self._stopped and root.next is not None:
                return root.next
        return None

    def in_order(
        self, pool: str, now_ns: int, head_of: Callable[[Turn], tuple[Place, Shape] | None]
    ) -> list[Turn]:
        """The leaves of a pool, next first. `head_of`: who stands for a leaf; None = nobody waits
        there."""
        self._bring_up(now_ns)
        ranked = self._rank(self._roots[pool], head_of)
        return [] if ranked is None else ranked.leaves

    def _rank(
        self, turn: Turn, head_of: Callable[[Turn], tuple[Place, Shape] | None]
    ) -> _Ranked | None:
        if not turn.under:
            head = head_of(turn)
            if head is None:
                return None
            return _Ranked(self._key(turn, head[1], covered=False), head[1], [turn])
        below = [found for one in turn.under if (found := self._rank(one, head_of)) is not None]
        if not below:
            return None
        below.sort(key=lambda ranked: ranked.key)
        leaves = [leaf for ranked in below for leaf in ranked.leaves]
        first = below[0]
        key = self._key(turn, first.shape, covered=first.key[0] == 0)
        return _Ranked(key, first.shape, leaves)

    def _bring_up(self, now_ns: int) -> None:
        shares = self._shares
        if not shares.keeps_use:
            return
        epoch = shares.grid(now_ns) >> EPOCH_BITS
        if self._as_of != (epoch, shares.version):
            self._as_of = (epoch, shares.version)
            self._grid = ((epoch + 1) << EPOCH_BITS) + HORIZON
            self._dirty = {id(turn): turn for turn in self._leaves.values()}
            self._stopped.clear()
        for leaf in shares.take_changed():
            turn = self._leaves[leaf]
            self._dirty[id(turn)] = turn
            self.go_on(leaf.pool)
        if self._dirty:
            dirty, self._dirty = self._dirty, {}
            for turn in dirty.values():
                self._refresh(turn)

    def _refresh(self, leaf: Turn) -> None:
        """Brings the way from a leaf to its pool up to date."""
        turn: Turn = leaf
        turn.next = self._first_of(turn)
        while turn.above is not None:
            covered = bool(turn.below) and turn.below[0][0][0] == 0
            key = None if turn.next is None else self._key(turn, turn.next[1], covered=covered)
            above = turn.above
            if key != turn.key:
                turn.key = key
                if key is not None:
                    self._pushed += 1
                    heappush(above.below, (key, self._pushed, turn))
            above.next = self._next_below(above)
            turn = above

    def _next_below(self, turn: Turn) -> tuple[Place, Shape] | None:
        below = turn.below
        if len(below) > SPARE_MAX + 2 * len(turn.under):
            below = turn.below = [(t.key, i, t) for i, t in enumerate(turn.under) if t.key]
            heapify(below)
        while below:
            key, _, first = below[0]
            if first.key == key:
                return first.next
            heappop(below)
        return None

    def _key(self, turn: Turn, shape: Shape, *, covered: bool) -> Key:
        """`shape`: whose turn it is in there; `covered`: by a guarantee further down."""
        account, shares = turn.account, self._shares
        covered = covered or (shape.claim >= 0 and account.guarantees(ask_of(shape)))
        gpu_size, cpu_size = shares.sizes[account.pool]
        gpu, cpu = shares.used_at(account, self._grid)
        used = max(gpu * max(1, cpu_size), cpu * max(1, gpu_size)) // account.weight
        return (0 if covered else 1, used, account.is_own, account.name)

    def _first_of(self, leaf: Turn) -> tuple[Place, Shape] | None:
        heads = leaf.heads
        while heads:
            place, _, shape = heads[0]
            if self._head_of(shape) == place:
                return place, shape
            heappop(heads)
        return None

    def _make_anew(self, turn: Turn) -> None:
        turn.heads = []
        for shape in list(turn.shapes):
            place = self._head_of(shape)
            if place is not None:
                self._pushed += 1
                turn.heads.append((place, self._pushed, shape))
        heapify(turn.heads)

    def _of(self, shape: Shape) -> Turn:
        if shape.leaf is None:
            raise ValueError("a shape in line counts nowhere")
        return self._leaves[shape.leaf]

    def _turn(self, account: Account) -> Turn:
        turn = self._turns.get(id(account))
        if turn is None:
            above = None if account.parent is None else self._turn(account.parent)
            turn = self._turns[id(account)] = Turn(account, above)
        return turn
