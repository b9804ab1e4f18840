"""Does a whole mesh bill what ran, and explain it?"""

from __future__ import annotations

from typing import Any

from e2e.mesh import Mesh, until
from penstock_contracts.ids import is_ulid


def test_what_ran_is_on_the_bill_of_its_tenant_and_explained(mesh: Mesh) -> None:
    mesh.cli("run", "--gpus", "2", "--tenant", "billed", "--project", "red", "--", "sleep", "0.5")

    def bill() -> Any:
        found = mesh.cli_json("bill", "--tenant", "billed")["bills"]
        return found[0] if found else None

    draft = until(bill, what="the bill of the job")
    lines = [line for line in draft["lines"] if line["kind"] == "usage"]
    (gpus,) = [line for line in lines if line["unit"] == "gpu_hour"]
    assert draft["number"] == ""
    assert 2 * 1000 * 450 <= gpus["billed_quantity"] <= 2 * 1000 * 5_000
    assert sum(line["amount_micro"] for line in draft["lines"]) == draft["total_micro"]
    (job,) = mesh.cli_json("jobs", "--tenant", "billed")
    told = mesh.cli_json("ledger", "explain", job["job_id"])
    assert is_ulid(told["job_id"])
    assert told["project"] == "red"
    assert [segment["seq"] for lease in told["leases"] for segment in lease["segments"]] == [0]
    assert sum(share["amount_micro"] for share in told["shares"]) == sum(
        line["amount_micro"] for line in lines
    )
    page = mesh.home / "bill.html"
    mesh.cli("bill", "--tenant", "billed", "--html", str(page))
    assert "Draft of an invoice" in page.read_text("utf-8")
    accounts = mesh.cli_json("bill", "accounts")["accounts"]
    assert sum(a["debit_micro"] - a["credit_micro"] for a in accounts) == 0


def test_a_month_is_not_closed_before_it_is_over(mesh: Mesh) -> None:
    assert "period_not_over" in mesh.cli("bill", "close", exit_code=2).stderr
    assert (
        "unknown_invoice"
        in mesh.cli("bill", "credit", "INV-9", "--reason", "x", exit_code=2).stderr
    )
    named = mesh.cli_json("bill", "party", "billed", "--name", "Billed & Sons")
    assert named["name"] == "Billed & Sons"
