"""Which bugs can be planted where money is concerned?

In the reaper, the agent, the scheduler and the ledger. It does not know prices.
"""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_AGENT = "services/penstock_node_agent"
_SCHEDULER = "services/penstock_scheduler/core"
_METERING = "services/penstock_metering"

IN_MONEY = (
    Mutation(
        name="paid time counts from the order's end",
        file=f"{_AGENT}/reaper/attempts.py",
        old="        last_ns = self.began_ns + paid_ns - min(",
        new="        last_ns = self.began_ns + paid_ns + min(",
        breaks="work runs on unpaid",
    ),
    Mutation(
        name="work that is asked to end is not killed when its paid time is used up",
        file=f"{_AGENT}/reaper/attempts.py",
        old="        dues = (self.kill_ns or self._limit_or_lease_ns(), self.paid_due_ns)\n",
        new="        dues = (self.kill_ns or self._limit_or_lease_ns(),\n"
        "                None if self.kill_ns else self.paid_due_ns)\n",
        breaks="a long grace outlasts what is paid",
    ),
    Mutation(
        name="spawn request without paid time",
        file=f"{_AGENT}/workplace/spawn_request.py",
        old='        limits["paid_ms"] = order.paid_ms\n',
        new="        pass\n",
        breaks="nothing ends what nobody pays for",
    ),
    Mutation(
        name="a new grant reserves nothing",
        file=f"{_SCHEDULER}/money/folds.py",
        old="    if fact.reserved:\n",
        new="    if not fact.reserved:\n",
        breaks="a budget is promised twice",
    ),
    Mutation(
        name="what is paid ahead is not reserved",
        file=f"{_SCHEDULER}/money/folds.py",
        old="        state.budgets.reserve(grant_key(job.lease_seq, paid.job_id), ",
        new="        grant_key(job.lease_seq, paid.job_id) and (",
        breaks="a budget is promised twice",
    ),
    Mutation(
        name="a lowered limit falls below what was promised",
        file=f"{_SCHEDULER}/money/paying.py",
        old="        limit = before.limit_after(fact)\n",
        new="        limit = min(limit, before.limit)\n",
        breaks="more is promised than there is",
    ),
    Mutation(
        name="use beyond what was reserved is charged",
        file=f"{_METERING}/core/settling.py",
        old="    return Settled(min(whole, reserved), max(0, whole - reserved))\n",
        new="    return Settled(whole, 0)\n",
        breaks="credit goes below zero",
    ),
    Mutation(
        name="an attempt's charge is added again each time",
        file=f"{_METERING}/budgets/accounts.py",
        old='account["spent"] += found.charged - grant["charged"]',
        new='account["spent"] += found.charged',
        breaks="credit is spent twice",
    ),
    Mutation(
        name="a command's key is not noted",
        file=f"{_METERING}/commands.py",
        old="connection.execute(sa.insert(_done).values(**noted, ",
        new="dict(dict(**noted, ",
        breaks="a repeated order is done twice",
    ),
    Mutation(
        name="only the newest segments of a lease are rated",
        file=f"{_METERING}/rating/marks.py",
        old="            if seq < first_new.get(key, NO_SEGMENT + 1):\n",
        new="            if seq > first_new.get(key, -1) or first_new[key] == NO_SEGMENT:\n",
        breaks="use is not billed",
    ),
    Mutation(
        name="what comes late is posted to the closed month",
        file=f"{_METERING}/core/placing.py",
        old="        if month > closed_until:\n",
        new="        if month >= closed_until:\n",
        breaks="a closed month changes",
    ),
)
