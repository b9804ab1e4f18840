"""Do nodes, usage and check print what a person and a program need?"""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from client.builders import (
    a_metering_audit,
    a_node_use,
    a_node_view,
    a_scheduler_audit,
    an_inventory_audit,
)
from client.conftest import Penstock
from client.mesh import FakeMesh
from penstock_contracts.errors import Refusal
from penstock_contracts.queries import (
    Finding,
    NodesUseView,
    NodesView,
    UsageLine,
    UsageView,
)


async def audits(mesh: FakeMesh, **metering: object) -> None:
    await mesh.answer("query.scheduler.audit", a_scheduler_audit())
    await mesh.answer("query.inventory.audit", an_inventory_audit())
    await mesh.answer("query.metering.audit", a_metering_audit(**metering))


async def test_nodes_and_one_node_are_shown(real_mesh: FakeMesh, penstock: Penstock) -> None:
    views = (a_node_view("node-b", liveness="lost"), a_node_view("node-a", cordoned=True))
    await real_mesh.answer("query.inventory.nodes", NodesView(2, views))
    without = await penstock("nodes")
    assert (without.code, b"?" in without.out) == (0, True)
    await real_mesh.answer("query.scheduler.nodes", NodesUseView(2, (a_node_use(),)))
    done = await penstock("nodes")
    _, first, second = done.out.decode().splitlines()
    assert first.split()[:6] == ["node-a", "alive", "cordoned", "1", "0.5", "H100"]
    assert second.split()[:3] == ["node-b", "lost", "1"]
    listed = json.loads((await penstock("nodes", "--json")).out)
    assert [node["use"] is None for node in listed] == [False, True]
    unknown = Refusal("unknown_node", "no such node")
    await real_mesh.answer(
        "query.inventory.node",
        lambda asked: a_node_view("node-a") if b'"node-a"' in asked else unknown,
    )
    shown = await penstock("node", "show", "node-a")
    assert b"GPU-node-a-0" in shown.out
    assert (await penstock("node", "show", "node-z")).code == 2


async def test_a_node_says_what_it_offers_and_has_found(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    view = a_node_view("node-a")
    device = replace(view.description.devices[0], driver_version="580.1", cuda_version="13.0")
    about = replace(
        view.description,
        devices=(device,),
        driver="nvml",
        offers=("containers", "users"),
        facts={"podman": "4.3.1"},
    )
    await real_mesh.answer("query.inventory.node", replace(view, description=about))
    shown = (await penstock("node", "show", "node-a")).out.decode()
    fields = dict(line.split(None, 1) for line in shown.splitlines()[:12])
    assert fields["driver"] == "nvml 580.1 CUDA 13.0"
    assert (fields["offers"], fields["podman"]) == ("containers users", "4.3.1")


async def test_where_nodes_are_is_shown_when_asked(real_mesh: FakeMesh, penstock: Penstock) -> None:
    lies = a_node_view("node-a")
    labels = {"rack": "r1", "site": "s1", "zone": "a"}
    lies = replace(lies, description=replace(lies.description, labels=labels))
    await real_mesh.answer("query.inventory.nodes", NodesView(2, (lies, a_node_view("node-b"))))
    wide = await penstock("nodes", "--wide")
    heading, first, second = wide.out.decode().splitlines()
    assert heading.split()[-3:] == ["RACK", "SITE", "LABELS"]
    assert first.split()[-3:] == ["r1", "s1", "zone=a"]
    assert second.split()[-2:] == ["?", "?"], "it does not say"
    assert b"RACK" not in (await penstock("nodes")).out


async def test_a_node_is_drained(real_mesh: FakeMesh, penstock: Penstock) -> None:
    await real_mesh.answer("command.node.node-a.drain", a_node_view(cordoned=True, draining=True))
    done = await penstock("node", "drain", "node-a", "--deadline", "5m", "--reason", "fan")
    assert done == (0, b"node-a  alive draining\n", b"")
    assert real_mesh.asked[0][1] == b'{"reason":"fan","deadline_s":300}'


async def test_usage_shows_cost_and_total(real_mesh: FakeMesh, penstock: Penstock) -> None:
    lines = tuple(
        UsageLine(
            tenant=tenant,
            sku="H100",
            unit="gpu_milli_ms",
            quantity=1_800_000_000,
            price_micro_per_hour=2_000_000,
            cost_micro=1_000_000,
            currency="USD",
            jobs=2,
        )
        for tenant in ("a", "b")
    )
    await real_mesh.answer("query.metering.usage", UsageView(lines, None, None))
    done = await penstock("usage")
    assert done.out.decode().splitlines()[-1].split() == ["total", "2.000000", "USD"]
    assert "0.500000 GPU h" in done.out.decode()
    assert (await penstock("usage", "--from", "never")).code == 2


async def test_a_clean_check_says_so(real_mesh: FakeMesh, penstock: Penstock) -> None:
    await audits(real_mesh)
    done = await penstock("check")
    assert done.code == 0
    assert done.out.decode().splitlines()[-1] == "unaccounted_ms 0"
    assert ("query.metering.audit", b'{"jobs_seq":40,"nodes_seq":7}') in real_mesh.asked
    assert json.loads((await penstock("check", "--json")).out)["ok"] is True


@pytest.mark.parametrize(
    ("metering", "code"),
    [
        ({"unaccounted_ms": 12}, "time_unaccounted"),
        ({"accepted": 4}, "accepted_differ"),
        ({"finished": {"succeeded": 1, "failed": 1}}, "finished_differ"),
        ({"capacity_milli_ms": 999}, "states_do_not_sum"),
        ({"findings": (Finding("leased_twice", "GPU-1 is leased twice."),)}, "leased_twice"),
    ],
)
async def test_a_check_that_finds_something_lists_it_and_exits_with_1(
    real_mesh: FakeMesh, penstock: Penstock, metering: dict[str, object], code: str
) -> None:
    await audits(real_mesh, **metering)
    done = await penstock("check")
    assert done.code == 1
    assert code in done.out.decode()


@pytest.mark.lesson(24)
async def test_a_check_without_a_service_is_not_clean(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    await real_mesh.answer("query.scheduler.audit", a_scheduler_audit())
    done = await penstock("check")
    assert done.code == 1
    assert b"metering: unavailable" in done.out
    assert b"unaccounted_ms unknown" in done.out
