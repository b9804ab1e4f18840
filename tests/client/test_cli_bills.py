"""Does the command line show bills, and ask for the right thing?"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from client.conftest import Penstock
from client.mesh import FakeMesh
from client.test_bill_page import HOUR, LINES, a_bill
from penstock_contracts.bills import (
    AccountBalance,
    AccountsView,
    BillsQuery,
    BillsView,
    ClosePeriod,
    CreditInvoice,
    JobAccount,
    LeaseShown,
    Party,
    PeriodClosed,
    RatedShown,
    SegmentShown,
    SetParty,
    ShareShown,
)
from penstock_contracts.errors import Refusal
from penstock_contracts.ids import is_ulid

VIEW = BillsView(month="2026-11", now_ms=1_796_083_200_000, bills=(a_bill(),))
JOB = "01MCC5RM000000000000000001"


async def test_one_bill_is_shown_with_its_lines(real_mesh: FakeMesh, penstock: Penstock) -> None:
    await real_mesh.answer("query.metering.bills", VIEW)
    done = await penstock("bill", "--month", "2026-11", "--tenant", "acme")
    assert done.code == 0, done.err
    asked = msgspec.json.decode(real_mesh.asked[0][1], type=BillsQuery)
    assert asked == BillsQuery("2026-11", "acme")
    for said in (
        "Invoice INV-000001", "GPU time on H100 (spot, site oslo)", "1.5 GPU h", "2.50",
        "Correction for October 2026: CPU time", "-1.234567", "Rounding",
        "paid from credit", "0.27",
    ):  # fmt: skip
        assert said in done.out.decode(), said


async def test_several_bills_are_a_row_each_from_all_pages(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    def page(payload: bytes) -> BillsView:
        after = msgspec.json.decode(payload, type=BillsQuery).after
        name = "INV-000002" if after else "INV-000001"
        bill = a_bill(name=name, number=name, total_micro=2_000_000, credit_micro=0)
        return msgspec.structs.replace(VIEW, bills=(bill,), more=not after)

    await real_mesh.answer("query.metering.bills", page)
    done = await penstock("bill")
    rows = done.out.decode().splitlines()
    assert [row.split()[1] for row in rows[1:3]] == ["INV-000001", "INV-000002"]
    assert rows[3].split() == ["total", "4.00", "USD"]


async def test_bills_are_written_as_a_page_and_as_json(
    real_mesh: FakeMesh, penstock: Penstock, tmp_path: Path
) -> None:
    await real_mesh.answer("query.metering.bills", VIEW)
    page = tmp_path / "bills.html"
    done = await penstock("bill", "--html", str(page), "--json")
    assert json.loads(done.out)["bills"][0]["number"] == "INV-000001"
    assert "Amount due (USD)" in page.read_text("utf-8")


async def test_a_month_is_closed_with_a_key_of_its_own(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    closed = PeriodClosed(
        month="2026-11", closed_ms=9, documents=2, totals_micro={"USD": 3_500_000}, unfinished=1
    )
    await real_mesh.answer("command.metering.close_period", closed)
    done = await penstock("bill", "close", "--month", "2026-11")
    assert done.code == 0, done.err
    assert b"3.50 USD" in done.out
    assert b"goes to the next bill" in done.out
    wish = msgspec.json.decode(real_mesh.asked[0][1], type=ClosePeriod)
    assert wish.month == "2026-11"
    assert is_ulid(wish.key)


async def test_a_month_that_is_not_over_is_refused(real_mesh: FakeMesh, penstock: Penstock) -> None:
    why = Refusal("period_not_over", "2026-11 is not over yet (UTC)", "month")
    await real_mesh.answer("command.metering.close_period", why)
    done = await penstock("bill", "close")
    assert (done.code, b"period_not_over" in done.err) == (2, True)


async def test_a_credit_note_takes_back_an_exact_amount(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    note = a_bill(kind="credit_note", number="CN-000001", refers="INV-000001", lines=())
    await real_mesh.answer("command.metering.credit_invoice", note)
    done = await penstock(
        "bill", "credit", "INV-000001", "--line", "2", "--amount", "12.5", "--reason", "it was slow"
    )
    assert (done.code, b"Credit note CN-000001" in done.out) == (0, True)
    wish = msgspec.json.decode(real_mesh.asked[0][1], type=CreditInvoice)
    assert (wish.invoice, wish.line, wish.amount_micro) == ("INV-000001", 2, 12_500_000)
    wrong = await penstock("bill", "credit", "INV-000001", "--amount", "x", "--reason", "y")
    assert (wrong.code, b"--amount" in wrong.err) == (2, True)


async def test_a_party_has_an_address_of_several_lines(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    await real_mesh.answer("command.metering.set_party", Party(name="Acme", address="A\nB"))
    done = await penstock(
        "bill", "party", "acme", "--name", "Acme", "--address", "A", "--address", "B"
    )
    assert b"A, B" in done.out
    wish = msgspec.json.decode(real_mesh.asked[0][1], type=SetParty)
    assert (wish.tenant, wish.name, wish.address) == ("acme", "Acme", "A\nB")


async def test_accounts_show_that_they_balance(real_mesh: FakeMesh, penstock: Penstock) -> None:
    sides = (("receivable/acme", 2_000_000, 0), ("revenue/gpu", 0, 2_000_000))
    accounts = tuple(
        AccountBalance(account=name, currency="USD", debit_micro=debit, credit_micro=credit)
        for name, debit, credit in sides
    )
    view = AccountsView(month="2026-11", accounts=accounts)
    await real_mesh.answer("query.metering.accounts", view)
    done = await penstock("bill", "accounts")
    assert done.out.decode().splitlines()[-1].split() == ["total", "2.00", "2.00", "0.00", "USD"]


async def test_a_job_is_explained_from_its_segments_to_the_rounding(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    segment = SegmentShown(seq=0, t0_ms=5, t1_ms=1_005, counted_ms=1_000, devices=("G",), milli=500)
    stray = SegmentShown(seq=1, t0_ms=5, t1_ms=9, why="sent by n2, the lease is on n1")
    lease = LeaseShown(
        lease_seq=7, attempt=1, rank=0, node="n1", granted_ms=1, started_ms=5, segments_said=3,
        segments=(segment, stray),
    )  # fmt: skip
    rated = RatedShown(
        lease_seq=7, rank=0, device="G", sku="gpu/H100", price_version=3, state="running",
        from_ms=5, to_ms=1_005, quantity=500_000, billed_quantity=500_000, period="2026-11",
    )  # fmt: skip
    share = ShareShown(
        period="2026-11", document="INV-000001", line=LINES[0], currency="USD",
        granularity_ms=1_000, billed_quantity=500_000, amount_micro=232, exact_micro=231,
        exact_rest=2, exact_of=HOUR, rounded_up=True,
    )  # fmt: skip
    account = JobAccount(
        job_id=JOB, tenant="acme", state="succeeded", leases=(lease,), rated=(rated,),
        shares=(share,),
    )  # fmt: skip
    await real_mesh.answer("query.metering.job_account", account)
    done = await penstock("ledger", "explain", JOB)
    assert done.code == 0, done.err
    for said in (
        "lease 7", "1000 ms", "sent by n2", "there are 3 segments", "gpu/H100", "line 1 of INV",
        "4500000000 × 2000000 / 3600000000", "one of the units left over", "0.000232 USD",
        "500000 of 5400000000",
    ):  # fmt: skip
        assert said in done.out.decode(), said
    assert (await penstock("ledger", "explain", "x")).code == 2
