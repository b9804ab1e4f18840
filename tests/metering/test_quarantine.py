"""Is it bounded what a node that lies can have kept?"""

from __future__ import annotations

import sqlalchemy as sa

from metering.conftest import LedgerFactory
from metering.world import World
from penstock_contracts.usage import Segment, UsageBatch
from penstock_metering.core.segments import PAYLOAD_KEPT_MAX
from penstock_metering.ledger import schema
from penstock_metering.ledger.store import QUARANTINE_MAX


def test_lies_are_counted_for_ever_and_kept_up_to_a_number(make_ledger: LedgerFactory) -> None:
    world, ledger = World(), make_ledger()
    world.a_node("n1", 1)
    lie = Segment(
        lease_seq=1, job_id="x", tenant="t", attempt=1, rank=0, seq=0, t0_ms=9, t1_ms=5,
        devices=tuple(f"{number:096d}" for number in range(200)),
    )  # fmt: skip
    large = UsageBatch("n2", "boot-1", 1, (lie,) * 20)
    world.store("USAGE", "penstock.v1.usage.n1", large)
    per_message = 400
    for batch in range(1, 2 * QUARANTINE_MAX // per_message + 1):
        said = UsageBatch("n1", "boot-1", batch, (lie,) * per_message)
        world.store("USAGE", "penstock.v1.usage.n1", said)
    ledger.take_all(world)
    assert ledger.ingest.totals.quarantined == 2 * QUARANTINE_MAX + 1
    with ledger.database.reading.begin() as connection:
        kept = connection.execute(sa.select(schema.quarantine.c.payload)).scalars().all()
    assert len(kept) == QUARANTINE_MAX
    assert max(map(len, kept)) == PAYLOAD_KEPT_MAX
    ledger.reopen()
    world.store("USAGE", "penstock.v1.usage.n1", large)
    ledger.take_all(world)
    assert len(ledger.contents()["quarantine"]) == QUARANTINE_MAX
