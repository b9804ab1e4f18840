"""Do lines sum to what is asked for, and postings to nothing?"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock_metering.core.billing import (
    CREDIT_NOTE,
    INVOICE,
    ROUNDING,
    Document,
    Issued,
    draw_up,
    minor_unit_micro,
    payable_micro,
    take_back,
)
from penstock_metering.core.lines import Line
from penstock_metering.core.postings import (
    Cost,
    Posting,
    imbalance_micro,
    less,
    post_costs,
    post_credit,
    post_document,
)

CURRENCIES = st.sampled_from(("USD", "EUR", "JPY", "KWD"))
AMOUNTS = st.integers(-(10**12), 10**15)


def a_line(
    amount_micro: int, tenant: str = "acme", currency: str = "USD", sku: str = "gpu"
) -> Line:
    return Line(
        tenant=tenant,
        sku=sku,
        price_version=1,
        currency=currency,
        quantity=abs(amount_micro),
        billed_quantity=amount_micro,
        free_quantity=0,
        amount_micro=amount_micro,
    )


LINES = st.lists(
    st.builds(
        a_line,
        AMOUNTS,
        st.sampled_from(("acme", "bolt")),
        CURRENCIES,
        st.sampled_from(("gpu", "cpu")),
    ),
    max_size=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(LINES, st.integers(0, 10**15))
def test_lines_sum_to_the_total_and_postings_to_nothing(lines: list[Line], there: int) -> None:
    credit = {(line.tenant, line.currency): there for line in lines}
    documents = draw_up(lines, credit)
    assert {(d.tenant, d.currency) for d in documents} == set(credit)
    for document in documents:
        assert sum(item.amount_micro for item in document.items) == document.total_micro
        assert document.total_micro % minor_unit_micro(document.currency) == 0
        assert (document.kind == CREDIT_NOTE) == (document.total_micro < 0)
        assert 0 <= document.credit_micro <= max(there, 0)
        assert document.due_micro % minor_unit_micro(document.currency) == 0
        exact = sum(item.amount_micro for item in document.items if item.kind == "usage")
        assert abs(exact - document.total_micro) < minor_unit_micro(document.currency)
        if 0 < exact <= there:
            assert document.due_micro == 0
        postings = post_document(document)
        assert imbalance_micro(postings) == {}
        assert _balance(postings, f"receivable/{document.tenant}") == document.due_micro
        assert _balance(postings, f"credit/{document.tenant}") == document.credit_micro


def test_the_rounding_is_a_line_of_its_own_and_less_than_a_cent() -> None:
    (document,) = draw_up([a_line(1_234_567), a_line(1)])
    assert [item.kind for item in document.items] == ["usage", "usage", ROUNDING]
    assert (document.kind, document.total_micro) == (INVOICE, 1_230_000)
    (even,) = draw_up([a_line(2_500_000)])
    assert [item.kind for item in even.items] == ["usage"]


def test_who_has_paid_for_all_in_advance_owes_nothing_for_the_rounding() -> None:
    (document,) = draw_up([a_line(4_006_000)], {("acme", "USD"): 4_006_001})
    assert (document.total_micro, document.credit_micro) == (4_000_000, 4_000_000)
    (owing,) = draw_up([a_line(4_006_000)], {("acme", "USD"): 3_999_999})
    assert (owing.total_micro, owing.credit_micro) == (4_010_000, 3_990_000)


def test_yen_have_no_cents_and_halves_go_to_the_even_side() -> None:
    assert payable_micro(1_500_000, "JPY") == 2_000_000
    assert payable_micro(2_500_000, "JPY") == 2_000_000
    assert payable_micro(-1_500_000, "JPY") == -2_000_000
    assert payable_micro(1_234_500, "KWD") == 1_234_000


def an_invoice(
    *, total_micro: int = 10_000_000, taken_back_micro: int = 0, line_micro: int | None = None
) -> Issued:
    return Issued(
        number="INV-000001",
        tenant="acme",
        currency="USD",
        total_micro=total_micro,
        taken_back_micro=taken_back_micro,
        line_micro=line_micro,
    )


def test_a_credit_note_takes_back_no_more_than_was_asked_for() -> None:
    all_of_it = take_back(an_invoice(), None, "wrong size")
    assert isinstance(all_of_it, Document)
    assert (all_of_it.kind, all_of_it.total_micro) == (CREDIT_NOTE, -10_000_000)
    assert imbalance_micro(post_document(all_of_it)) == {}
    rest = take_back(an_invoice(taken_back_micro=9_000_000), None, "wrong size")
    assert isinstance(rest, Document)
    assert rest.total_micro == -1_000_000
    for refused in (
        take_back(an_invoice(), 10_010_000, ""),
        take_back(an_invoice(taken_back_micro=10_000_000), None, ""),
        take_back(an_invoice(), 1_234, ""),
        take_back(an_invoice(), -10_000, ""),
        take_back(an_invoice(line_micro=1_000_000), 2_000_000, ""),
    ):
        assert isinstance(refused, str)


COSTS = st.lists(
    st.builds(
        Cost,
        kind=st.sampled_from(("payout", "energy", "depreciation", "rent", "hosting")),
        use=st.sampled_from(("sold", "unknown", "no_demand", "broken")),
        owner=st.sampled_from(("", "lender")),
        currency=CURRENCIES,
        amount_micro=st.integers(0, 10**12),
    ),
    max_size=6,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(COSTS, COSTS)
def test_costs_balance_also_where_they_are_only_what_is_new(
    before: list[Cost], now: list[Cost]
) -> None:
    old, new = post_costs("2026-10", before), post_costs("2026-10", now)
    added = less(new, old)
    assert imbalance_micro(old) == imbalance_micro(new) == imbalance_micro(added) == {}
    assert less([*old, *added], new) == []


def test_the_cost_of_idle_devices_is_told_apart_from_the_cost_of_what_was_sold() -> None:
    def cost(kind: str, use: str, amount_micro: int) -> Cost:
        return Cost(kind=kind, use=use, currency="USD", amount_micro=amount_micro)

    postings = post_costs(
        "2026-10",
        [
            cost("energy", "sold", 5),
            cost("energy", "no_demand", 3),
            cost("depreciation", "sold", 10),
            cost("depreciation", "unknown", 2),
        ],
    )
    assert {posting.account: posting.amount_micro for posting in postings} == {
        "energy": 5,
        "depreciation": 10,
        "idle/no_demand": 3,
        "unknown": 2,
        "payable/energy": -8,
        "accumulated_depreciation": -12,
    }


def test_credit_that_is_paid_in_is_owed_to_the_tenant() -> None:
    postings = post_credit("acme", "USD", 5)
    assert imbalance_micro(postings) == {}
    assert _balance(postings, "credit/acme") == -5


def _balance(postings: list[Posting], account: str) -> int:
    return sum(posting.amount_micro for posting in postings if posting.account == account)
