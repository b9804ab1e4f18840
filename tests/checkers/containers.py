"""Did work in containers end as it was, leave nothing behind, and take nothing of others along?

Looks at what is on the hosts in the end, and at reasons that only containers give. It does not ask
where they ran, nor for how long.
"""

from __future__ import annotations

from tests.checkers.history import History, Violation
from tests.checkers.leases import Lease, fold_journal

OUT_OF_MEMORY = "out_of_memory"
PREPARE_FAILED = "prepare_failed"
UNDISTURBED = ("exited", "signalled", OUT_OF_MEMORY)
"""Reasons of an attempt that nobody has stopped."""


def check_containers(history: History) -> list[Violation]:
    """Everything left behind or taken along, and every reason that is not true."""
    found = []
    for agent in history.ending.agents if history.ending is not None else ():
        for name in agent.containers:
            sentence = f"container {name} is still on {agent.node}"
            found.append(Violation(code="container_left", sentence=sentence, node=agent.node))
        for name in agent.others_gone:
            sentence = f"container {name} of others is gone from {agent.node}"
            found.append(Violation(code="others_container", sentence=sentence, node=agent.node))
    return found if history.lossy_broker else found + _untrue_reasons(history)


def _untrue_reasons(history: History) -> list[Violation]:
    journaled = fold_journal(history)
    runs = {(run.job_id, run.attempt, run.rank): run for run in history.runs}
    found = []
    for key, lease in journaled.leases.items():
        if lease.exited is None:
            continue
        reason, run, job = lease.exited.reason, runs.get(key), journaled.jobs.get(lease.job_id)
        short = run is not None and run.out_of_memory
        if short != (reason == OUT_OF_MEMORY) and reason in UNDISTURBED:
            what = "was killed for want of memory" if short else "had memory enough"
            found.append(_of(lease, "untrue_memory", f"{what}, told was {reason}"))
        image = job.spec.container.image if job is not None and job.spec.container else ""
        if reason == PREPARE_FAILED and image not in history.unknown_images:
            found.append(_of(lease, "untrue_preparation", f"names {image!r}, which can be had"))
        if run is not None and image in history.unknown_images:
            found.append(_of(lease, "ran_without_image", f"ran in {image}, which is nowhere"))
    return found


def _of(lease: Lease, code: str, what: str) -> Violation:
    return Violation(
        code=code,
        sentence=f"rank {lease.rank} of attempt {lease.attempt} of job {lease.job_id} {what}",
        job_id=lease.job_id,
        node=lease.node,
        at_ns=lease.exited_ns or 0,
    )
