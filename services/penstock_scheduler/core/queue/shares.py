"""Who holds how much, against what is guaranteed and allowed?

One account a quota and one a pool, brought up to date along the path to the pool at every grant,
release, and change of who waits; all in integers. It does not know who is next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from penstock_contracts.queue_policy import Quota
from penstock_scheduler.core.queue.decay import grid_of, steady_ms, used_after
from penstock_scheduler.core.queue.rules import Leaf, Rules
from penstock_scheduler.core.shapes import Shape


class Ask(NamedTuple):
    """What a whole job takes, over all its ranks."""

    gpu_milli: int
    cpu_milli: int


def ask_of(shape: Shape) -> Ask:
    """Of what is asked first, or of one alternative."""
    return Ask(shape.ranks * shape.gpus * shape.gpu_milli, shape.ranks * shape.cpu_milli)


class Used(msgspec.Struct):
    """Decayed use as of a step of the grid, in milli x ms."""

    gpu: int = 0
    cpu: int = 0
    grid: int = 0


class Account(msgspec.Struct, eq=False):
    """One quota, or a pool as a whole (`quota` None). `own`: of a pool, what no quota counts is
    also held, used and waiting in an account of its own, with `is_own`."""

    name: str
    pool: str
    quota: Quota | None
    parent: Account | None
    is_own: bool = False
    held_gpu: int = 0
    held_cpu: int = 0
    waiting_jobs: int = 0
    waiting_gpu: int = 0
    used: Used = msgspec.field(default_factory=Used)

    @property
    def weight(self) -> int:
        return 1 if self.quota is None else self.quota.weight

    @property
    def guaranteed(self) -> int:
        return 0 if self.quota is None else self.quota.guaranteed_gpu_milli

    @property
    def over(self) -> int:
        """GPU held beyond what is guaranteed."""
        return max(0, self.held_gpu - self.guaranteed)

    def guarantees(self, ask: Ask) -> bool:
        """Whether this, too, would be within its guarantee."""
        return 0 < ask.gpu_milli <= self.guaranteed - self.held_gpu

    def allows(self, ask: Ask) -> bool:
        quota = self.quota
        if quota is None:
            return True
        gpu, cpu = quota.maximum_gpu_milli, quota.maximum_cpu_milli
        return (gpu is None or not ask.gpu_milli or self.held_gpu + ask.gpu_milli <= gpu) and (
            cpu is None or not ask.cpu_milli or self.held_cpu + ask.cpu_milli <= cpu
        )


class SharesKept(msgspec.Struct, kw_only=True):
    """What is not derived, as a snapshot holds it: use by quota, and by pool of what no quota
    counts."""

    quotas: dict[str, Used] = {}
    pools: dict[str, Used] = {}
    own: dict[str, Used] = {}


class Shares:
    """See the module. `keeps_use`: there is somebody to compare with. `sizes`: milli-GPU and
    milli-CPU of the nodes in each pool; with each change there is another `version`."""

    def __init__(self, rules: Rules, kept: SharesKept | None = None, now_ns: int = 0) -> None:
        """Use that is kept of another half-life is taken as it was at `now_ns`."""
        self.rules = rules
        self.keeps_use = bool(rules.quotas)
        self.spot_leases = 0
        self.half_life_s = rules.policy.half_life_s
        self.steady = steady_ms(self.half_life_s)
        kept = kept or SharesKept()
        self.pools = {
            name: Account(name, name, None, None, used=kept.pools.get(name) or Used())
            for name in (pool.name for pool in rules.pools)
        }
        self.own = {
            name: Account(name, name, None, pool, True, used=kept.own.get(name) or Used())
            for name, pool in self.pools.items()
        }
        self.quotas: dict[str, Account] = {}
        for name in rules.quotas:
            self._open(name, kept)
        self.sizes: dict[str, tuple[int, int]] = dict.fromkeys(self.pools, (0, 0))
        self.version = 0
        self._changed: dict[Leaf, None] = {}
        self._released: dict[Leaf, None] = {}
        self._paths: dict[Leaf, tuple[Account, ...]] = {}
        if now_ns:
            self._begin(self.grid(now_ns))

    def keep(self) -> SharesKept:
        if not self.keeps_use:
            return SharesKept()
        return SharesKept(
            quotas={name: account.used for name, account in self.quotas.items()},
            pools={name: account.used for name, account in self.pools.items()},
            own={name: account.used for name, account in self.own.items()},
        )

    def keep_at(self, now_ns: int) -> SharesKept:
        """The same with all use counted until then."""
        grid = self.grid(now_ns)
        for account in (*self.quotas.values(), *self.pools.values(), *self.own.values()):
            self._count(account, grid)
        return self.keep()

    # -- asked by decisions
    def account(self, leaf: Leaf) -> Account:
        """The leaf's own."""
        return self.quotas[leaf.quota] if leaf.quota else self.own[leaf.pool]

    def path(self, leaf: Leaf) -> tuple[Account, ...]:
        """From the leaf up to the pool."""
        found = self._paths.get(leaf)
        if found is None:
            found = self._paths[leaf] = tuple(_upwards(self.account(leaf)))
        return found

    def holding(self, leaf: Leaf, ask: Ask) -> Quota | None:
        """The quota whose maximum does not allow this too; None = all do."""
        for account in self.path(leaf):
            if not account.allows(ask):
                return account.quota
        return None

    def allows(self, leaf: Leaf, ask: Ask) -> bool:
        """Whether the maxima along the path allow this too."""
        return not leaf.quota or self.holding(leaf, ask) is None

    def entitled(self, leaf: Leaf, ask: Ask) -> bool:
        """Whether a guarantee along the path covers this too."""
        return bool(leaf.quota) and any(one.guarantees(ask) for one in self.path(leaf))

    def over(self, leaf: Leaf) -> int:
        """GPU that the leaf holds beyond its own guarantee."""
        return self.account(leaf).over

    def may_take(self, holder: Leaf, wants: Leaf) -> bool:
        """Whether what `holder` holds may be taken back for `wants`: they part somewhere on the
        way down, and from there on all on the holder's side hold more than is guaranteed to
        them."""
        if holder == wants or holder.pool != wants.pool:
            return False
        theirs = {id(account) for account in self.path(wants)}
        return all(account.over for account in self.path(holder) if id(account) not in theirs)

    def waiting_jobs(self, quota: str) -> int:
        return self.quotas[quota].waiting_jobs

    def used_at(self, account: Account, grid: int) -> tuple[int, int]:
        """Decayed use of GPU and CPU as of that step of the grid, in milli x ms, if nothing
        changes until then."""
        used = account.used
        steps = max(0, grid - used.grid)
        return (
            used_after(used.gpu, account.held_gpu, steps, self.steady),
            used_after(used.cpu, account.held_cpu, steps, self.steady),
        )

    def grid(self, now_ns: int) -> int:
        return grid_of(now_ns, self.half_life_s)

    # -- folds
    def hold(self, leaf: Leaf, gpu_milli: int, cpu_milli: int, now_ns: int) -> None:
        """So much more is held, or less. Goes up to the pool."""
        grid = self.grid(now_ns) if self.keeps_use else 0
        for account in self.path(leaf):
            if self.keeps_use:
                self._count(account, grid)
            account.held_gpu += gpu_milli
            account.held_cpu += cpu_milli
        if self.keeps_use:
            self._changed[leaf] = None
            if gpu_milli < 0 or cpu_milli < 0:
                self._released[leaf] = None

    def resize(self, pool: str, gpu_milli: int, cpu_milli: int) -> None:
        """So much more is in the pool, or less; "" = in none."""
        if pool:
            gpu, cpu = self.sizes[pool]
            self.sizes[pool] = (gpu + gpu_milli, cpu + cpu_milli)
            self.version += 1

    def take_changed(self) -> Iterable[Leaf]:
        """Where more or less is held than when this was asked last."""
        taken, self._changed = self._changed, {}
        return taken

    def take_released(self) -> Iterable[Leaf]:
        """Where something was given back since this was asked last."""
        if not self._released:
            return ()
        taken, self._released = self._released, {}
        return taken

    def release(self, leaf: Leaf) -> None:
        """What was promised there is not any more."""
        if self.keeps_use:
            self._released[leaf] = None

    def wait(self, leaf: Leaf, jobs: int, gpu_milli: int) -> None:
        """So many more wait, or fewer."""
        for account in self.path(leaf):
            account.waiting_jobs += jobs
            account.waiting_gpu += gpu_milli

    def _count(self, account: Account, grid: int) -> None:
        used = account.used
        if grid > used.grid:
            used.gpu, used.cpu = self.used_at(account, grid)
            used.grid = grid

    def _begin(self, grid: int) -> None:
        for account in (*self.quotas.values(), *self.pools.values(), *self.own.values()):
            account.used.grid = grid

    def _open(self, name: str, kept: SharesKept) -> Account:
        account = self.quotas.get(name)
        if account is None:
            quota = self.rules.quotas[name]
            above = self.pools[self.rules.pool_of_quota[name]]
            if quota.parent:
                above = self._open(quota.parent, kept)
            account = Account(name, above.pool, quota, above, used=kept.quotas.get(name) or Used())
            self.quotas[name] = account
        return account


def _upwards(account: Account | None) -> Iterator[Account]:
    while account is not None:
        yield account
        account = account.parent
