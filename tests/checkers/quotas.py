"""Was no maximum of a quota ever passed by a grant?

Adds up what counted in each quota at every grant, under the policy that held then; what was granted
before under another one may be more. It does not know who should have been next.
"""

from __future__ import annotations

from penstock_contracts.journal import LeaseGranted
from tests.checkers.history import History, Violation
from tests.checkers.queueing import Scene, Told, follow_queue


def check_quotas(history: History) -> list[Violation]:
    """Every grant for which a quota on the way up had no room."""
    found = []
    for told, scene in follow_queue(history):
        if isinstance(told.fact, LeaseGranted) and told.fact.job_id in scene.wanted:
            found += _passed(told, scene)
    return found


def _passed(told: Told, scene: Scene) -> list[Violation]:
    fact: LeaseGranted = told.fact
    wanted = scene.wanted[fact.job_id]
    gpu = sum(fact.gpu_milli * len(place.devices) for place in fact.ranks)
    cpu = fact.cpu_milli * len(fact.ranks)
    found = []
    for quota in scene.policy.path_of(wanted.spec, wanted.tenant):
        if quota.maximum_gpu_milli is None and quota.maximum_cpu_milli is None:
            continue
        held_gpu, held_cpu = scene.held_in(quota)
        for what, held, more, most in (
            ("GPU", held_gpu, gpu, quota.maximum_gpu_milli),
            ("CPU", held_cpu, cpu, quota.maximum_cpu_milli),
        ):
            if more and most is not None and held + more > most:
                sentence = (
                    f"JOBS {told.seq} grants {fact.job_id} {more} milli-{what}; quota {quota.name}"
                    f" holds {held} and may hold {most}"
                )
                found.append(
                    Violation(
                        code="quota_passed", sentence=sentence, job_id=fact.job_id,
                        at_ns=told.at_ns,
                    )
                )  # fmt: skip
    return found
