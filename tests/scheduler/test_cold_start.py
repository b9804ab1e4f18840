"""Does a scheduler of ten thousand nodes begin again where it was?

How fast, `benchmarks/bench_scale.py` measures.
"""

from __future__ import annotations

from typing import Any

import pytest

from penstock_contracts import nodes
from penstock_contracts.ids import ulid
from penstock_contracts.jobs import JobSpec
from penstock_contracts.journal import LeaseGranted
from penstock_contracts.leases import Exited, Released
from penstock_scheduler.core.events import JobsRequested, NodeChanged
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.telling.views import findings
from tests.scheduler.driver import EPOCH_NS, Driver, a_job, a_node

NODES = 10_000
RUNNING = 2_000
WAITING = 20_000


class Large(Driver):
    """Feeds without settling until told, so that building it costs no rounds of placement."""

    def __init__(self) -> None:
        super().__init__(a_node("n0", 1))
        for number in range(1, NODES):
            described = a_node(f"n{number}", 1, model="H100" if number % 2 else "A100")
            for fact in self.core.decide(
                NodeChanged(nodes.NodeRegistered(described)), self.now_ns, 1
            ):
                self.core.apply(fact, 1, self.now_ns)

    def accept(self, first: int, count: int, **fields: Any) -> None:
        specs = [
            JobSpec(job_id=ulid(EPOCH_NS // 1_000_000, first + n), command=("true",), **fields)
            for n in range(count)
        ]
        for fact in self.core.decide(JobsRequested("acme", first, tuple(specs)), self.now_ns, 1):
            self.core.apply(fact, 1, self.now_ns)


@pytest.mark.lesson(25)
def test_ten_thousand_nodes_come_back_from_a_snapshot_as_they_were() -> None:
    large = Large()
    for number in range(NODES - RUNNING, NODES):
        large.feed(NodeChanged(nodes.NodeCordoned(f"n{number}")))
    large.accept(1_000_000, WAITING, gpus=1, gpu_models=("B200",))
    spread = a_job(1, gpus=1, ranks=RUNNING)
    granted = [fact for fact in large.submit(spread) if isinstance(fact, LeaseGranted)]
    assert len(granted[0].ranks) == RUNNING
    restored = SchedulerCore()
    restored.restore(large.core.snapshot())
    assert restored.snapshot() == large.core.snapshot()
    assert findings(restored.state) == []
    assert len(restored.state.line) == WAITING
    large.core = restored
    next_job = a_job(2, gpus=1)
    (lease,) = [fact for fact in large.submit(next_job) if isinstance(fact, LeaseGranted)]
    assert lease.ranks[0].node not in {rank.node for rank in granted[0].ranks}
    end = large.reported(Exited, spread, 7, reason="exited", exit_code=0)
    large.feed(end, large.reported(Released, spread, 7))
    assert findings(restored.state) == []
