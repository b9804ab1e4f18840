"""Does the command line check the ledger and have it rebuilt?"""

from __future__ import annotations

import json

import msgspec

from client.builders import a_metering_audit
from client.conftest import Penstock
from client.mesh import FakeMesh
from penstock_contracts.ids import is_ulid
from penstock_contracts.queries import Finding
from penstock_contracts.rebuilding import RebuildLedger, Stale


async def test_a_ledger_that_agrees_with_the_counters_is_said_so(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    await real_mesh.answer("query.metering.audit", a_metering_audit())
    done = await penstock("ledger", "check")
    assert done.code == 0, done.err
    assert "unaccounted_ms 0 until" in done.out.decode()
    assert "sold_used" in done.out.decode()


async def test_a_ledger_that_differs_from_the_counters_is_exit_code_1(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    found = (Finding("segments_missing", "job x has 1 segments, its agent says 2"),)
    await real_mesh.answer(
        "query.metering.audit", a_metering_audit(unaccounted_ms=7, findings=found, silent=("n2",))
    )
    done = await penstock("ledger", "check")
    assert done.code == 1
    for said in ("unaccounted_ms 7", "segments_missing: job x has 1", "silent n2"):
        assert said in done.out.decode()
    assert json.loads((await penstock("ledger", "check", "--json")).out)["unaccounted_ms"] == 7


async def test_a_rebuild_is_ordered_once_and_waited_for(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    left = [Stale(0, 0), Stale(3, 0)]
    await real_mesh.answer("command.metering.rebuild", Stale(9, 2))
    await real_mesh.answer("query.metering.stale", lambda payload: left.pop())
    done = await penstock("ledger", "rebuild")
    assert done.code == 0, done.err
    assert "9 leases rated, 2 nodes summed up anew" in done.out.decode()
    assert b"3 leases and 0 nodes left" in done.err
    orders = [payload for subject, payload in real_mesh.asked if "rebuild" in subject]
    assert len(orders) == 1
    assert is_ulid(msgspec.json.decode(orders[0], type=RebuildLedger).key)
    assert left == []


async def test_a_rebuild_need_not_be_waited_for(real_mesh: FakeMesh, penstock: Penstock) -> None:
    await real_mesh.answer("command.metering.rebuild", Stale(9, 2))
    done = await penstock("ledger", "rebuild", "--no-wait", "--json")
    assert json.loads(done.out) == {
        "begun": {"leases": 9, "nodes": 2}, "left": {"leases": 9, "nodes": 2}
    }  # fmt: skip
