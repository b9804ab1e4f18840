"""Did everything come to an end once the faults had stopped?

Looks at what was left when the mesh had had its time to drain. It does not ask whether the ends
were right.
"""

from __future__ import annotations

from tests.checkers.history import History, Violation
from tests.checkers.leases import fold_journal


def check_progress(history: History) -> list[Violation]:
    """Everything that was still live, held, owed or running in the end."""
    ending = history.ending
    if ending is None:
        return []
    at_ns = ending.drained_ns or ending.faults_stopped_ns
    found: list[Violation] = []

    def note(code: str, sentence: str, job_id: str | None = None, node: str | None = None) -> None:
        found.append(Violation(code=code, sentence=sentence, job_id=job_id, node=node, at_ns=at_ns))

    if ending.drained_ns is None:
        note("not_drained", "the mesh did not drain within its bound")
    for job_id in ending.live_jobs:
        note("job_live", f"job {job_id} has not ended", job_id)
    for lease in ending.leases:
        note("lease_held", f"lease {lease} was never released", lease.split("/")[0])
    for agent in ending.agents:
        if agent.held:
            held = ", ".join(agent.held)
            note("agent_holds", f"{agent.node} still holds {held}", None, agent.node)
        owed = (agent.reports_owed, agent.segments_owed, agent.spools)
        if any(owed):
            note(
                "agent_owes",
                f"{agent.node} owes {owed[0]} reports, {owed[1]} segments, {owed[2]} outputs",
                None,
                agent.node,
            )
    for run in history.runs:
        if run.ended_ns is None:
            note("still_running", f"job {run.job_id} still runs", run.job_id, run.node)
    if not history.lossy_broker:
        for job in fold_journal(history).jobs.values():
            if job.end is None:
                note("job_endless", f"job {job.job_id} has no end in JOBS", job.job_id)
    return found
