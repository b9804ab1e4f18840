"""Could work that yields save what it had done?

Looks at what programs that were asked to yield were really sent: first the signal that their job
asked for, and nothing that kills before their grace was over. It does not know for whom they yield.
"""

from __future__ import annotations

import signal

from penstock_contracts.journal import LeaseGranted, RankExited
from tests.checkers.history import History, Run, Violation
from tests.checkers.leases import RankId, facts_of

YIELDS = ("preempted", "drained", "reserved")
ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
EARLY_NS = 1_000_000


def check_saving(history: History) -> list[Violation]:
    """Every program that was told by another signal, or killed too early."""
    specs = {one.job_id: one.spec for one in history.submissions if one.spec is not None}
    runs: dict[RankId, Run] = {(run.job_id, run.attempt, run.rank): run for run in history.runs}
    paid: set[tuple[str, int]] = set()
    found = []
    for _, _, fact in facts_of(history.jobs_entries):
        if isinstance(fact, LeaseGranted) and fact.paid_ms is not None:
            paid.add((fact.job_id, fact.attempt))
        if not isinstance(fact, RankExited) or fact.reason not in YIELDS:
            continue
        run, spec = runs.get((fact.job_id, fact.attempt, fact.rank)), specs.get(fact.job_id)
        if run is None or spec is None or not run.waited:
            continue
        asked = [(at_ns, number) for at_ns, number in run.asked if number in ASKING]
        killed = [at_ns for at_ns, number in run.asked if number == signal.SIGKILL]
        wanted = signal.Signals[spec.checkpoint_signal or "SIGTERM"]
        if asked and asked[0][1] != wanted:
            told = signal.Signals(asked[0][1]).name
            found.append(_of(run, "told_otherwise", f"was sent {told} and not {wanted.name}"))
        due_ns = asked[0][0] + spec.grace_s * 10**9 - EARLY_NS if asked else 0
        if killed and killed[0] < due_ns and (run.job_id, run.attempt) not in paid:
            early_s = (due_ns - killed[0]) / 1e9
            found.append(_of(run, "grace_cut", f"was killed {early_s:.3f} s before its grace"))
        if killed and not asked:
            found.append(_of(run, "never_asked", "was killed, and not asked before"))
    return found


def _of(run: Run, code: str, what: str) -> Violation:
    return Violation(
        code=code,
        sentence=f"rank {run.rank} of attempt {run.attempt} of job {run.job_id} {what}",
        job_id=run.job_id,
        node=run.node,
        at_ns=run.ended_ns or run.began_ns,
    )
