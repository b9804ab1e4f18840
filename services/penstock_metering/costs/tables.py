"""Which table do the provider's costs stand in?

Versions are facts: only added. It does not know what they are divided over.
"""

from __future__ import annotations

from penstock_metering.ledger.columns import integer, table, text

cost_versions = table(
    "cost_versions",
    integer("number", key=True),
    text("kind"),
    integer("set_ms"),
    text("cost"),
)
"""`cost` is JSON of `penstock_contracts.costs.CostVersion`."""
