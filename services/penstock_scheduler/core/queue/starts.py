"""When is a job that waits expected to be placed?

Not before an exact placement succeeds on the fleet as it will be, nor before its turn has come if
those ahead of it take what they ask as soon as it is there, nor before its quotas allow it. It is
said once of each attempt, so that it can be told afterwards how good that was; nothing is decided
by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import islice
from typing import NamedTuple

from penstock_contracts.journal import JobFact, StartExpected, StartsExpected
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.queue.keeping.bounds import END_MARGIN_S
from penstock_scheduler.core.queue.keeping.ends import END_UNKNOWN_MS, Ends, expected_ms
from penstock_scheduler.core.queue.keeping.places import Place
from penstock_scheduler.core.queue.quotas.promises import holding
from penstock_scheduler.core.queue.quotas.shares import Account, Ask, ask_of
from penstock_scheduler.core.shapes import Shape
from penstock_scheduler.core.state import Job, Node

AHEAD_MAX = 1_024
"""Of whom more are ahead in line, nobody says when it begins."""
LOOKED_AT_MAX = 64
"""So many of each pool are looked at, next first, for those of whom nothing has been said."""
SAID_MAX = 4
"""Of so many it is said at once."""
SAID_AFTER_NS = 10_000_000_000
"""What begins sooner needs no estimate."""
EVERY_S = 5
SEEN_A_SECOND = 1_000
"""Jobs and leases: where there are very many, estimates are made less often."""
NS_PER_S = 1_000_000_000


Waits = tuple[str, Shape]
"""A job in line, as it asks."""


class _Room(NamedTuple):
    """What jobs of one kind compete for: how much is free now, and what comes when."""

    free: int
    coming: tuple[tuple[int, int], ...]


def expected_start_ms(state: State, job: Job, now_ns: int) -> int | None:
    """When the job is expected to be placed; None = nobody can say."""
    return Prospect(state, now_ns).start_ms(job, AHEAD_MAX)


def decide_said(state: State, now_ns: int) -> list[JobFact]:
    """What is to be said of those who have waited for a while, at a tick."""
    if not len(state.line) or not state.nodes:
        return []
    if now_ns // NS_PER_S % max(EVERY_S, (len(state.line) + len(state.leases)) // SEEN_A_SECOND):
        return []
    prospect = Prospect(state, now_ns)
    starts: list[StartExpected] = []
    for pool in state.rules.pools:
        for job_id, _ in islice(prospect.line_of(pool.name), LOOKED_AT_MAX):
            job = state.jobs[job_id]
            waits_ns = now_ns - job.since_ns
            if job.estimated_ms is None and waits_ns >= SAID_AFTER_NS and len(starts) < SAID_MAX:
                start_ms = prospect.start_ms(job, LOOKED_AT_MAX)
                starts.append(StartExpected(job_id, job.attempt, start_ms))
    return [StartsExpected(tuple(starts))] if starts else []


class Prospect:
    """The queue as it is expected to move, as of one instant."""

    def __init__(self, state: State, now_ns: int) -> None:
        self._state = state
        self._now_ns = now_ns
        self._now_ms = now_ns // 1_000_000
        self._ends = Ends(state, now_ns)
        self._rooms: dict[tuple[str, bool, tuple[str, ...]], _Room] = {}
        self._lines: dict[str, tuple[list[Waits], Iterator[Waits]]] = {}

    def line_of(self, pool: str) -> Iterator[Waits]:
        """Those who wait in a pool, next first: asked of the line once, however often it is."""
        known = self._lines.get(pool)
        if known is None:
            order = self._state.line.in_order(pool, self._now_ns)
            known = self._lines[pool] = ([], order)
        seen, more = known
        place = 0
        while True:
            if place == len(seen):
                found = next(more, None)
                if found is None:
                    return
                seen.append(found)
            yield seen[place]
            place += 1

    def start_ms(self, job: Job, ahead_max: int) -> int | None:
        """When the job is expected to be placed, with at most so many ahead of it."""
        state, job_id = self._state, job.spec.job_id
        kept = state.places.get(job_id)
        if kept is not None and kept.fact.at_ms > self._now_ms:
            return None if is_unknown(kept) else kept.fact.at_ms
        shape = state.shape_of(job)
        fits = self._ends.first_fit(shape, job_id)
        allowed_ms = self._allowed_ms(shape, job_id)
        turn_ms = self._turn_ms(shape, job_id, ahead_max)
        if fits is None or allowed_ms is None or turn_ms is None:
            return None
        rested_ms = 0 if job.rests_until_ns is None else -(-job.rests_until_ns // 1_000_000)
        at_ms = max(self._now_ms, fits.at_ms, allowed_ms, turn_ms, rested_ms)
        return at_ms if at_ms < self._now_ms + END_UNKNOWN_MS else None

    def _turn_ms(self, shape: Shape, job_id: str, ahead_max: int) -> int | None:
        """When there is as much as the job asks for, once those ahead have what they ask."""
        if shape.leaf is None:
            return None
        models = models_of(shape)
        stream = _Stream(self._room(shape.leaf.pool, bool(shape.gpus), models), self._now_ms)
        for ahead, (other_id, other) in enumerate(self.line_of(shape.leaf.pool)):
            if other_id == job_id:
                break
            if ahead >= ahead_max:
                return None
            if bool(other.gpus) == bool(shape.gpus) and _share(models_of(other), models):
                stream.give(_amount(other), self._takes_ms(other_id))
        return stream.give(_amount(shape), END_UNKNOWN_MS)

    def _takes_ms(self, job_id: str) -> int:
        """How long a job that waits is expected to hold what it asks for."""
        job = self._state.jobs[job_id]
        took_ms = expected_ms(self._state, job.spec, job.tenant)
        if job.spec.time_limit_s is not None:
            limit_ms = 1000 * job.spec.time_limit_s
            took_ms = limit_ms if took_ms is None else min(took_ms, limit_ms)
        return END_UNKNOWN_MS if took_ms is None else took_ms + 1000 * END_MARGIN_S

    def _room(self, pool: str, gpus: bool, models: tuple[str, ...]) -> _Room:
        key = (pool, gpus, models)
        room = self._rooms.get(key)
        if room is None:
            room = self._rooms[key] = self._make_room(pool, gpus, models)
        return room

    def _make_room(self, pool: str, gpus: bool, models: tuple[str, ...]) -> _Room:
        free, coming = 0, []
        for node in self._state.nodes.values():
            if node.pool != pool or not node.schedulable:
                continue
            usable = _usable(node, models) if gpus else {}
            free += sum(node.free[index] for index in usable.values()) if gpus else node.cpu_free
            for lease_id in node.leases:
                lease = self._state.leases[lease_id]
                held = sum(uuid in usable for uuid in lease.uuids) * lease.gpu_milli
                held = held if gpus else lease.cpu_milli
                if held:
                    coming.append((self._ends.of(lease_id), held))
        return _Room(free, tuple(sorted(coming)))

    def _allowed_ms(self, shape: Shape, job_id: str) -> int | None:
        """When its quotas allow the job, once enough of what they hold has ended."""
        if shape.leaf is None or not shape.leaf.quota:
            return self._now_ms
        found: list[int] = []
        for option in (shape, *shape.alternatives):
            ask = ask_of(option)
            if holding(self._state, shape.leaf, ask, job_id) is None:
                return self._now_ms
            path = self._state.shares.path(shape.leaf)
            instants = [self._within_ms(account, ask) for account in path]
            known = [instant for instant in instants if instant is not None]
            if len(known) == len(instants):
                found.append(max(known))
        return min(found, default=None)

    def _within_ms(self, account: Account, ask: Ask) -> int | None:
        """When an account has room for this below its maxima; None = never as things are."""
        if account.allows(ask):
            return self._now_ms
        quota, state = account.quota, self._state
        gpu = cpu = 0
        if quota is not None and quota.maximum_gpu_milli is not None and ask.gpu_milli:
            gpu = account.held_gpu + ask.gpu_milli - quota.maximum_gpu_milli
        if quota is not None and quota.maximum_cpu_milli is not None and ask.cpu_milli:
            cpu = account.held_cpu + ask.cpu_milli - quota.maximum_cpu_milli
        own = [
            (self._ends.of(lease_id), lease.gpu_milli * len(lease.uuids), lease.cpu_milli)
            for lease_id, lease in state.leases.items()
            if account in state.shares.path(state.leaf_of(lease.tenant, lease.spec))
        ]
        for end_ms, gpu_milli, cpu_milli in sorted(own):
            gpu, cpu = gpu - gpu_milli, cpu - cpu_milli
            if gpu <= 0 and cpu <= 0:
                return end_ms
        return None


class _Stream:
    """What is free, as time goes on: given out in order, and coming back."""

    def __init__(self, room: _Room, now_ms: int) -> None:
        self._free = room.free
        self._at_ms = now_ms
        self._coming = room.coming
        self._next = 0
        self._given: list[tuple[int, int]] = []
        self._all = room.free + sum(milli for _, milli in room.coming)

    def give(self, needed: int, takes_ms: int) -> int | None:
        """When there is so much, which is held for so long from then on; None = there never is,
        and nobody waits for it."""
        if needed > self._all:
            return None
        coming, given = self._coming, self._given
        while self._free < needed:
            if given and (self._next >= len(coming) or given[0] <= coming[self._next]):
                end_ms, milli = heappop(given)
            else:
                end_ms, milli = coming[self._next]
                self._next += 1
            self._free += milli
            self._at_ms = max(self._at_ms, end_ms)
        self._free -= needed
        heappush(given, (self._at_ms + takes_ms, needed))
        return self._at_ms


def is_unknown(place: Place) -> bool:
    """Whether the place waits for work of which nobody knew when it ends."""
    return place.fact.at_ms - place.kept_ns // 1_000_000 >= END_UNKNOWN_MS


def models_of(shape: Shape) -> tuple[str, ...]:
    """The models that one of its choices names; none = it takes any."""
    choices = (shape, *shape.alternatives)
    if any(not choice.gpu_models for choice in choices):
        return ()
    return tuple(sorted({model for choice in choices for model in choice.gpu_models}))


def _share(mine: tuple[str, ...], theirs: tuple[str, ...]) -> bool:
    """Whether both could use the same device."""
    return not mine or not theirs or not set(mine).isdisjoint(theirs)


def _amount(shape: Shape) -> int:
    """Milli-GPU of a job that asks for GPUs, else milli-CPU."""
    ask = ask_of(shape)
    return ask.gpu_milli if shape.gpus else ask.cpu_milli


def _usable(node: Node, models: tuple[str, ...]) -> dict[str, int]:
    return {
        uuid: index
        for index, (uuid, model, _) in enumerate(node.image.devices)
        if uuid not in node.image.unhealthy and (not models or model in models)
    }
