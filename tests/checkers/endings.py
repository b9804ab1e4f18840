"""What do the mesh's own audits say when all of `builders` is over?

It knows the numbers of that history and no checker.
"""

from __future__ import annotations

from penstock_contracts.queries import InventoryAudit, MeteringAudit, SchedulerAudit
from tests.checkers.history import AgentEnding, Ending

NODES = ("n1", "n2")


def a_good_ending(now_ns: int, now_ms: int, seq: int) -> Ending:
    """What is left, and what the audits say, once all is over."""
    finished = {"cancelled": 1, "rejected": 1, "succeeded": 2}
    return Ending(
        faults_stopped_ns=now_ns,
        drained_ns=now_ns,
        agents=tuple(AgentEnding(node=node) for node in NODES),
        scheduler=SchedulerAudit(
            seq=seq, nodes_seq=1, accepted=4, live=0, finished=finished, leases=0, findings=()
        ),
        inventory=InventoryAudit(seq=1, nodes=2, devices=4, findings=()),
        metering=MeteringAudit(
            jobs_seq=seq,
            nodes_seq=1,
            watermark_ms=now_ms,
            accepted=4,
            finished=finished,
            unaccounted_ms=0,
            device_milli_ms={"free": 1_000},
            capacity_milli_ms=1_000,
            silent=(),
            findings=(),
        ),
    )
