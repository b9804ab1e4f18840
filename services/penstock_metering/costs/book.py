"""How are the provider's costs kept?

Versions are only added, each under the next number. One may begin in the past, since the bill for a
thing often comes later than the thing; what that changes about a closed month is posted to a later
one. It does not know what costs are divided over.
"""

from __future__ import annotations

from itertools import islice

import msgspec
import sqlalchemy as sa

from penstock_contracts.costs import (
    COSTS_MAX,
    CostsQuery,
    CostsView,
    CostVersion,
    SetCost,
    fault_of,
)
from penstock_contracts.errors import Refusal
from penstock_contracts.queries import PAGE_MAX
from penstock_metering.costs.tables import cost_versions

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(CostVersion).decode


def set_cost(connection: sa.Connection, command: SetCost, now_ms: int) -> CostsView | Refusal:
    """Within the writer's transaction."""
    fault = fault_of(command.cost)
    if fault:
        return Refusal("invalid_field", fault, "cost")
    newest = connection.execute(sa.select(sa.func.max(cost_versions.c.number))).scalar() or 0
    if newest >= COSTS_MAX:
        return Refusal("too_many_costs", f"the ledger keeps {COSTS_MAX} costs, and has as many")
    cost = msgspec.structs.replace(command.cost, number=newest + 1)
    connection.execute(
        sa.insert(cost_versions).values(
            number=cost.number, kind=cost.kind, set_ms=now_ms, cost=_encode(cost).decode()
        )
    )
    return CostsView((cost,))


def read_costs(connection: sa.Connection) -> list[CostVersion]:
    """All there are, by number."""
    statement = sa.select(cost_versions.c.cost).order_by(cost_versions.c.number)
    return [_decode(row.cost) for row in connection.execute(statement)]


def answer_costs(connection: sa.Connection, query: CostsQuery, now_ms: int) -> CostsView:
    found = (
        cost
        for cost in read_costs(connection)
        if cost.number > query.after and query.kind in ("", cost.kind)
    )
    page = tuple(islice(found, PAGE_MAX))
    return CostsView(page, more=next(found, None) is not None)
