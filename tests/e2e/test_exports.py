"""Does what was used leave the mesh: as a FOCUS file, and as events for another billing system?"""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from typing import Any

from e2e.mesh import Mesh
from e2e.raw import ROOT, RawClient, a_job


async def test_a_month_is_exported_seconds_after_its_first_two_jobs(
    mesh: Mesh, client: RawClient
) -> None:
    for tenant, project in (("focus-a", "vision"), ("focus-b", "")):
        await client.follow(tenant)
        job = a_job("sleep", "0.2", gpus=1, project=project, tier="spot")
        await client.submit(tenant, job)
        await client.until_ended(job["job_id"])
    for version, suffix in (("1.4", "csv"), ("1.2", "csv"), ("1.4", "parquet")):
        name = f"month.{suffix}"
        said = mesh.cli_json("ledger", "export", "--focus", version, "--out", name)
        assert said["rows"] >= 2 and not said["closed"]
        if suffix == "csv":
            with (mesh.home / name).open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if "focus-" in row["SubAccountId"]]
            assert {row["SubAccountName"] for row in rows} == {"focus-a", "focus-b"}
            assert {row["Tags"] for row in rows} == {'{"project":"vision"}', ""}
            assert all(Decimal(row["BilledCost"]) > 0 for row in rows)
            assert {row["InvoiceId"] for row in rows} == {""}
            assert {row["PricingCategory"] for row in rows} == {"Dynamic"}
            assert ("ServiceProviderName" in rows[0]) is (version == "1.4")


async def test_a_wrong_export_is_refused_with_a_sentence(mesh: Mesh) -> None:
    for wrong in (("--month", "November"), ("--month", "2026-13")):
        done = mesh.cli("ledger", "export", "--out", "x.csv", *wrong, exit_code=2)
        assert "2026-11" in done.stderr
    done = mesh.cli("ledger", "export", "--out", "x.txt", exit_code=2)
    assert ".csv or .parquet" in done.stderr
    done = mesh.cli("ledger", "export", "--out", "nowhere/x.csv", exit_code=2)
    assert "nowhere/x.csv" in done.stderr
    assert not list(mesh.home.glob("*x.csv*"))


async def test_each_segment_of_use_is_an_event_live_and_in_the_past(
    mesh: Mesh, client: RawClient, eventually: Any
) -> None:
    subject = f"{ROOT}.metered.focus-c.usage"
    live: list[Any] = []

    async def on_event(message: Any) -> None:
        live.append(message)

    await client.connection.subscribe(subject, cb=on_event)
    await client.follow("focus-c")
    job = a_job("sleep", "0.2", gpus=2)
    await client.submit("focus-c", job)
    await client.until_ended(job["job_id"])
    await eventually(lambda: live, timeout_s=20)
    use = json.loads(live[0].data)
    assert live[0].headers["ce-id"] == use["id"]
    assert live[0].headers["ce-type"] == "penstock.usage.metered"
    assert live[0].headers["ce-specversion"] == "1.0"
    assert use["job_id"] == job["job_id"]
    assert len(use["devices"]) == 2
    assert use["gpu_milli_ms"] == 2_000 * (use["t1_ms"] - use["t0_ms"]) > 0
    stored = await client.connection.request(
        f"$JS.API.DIRECT.GET.METERED.{subject}", b"", timeout=5
    )
    assert json.loads(stored.data)["tenant"] == "focus-c"
    assert stored.headers["Nats-Msg-Id"] == stored.headers["ce-id"]
