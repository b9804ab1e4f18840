"""Which bugs can be planted in the node agent and its reaper?

It does not know the mesh around them.
"""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_AGENT = "services/penstock_node_agent"

IN_AGENT = (
    Mutation(
        name="older desired state taken",
        file=f"{_AGENT}/core/machine.py",
        old="    if not state.ready or desired.as_of < state.as_of:\n",
        new="    if not state.ready:\n",
        breaks="a late message undoes a newer one",
    ),
    Mutation(
        name="last segment never closed",
        file=f"{_AGENT}/core/endings.py",
        old="        close_segment(state, lease, at_ms, last=True)\n",
        new="        close_segment(state, lease, lease.open_ms, last=True)\n",
        breaks="the end of each run is not billed",
    ),
    Mutation(
        name="new boot not noticed",
        file=f"{_AGENT}/core/machine.py",
        old="    if event.boot_id != state.boot_id:\n",
        new="    if not state.boot_id:\n",
        breaks="what ran before a reboot runs again",
    ),
    Mutation(
        name="end of a dead reaper's work guessed",
        file=f"{_AGENT}/reaper/clearing.py",
        old='End(attempt.began_ns, None, None, "lost", "the reaper died")',
        new='End(attempt.clear_ns, 0, None, "exited")',
        breaks="a job is said to have succeeded that was killed",
    ),
    Mutation(
        name="reports forgotten before they are delivered",
        file=f"{_AGENT}/core/machine.py",
        old="    del state.reports[: event.count]\n",
        new="    state.reports.clear()\n",
        breaks="what was owed meanwhile is never told",
    ),
    Mutation(
        name="usage forgotten before it is delivered",
        file=f"{_AGENT}/core/machine.py",
        old="        del state.usage[: event.count]\n",
        new="        state.usage.clear()\n",
        breaks="work is not billed",
    ),
    Mutation(
        name="release told before the end",
        file=f"{_AGENT}/core/endings.py",
        old="    else:\n        tell(state, lease, item)\n",
        new="    else:\n        tell(state, lease, Released(**step_of(lease, at_ms)), item)\n",
        breaks="an attempt's end is lost",
    ),
    Mutation(
        name="release told when the stop is ordered",
        file=f"{_AGENT}/core/attempts.py",
        old="            _stop(lease, order.stop_reason or CANCELLED, todo)\n",
        new="            _stop(lease, order.stop_reason or CANCELLED, todo)\n"
        "            step = step_of(lease, lease.axis_ms(at_ns))\n"
        "            tell(state, lease, endings.Released(**step))\n",
        breaks="a device is freed while work still ends on it",
    ),
    Mutation(
        name="output's slot used again too early",
        file=f"{_AGENT}/core/endings.py",
        old="    if spool is None or alive or not spool.delivered:\n",
        new="    if spool is None or alive:\n",
        breaks="output is lost, or another's",
    ),
    Mutation(
        name="segments overlap",
        file=f"{_AGENT}/core/usage.py",
        old="    lease.segments += 1\n    lease.open_ms = to_ms\n",
        new="    lease.segments += 1\n",
        breaks="time is billed twice",
    ),
    Mutation(
        name="cut of segments not journaled",
        file=f"{_AGENT}/agent.py",
        old="        self.journal.add(event)\n        self._todo += todo\n",
        new="        if not isinstance(event, events.SegmentsCut):\n"
        "            self.journal.add(event)\n"
        "        self._todo += todo\n",
        breaks="a restarted agent bills the same time under other numbers",
    ),
    Mutation(
        name="a share of a device counted whole",
        file=f"{_AGENT}/core/usage.py",
        old="running_milli_ms += (to_ms - lease.open_ms) * order.gpu_milli\n",
        new="running_milli_ms += (to_ms - lease.open_ms) * 1_000\n",
        breaks="the two accounts of time differ",
    ),
    Mutation(
        name="log offset confirmed before it is stored",
        file=f"{_AGENT}/telling/logs.py",
        old="        if isinstance(result, Exception):\n            self.failures += 1\n",
        new="        if isinstance(result, str):\n            self.failures += 1\n",
        breaks="output is missing",
        fast=True,
    ),
    Mutation(
        name="report dropped when the broker is away",
        file=f"{_AGENT}/telling/outbox.py",
        old="        if isinstance(result, Exception):\n            if self.failures == 0",
        new="        if isinstance(result, Exception):\n"
        "            self._parcel = None\n"
        "            parcel.done(Appended('', 1))\n"
        "            return\n"
        "            if self.failures == 0",
        breaks="an end is never told",
    ),
    Mutation(
        name="lease without contact not enforced",
        file=f"{_AGENT}/reaper/attempts.py",
        old="        if self.disconnect_s is None:\n            return None\n",
        new="        if self.disconnect_s is None or not self.old:\n            return None\n",
        breaks="two attempts of a job run side by side",
    ),
)
