"""Do nodes, use, checks and the description of the API work over HTTP?"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from client.builders import (
    a_job_id,
    a_metering_audit,
    a_node_use,
    a_node_view,
    a_scheduler_audit,
    an_inventory_audit,
)
from client.mesh import FakeMesh
from client.test_bill_page import a_bill
from gateway.conftest import Api, Http
from penstock_contracts.bills import BillsView, JobAccount
from penstock_contracts.errors import CODES, Refusal
from penstock_contracts.queries import NodesUseView, NodesView, UsageLine, UsageView
from penstock_gateway.errors import STATUS
from penstock_gateway.openapi import openapi_document, rendered
from penstock_gateway.operations import OPERATIONS, Operation

ROOT = Path(__file__).resolve().parents[2]


async def test_nodes_are_listed_with_what_is_free(mesh: FakeMesh, api: Api) -> None:
    await mesh.answer("query.inventory.nodes", NodesView(3, (a_node_view(),)))
    without = await api("GET", "/v1/nodes")
    assert without.body["use"] is None
    await mesh.answer("query.scheduler.nodes", NodesUseView(9, (a_node_use(),)))
    done = await api("GET", "/v1/nodes")
    assert done.body["nodes"][0]["description"]["node"] == "node-a"
    assert done.body["use"][0]["devices"][0]["free_milli"] == 500
    unknown = Refusal("unknown_node", "no such node")
    await mesh.answer(
        "query.inventory.node",
        lambda asked: a_node_view() if b'"node-a"' in asked else unknown,
    )
    shown = await api("GET", "/v1/nodes/node-a")
    assert shown.body["liveness"] == "alive"
    assert (await api("GET", "/v1/nodes/node-b")).code == "unknown_node"


async def test_a_node_is_drained_with_reason_and_deadline(mesh: FakeMesh, api: Api) -> None:
    await mesh.answer("command.node.node-a.drain", a_node_view(cordoned=True, draining=True))
    done = await api("POST", "/v1/nodes/node-a/drain", json={"reason": "fan", "deadline_s": 60})
    assert done.body["draining"] is True
    assert mesh.asked == [("command.node.node-a.drain", b'{"reason":"fan","deadline_s":60}')]
    await mesh.answer("command.node.node-b.cordon", Refusal("unknown_node", "no such node"))
    assert (await api("POST", "/v1/nodes/node-b/cordon")).code == "unknown_node"


async def test_usage_is_asked_for_the_time_given(mesh: FakeMesh, api: Api) -> None:
    line = UsageLine(
        tenant="acme",
        sku="H100",
        unit="gpu_milli_ms",
        quantity=3_600_000_000,
        price_micro_per_hour=2_000_000,
        cost_micro=2_000_000,
        currency="USD",
        jobs=1,
    )
    await mesh.answer("query.metering.usage", UsageView((line,), 0, None))
    done = await api("GET", "/v1/usage?tenant=acme&from=1970-01-01&to=1970-01-01T00:00:01Z")
    assert done.body["lines"][0]["cost_micro"] == 2_000_000
    assert mesh.asked[0][1] == b'{"tenant":"acme","from_ms":0,"to_ms":1000}'


async def test_bills_are_told_and_printed(mesh: FakeMesh, api: Api, http: Http) -> None:
    view = BillsView(month="2026-11", now_ms=1_796_083_200_000, bills=(a_bill(),))
    await mesh.answer("query.metering.bills", view)
    done = await api("GET", "/v1/bills?tenant=acme&month=2026-11")
    assert done.body["bills"][0]["number"] == "INV-000001"
    assert mesh.asked[0][1] == b'{"month":"2026-11","tenant":"acme"}'
    async with http.get("/v1/bills.html") as printed:
        assert printed.content_type == "text/html"
        assert "Amount due (USD)" in await printed.text()


async def test_a_job_is_explained_down_to_the_bill(mesh: FakeMesh, api: Api) -> None:
    job_id = a_job_id()
    account = JobAccount(
        job_id=job_id, tenant="acme", state="succeeded", leases=(), rated=(), shares=()
    )
    await mesh.answer("query.metering.job_account", account)
    assert (await api("GET", f"/v1/jobs/{job_id}/account")).body["tenant"] == "acme"


async def test_the_check_says_whether_all_is_well(mesh: FakeMesh, api: Api) -> None:
    await mesh.answer("query.scheduler.audit", a_scheduler_audit())
    await mesh.answer("query.inventory.audit", an_inventory_audit())
    await mesh.answer("query.metering.audit", a_metering_audit())
    done = await api("GET", "/v1/check")
    assert (done.body["ok"], done.body["unaccounted_ms"]) == (True, 0)


async def test_pages_for_operation_are_there(api: Api) -> None:
    assert (await api("GET", "/healthz")).body == b"ok\n"
    assert (await api("GET", "/readyz")).body == b"ready\n"
    assert (await api("GET", "/v1/nowhere")).status == 404
    metrics = (await api("GET", "/metrics")).body.decode()
    assert 'penstock_gateway_requests_total{status="404"} 1.0' in metrics


async def test_the_document_is_served_as_it_stands_in_docs(api: Api) -> None:
    committed = (ROOT / "docs" / "openapi.json").read_bytes()
    assert committed == rendered(), "run: python -m penstock_gateway.openapi > docs/openapi.json"
    assert (await api("GET", "/openapi.json")).body == msgspec.json.decode(committed)


def test_the_document_resolves_every_reference_and_names_every_code() -> None:
    document = openapi_document()
    schemas = document["components"]["schemas"]

    def references(value: object) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if "$ref" in value else []
            return own + [r for inner in value.values() for r in references(inner)]
        return [r for inner in value for r in references(inner)] if isinstance(value, list) else []

    assert {r.removeprefix("#/components/schemas/") for r in references(document)} <= set(schemas)
    assert {"JobRequest", "JobView", "JobEvent", "ErrorAnswer"} <= set(schemas)
    assert set(STATUS) <= set(CODES)
    names = [operation.name for operation in OPERATIONS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_each_operation_declares_the_parameters_of_its_path(operation: Operation) -> None:
    declared = {p.name for p in operation.parameters if p.place == "path"}
    parts = operation.path.split("/")
    assert declared == {part[1:-1] for part in parts if part.startswith("{")}
