"""Which tables do budgets and prepaid credit stand in?

What was set, added, reserved and told are facts, and so is what was charged to a credit: it was
promised. It does not know who spends.
"""

from __future__ import annotations

from penstock_metering.ledger.columns import index_where, integer, table, text

budgets = table(
    "budgets",
    integer("number", key=True),
    text("budget_id"),
    text("tenant"),
    text("project"),
    text("unit"),
    text("currency"),
    text("acts"),
    text("per"),
    integer("amount", unknown=True),
    text("warn_percent"),
    integer("set_ms"),
)
"""What was set, in order; the newest of an id counts. `amount` NULL: removed."""

credits = table(
    "credits",
    integer("number", key=True),
    text("key"),
    text("tenant"),
    text("currency"),
    integer("asked_micro"),
    integer("amount_micro"),
    text("state"),
    integer("at_ms"),
    text("reason"),
)
"""What was added to prepaid credit and taken out of it (less than zero). `state`: `done`; a
withdrawal is `asked` until the scheduler has agreed, and `refused` when nothing was left."""

budget_accounts = table(
    "budget_accounts",
    text("budget_id", key=True),
    text("tenant"),
    text("project"),
    text("unit"),
    text("currency"),
    text("acts"),
    text("per"),
    integer("prepaid"),
    integer("amount"),
    integer("asked"),
    integer("asked_number", unknown=True),
    text("warn_percent"),
    text("period"),
    integer("spent"),
    integer("excess"),
    integer("warned_percent"),
    text("told"),
)
"""Each budget that stands, as it stands. `asked`: its limit once a withdrawal is agreed on, which
was told first under `asked_number`. `told`: what the scheduler heard last, "" = nothing yet."""

budget_grants = table(
    "budget_grants",
    integer("lease_seq", key=True),
    text("job_id", key=True),
    text("budget_id", key=True),
    integer("reserved"),
    integer("charged"),
    integer("excess"),
    integer("over"),
    integer("due_ms", unknown=True),
    integer("dirty"),
    index_where("budget_grants_open", "budget_id", "over = 0"),
    index_where("budget_grants_dirty", "lease_seq", "dirty = 1"),
)
"""What is reserved for an attempt of a budget that stops work, and how much of it is used:
`charged`, rounded up; what it used beyond is `excess`, at the provider's cost. `over`: it costs
nothing more. `due_ms`: when it is called over although nothing came."""

budget_outbox = table(
    "budget_outbox", integer("number", key=True), text("subject"), text("payload")
)
"""What the scheduler is to hear, until the broker has it."""
