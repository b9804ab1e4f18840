"""On which nodes does everybody's work fail?

Counted per node and tenant since something last succeeded there: one tenant's mistakes are no
fault of a node, but where the work of several fails within a minute, and nothing succeeds, the
node is at fault. It does not know what becomes of such a node.
"""

from __future__ import annotations

from penstock_contracts.journal import RankExited
from penstock_scheduler.core.state import Job, is_failure

WINDOW_NS = 60_000_000_000
FAILURES_MIN = 6
"""So many within the window, and nothing that succeeded between them, are too many."""
OF_TENANT_MAX = 3
"""So many of one tenant count: at least two have to suffer."""
TENANTS_MAX = 16
"""Of so many tenants a node's failures are remembered: more than it takes."""
BLAMED = frozenset({"exited", "signalled", "spawn_failed"})
"""Ends for which a node may be at fault. What it says itself, as with a device, goes other ways."""

Instants = dict[str, list[int]]
"""Of each tenant, when its work failed last."""


def may_blame(job: Job, exit_: RankExited) -> bool:
    """Whether this end is a failure of the job's own, the first of its attempt: those behind it
    fail for that, and who is asked to stop does not fail."""
    asked = job.stop_reason or job.cancel_reason is not None or job.first_failure is not None
    return not asked and exit_.reason in BLAMED and is_failure(exit_)


class Failing:
    """`by_node`: what failed there since something last succeeded; kept in snapshots."""

    def __init__(self, by_node: dict[str, Instants] | None = None) -> None:
        self.by_node = by_node or {}

    def note(self, node: str, job: Job, exit_: RankExited, now_ns: int) -> None:
        """Folds the end of a rank on the node."""
        if may_blame(job, exit_):
            self.by_node[node] = self._with(node, job.tenant, now_ns)
        elif not is_failure(exit_):
            self.forget(node)

    def forget(self, node: str) -> None:
        """Nothing is held against the node."""
        self.by_node.pop(node, None)

    def too_many(self, node: str, tenant: str, now_ns: int) -> bool:
        """Whether one more failure of that tenant's work is one too many."""
        return sum(map(len, self._with(node, tenant, now_ns).values())) >= FAILURES_MIN

    def _with(self, node: str, tenant: str, now_ns: int) -> Instants:
        """The node's failures of the last minute, with one more."""
        kept = {
            one: recent
            for one, at_ns in self.by_node.get(node, {}).items()
            if one != tenant and (recent := [at for at in at_ns if now_ns - at < WINDOW_NS])
        }
        if len(kept) >= TENANTS_MAX:
            del kept[next(iter(kept))]
        own = [*self.by_node.get(node, {}).get(tenant, []), now_ns]
        kept[tenant] = [at for at in own if now_ns - at < WINDOW_NS][-OF_TENANT_MAX:]
        return kept
