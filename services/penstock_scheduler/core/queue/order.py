"""How urgent is a job within its quota?

One whole number, the smallest goes first, that never changes while the job waits: so nothing has to
be sorted anew as time passes. It does not know who else waits.
"""

from __future__ import annotations

from math import isqrt

from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_contracts.queue_policy import Pool
from penstock_scheduler.core.state import Job

AREA_FACTOR = 10
"""Of so many times what a job is expected to take, GPU by GPU, and of a class the geometric mean is
the delay by which others may go before it: so short ones go first, and long ones do not starve."""
DELAY_CLASSES_MAX = 100
DEADLINE_CLASSES = 10
"""When it must start at last, a job with a deadline counts as of this class."""
DEADLINE_MARGIN_NS = 60_000_000_000
Place = tuple[int, int, str]
"""(urgency, order, job id): the smallest goes first."""


def urgency_of(job: Job, pool: Pool) -> int:
    """A job's urgency in its pool: nanoseconds where it is tiered, else its class, in which those
    that have yielded go first."""
    spec = job.spec
    if pool.order != "tiered":
        return -2 * spec.priority - (job.yielded > 0)
    aging_ns = pool.aging_s * 1_000_000_000
    expected_ms = job.expected_ms or 0
    urgency = job.since_ns - spec.priority * aging_ns
    if expected_ms:
        gpus = max(1, -(-spec.ranks * spec.gpus * spec.gpu_milli // GPU_MILLI_WHOLE))
        delay_ms = isqrt(AREA_FACTOR * expected_ms * gpus * pool.aging_s * 1_000)
        urgency += min(delay_ms * 1_000_000, DELAY_CLASSES_MAX * aging_ns)
    if spec.deadline_ms is None:
        return urgency
    last_ns = spec.deadline_ms * 1_000_000 - expected_ms * 1_000_000 - DEADLINE_MARGIN_NS
    return min(urgency, last_ns - DEADLINE_CLASSES * aging_ns)


def place_of(job: Job, pool: Pool) -> Place:
    """A job's place within its quota."""
    return (urgency_of(job, pool), job.order, job.spec.job_id)
