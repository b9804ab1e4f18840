"""Did each program get what its job was granted: that alternative, and devices of its kind?

Lays what ran, seen where it ran, beside the choice that the journal names. It does not look at
nodes' images, nor where else the program might have run.
"""

from __future__ import annotations

from penstock_contracts.journal import JobSubmitted, LeaseGranted
from tests.checkers.history import History, Run, Violation
from tests.checkers.leases import facts_of


def check_choices(history: History) -> list[Violation]:
    """Every program that was told another choice than was granted, or has other devices."""
    specs = {}
    granted: dict[tuple[str, int], int] = {}
    for _, _, fact in facts_of(history.jobs_entries):
        if isinstance(fact, JobSubmitted):
            specs[fact.spec.job_id] = fact.spec
        elif isinstance(fact, LeaseGranted):
            granted[fact.job_id, fact.attempt] = fact.alternative
    found = []
    for run in history.runs:
        spec, alternative = specs.get(run.job_id), granted.get((run.job_id, run.attempt))
        if spec is None or alternative is None or alternative > len(spec.alternatives):
            continue  # others find that
        asked = spec.resolved(alternative)
        if run.alternative != alternative:
            what = f"as alternative {run.alternative}; granted was {alternative}"
            found.append(_of(run, "ran_as_other_choice", what))
        if len(run.devices) != asked.gpus:
            what = f"with {len(run.devices)} devices, not {asked.gpus}"
            found.append(_of(run, "ran_with_other_devices", what))
        if asked.gpu_models and set(run.models) - set(asked.gpu_models):
            what = f"on {'/'.join(run.models)}, none of which is {' or '.join(asked.gpu_models)}"
            found.append(_of(run, "ran_with_other_devices", what))
    return found


def _of(run: Run, code: str, what: str) -> Violation:
    sentence = f"rank {run.rank} of attempt {run.attempt} of {run.job_id} ran {what}"
    return Violation(
        code=code, sentence=sentence, job_id=run.job_id, node=run.node, at_ns=run.began_ns
    )
