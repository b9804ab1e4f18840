"""Which tables does the time of devices stand in?

Slices and demand are facts, stored with the messages they came in. The rest is derived from them,
from segments, leases, counters and node changes, and can be made anew: see `device_time`.
"""

from __future__ import annotations

from sqlalchemy import Index

from penstock_metering.ledger.columns import index_where, integer, table, text

device_slices = table(
    "device_slices",
    text("node", key=True),
    text("boot_id", key=True),
    text("device", key=True),
    integer("seq", key=True),
    integer("t0_ms"),
    integer("t1_ms"),
    integer("energy_mj", unknown=True),
    integer("used_milli_ms", unknown=True),
    integer("batch_number"),
    Index("device_slices_batch", "node", "batch_number"),
)
"""What a device did in all, as its agent sent it."""

demand_changes = table(
    "demand_changes",
    integer("seq", key=True),
    integer("at_ms"),
    text("blocked"),
)
"""From when on how much (milli-GPU) waited for what, as JSON; `seq` of JOBS."""

device_days = table(
    "device_days",
    text("node", key=True),
    text("device", key=True),
    integer("day", key=True),
    text("site"),
    integer("sold_used"),
    integer("sold_idle"),
    integer("sold"),
    integer("held"),
    integer("free_no_demand"),
    integer("free_fragmented"),
    integer("free_quota"),
    integer("draining"),
    integer("broken"),
    integer("unknown"),
    integer("energy_sold_mj", unknown=True),
    Index("device_days_day", "day"),
)
"""milli-GPU·ms of each state of `core.sweeping` on one UTC day (days since 1970); their sum is the
device's capacity on that day. `sold`: its utilisation is not known."""

device_energy = table(
    "device_energy",
    text("node", key=True),
    text("device", key=True),
    integer("day", key=True),
    integer("energy_mj"),
    integer("known_ms"),
    text("quarters_mj"),
)
"""From slices: energy in all, over how much time it is known, and of each quarter of an hour of
the UTC day (JSON: 96 numbers, null = not known)."""

audit_checkpoints = table(
    "audit_checkpoints",
    text("node", key=True),
    integer("upto_ms", key=True),
    text("state"),
)
"""A node's time summed up to an instant before which nothing changes any more, unless facts come
late: JSON of `core.checkpoints.Checkpoint`. Some older ones are kept for that."""

node_balances = table(
    "node_balances",
    text("node", key=True),
    integer("upto_ms"),
    integer("slices_to"),
    integer("unaccounted_milli_ms"),
    text("balance"),
    Index("node_balances_upto", "upto_ms"),
    index_where("node_balances_wrong", "unaccounted_milli_ms", "unaccounted_milli_ms <> 0"),
)
"""The two accounts of each node's time up to its newest counters: JSON of
`core.balances.NodeBalance`. `upto_ms`: up to when; `slices_to`: the batch number up to which
slices are added up."""

dirty_device_days = table("dirty_device_days", text("node", key=True))
"""Nodes of which something was stored since they were derived."""
