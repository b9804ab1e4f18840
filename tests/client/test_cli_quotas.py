"""What do `penstock quota`, `pool` and `reserve` send, show and refuse?"""

from __future__ import annotations

import time

import msgspec
import pytest

from client.conftest import Penstock
from client.mesh import FakeMesh
from client.policies import PolicyMesh, succeeded
from penstock_contracts.queue_policy import Pool, Reservation


@pytest.fixture
async def scheduler(real_mesh: FakeMesh) -> PolicyMesh:
    return await PolicyMesh(real_mesh).start()


async def test_quotas_are_set_changed_and_removed(
    scheduler: PolicyMesh, penstock: Penstock
) -> None:
    done = await penstock(
        "quota", "set", "speech", "--parent", "org", "--tenant", "acme", "--project", "speech",
        "--guaranteed-gpus", "2.5", "--maximum-gpus", "6", "--queued-max", "100",
    )  # fmt: skip
    assert succeeded(done).startswith('+ quota speech: parent = "org", tenant = "acme"')
    added = scheduler.held.policy.quotas[2]
    assert (added.guaranteed_gpu_milli, added.maximum_gpu_milli) == (2_500, 6_000)
    assert (added.queued_max, added.weight) == (100, 1)
    done = await penstock("quota", "set", "speech", "--maximum-gpus", "none", "--json")
    told = msgspec.json.decode(succeeded(done))
    assert (told["version"], told["changes"][0]["before"]) == (5, "6")
    assert scheduler.held.policy.quotas[2].maximum_gpu_milli is None
    too_much = await penstock("quota", "set", "speech", "--guaranteed-gpus", "5")
    assert too_much.code == 2
    assert b"guarantees_over_parent" in too_much.err
    assert (await penstock("quota", "set", "speech", "--weight", "-1")).code == 2
    assert (await penstock("quota", "remove", "nobody")).code == 2
    assert len(scheduler.wishes) == 2


async def test_the_first_pool_leaves_the_other_nodes_in_a_default(
    scheduler: PolicyMesh, penstock: Penstock
) -> None:
    done = await penstock("pool", "set", "h100", "--node-label", "gpu=h100", "--hold", "10m")
    assert '+ pool h100: node_labels = { gpu = "h100" }' in succeeded(done)
    h100, rest = scheduler.held.policy.pools
    assert (h100.name, h100.node_labels, h100.hold_s) == ("h100", {"gpu": "h100"}, 600)
    assert rest == Pool(name="default")
    succeeded(await penstock("pool", "set", "a100", "--node-label", "gpu=a100", "--order", "skip"))
    assert [pool.name for pool in scheduler.held.policy.pools] == ["h100", "a100", "default"]
    succeeded(await penstock("pool", "remove", "h100", "a100"))
    assert scheduler.held.policy.pools == (Pool(name="default"),)
    assert (await penstock("pool", "set", "x", "--node-label", "rack")).code == 2


async def test_nodes_are_reserved_for_a_tenant_or_for_maintenance(
    scheduler: PolicyMesh, penstock: Penstock
) -> None:
    done = await penstock(
        "reserve", "add", "fans", "--start", "2100-01-01T08:00", "--for", "4h",
        "--node", "node-a", "--reason", "new fans",
    )  # fmt: skip
    assert succeeded(done).startswith("+ reservation fans: start = 2100-01-01T08:00:00Z")
    fans = scheduler.held.policy.reservations[0]
    assert fans == Reservation(
        name="fans",
        start_ms=4_102_473_600_000,
        end_ms=4_102_488_000_000,
        nodes=("node-a",),
        reason="new fans",
    )
    before_ms = time.time_ns() // 1_000_000_000 * 1_000
    succeeded(await penstock(
        "reserve", "add", "now", "--for", "1h", "--node", "node-a", "--tenant", "acme"
    ))  # fmt: skip
    now = scheduler.held.policy.reservations[1]
    assert before_ms <= now.start_ms <= before_ms + 60_000
    assert (now.end_ms - now.start_ms, now.tenant) == (3_600_000, "acme")
    overlap = await penstock("reserve", "add", "x", "--for", "2h", "--node", "node-a")
    assert b"reservations_overlap: reservation x: now has node node-a" in overlap.err
    listed = succeeded(await penstock("reserve", "list")).splitlines()
    assert [line.split()[:2] for line in listed[1:]] == [["now", "now"], ["fans", "in"]]
    assert "nobody" in listed[2]
    succeeded(await penstock("reserve", "remove", "fans"))
    assert len(scheduler.held.policy.reservations) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("--node", "n"),
        ("--node", "n", "--for", "1h", "--end", "2100-01-01"),
        ("--node", "a b", "--for", "1h"),
        ("--node", "n", "--for", "soon"),
        ("--for", "1h"),
    ],
)
async def test_a_reservation_of_nothing_or_no_time_is_wrong_usage(
    scheduler: PolicyMesh, penstock: Penstock, words: tuple[str, ...]
) -> None:
    done = await penstock("reserve", "add", "x", *words)
    assert done.code == 2
    assert b"Traceback" not in done.err
    assert scheduler.wishes == []
