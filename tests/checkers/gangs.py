"""Was each job placed whole, and did the ranks of a gang start together or not at all?

Looks at the ranks of grants against those asked for, and at what really ran against the moment at
which the journal let a gang go. It does not know devices.
"""

from __future__ import annotations

from collections import Counter

from penstock_contracts.journal import GangReady, JobSubmitted, LeaseGranted, RankPrepared
from tests.checkers.history import History, Violation
from tests.checkers.leases import facts_of


def check_gangs(history: History) -> list[Violation]:
    """Every grant that is not of all ranks of the job, every rank that started before its gang."""
    found: list[Violation] = []
    specs = {}
    ready_ns: dict[tuple[str, int], int] = {}
    prepared: dict[tuple[str, int], set[int]] = {}
    for at_ns, seq, fact in facts_of(history.jobs_entries):
        if isinstance(fact, JobSubmitted):
            specs[fact.spec.job_id] = fact.spec
        elif isinstance(fact, RankPrepared):
            prepared.setdefault((fact.job_id, fact.attempt), set()).add(fact.rank)
        elif isinstance(fact, GangReady):
            key = (fact.job_id, fact.attempt)
            ready_ns.setdefault(key, at_ns)
            if fact.job_id in specs and len(prepared.get(key, ())) != specs[fact.job_id].ranks:
                sentence = f"JOBS {seq} lets a gang go before all its ranks are prepared"
                found.append(_violation("gang_ready_early", sentence, fact.job_id, at_ns))
        elif isinstance(fact, LeaseGranted) and fact.job_id in specs:
            spec = specs[fact.job_id]
            ranks = Counter(place.rank for place in fact.ranks)
            if ranks != Counter(range(spec.ranks)):
                sentence = f"JOBS {seq} places ranks {sorted(ranks)} of {spec.ranks}"
                found.append(_violation("placed_partly", sentence, fact.job_id, at_ns))
    for run in history.runs:
        spec = specs.get(run.job_id)
        if spec is None or spec.ranks == 1:
            continue
        let_go_ns = ready_ns.get((run.job_id, run.attempt))
        if let_go_ns is None or run.began_ns + history.late_ns < let_go_ns:
            sentence = f"rank {run.rank} of attempt {run.attempt} ran before its gang was ready"
            found.append(
                _violation("rank_before_gang", sentence, run.job_id, run.began_ns, run.node)
            )
    return found


def _violation(
    code: str, sentence: str, job_id: str, at_ns: int, node: str | None = None
) -> Violation:
    return Violation(code=code, sentence=sentence, job_id=job_id, node=node, at_ns=at_ns)
