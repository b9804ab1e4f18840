"""What beside bills is still to be posted?

What devices cost in a month and what was paid in advance until its end, as it is known now, less
what was posted of it. It does not know how cost is computed.
"""

from __future__ import annotations

import sqlalchemy as sa

from penstock_metering.bills import tables
from penstock_metering.bills.issuing import posted
from penstock_metering.budgets.book import paid_in
from penstock_metering.core.months import month_bounds_ms
from penstock_metering.core.postings import CASH, Cost, Posting, less, post_costs, post_credit
from penstock_metering.costs.profits import period_costs

COSTS_AGAIN_MONTHS = 3
"""So many closed months before are costed again at a close: what became known of them late is
posted as what they cost more or less."""


def unposted_costs(connection: sa.Connection, month: str, now_ms: int) -> list[list[Posting]]:
    """One transaction for each month: this one, and closed ones before it that cost more or less
    than was posted."""
    found = (_unposted(connection, costed, now_ms) for costed in _costed(connection, month))
    return [postings for postings in found if postings]


def unposted_credit(connection: sa.Connection, month: str) -> list[list[Posting]]:
    """One transaction for each tenant and currency."""
    of = tables.postings.c
    left = paid_in(connection, month_bounds_ms(month)[1])
    for posting in posted(connection, of.account == CASH):
        key = (posting.tenant, posting.currency)
        left[key] = left.get(key, 0) - posting.amount_micro
    return [post_credit(*key, micro) for key, micro in sorted(left.items()) if micro]


def _unposted(connection: sa.Connection, month: str, now_ms: int) -> list[Posting]:
    of = tables.postings.c
    costs = [
        Cost(
            kind=cost.kind,
            use=cost.use,
            owner=cost.owner,
            currency=cost.currency,
            amount_micro=cost.micro,
        )
        for cost in period_costs(connection, month, now_ms)
    ]
    before = posted(connection, of.month == month, of.tenant == "", of.invoice_id == 0)
    return less(post_costs(month, costs), before)


def _costed(connection: sa.Connection, month: str) -> list[str]:
    closed = tables.periods.c.month
    found = sa.select(closed).where(closed < month).order_by(closed.desc())
    rows = connection.execute(found.limit(COSTS_AGAIN_MONTHS))
    return sorted([*(row.month for row in rows), month])
