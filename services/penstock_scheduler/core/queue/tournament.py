"""Who is next of those who ask for the same, where there are quotas?

A tree like that of the quotas, each node knowing who is next below it; brought up to date along the
paths that have changed, when asked or when they are many. It does not know what fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush

from penstock_scheduler.core.queue.order import Place
from penstock_scheduler.core.queue.quotas.rules import Leaf
from penstock_scheduler.core.queue.quotas.shares import Account, Key, Shares, ask_of
from penstock_scheduler.core.shapes import Shape

SPARE_MAX = 1_000
"""Entries that count no longer are removed when there are so many more than others."""
DIRTY_MAX = 64
"""More paths than that are not left for when somebody asks: or all that came meanwhile would be
looked through at once."""

Candidate = tuple[tuple[Key, ...], Place]
"""Keys from below the pool down to the leaf, and the place within: the smallest goes first."""


class Turn:
    """An account, among those beside it. `heads`: of a leaf, the first of each shape; `below`: of
    others, by key; both with entries that count no longer. `next`: whose turn it is in here."""

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


class Tournament:
    """`entry`: the number under which it was last noted."""

    def __init__(
        self, shares: Shares, demand: Shape, head_of: Callable[[Shape], Place | None]
    ) -> None:
        if demand.leaf is None:
            raise ValueError("a shape in line counts nowhere")
        self.demand = demand
        self.pool = demand.leaf.pool
        self.entry = 0
        self._ask = ask_of(demand)
        self._shares = shares
        self._head_of = head_of
        self._turns: dict[int, Turn] = {}
        self._root = self._turn(shares.pools[self.pool])
        self._dirty: dict[Leaf, None] = {}
        self._compared = shares.compared
        self._seen = shares.changes
        self._pushed = 0

    def lead(self, shape: Shape, place: Place) -> None:
        turn = self._of(shape)
        turn.shapes[shape] = None
        self._pushed += 1  # of equal places no shapes are compared
        heappush(turn.heads, (place, self._pushed, shape))
        if len(turn.heads) > SPARE_MAX + 2 * len(turn.shapes):  # a standby asks for none
            self._make_anew(turn)
        self.touch(shape)

    def drop(self, shape: Shape) -> None:
        self._of(shape).shapes.pop(shape, None)
        self.touch(shape)

    def touch(self, shape: Shape) -> None:
        """The shape's first job may be another."""
        if shape.leaf is not None:
            self._dirty[shape.leaf] = None
            if len(self._dirty) > DIRTY_MAX:
                self._bring_up()

    def first(self) -> tuple[Candidate, Shape] | None:
        """Who is next, with the keys that say why."""
        self._bring_up()
        turn, keys = self._root, []
        found = turn.next
        if found is None:
            return None
        while turn.below:
            turn = turn.below[0][2]
            if turn.key is not None:
                keys.append(turn.key)
        return (tuple(keys), found[0]), found[1]

    def _bring_up(self) -> None:
        shares = self._shares
        if self._compared != shares.compared:
            self._compared, self._seen = shares.compared, shares.changes
            self._dirty.clear()
            self._renew(self._root)
            return
        if self._seen != shares.changes:
            changed = shares.changed_since(self._seen)
            self._seen = shares.changes
            if changed is None:
                self._dirty.clear()
                self._renew(self._root)
                return
            self._dirty.update(dict.fromkeys(changed))
        if self._dirty:
            dirty, self._dirty = self._dirty, {}
            self._refresh(dirty)

    def _refresh(self, leaves: Iterable[Leaf]) -> None:
        """Brings the ways from leaves to the pool up to date, as far as they lie in this tree; what
        many have in common once."""
        levels: list[dict[Turn, None]] = []
        for leaf in leaves:
            path = self._shares.path(leaf)
            while len(levels) < len(path):
                levels.append({})
            for below_pool, account in enumerate(reversed(path)):
                turn = self._turns.get(id(account))
                if turn is not None:
                    levels[below_pool][turn] = None
        for level in reversed(levels):
            for turn in level:
                turn.next = self._next_in(turn)
                if turn.above is not None:
                    self._rekey(turn)

    def _renew(self, turn: Turn) -> None:
        turn.below = []
        turn.key = None
        for one in turn.under:
            self._renew(one)
        turn.next = self._next_in(turn)
        if turn.above is not None:
            self._rekey(turn)

    def _rekey(self, turn: Turn) -> None:
        above, key = turn.above, None
        if turn.next is not None and above is not None:
            covered = bool(turn.below) and turn.below[0][0][0] == 0
            key = self._shares.key(
                turn.account, self._ask, covered=covered, may_claim=self.demand.claim >= 0
            )
        if key != turn.key:
            turn.key = key
            if key is not None and above is not None:
                self._pushed += 1
                heappush(above.below, (key, self._pushed, turn))

    def _next_in(self, turn: Turn) -> tuple[Place, Shape] | None:
        below = turn.below
        if len(below) > SPARE_MAX + 2 * len(turn.under):
            below = turn.below = [(t.key, i, t) for i, t in enumerate(turn.under) if t.key]
            heapify(below)
        while below:
            key, _, first = below[0]
            if first.key == key:
                return first.next
            heappop(below)
        heads = turn.heads
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
        return self._turn(self._shares.account(shape.leaf))

    def _turn(self, account: Account) -> Turn:
        turn = self._turns.get(id(account))
        if turn is None:
            above = None if account.parent is None else self._turn(account.parent)
            turn = self._turns[id(account)] = Turn(account, above)
        return turn
