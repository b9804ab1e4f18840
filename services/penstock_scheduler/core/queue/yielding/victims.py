"""Who may be asked to yield for a waiting job, and what would be lost?

Spot work yields to all else; in a pool that says so, within a quota, lower classes to higher ones
and what is expected to go on for long to what is expected to be done soon; and what is held beyond
a guarantee to who has one that is not met. What is asked to end already
counts as gone, and what is promised to others that wait as held, so that nothing is taken twice. It
does not know what fits where.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from heapq import merge
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from penstock_scheduler.core.queue.keeping.futures import room_if
from penstock_scheduler.core.queue.keeping.kept import Kept
from penstock_scheduler.core.queue.quotas.promises import NOTHING, promised, total
from penstock_scheduler.core.queue.quotas.rules import SPOT, Leaf
from penstock_scheduler.core.queue.quotas.shares import Account, Ask, ask_of
from penstock_scheduler.core.shapes import Shape
from penstock_scheduler.core.state import Job, Lease, LeaseId

if TYPE_CHECKING:
    from penstock_scheduler.core.fold import State

OF_SPOT, OF_CLASS, OF_QUOTA = range(3)
"""Whose turn it is to yield: all of the first before any of the next."""
TIMES_LONGER = 8
"""What yields to a job of its own class has so many times more to do, in GPU time."""


class Runner(msgspec.Struct, eq=False):
    """An attempt that runs and could be asked to end. `lost`: what it has done since it last saved
    its work, `left`: what it is expected to do still, None = unknown; both in `size` x ms."""

    job: Job
    leaf: Leaf
    leases: list[Lease]
    ask: Ask
    lost: int
    left: int | None

    @property
    def job_id(self) -> str:
        return self.job.spec.job_id

    @property
    def is_spot(self) -> bool:
        return self.job.spec.tier == SPOT


class Wants(NamedTuple):
    """What a waiting job asks, as one of its alternatives. `guarantor`: the lowest quota on its way
    up whose guarantee covers it; None = none does. `left`: what it is expected to do, as of a
    runner; None = unknown."""

    leaf: Leaf
    ask: Ask
    claim: int
    guarantor: Account | None
    left: int | None


class Standing:
    """How it stands between those who hold and those who wait, at one instant and through what is
    decided there. `leaving`: leases that have been asked to end."""

    def __init__(self, state: State, now_ns: int) -> None:
        self._state, self._shares = state, state.shares
        self._now_ms = now_ns // 1_000_000
        self.leaving: dict[LeaseId, None] = {}
        self._runners: dict[Leaf, list[Runner]] = {}
        self._spot: dict[str, list[Runner]] = {}
        self._leaving: dict[Account, Ask] = {}
        self._ending: dict[str, None] = {}
        self._rooms: dict[str, Kept | None] = {}
        self._promised = promised(state)
        running: dict[str, list[Lease]] = {}
        for lease in state.leases.values():
            job = state.jobs.get(lease.job_id)
            node = state.nodes.get(lease.node)
            if node is None or node.image.liveness != "alive":
                continue  # it may stay for ever, whatever it is told
            if lease.stop_reason or job is None or job.attempt != lease.attempt:
                self._leave(state.leaf_of(lease.tenant, lease.spec), (lease,))
            else:
                running.setdefault(lease.job_id, []).append(lease)
        for job_id, leases in running.items():
            self._run(state.jobs[job_id], leases)
        for runners in (*self._runners.values(), *self._spot.values()):
            runners.sort(key=_loss)

    def wants(self, job: Job, option: Shape) -> Wants:
        """What the job has a right to, as one of its alternatives."""
        leaf, ask = self._state.leaf_of(job.tenant, job.spec), ask_of(option)
        covers = (one for one in self._shares.path(leaf) if self._covers(one, ask))
        left = self._left(job, ask) if option.claim > 0 else None
        return Wants(leaf, ask, option.claim, next(covers, None), left)

    def candidates(self, wants: Wants) -> Iterator[Runner]:
        """Each who may be asked to yield, whoever else is; least loss first, of equals the last
        that came."""
        if wants.claim < 0:
            return
        yield from self._spot.get(wants.leaf.pool, ())
        if wants.claim > 0:
            for one in self._runners.get(wants.leaf, ()):
                if not one.is_spot and _is_behind(one, wants):
                    yield one
        if wants.guarantor is not None:
            for one in self._borrowers(wants):
                if not one.is_spot:
                    yield one

    def _borrowers(self, wants: Wants) -> Iterator[Runner]:
        over = [
            runners
            for leaf, runners in self._runners.items()
            if leaf.pool == wants.leaf.pool
            and leaf != wants.leaf
            and self._is_over(leaf, wants, {})
        ]
        return merge(*over, key=_loss)

    def group(self, runner: Runner, wants: Wants, taken: dict[Account, int]) -> int | None:
        """Why it may be asked to yield; None = it may not. `taken`: GPU of accounts that others
        give up at the same time."""
        if wants.claim < 0:
            return None
        if runner.is_spot:
            return OF_SPOT
        if runner.leaf == wants.leaf:
            return OF_CLASS if wants.claim > 0 and _is_behind(runner, wants) else None
        if wants.guarantor is None or not self._is_over(runner.leaf, wants, taken):
            return None
        return OF_QUOTA

    def affordable(self, wants: Wants, runners: Iterable[Runner]) -> list[Runner]:
        """Of these, in their order, who may be asked to yield when those before them are."""
        taken: dict[Account, int] = {}
        found = []
        for one in runners:
            if self.group(one, wants, taken) is not None:
                found.append(one)
                for account in self._shares.path(one.leaf):
                    taken[account] = taken.get(account, 0) + one.ask.gpu_milli
        return found

    def allows(self, wants: Wants, victims: Collection[Runner]) -> bool:
        """Whether all maxima allow it once the victims have gone."""
        for account in self._shares.path(wants.leaf):
            quota = account.quota
            if quota is None:
                continue
            gone = [one.ask for one in victims if account in self._shares.path(one.leaf)]
            gpu, cpu = self._held(account)
            gpu += wants.ask.gpu_milli - sum(ask.gpu_milli for ask in gone)
            cpu += wants.ask.cpu_milli - sum(ask.cpu_milli for ask in gone)
            if wants.ask.gpu_milli and _is_above(gpu, quota.maximum_gpu_milli):
                return False
            if wants.ask.cpu_milli and _is_above(cpu, quota.maximum_cpu_milli):
                return False
        return True

    def counts_with(self, wants: Wants, runner: Runner) -> bool:
        """Whether both are below the same quota."""
        theirs = self._shares.path(wants.leaf)
        return any(one.quota and one in theirs for one in self._shares.path(runner.leaf))

    def rooms(self) -> dict[str, Kept | None]:
        """What will be free of the nodes on which somebody is ending, when they have ended."""
        for name in self._ending:
            if name not in self._rooms:
                self._rooms[name] = room_if(self._state, name, self.leaving, ())
        return self._rooms

    # -- what is decided
    def settle(self, nodes: Iterable[str]) -> None:
        """Something else is kept there."""
        for name in nodes:
            self._rooms.pop(name, None)

    def promise(self, leaf: Leaf, ask: Ask) -> None:
        """A job that waits is to have it."""
        for account in self._shares.path(leaf):
            self._promised[account] = total(self._promised.get(account, NOTHING), ask)

    def yields(self, victims: Iterable[Runner]) -> None:
        """They are asked to end."""
        for one in victims:
            self._runners[one.leaf].remove(one)
            if one.is_spot:
                self._spot[one.leaf.pool].remove(one)
            self._leave(one.leaf, one.leases)

    # -- parts
    def _run(self, job: Job, leases: list[Lease]) -> None:
        leaf = self._state.leaf_of(job.tenant, job.spec)
        gpu = sum(lease.gpu_milli * len(lease.uuids) for lease in leases)
        ask = Ask(gpu, sum(lease.cpu_milli for lease in leases))
        lost = size_of(ask) * lost_ms(job, self._now_ms)
        claims = self._state.rules.claim_of(job.spec) > 0
        left = self._left(job, ask) if claims else None
        one = Runner(job, leaf, leases, ask, lost, left)
        self._runners.setdefault(leaf, []).append(one)
        if one.is_spot:
            self._spot.setdefault(leaf.pool, []).append(one)

    def _left(self, job: Job, ask: Ask) -> int | None:
        done_ms = job.saved_ms
        if job.started_ms is not None:
            done_ms += max(0, self._now_ms - job.started_ms)
        expected_ms = self._state.runtimes.expected_ms(job.spec, job.tenant, done_ms)
        return None if expected_ms is None else size_of(ask) * max(0, expected_ms - done_ms)

    def _leave(self, leaf: Leaf, leases: Iterable[Lease]) -> None:
        for lease in leases:
            self.leaving[lease.id] = None
            self._ending[lease.node] = None
            self._rooms.pop(lease.node, None)
            ask = Ask(lease.gpu_milli * len(lease.uuids), lease.cpu_milli)
            for account in self._shares.path(leaf):
                self._leaving[account] = total(self._leaving.get(account, NOTHING), ask)

    def _held(self, account: Account) -> Ask:
        """What is held of it, or promised, when all that has been asked to end has ended."""
        less, more = self._leaving.get(account, NOTHING), self._promised.get(account, NOTHING)
        return Ask(
            account.held_gpu - less.gpu_milli + more.gpu_milli,
            account.held_cpu - less.cpu_milli + more.cpu_milli,
        )

    def _covers(self, account: Account, ask: Ask) -> bool:
        return 0 < ask.gpu_milli <= account.guaranteed - self._held(account).gpu_milli

    def _is_over(self, holder: Leaf, wants: Wants, taken: dict[Account, int]) -> bool:
        """Whether all on the holder's side of where the two part hold more than is guaranteed to
        them, and what covers the job does not cover the holder."""
        theirs = self._shares.path(wants.leaf)
        for account in self._shares.path(holder):
            if account is wants.guarantor:
                return False
            if account in theirs:
                continue
            less = self._leaving.get(account, NOTHING).gpu_milli + taken.get(account, 0)
            if account.held_gpu - less <= account.guaranteed:
                return False
        return True


def _is_above(held: int, maximum: int | None) -> bool:
    return maximum is not None and held > maximum


def _is_behind(runner: Runner, wants: Wants) -> bool:
    """Within a quota: of a lower class, or of the same and by far longer to go on, also when what
    would be lost of it is counted in."""
    priority = runner.job.spec.priority
    if priority != wants.claim - 1:
        return priority < wants.claim - 1
    if runner.left is None or wants.left is None:
        return False
    return TIMES_LONGER * (wants.left + runner.lost) < runner.left


def _loss(one: Runner) -> tuple[int, int, int, str]:
    return (one.lost, -(one.left or 0), -one.job.order, one.job_id)


def size_of(ask: Ask) -> int:
    """How much of the fleet it takes up: milli-GPU, and thousandths of a core beside them."""
    return ask.gpu_milli + ask.cpu_milli // 1000


def saved_ms(job: Job) -> int:
    """How much of the attempt's work is saved, now that it has ended."""
    ends_ms = [rank.exited.at_ms for rank in job.ranks if rank.exited is not None]
    if job.started_ms is None or not ends_ms:
        return 0
    ran_ms = max(0, max(ends_ms) - job.started_ms)
    if job.spec.checkpoint_signal:
        return ran_ms
    every_s = job.spec.checkpoint_s
    return 0 if every_s is None else ran_ms - ran_ms % (every_s * 1000)


def lost_ms(job: Job, now_ms: int) -> int:
    """For how long the attempt has run without its work being saved, as far as its spec says."""
    if job.started_ms is None or job.spec.checkpoint_signal:
        return 0
    ran_ms = max(0, now_ms - job.started_ms)
    every_s = job.spec.checkpoint_s
    return ran_ms if every_s is None else min(ran_ms, every_s * 1000)
