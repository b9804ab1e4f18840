"""Does a bill say on paper what is in it, to the last digit?"""

from __future__ import annotations

import re
from decimal import Decimal
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock_client.bill_page import bills_page
from penstock_client.bill_words import (
    line_words,
    money_words,
    month_words,
    quantity_words,
    title_words,
)
from penstock_contracts.bills import Bill, BillLine, Party, ProjectShare
from penstock_contracts.prices import QUANTITY_PER_UNIT

HOUR = QUANTITY_PER_UNIT["gpu_hour"]
LINES = (
    BillLine(
        number=1, kind="usage", amount_micro=2_500_000, sku="gpu/H100", price_version=3,
        tier="spot", site="oslo", unit="gpu_hour", price_micro=2_000_000,
        used_quantity=HOUR + HOUR // 2, billed_quantity=HOUR + HOUR // 2, free_quantity=HOUR // 4,
    ),
    BillLine(
        number=2, kind="usage", amount_micro=-1_234_567, sku="cpu", price_version=2,
        unit="cpu_hour", price_micro=40_000, billed_quantity=-HOUR, corrects="2026-10",
    ),
    BillLine(number=3, kind="rounding", amount_micro=4_567),
)  # fmt: skip


def a_bill(**changed: object) -> Bill:
    fields: dict[str, object] = {
        "name": "INV-000001",
        "number": "INV-000001",
        "kind": "invoice",
        "tenant": "acme",
        "month": "2026-11",
        "currency": "USD",
        "from_ms": 1_793_491_200_000,
        "to_ms": 1_796_083_200_000,
        "issued_ms": 1_796_183_200_000,
        "total_micro": 1_270_000,
        "credit_micro": 1_000_000,
        "lines": LINES,
        "projects": (ProjectShare("red", 1_000_000), ProjectShare("", 265_433)),
        "issuer": Party(name="Fjord & Sons", address="Havnegata 1\nOslo", tax_id="NO 987"),
        "customer": Party(name="<script>alert(1)</script>"),
    }
    return Bill(**(fields | changed))  # type: ignore[arg-type]


class _Text(HTMLParser):
    """What is read on the page, cell by cell; and whether every element is closed."""

    VOID = ("meta", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.opened: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in self.VOID:
            self.opened.append("pad" if ("class", "pad") in attrs else tag)

    def handle_endtag(self, tag: str) -> None:
        opened = self.opened.pop()
        assert tag == ("span" if opened == "pad" else opened)

    def handle_data(self, data: str) -> None:
        if data.strip() and self.opened[-1] != "pad":
            self.cells.append(data.strip())


def test_a_page_says_who_asks_whom_for_how_much() -> None:
    page = bills_page([a_bill()], 0)
    text = _Text(page)
    assert text.opened == []
    for said in (
        "Invoice INV-000001", "Fjord & Sons", "Havnegata 1\nOslo\nTax id NO 987", "acme",
        "November 2026 (1 to 30 November 2026, UTC)", "GPU time on H100 (spot, site oslo)",
        "1.5 GPU h", "0.25", "2.00", "2.50", "CPU time", "Correction for October 2026",
        "-1 core h", "-1.234567", "Rounding", "0.004567", "1.27", "Paid from prepaid credit",
        "-1.00", "Amount due (USD)", "0.27", "red", "(none)",
    ):  # fmt: skip
        assert said in text.cells, said
    assert 'class="bill draft"' not in page


def test_no_name_becomes_part_of_the_page() -> None:
    text = _Text(bills_page([a_bill()], 0))
    assert "script" not in text.tags
    assert "<script>alert(1)</script>" in text.cells


def test_a_draft_is_told_from_an_invoice() -> None:
    page = bills_page([a_bill(number="", issued_ms=None)], 1_796_083_200_000)
    cells = _Text(page).cells
    assert 'class="bill draft"' in page
    assert {"Draft of an invoice", "as of 1 December 2026"} <= set(cells)


def test_several_bills_are_one_page_each_on_its_own_sheet() -> None:
    page = bills_page([a_bill(), a_bill(number="INV-000002")], 0)
    assert page.count('<section class="bill"') == 2
    assert _Text(page).opened == []
    assert "http" not in re.sub(r"<!doctype.*?>", "", page)


def test_a_credit_note_says_what_it_takes_back() -> None:
    line = BillLine(number=1, kind="credit_note", amount_micro=-500_000, refers=2)
    note = a_bill(
        kind="credit_note", number="CN-000001", refers="INV-000001", reason="it was slow",
        lines=(line,), total_micro=-500_000, credit_micro=0, projects=(),
    )  # fmt: skip
    cells = _Text(bills_page([note], 0)).cells
    assert {
        "Credit note CN-000001", "it was slow", "Credit for INV-000001, line 2",
        "Credited to you (USD)", "0.50",
    } <= set(cells)  # fmt: skip
    assert title_words(note) == "Credit note CN-000001"
    assert line_words(line, note) == "Credit for INV-000001, line 2"


@given(st.integers(-(10**18), 10**18))
def test_amounts_are_said_exactly(micro: int) -> None:
    assert Decimal(money_words(micro).replace(",", "")) == Decimal(micro).scaleb(-6)


@given(st.integers(-(10**18), 10**18), st.sampled_from(sorted(QUANTITY_PER_UNIT)))
def test_quantities_are_said_to_a_millionth(quantity: int, unit: str) -> None:
    said = Decimal(quantity_words(quantity, unit).replace(",", ""))
    assert abs(said - Decimal(quantity) / QUANTITY_PER_UNIT[unit]) <= Decimal("0.0000005")


def test_a_line_says_how_much_less_than_the_list_price_is_asked() -> None:
    (line, _, _) = LINES
    cheaper = replace(line, tier="", site="", discount_ppm=125_000)
    assert line_words(cheaper, a_bill()) == "GPU time on H100 (12.50 % off the list price)"
    whole = replace(cheaper, discount_ppm=150_000, tier="spot")
    assert line_words(whole, a_bill()) == "GPU time on H100 (spot, 15 % off the list price)"


def test_months_have_names() -> None:
    assert month_words("2026-11") == "November 2026"
