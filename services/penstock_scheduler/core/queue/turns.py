"""Whose turn is it among quotas?

First whoever is covered by a guarantee, then who has used least for its weight, level by level down
the tree; in one quota the most urgent. Kept apart for each demand: what fits for one of those who
ask for the same fits for all of them, and a demand that fits nowhere costs nothing. It does not
know what fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush, heapreplace

from penstock_scheduler.core.queue.order import Place
from penstock_scheduler.core.queue.quotas.decay import GRID_BITS
from penstock_scheduler.core.queue.quotas.shares import Account, Key, Shares, ask_of
from penstock_scheduler.core.queue.tournament import SPARE_MAX, Candidate, Tournament
from penstock_scheduler.core.shapes import Shape

EPOCH_BITS = GRID_BITS - 8
"""Shares are compared as of the end of such a step: 256 to a half-life."""
HORIZON = 1 << (GRID_BITS - 4)
"""And as if what is held were held for so long more: or all that is free now would go to one."""

HeadOf = Callable[[Shape], Place | None]


class Turns:
    """`head_of`: the first job of a shape that waits and may be next, else None; `asking`: the
    shapes that ask for something; `is_open`: whether that may fit. A pool that was `stop`ped offers
    nobody until something there changes. `_plain`: by pool, the first of each shape, where there
    are no quotas; with entries that count no longer."""

    def __init__(
        self,
        shares: Shares,
        head_of: HeadOf,
        asking: Callable[[Shape], Iterable[Shape]],
        is_open: Callable[[Shape], bool],
    ) -> None:
        self._shares = shares
        self._head_of = head_of
        self._asking = asking
        self._is_open = is_open
        self._plain: dict[str, list[tuple[Place, int, Shape, Shape]]] = {
            pool: [] for pool in shares.pools
        }
        self._tournaments: dict[Shape, Tournament] = {}
        self._entries: dict[str, list[tuple[Candidate, int, Tournament]]] = {
            pool: [] for pool in shares.pools
        }
        self._fresh: dict[Shape, Tournament] = {}
        self._stopped: dict[str, tuple[Place, Shape]] = {}
        self._epoch = (-1, -1)
        self._seen_releases = 0
        self._pushed = 0
        self._spare = SPARE_MAX

    # -- what has changed
    def lead(self, demand: Shape, shape: Shape, place: Place) -> None:
        """The job is the first of its shape, which may be next."""
        if self._shares.keeps_use:
            self._of(demand).lead(shape, place)
            self.touch(demand)
        elif shape.leaf is not None:
            self._pushed += 1  # of equal places no shapes are compared
            entries = self._plain[shape.leaf.pool]
            heappush(entries, (place, self._pushed, shape, demand))
            if len(entries) > self._spare:  # a standby asks for none
                self._clear(entries)

    def drop(self, demand: Shape, shape: Shape, *, last: bool) -> None:
        """None of the shape waits any more; `last`: nobody asks for that any more."""
        if not self._shares.keeps_use:
            return
        if last:
            self._tournaments.pop(demand).entry = 0
            self._fresh.pop(demand, None)
        else:
            self._of(demand).drop(shape)
            self.touch(demand)

    def shut(self, demand: Shape, shape: Shape) -> None:
        """The shape may not be next."""
        if self._shares.keeps_use:
            self._of(demand).touch(shape)

    def touch(self, demand: Shape) -> None:
        """Who is next of those who ask for that may be another, or is asked for again."""
        if self._shares.keeps_use:
            self._fresh[demand] = self._of(demand)
            return
        for shape in self._asking(demand):
            place = self._head_of(shape)
            if place is not None:
                self.lead(demand, shape, place)

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

    def pay_anew(self, tenant: str) -> None:
        """What the tenant may spend has changed: so may whether a pool waits for its job."""
        for pool, (_, shape) in list(self._stopped.items()):
            if shape.purse is not None and shape.purse.tenant == tenant:
                self.go_on(pool)

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
            for pool, plain in self._plain.items():
                if pool not in self._stopped and (next_ := self._first_of_plain(plain)) is not None:
                    return next_
            return None
        self._bring_up(now_ns)
        if self._fresh:
            self._take_fresh()
        for pool, entries in self._entries.items():
            if pool not in self._stopped:
                found = self._first_of(entries)
                if found is not None:
                    return found
        return None

    def _first_of_plain(
        self, entries: list[tuple[Place, int, Shape, Shape]]
    ) -> tuple[Place, Shape] | None:
        while entries:
            place, _, shape, demand = entries[0]
            if self._is_open(demand) and self._head_of(shape) == place:
                return place, shape
            heappop(entries)
        return None

    def _clear(self, entries: list[tuple[Place, int, Shape, Shape]]) -> None:
        entries[:] = [
            entry
            for entry in entries
            if self._is_open(entry[3]) and self._head_of(entry[2]) == entry[0]
        ]
        heapify(entries)
        self._spare = SPARE_MAX + 2 * len(entries)

    def _first_of(
        self, entries: list[tuple[Candidate, int, Tournament]]
    ) -> tuple[Place, Shape] | None:
        """Of what was noted, whatever is granted makes keys only larger: what is first and true is
        first of all."""
        while entries:
            noted, number, tournament = entries[0]
            if tournament.entry != number or not self._is_open(tournament.demand):
                heappop(entries)
                continue
            found = tournament.first()
            if found is None:
                heappop(entries)
            elif found[0] == noted:
                return found[0][1], found[1]
            else:
                heapreplace(entries, (found[0], number, tournament))
        return None

    def _bring_up(self, now_ns: int) -> None:
        shares = self._shares
        if not shares.keeps_use:
            return
        epoch = (shares.grid(now_ns) >> EPOCH_BITS, shares.version)
        if epoch != self._epoch:
            self._epoch = epoch
            shares.compare_at(((epoch[0] + 1) << EPOCH_BITS) + HORIZON)
            self._stopped.clear()
            self._fresh = dict(self._tournaments)
        elif shares.releases != self._seen_releases:
            self._fresh = dict(self._tournaments)
        self._seen_releases = shares.releases
        for pool in shares.take_changed_pools():
            self.go_on(pool)

    def _take_fresh(self) -> None:
        fresh, self._fresh = self._fresh, {}
        for demand, tournament in fresh.items():
            if not self._is_open(demand):
                continue
            found = tournament.first()
            if found is not None:
                self._pushed += 1
                tournament.entry = self._pushed
                heappush(self._entries[tournament.pool], (found[0], self._pushed, tournament))

    def in_order(
        self, pool: str, now_ns: int, head_of: Callable[[Account], Shape | None]
    ) -> list[Account]:
        """The leaves of a pool, next first. `head_of`: what stands for a leaf; None = nobody waits
        there."""
        self._bring_up(now_ns)
        ranked = self._rank(self._shares.pools[pool], head_of)
        return [] if ranked is None else ranked[2]

    def _rank(
        self, account: Account, head_of: Callable[[Account], Shape | None]
    ) -> tuple[Key, Shape, list[Account]] | None:
        if not account.under:
            shape = head_of(account)
            if shape is None:
                return None
            return self._key(account, shape, covered=False), shape, [account]
        below = [found for one in account.under if (found := self._rank(one, head_of)) is not None]
        if not below:
            return None
        below.sort(key=lambda ranked: ranked[0])
        key, shape, _ = below[0]
        leaves = [leaf for ranked in below for leaf in ranked[2]]
        return self._key(account, shape, covered=key[0] == 0), shape, leaves

    def _key(self, account: Account, shape: Shape, *, covered: bool) -> Key:
        return self._shares.key(account, ask_of(shape), covered=covered, may_claim=shape.claim >= 0)

    def _of(self, demand: Shape) -> Tournament:
        tournament = self._tournaments.get(demand)
        if tournament is None:
            tournament = Tournament(self._shares, demand, self._head_of)
            self._tournaments[demand] = tournament
        return tournament
