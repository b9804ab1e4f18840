"""Which tables do prices and rated use stand in?

`price_versions` are facts. The rest is derived from leases, ledger lines and prices: made anew by
`rater`, byte for byte, but for what belongs to closed periods, which never changes.
"""

from __future__ import annotations

from sqlalchemy import Index

from penstock_metering.ledger.columns import index_where, integer, table, text

price_versions = table(
    "price_versions",
    integer("version", key=True),
    text("sku"),
    integer("effective_from_ms"),
    text("unit"),
    integer("micro"),
    text("currency"),
    text("tenant"),
    text("site"),
    text("tier"),
    integer("granularity_ms"),
    integer("minimum_ms"),
    text("billable"),
    integer("free_quantity"),
    integer("discount_ppm"),
    integer("set_ms"),
)
"""As `penstock_contracts.prices.PriceVersion`; `billable` is JSON. `version` counts over all."""

rated = table(
    "rated",
    integer("lease_seq", key=True),
    text("job_id", key=True),
    integer("rank", key=True),
    integer("part", key=True),
    text("tenant"),
    text("project"),
    text("tier"),
    text("site"),
    text("node"),
    text("device"),
    text("model"),
    text("sku"),
    integer("price_version"),
    text("unit"),
    text("state"),
    integer("day"),
    integer("t0_ms"),
    integer("t1_ms"),
    integer("quantity"),
    integer("billed_quantity"),
    integer("runs"),
    text("period"),
    text("corrects"),
    Index("rated_day", "day"),
    index_where("rated_unmodelled", "node", "model = '' AND device <> ''"),
)
"""What one lease used of one SKU on one device and day, at one price, in one state (`preparing`,
`running`, `settling`, `flat`), within `[t0_ms, t1_ms)`. `device` is empty for what belongs to the
rank. `price_version` 0: no price was in force. `runs`: 1 where an attempt began to run, else 0.
`period` is the month that bills it; `corrects` the month it was used in, where that was closed
before: then it is a difference, and may be negative."""

usage_days = table(
    "usage_days",
    text("period", key=True),
    integer("day", key=True),
    text("tenant", key=True),
    text("project", key=True),
    text("sku", key=True),
    integer("price_version", key=True),
    text("state", key=True),
    text("unit"),
    text("corrects"),
    integer("quantity"),
    integer("billed_quantity"),
    integer("leases"),
)
"""Sums of `rated`. `leases` = sum of `runs`."""

device_sales = table(
    "device_sales",
    text("period", key=True),
    integer("day", key=True),
    text("node", key=True),
    text("device", key=True),
    text("tenant", key=True),
    text("sku", key=True),
    integer("price_version", key=True),
    integer("quantity"),
    integer("billed_quantity"),
)
"""Sums of `rated`: `quantity` of what ran, `billed_quantity` of all states."""

dirty_leases = table(
    "dirty_leases",
    integer("lease_seq", key=True),
    text("job_id", key=True),
    integer("rank", key=True),
    integer("from_seq"),
)
"""Leases of which `rated` may lack something: `from_seq` is the lowest segment that is new, −1 =
rate all of it again."""
