"""Who holds how much, against what is guaranteed and allowed?

One account a quota and one a pool, brought up to date along the path to the pool at every grant,
release, and change of who waits; all in integers. It does not know who is next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from penstock_contracts.queue_policy import Quota
from penstock_scheduler.core.queue.quotas.accounts import Account as Account
from penstock_scheduler.core.queue.quotas.accounts import Ask as Ask
from penstock_scheduler.core.queue.quotas.accounts import Key as Key
from penstock_scheduler.core.queue.quotas.accounts import Used as Used
from penstock_scheduler.core.queue.quotas.accounts import ask_of as ask_of
from penstock_scheduler.core.queue.quotas.decay import grid_of, steady_ms, used_after
from penstock_scheduler.core.queue.quotas.rules import Leaf, Rules

LOG_MAX = 20_000
"""So many changes are told apart; whoever has not looked for longer looks at all."""


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
        self.compared = self.changes = 0
        self._compared_at = 0
        self._log: list[Leaf] = []
        self._changed_pools: dict[str, None] = {}
        self._released: dict[Leaf, None] = {}
        self.releases = 0
        self._paths: dict[Leaf, tuple[Account, ...]] = {}
        for account in (*self.own.values(), *self.quotas.values()):
            account.leaf = Leaf(account.pool, "" if account.is_own else account.name)
            if account.parent is not None:
                account.parent.under.append(account)
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
        gpu_steps, cpu_steps = max(0, grid - used.gpu_grid), max(0, grid - used.cpu_grid)
        return (
            used_after(used.gpu, account.held_gpu, gpu_steps, self.steady),
            used_after(used.cpu, account.held_cpu, cpu_steps, self.steady),
        )

    def compare_at(self, grid: int) -> None:
        """From now on shares are compared as of that step of the grid."""
        self._compared_at = grid
        self.compared += 1

    def key(self, account: Account, ask: Ask, *, covered: bool, may_claim: bool) -> Key:
        """By which it goes before those beside it, with that ask; `covered`: by a guarantee
        further down."""
        if account.compared != self.compared:
            gpu_size, cpu_size = self.sizes[account.pool]
            gpu, cpu = self.used_at(account, self._compared_at)
            account.share = max(gpu * max(1, cpu_size), cpu * max(1, gpu_size)) // account.weight
            account.compared = self.compared
        covered = covered or (may_claim and account.guarantees(ask))
        return (0 if covered else 1, account.share, account.is_own, account.name)

    def grid(self, now_ns: int) -> int:
        return grid_of(now_ns, self.half_life_s)

    # -- folds
    def hold(self, leaf: Leaf, gpu_milli: int, cpu_milli: int, now_ns: int) -> None:
        """So much more is held, or less. Goes up to the pool."""
        if self.keeps_use:
            grid = self.grid(now_ns)
            for account in self.path(leaf):
                self._count(account, grid, gpu_milli, cpu_milli)
                account.compared = -1
            self._note(leaf)
            if gpu_milli < 0 or cpu_milli < 0:
                self._released[leaf] = None
                self.releases += 1
        for account in self.path(leaf):
            account.held_gpu += gpu_milli
            account.held_cpu += cpu_milli

    def _note(self, leaf: Leaf) -> None:
        self._log.append(leaf)
        self.changes += 1
        self._changed_pools[leaf.pool] = None
        if len(self._log) > LOG_MAX:
            del self._log[: LOG_MAX // 2]

    def resize(self, pool: str, gpu_milli: int, cpu_milli: int) -> None:
        """So much more is in the pool, or less; "" = in none."""
        if pool:
            gpu, cpu = self.sizes[pool]
            self.sizes[pool] = (gpu + gpu_milli, cpu + cpu_milli)
            self.version += 1

    def changed_since(self, changes: int) -> list[Leaf] | None:
        """Where more or less is held than after so many changes; None = nobody knows any more."""
        behind = self.changes - changes
        if behind > len(self._log):
            return None
        return self._log[len(self._log) - behind :]

    def take_changed_pools(self) -> Iterable[str]:
        """Where more or less is held than when this was asked last."""
        if not self._changed_pools:
            return ()
        taken, self._changed_pools = self._changed_pools, {}
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

    def _count(self, account: Account, grid: int, gpu_milli: int = 1, cpu_milli: int = 1) -> None:
        """Brings up to date the use of what changes, and of that alone: rounding must not make what
        is held on for long look less."""
        used = account.used
        gpu, cpu = self.used_at(account, grid)
        if gpu_milli and grid > used.gpu_grid:
            used.gpu, used.gpu_grid = gpu, grid
        if cpu_milli and grid > used.cpu_grid:
            used.cpu, used.cpu_grid = cpu, grid

    def _begin(self, grid: int) -> None:
        for account in (*self.quotas.values(), *self.pools.values(), *self.own.values()):
            account.used.gpu_grid = account.used.cpu_grid = grid

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
